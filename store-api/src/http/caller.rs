//! Who is calling: a person or a service, from which address, and how often already.

use std::{future::Future, net::IpAddr, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use shared::{
    auth::{Claims, TokenError, bearer_token},
    id::UserId,
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
/// That of the socket, unless the socket is a proxy of ours; then the last address in
/// `X-Forwarded-For` that is not a proxy of ours. What stands before it anybody may have written.
pub(super) struct Address(pub(super) IpAddr);

impl FromRequest for Address {
    type Error = Refusal;
    type Future = std::future::Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let address = state(request).map_err(Refusal::from).map(|http| {
            let peer = request
                .peer_addr()
                .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
            let forwarded = request
                .headers()
                .get_all("x-forwarded-for")
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .map(str::trim);
            Self(client(peer, forwarded, &http.trusted_proxies))
        });
        std::future::ready(address)
    }
}

fn client<'a>(
    peer: IpAddr,
    forwarded: impl Iterator<Item = &'a str>,
    proxies: &[IpAddr],
) -> IpAddr {
    let peer = peer.to_canonical();
    if !proxies.contains(&peer) {
        return peer;
    }
    let hops: Vec<&str> = forwarded.collect();
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        // What is no address was not written by a proxy of ours: believe no further.
        let Ok(address) = hop.parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
        if !proxies.contains(&client) {
            break;
        }
    }
    client
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_of_ours_are_believed() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let proxies = [ip("10.0.0.1"), ip("10.0.0.2")];
        let of = |peer: &str, hops: &str| client(ip(peer), hops.split(", "), &proxies);
        assert_eq!(of("192.0.2.7", "1.2.3.4"), ip("192.0.2.7"));
        assert_eq!(of("10.0.0.1", "1.2.3.4"), ip("1.2.3.4"));
        assert_eq!(of("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2"), ip("1.2.3.4"));
        assert_eq!(of("::ffff:10.0.0.1", "1.2.3.4"), ip("1.2.3.4"));
        assert_eq!(of("10.0.0.1", "nonsense"), ip("10.0.0.1"));
    }
}
