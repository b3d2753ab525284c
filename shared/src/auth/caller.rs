//! The caller of a handler: a verified token that nobody took back.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

use super::{Claims, Revocations, TokenError, TokenVerifier, bearer_token};
use crate::id::UserId;
use crate::problem::Problem;

/// Everything that judging a token takes. Put it into the application's data:
/// `app.app_data(web::Data::new(auth))`.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Checks signatures and claims.
    pub verifier: TokenVerifier,
    /// Knows what was taken back.
    pub revocations: Revocations,
}

impl Auth {
    /// Judges a token of either kind.
    pub async fn authenticate(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = self.verifier.verify_fresh(token).await?;
        if self.revocations.denies(&claims) {
            Err(TokenError::Revoked)
        } else {
            Ok(claims)
        }
    }
}

/// A person. A handler that takes one answers 401 to everybody without a good token.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What the token says.
    pub claims: Claims,
}

impl Caller {
    /// Who it is.
    pub fn user(&self) -> &UserId {
        &self.claims.sub
    }
}

/// A service: the game's own backend, or one of ours. A person's token is answered with 403.
#[derive(Debug, Clone)]
pub struct ServiceCaller {
    /// What the token says.
    pub claims: Claims,
}

type Extracted<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let claims = judge(&request).await?;
            // A service acts through its own interface; were it let in here, it would act as a user
            // named like it.
            if claims.is_service() {
                Err(TokenError::WrongScope.into())
            } else {
                Ok(Self { claims })
            }
        })
    }
}

impl FromRequest for ServiceCaller {
    type Error = Problem;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let claims = judge(&request).await?;
            if claims.is_service() {
                Ok(Self { claims })
            } else {
                Err(TokenError::WrongScope.into())
            }
        })
    }
}

async fn judge(request: &HttpRequest) -> Result<Claims, Problem> {
    let auth = request
        .app_data::<web::Data<Auth>>()
        .ok_or_else(|| Problem::internal("the application has no `Auth` in its data"))?;
    Ok(auth.authenticate(bearer_token(request.headers())?).await?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::http::StatusCode;
    use actix_web::{App, test};

    use super::*;
    use crate::auth::{Revocation, SigningKey, TokenIssuer};

    async fn who(caller: Caller) -> String {
        caller.user().to_string()
    }

    async fn serve(caller: ServiceCaller) -> String {
        caller.claims.name
    }

    #[actix_web::test]
    async fn people_and_services_are_kept_apart() {
        let key = SigningKey::from_secret(&[3; 32]).unwrap();
        let auth = Auth {
            verifier: TokenVerifier::of_key(&key, "i"),
            revocations: Revocations::new(),
        };
        let app = App::new()
            .app_data(web::Data::new(auth.clone()))
            .route("/me", web::get().to(who))
            .route("/server", web::get().to(serve));
        let app = test::init_service(app).await;
        let status = async |path: &str, token: Option<&str>| {
            let mut request = test::TestRequest::get().uri(path);
            if let Some(token) = token {
                request = request.insert_header(("authorization", format!("Bearer {token}")));
            }
            test::call_service(&app, request.to_request())
                .await
                .status()
        };

        let issuer = TokenIssuer::new(&key, "i", Duration::from_mins(1));
        let person = issuer.issue(&UserId::parse("u1").unwrap(), "Ann").unwrap();
        let service = issuer
            .issue_service(&UserId::parse("store").unwrap(), Duration::from_mins(1))
            .unwrap();
        assert_eq!(status("/me", None).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status("/me", Some("x.y.z")).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status("/me", Some(&person.token)).await, StatusCode::OK);
        assert_eq!(
            status("/me", Some(&service.token)).await,
            StatusCode::FORBIDDEN
        );
        assert_eq!(
            status("/server", Some(&service.token)).await,
            StatusCode::OK
        );
        assert_eq!(
            status("/server", Some(&person.token)).await,
            StatusCode::FORBIDDEN
        );

        let expires = person.claims.expires_at();
        auth.revocations.apply(Revocation::Token {
            jti: person.claims.jti,
            expires,
        });
        assert_eq!(
            status("/me", Some(&person.token)).await,
            StatusCode::UNAUTHORIZED
        );
    }
}
