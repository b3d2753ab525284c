//! Why a token is not believed, and why a key cannot be used.

use std::path::{Path, PathBuf};

use super::Algorithm;
use crate::codes::ErrorCode;

/// Why a token is refused. To the caller all are `unauthenticated`, apart from a missing scope; the
/// message says enough to mend it and nothing about other people's tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("no access token: send `Authorization: Bearer TOKEN`")]
    Missing,
    /// It is not a JWT, or a claim is missing or of the wrong type.
    #[error("the access token is malformed: {0}")]
    Malformed(String),
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
    /// It claims to come from the future.
    #[error("the access token is not valid yet: check the clocks")]
    NotYetValid,
    /// It is meant for somebody else.
    #[error("the access token is for another audience")]
    WrongAudience,
    /// Somebody else issued it.
    #[error("the access token is from another issuer")]
    WrongIssuer,
    /// It is signed in another way than this deployment signs.
    #[error("the access token's algorithm is not the one in use here")]
    WrongAlgorithm,
    /// The signature does not hold.
    #[error("the access token's signature does not hold")]
    BadSignature,
    /// It names a key that is not published.
    #[error("the access token is signed with an unknown key")]
    UnknownKey,
    /// It was taken back.
    #[error("the access token has been revoked")]
    Revoked,
    /// It holds, but it is a person's where a service's is asked for, or the other way round.
    #[error("this needs a token of another kind")]
    WrongScope,
}

impl TokenError {
    /// The code to answer with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::WrongScope => ErrorCode::Forbidden,
            _ => ErrorCode::Unauthenticated,
        }
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// An HMAC secret that can be guessed.
    #[error("the secret has {0} bytes; HS256 needs at least 32")]
    WeakSecret(usize),
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("not an Ed25519 private key in PKCS#8 PEM: {0}")]
    Pem(String),
    /// What a file holds is no key to use.
    #[error("{}: {reason}; put another there, or remove it to have one made", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with what it holds.
        reason: Box<KeyError>,
    },
    /// A key of a JWKS is not one we can use.
    #[error("key `{kid}` of the key set: {reason}")]
    Jwk {
        /// Its name.
        kid: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file of published keys cannot be used.
    #[error("{}: {reason}", path.display())]
    KeySet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The settings do not say where the key is.
    #[error("{0} needs {1}")]
    NotConfigured(Algorithm, &'static str),
    /// There is no HTTP client to fetch keys with.
    #[error("no HTTP client: {0}")]
    Client(String),
    /// The system has no randomness to give.
    #[error("no randomness from the operating system")]
    Entropy,
    /// Signing failed.
    #[error("cannot sign: {0}")]
    Signing(String),
}

impl KeyError {
    /// The same of what `path` holds.
    pub(super) fn of_file(self, path: &Path) -> Self {
        Self::Unfit {
            path: path.to_owned(),
            reason: Box::new(self),
        }
    }
}
