//! What every node refuses, kept where each of them finds it.
//!
//! Nodes hear of a revocation from store-api and from each other within a second. A node that was
//! cut off from both, or has just started, reads it here, and so does the balancer: [`RevokedSet`] is
//! the port, they are its consumers. Bans from rooms are not among them; they are entries of
//! the rooms' logs.
//!
//! Every backend passes `tests/conformance/revoked.rs`.

use crate::{
    auth::Revocation,
    id::{Timestamp, UserId},
};
use async_trait::async_trait;

#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "redis")]
pub use redis::RedisRevoked;

/// What nodes share of what is refused. Kept for as long as a person's token may last, and some.
#[async_trait]
pub trait RevokedSet: Send + Sync + 'static {
    /// Adds these. Idempotent; what is there already is not new to anybody.
    async fn add(&self, revoked: &[Revoked]) -> Result<(), RevokedError>;

    /// What was added since `mark`, and maybe some of before; all, when there is none or it is of
    /// a set that was lost since.
    async fn since(&self, mark: Option<&Mark>) -> Result<Since, RevokedError>;
}

/// Something to be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// Tokens.
    Tokens(Revocation),
    /// The sessions of a user that had begun by then, at the wish of the game's backend.
    Sessions {
        /// Whose.
        user: UserId,
        /// Later ones are welcome.
        begun_at_or_before: Timestamp,
    },
}

/// How far a reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Names the set for as long as nothing of it is lost.
    pub set: String,
    /// A time, by the clock of the set.
    pub at: String,
}

/// What a reader had not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// What is refused.
    pub revoked: Vec<Revoked>,
    /// Where to go on.
    pub mark: Mark,
    /// The set is not the one of the mark: what the reader knows may not be in it.
    pub lost: bool,
}

/// Why the set did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokedError {
    /// Out of reach; what was to be added may have been.
    #[error("the set of what is revoked is out of reach: {0}")]
    Unavailable(String),
}

#[cfg(feature = "redis")]
impl Revoked {
    /// As text: its kind, its time, its name.
    fn encode(&self) -> String {
        match self {
            Self::Tokens(Revocation::Token { jti, expires }) => {
                format!("token:{}:{jti}", expires.as_millis())
            }
            Self::Tokens(Revocation::User {
                user,
                issued_at_or_before,
            }) => format!("user:{}:{user}", issued_at_or_before.as_millis()),
            Self::Sessions {
                user,
                begun_at_or_before,
            } => format!("sessions:{}:{user}", begun_at_or_before.as_millis()),
        }
    }

    /// From text; none, if it is of a kind that a newer node has.
    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (kind, time, name) = (parts.next()?, parts.next()?, parts.next()?);
        let time = Timestamp::from_millis(time.parse().ok()?);
        Some(match kind {
            "token" => Self::Tokens(Revocation::Token {
                jti: name.to_owned(),
                expires: time,
            }),
            "user" => Self::Tokens(Revocation::User {
                user: UserId::parse(name).ok()?,
                issued_at_or_before: time,
            }),
            "sessions" => Self::Sessions {
                user: UserId::parse(name).ok()?,
                begun_at_or_before: time,
            },
            _ => return None,
        })
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_survives_as_text() {
        let user = UserId::parse("a:b.c").unwrap();
        let at = Timestamp::from_millis(1_795_267_563_731);
        let all = [
            Revoked::Tokens(Revocation::Token {
                jti: "01J:odd jti".into(),
                expires: at,
            }),
            Revoked::Tokens(Revocation::User {
                user: user.clone(),
                issued_at_or_before: at,
            }),
            Revoked::Sessions {
                user,
                begun_at_or_before: Timestamp::from_millis(-1),
            },
        ];
        for revoked in all {
            assert_eq!(Revoked::decode(&revoked.encode()), Some(revoked));
        }
        for strange in ["", "token", "token:x:y", "planet:1:mars", "user:1:no one"] {
            assert_eq!(Revoked::decode(strange), None, "{strange}");
        }
    }
}
