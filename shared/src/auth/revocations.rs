//! What was taken back before its time: a deny list in memory, asked on every request.
//!
//! Two kinds of entry: one token, by `jti`, until its `exp`; and all of a user's tokens issued at
//! or before a moment, for as long as such a token could still be unexpired. Both are applied from
//! events, any number of times and in any order, with the same result.
//!
//! Bound: an entry leaves when the tokens it denies have expired ([`Revocations::purge`]), so the list
//! holds the revocations of one token lifetime; of whole users, those of [`MAX_TOKEN_LIFETIME`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::{Claims, LEEWAY};
use crate::id::{Timestamp, UserId};

/// The longest that a person's token may last: a revocation of all of somebody's tokens is kept for
/// as long as one of them could still hold.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// A single token: log-out.
    Token {
        /// Its `jti`.
        jti: String,
        /// When it would have ended.
        expires: Timestamp,
    },
    /// All tokens of a user up to a moment: log-out everywhere, a changed password, a ban.
    User {
        /// Whose.
        user: UserId,
        /// Tokens issued at or before this are denied.
        issued_at_or_before: Timestamp,
    },
}

/// The deny list. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    shared: Arc<RwLock<Lists>>,
}

#[derive(Debug, Default)]
struct Lists {
    tokens: HashMap<String, Timestamp>,
    users: HashMap<UserId, Timestamp>,
}

impl Revocations {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a revocation in. Says whether it denies anything that was not denied before.
    pub fn apply(&self, revocation: Revocation) -> bool {
        let mut lists = self.shared.write();
        match revocation {
            Revocation::Token { jti, expires } => {
                let before = lists.tokens.insert(jti, expires);
                before.is_none_or(|before| before < expires)
            }
            Revocation::User {
                user,
                issued_at_or_before,
            } => {
                let latest = lists
                    .users
                    .entry(user)
                    .or_insert(Timestamp::from_millis(i64::MIN));
                // Events may come out of order: the latest moment denies most.
                let news = *latest < issued_at_or_before;
                *latest = issued_at_or_before.max(*latest);
                news
            }
        }
    }

    /// Whether a token that verified has been taken back since.
    pub fn denies(&self, claims: &Claims) -> bool {
        let lists = self.shared.read();
        lists.tokens.contains_key(&claims.jti)
            || lists
                .users
                .get(&claims.sub)
                .is_some_and(|moment| claims.issued_at() <= *moment)
    }

    /// Lets go of what no longer matters at `now`. Call it now and then (a minute will do); it visits
    /// every entry.
    pub fn purge(&self, now: Timestamp) {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or_default();
        let (leeway, lifetime) = (millis(LEEWAY), millis(MAX_TOKEN_LIFETIME));
        let mut lists = self.shared.write();
        lists
            .tokens
            .retain(|_, expires| expires.plus_millis(leeway) > now);
        lists
            .users
            .retain(|_, moment| moment.plus_millis(lifetime + leeway) > now);
    }

    /// Everything that is revoked, in no order.
    pub fn all(&self) -> Vec<Revocation> {
        let lists = self.shared.read();
        let tokens = lists.tokens.iter().map(|(jti, expires)| Revocation::Token {
            jti: jti.clone(),
            expires: *expires,
        });
        let users = lists.users.iter().map(|(user, moment)| Revocation::User {
            user: user.clone(),
            issued_at_or_before: *moment,
        });
        tokens.chain(users).collect()
    }

    /// How many entries there are, for a gauge.
    pub fn len(&self) -> usize {
        let lists = self.shared.read();
        lists.tokens.len() + lists.users.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};
    use ulid::Ulid;

    use super::*;
    use crate::auth::AUDIENCE;

    fn claims(user: &str, issued_ms: u64) -> Claims {
        Claims {
            sub: UserId::parse(user).unwrap(),
            name: user.into(),
            jti: Ulid::from_parts(issued_ms, u128::from(issued_ms)).to_string(),
            iat: issued_ms / 1000,
            exp: issued_ms / 1000 + 600,
            iss: "i".into(),
            aud: AUDIENCE.into(),
            scope: None,
        }
    }

    fn of_user(user: &str, millis: i64) -> Revocation {
        Revocation::User {
            user: UserId::parse(user).unwrap(),
            issued_at_or_before: Timestamp::from_millis(millis),
        }
    }

    #[test]
    fn logging_in_again_within_the_second_works() {
        // "Log out everywhere" and a new log-in in one second: the old token dies, the new one
        // lives.
        let revocations = Revocations::new();
        let (old, new) = (claims("u1", 5_000_100), claims("u1", 5_000_900));
        revocations.apply(of_user("u1", 5_000_500));
        assert!(revocations.denies(&old));
        assert!(!revocations.denies(&new));
        assert!(!revocations.denies(&claims("u2", 5_000_100)));
    }

    #[test]
    fn one_token_is_denied_by_name() {
        let revocations = Revocations::new();
        let (one, other) = (claims("u1", 5_000_100), claims("u1", 5_000_200));
        let revocation = Revocation::Token {
            jti: one.jti.clone(),
            expires: one.expires_at(),
        };
        assert!(revocations.apply(revocation.clone()));
        assert!(
            !revocations.apply(revocation),
            "the second delivery is no news"
        );
        assert!(revocations.denies(&one));
        assert!(!revocations.denies(&other));
    }

    #[test]
    fn purging_spares_what_still_denies() {
        let revocations = Revocations::new();
        let token = claims("u1", 1_000_000);
        let expires = token.expires_at();
        revocations.apply(Revocation::Token {
            jti: token.jti.clone(),
            expires,
        });
        let leeway = LEEWAY.as_millis() as i64;
        revocations.purge(expires.plus_millis(leeway - 1));
        assert_eq!(revocations.len(), 1);
        revocations.purge(expires.plus_millis(leeway));
        assert!(revocations.is_empty());

        let moment = Timestamp::from_millis(1_000_000);
        revocations.apply(of_user("u2", moment.as_millis()));
        let last = moment.plus_millis(MAX_TOKEN_LIFETIME.as_millis() as i64 + leeway);
        revocations.purge(last.plus_millis(-1));
        assert_eq!(revocations.len(), 1, "a token of that time may still hold");
        revocations.purge(last);
        assert!(revocations.is_empty());
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter(
            moments in prop::collection::vec(0_i64..2_000, 1..8),
            seed in any::<prop::sample::Index>(),
            issued in 0_u64..2_000,
        ) {
            let (forth, back) = (Revocations::new(), Revocations::new());
            for moment in &moments {
                forth.apply(of_user("u1", *moment));
            }
            back.apply(of_user("u1", moments[seed.index(moments.len())]));
            for moment in moments.iter().rev() {
                back.apply(of_user("u1", *moment));
            }
            let claims = claims("u1", issued);
            assert_eq!(forth.denies(&claims), back.denies(&claims));
            let last = moments.iter().max().unwrap();
            assert_eq!(forth.denies(&claims), i64::try_from(issued).unwrap() <= *last);
        }
    }
}
