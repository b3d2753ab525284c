//! Access tokens: who makes them, who believes them, and who stops believing them.
//!
//! A token is a JWT with the [`Claims`] of the wire contract. [`TokenIssuer`] mints with a
//! [`SigningKey`]; [`TokenVerifier`] checks with a shared secret (HS256, one machine) or with
//! published keys (EdDSA), and [`TokenSettings`] decides which: the algorithm is a property of the
//! deployment. What a token's header says is compared with it and never obeyed, which closes `alg:
//! none` and the use of a public key as an HMAC secret. Public keys travel as a [`Jwks`]; a
//! [`KeyRing`] holds the ones in force, and [`JwksFetcher`] (feature `http-client`) refreshes them
//! when a token names a key nobody has seen.
//!
//! A signature says what was true when it was made. What has changed since (logged out, banned) is
//! in [`Revocations`], fed by events and asked on every request. [`Auth`] asks both.

mod bearer;
mod claims;
mod error;
#[cfg(feature = "http-client")]
mod fetch;
mod issuer;
mod judge;
mod jwks;
mod key;
mod revocations;
mod settings;
mod verifier;

pub use bearer::{STORE_TOKEN, bearer, bearer_from_protocols, bearer_of_upgrade, bearer_token};
pub use claims::{AUDIENCE, Claims, SERVER_SCOPE};
pub use error::{KeyError, TokenError};
#[cfg(feature = "http-client")]
pub use fetch::JwksFetcher;
pub use issuer::{IssuedToken, TokenIssuer};
pub use judge::Auth;
pub use jwks::{Jwk, Jwks, KeyRing};
pub use key::{Algorithm, SigningKey};
pub use revocations::{MAX_TOKEN_LIFETIME, Revocation, Revocations};
pub use settings::TokenSettings;
pub use verifier::{LEEWAY, RefreshKeys, TokenVerifier};

use crate::telemetry::Metric;

/// The metrics of this module, of a service that does not sign.
pub const METRICS: &[Metric] = &[Metric::counter(
    "fireside_key_reads_total",
    "Times the published keys of EdDSA were read again: read, or refused with those in force kept",
)
.by(&["outcome"])];
