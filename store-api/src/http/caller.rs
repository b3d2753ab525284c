//! Who is calling: a person or a service, from which address, and how often already.

use std::{future::Future, net::IpAddr, pin::Pin};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, http::header, web};
use shared::{
    auth::{Claims, TokenError, bearer_token},
    id::UserId,
    network::client_address,
    problem::Problem,
    telemetry::RequestId,
};
use subtle::ConstantTimeEq as _;

use super::{Http, refusal::Refusal};
use crate::{
    accounts::{Role, Scope, Scopes, Standing, is_service_token},
    audit::Whence,
    catalogue::Keeper,
    error::StoreError,
    idempotency::IdempotencyKey,
    money::Country,
    store::Store,
};

type Extracted<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>>>>;

/// A person with an access token that holds. A handler that takes one answers 401 to all others.
pub(super) struct Person {
    claims: Claims,
    standing: Standing,
}

impl Person {
    pub(super) fn id(&self) -> &UserId {
        &self.claims.sub
    }

    pub(super) fn jti(&self) -> &str {
        &self.claims.jti
    }

    pub(super) fn role(&self) -> Role {
        self.standing.role
    }

    /// Where they buy.
    pub(super) fn country(&self) -> Country {
        self.standing.country
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
            if is_service_token(token) && http.store.service(token).await?.is_some() {
                return Err(TokenError::WrongScope.into());
            }
            let claims = http
                .store
                .tokens()
                .verifier()
                .verify_at(token, http.store.now())?;
            if claims.is_service() {
                return Err(TokenError::WrongScope.into());
            }
            http.limits.of_user(&request, &claims.sub)?;
            let Some(standing) = http.store.standing(&claims).await? else {
                return Err(TokenError::Revoked.into());
            };
            Ok(Self { claims, standing })
        })
    }
}

/// Somebody whose token verified; whether it was taken back since is not looked at. Only for handlers that
/// do so themselves before anything happens.
pub(super) struct Claimant(pub(super) Claims);

impl FromRequest for Claimant {
    type Error = Refusal;
    type Future = std::future::Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let claimant = || -> Result<Self, Refusal> {
            let http = state(request)?;
            let token = bearer_token(request.headers())?;
            let verifier = http.store.tokens().verifier();
            let claims = verifier.verify_at(token, http.store.now())?;
            if claims.is_service() {
                return Err(TokenError::WrongScope.into());
            }
            http.limits.of_user(request, &claims.sub)?;
            Ok(Self(claims))
        };
        std::future::ready(claimant())
    }
}

/// Anybody: a person, or somebody who is not logged in.
pub(super) struct Visitor(pub(super) Option<Person>);

impl Visitor {
    /// Where they buy: as they say, or as their account does, or where the store is at home.
    pub(super) fn country(&self, store: &Store, said: Option<&str>) -> Result<Country, Refusal> {
        let country = match (said, &self.0) {
            (Some(said), _) => Country::parse(said).map_err(StoreError::from)?,
            (None, Some(person)) => person.country(),
            (None, None) => store.limits().country,
        };
        Ok(country)
    }
}

impl FromRequest for Visitor {
    type Error = Refusal;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            if request.headers().contains_key(header::AUTHORIZATION) {
                return Ok(Self(Some(Person::extract(&request).await?)));
            }
            let from = Address::extract(&request).await?;
            state(&request)?.limits.of_visitor(&request, from.0)?;
            Ok(Self(None))
        })
    }
}

/// A person who runs the store. A handler that takes one answers 403 to all others that are known.
pub(super) struct Operator(pub(super) Person);

impl FromRequest for Operator {
    type Error = Refusal;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let person = match Actor::extract(&request).await? {
                Actor::Person(person) if person.role() == Role::Operator => person,
                _ => return Err(operators_only()),
            };
            Ok(Self(person))
        })
    }
}

/// Whoever is known: a person, or a service and what it may do in the store.
pub(super) enum Actor {
    Person(Person),
    Service { name: String, scopes: Scopes },
}

impl Actor {
    /// Lets operators pass, and services that have this scope.
    pub(super) fn operator_or(&self, scope: Scope) -> Result<(), Refusal> {
        let may = match self {
            Self::Person(person) => person.role() == Role::Operator,
            Self::Service { scopes, .. } => scopes.has(scope),
        };
        if may { Ok(()) } else { Err(operators_only()) }
    }

    /// Whose games and campaigns the caller may keep: everybody's, for operators and services that have
    /// this scope; else their own.
    pub(super) fn keeper(&self, scope: Scope) -> Result<Keeper<'_>, Refusal> {
        match self {
            Self::Person(person) if person.role() != Role::Operator => {
                Ok(Keeper::Owner(person.id()))
            }
            _ => self.operator_or(scope).map(|()| Keeper::Store),
        }
    }

    /// A name that no other caller has.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Person(person) => format!("user:{}", person.id()),
            Self::Service { name, .. } => format!("service:{name}"),
        }
    }
}

impl FromRequest for Actor {
    type Error = Refusal;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let http = state(&request)?;
            let token = bearer_token(request.headers())?;
            if is_service_token(token) {
                let Some(service) = http.store.service(token).await? else {
                    return Err(TokenError::Revoked.into());
                };
                return Ok(Self::Service {
                    name: service.id,
                    scopes: service.scopes,
                });
            }
            match trusted(http, token) {
                Ok(Some(name)) => Ok(Self::Service {
                    name,
                    scopes: Scopes::all(),
                }),
                _ => Ok(Self::Person(Person::extract(&request).await?)),
            }
        })
    }
}

/// One of our own services: one that knows the service token, or has a token of the scope `server`.
pub(super) struct Service;

impl FromRequest for Service {
    type Error = Refusal;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let http = state(&request)?;
            let token = bearer_token(request.headers())?;
            if is_service_token(token) && http.store.service(token).await?.is_some() {
                return Err(TokenError::WrongScope.into());
            }
            match trusted(http, token)? {
                Some(_) => Ok(Self),
                None => Err(TokenError::WrongScope.into()),
            }
        })
    }
}

/// The name of a service that may do what services may; none for a person.
fn trusted(http: &Http, token: &str) -> Result<Option<String>, TokenError> {
    if let Some(secret) = &http.service_token
        && bool::from(secret.expose().as_bytes().ct_eq(token.as_bytes()))
    {
        return Ok(Some("server".to_owned()));
    }
    let verifier = http.store.tokens().verifier();
    let claims = verifier.verify_at(token, http.store.now())?;
    Ok(claims.is_service().then(|| claims.sub.to_string()))
}

fn operators_only() -> Refusal {
    StoreError::Forbidden("this is for those who run the store").into()
}

/// The name that a request has to carry.
pub(super) struct Key(pub(super) IdempotencyKey);

impl FromRequest for Key {
    type Error = Refusal;
    type Future = std::future::Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let key = match request.headers().get("idempotency-key") {
            None => Err(IdempotencyKey::missing()),
            Some(value) => IdempotencyKey::parse(value.to_str().unwrap_or_default()),
        };
        let key = key.map(Self);
        std::future::ready(key.map_err(|broken| StoreError::from(broken).into()))
    }
}

/// Where a request comes from, for the audit log.
fn whence(request: &HttpRequest, http: &Http) -> Whence {
    let extensions = request.extensions();
    Whence {
        address: Some(address(request, http)),
        request: extensions.get::<RequestId>().map(ToString::to_string),
    }
}

fn address(request: &HttpRequest, http: &Http) -> IpAddr {
    let peer = request
        .peer_addr()
        .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    // Whoever comes from a proxy that names nobody counts as the proxy: a limit by address
    // guards passwords here, so nobody goes without.
    let client = client_address(peer, request.headers(), &http.trusted_proxies);
    client.unwrap_or_else(|| peer.to_canonical())
}

/// The address a request comes from.
///
/// That of the socket, unless the socket is a proxy of ours: see [`client_address`].
pub(super) struct Address(pub(super) IpAddr);

impl FromRequest for Address {
    type Error = Refusal;
    type Future = std::future::Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let http = state(request).map_err(Refusal::from);
        std::future::ready(http.map(|http| Self(address(request, http))))
    }
}

/// The store, for handlers.
impl FromRequest for Store {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(state(request).map(|http| http.store.asked_from(whence(request, http))))
    }
}

pub(super) fn state(request: &HttpRequest) -> Result<&Http, Problem> {
    request
        .app_data::<web::Data<Http>>()
        .map(web::Data::get_ref)
        .ok_or_else(|| Problem::internal("the store's routes have no store"))
}
