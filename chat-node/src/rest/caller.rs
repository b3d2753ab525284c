//! Who is calling: a person or a service, and how often already.

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use shared::{
    auth::{TokenError, bearer_token},
    id::UserId,
    problem::{self, Problem},
};
use subtle::ConstantTimeEq as _;

use super::Shared;
use crate::room::Caller;

type Extracted<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// A person with an access token that holds, whose bucket is not empty. A handler that takes one
/// answers 401 and 429 to all others.
pub(super) struct Person {
    pub(super) user: UserId,
}

impl Person {
    /// As a room knows the caller.
    pub(super) fn caller(&self) -> Caller {
        Caller {
            user: self.user.clone(),
            service: false,
        }
    }
}

impl FromRequest for Person {
    type Error = Problem;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let shared = shared(&request)?;
            let token = bearer_token(request.headers())?;
            let claims = shared.parts.auth.authenticate(token).await?;
            // A service acts through its own interface; were it let in here, it would act as a
            // user named like it.
            if claims.is_service() {
                return Err(TokenError::WrongScope.into());
            }
            problem::admit(&request, shared.requests.check(&claims.sub))?;
            Ok(Self { user: claims.sub })
        })
    }
}

/// A service: one that knows the service token, or has a token of the scope `server`.
pub(super) struct Service;

impl FromRequest for Service {
    type Error = Problem;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let shared = shared(&request)?;
            let token = bearer_token(request.headers())?;
            let name = if knows_the_secret(shared, token) {
                String::new()
            } else {
                let claims = shared.parts.auth.authenticate(token).await?;
                if !claims.is_service() {
                    return Err(TokenError::WrongScope.into());
                }
                claims.sub.to_string()
            };
            problem::admit(&request, shared.services.check(&name))?;
            Ok(Self)
        })
    }
}

fn knows_the_secret(shared: &Shared, token: &str) -> bool {
    shared.parts.service_token.as_ref().is_some_and(|secret| {
        let secret = secret.expose().as_bytes();
        !secret.is_empty() && bool::from(secret.ct_eq(token.as_bytes()))
    })
}

fn shared(request: &HttpRequest) -> Result<&Shared, Problem> {
    request
        .app_data::<web::Data<Shared>>()
        .map(web::Data::get_ref)
        .ok_or_else(|| Problem::internal("the application has no REST in its data"))
}
