//! Who is calling: a person or a service, from which address, and how often already.

use std::{future::Future, net::IpAddr, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use shared::{
    auth::{Claims, TokenError, bearer_token},
    id::UserId,
    network::client_address,
    problem::Problem,
};
use subtle::ConstantTimeEq as _;

use super::{Http, refusal::Refusal};
use crate::store::Store;

type Extracted<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>>>>;

/// A person with an access token that holds. A handler that takes one answers 401 to all others.
pub(super) struct Person {
    claims: Claims,
}

impl Person {
    pub(super) fn id(&self) -> &UserId {
        &self.claims.sub
    }

    pub(super) fn jti(&self) -> &str {
        &self.claims.jti
    }
}

impl FromRequest for Person {
    type Error = Refusal;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let http = state(&request)?;
            let token = bearer_token(request.headers())?;
            let claims = http
                .store
                .tokens()
                .verifier()
                .verify_at(token, http.store.now())?;
            if claims.is_service() {
                return Err(TokenError::WrongScope.into());
            }
            http.limits.of_user(&request, &claims.sub)?;
            if http.store.is_revoked(&claims).await? {
                return Err(TokenError::Revoked.into());
            }
            Ok(Self { claims })
        })
    }
}

/// A service: one that knows the service token, or has a token of the scope `server`.
pub(super) struct Service;

impl FromRequest for Service {
    type Error = Refusal;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let http = state(&request)?;
            let token = bearer_token(request.headers())?;
            if let Some(secret) = &http.service_token
                && bool::from(secret.expose().as_bytes().ct_eq(token.as_bytes()))
            {
                return Ok(Self);
            }
            let claims = http
                .store
                .tokens()
                .verifier()
                .verify_at(token, http.store.now())?;
            if claims.is_service() {
                Ok(Self)
            } else {
                Err(TokenError::WrongScope.into())
            }
        })
    }
}

/// The address a request comes from.
///
/// That of the socket, unless the socket is a proxy of ours: see [`client_address`].
pub(super) struct Address(pub(super) IpAddr);

impl FromRequest for Address {
    type Error = Refusal;
    type Future = std::future::Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let address = state(request).map_err(Refusal::from).map(|http| {
            let peer = request
                .peer_addr()
                .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
            // Whoever comes from a proxy that names nobody counts as the proxy: a limit by address
            // guards passwords here, so nobody goes without.
            let client = client_address(peer, request.headers(), &http.trusted_proxies);
            Self(client.unwrap_or_else(|| peer.to_canonical()))
        });
        std::future::ready(address)
    }
}

/// The store, for handlers.
impl FromRequest for Store {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(state(request).map(|http| http.store.clone()))
    }
}

pub(super) fn state(request: &HttpRequest) -> Result<&Http, Problem> {
    request
        .app_data::<web::Data<Http>>()
        .map(web::Data::get_ref)
        .ok_or_else(|| Problem::internal("the store's routes have no store"))
}
