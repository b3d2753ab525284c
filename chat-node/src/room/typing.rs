//! Who is typing in a room: a notice is passed on at most every few seconds, and forgotten after
//! [`EXPIRY_MS`], as clients forget it. No timers: what has expired goes when the next one comes.

use std::collections::HashMap;

use shared::id::{Timestamp, UserId};

/// After how long a client forgets a notice that is not renewed.
pub(super) const EXPIRY_MS: i64 = 8_000;
/// How often a renewal is passed on at most: twice within the expiry, so that one may be lost.
const RENEWAL_MS: i64 = 3_000;
/// More people than this do not type at once in a room whose members see it.
const MOST: usize = super::rules::MAX_TYPING_MEMBERS;

/// When each notice was last passed on.
#[derive(Debug, Default)]
pub(super) struct Typing(HashMap<UserId, Timestamp>);

impl Typing {
    /// Whether `user`'s notice is news to the others.
    pub(super) fn set(&mut self, user: &UserId, on: bool, now: Timestamp) -> bool {
        let age = |at: &Timestamp| now.as_millis() - at.as_millis();
        if !on {
            return self.0.remove(user).is_some_and(|at| age(&at) < EXPIRY_MS);
        }
        if self.0.get(user).is_some_and(|at| age(at) < RENEWAL_MS) {
            return false;
        }
        self.0.retain(|_, at| age(at) < EXPIRY_MS);
        if self.0.len() >= MOST {
            return false;
        }
        self.0.insert(user.clone(), now);
        true
    }

    /// What `user` said ends the notice; clients know that by themselves.
    pub(super) fn said(&mut self, user: &UserId) {
        if !self.0.is_empty() {
            self.0.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_passed_on_sparingly_and_expires() {
        let mut typing = Typing::default();
        let user = UserId::parse("a").unwrap();
        let mut at = |ms, on| typing.set(&user, on, Timestamp::from_millis(ms));
        assert!(at(0, true));
        assert!(!at(1_000, true), "said a second ago");
        assert!(at(3_000, true), "a renewal");
        assert!(at(4_000, false));
        assert!(!at(4_100, false), "said already");
        assert!(at(5_000, true));
        assert!(!at(13_000, false), "everybody forgot by themselves");
    }

    #[test]
    fn a_message_ends_it() {
        let mut typing = Typing::default();
        let user = UserId::parse("a").unwrap();
        assert!(typing.set(&user, true, Timestamp::from_millis(0)));
        typing.said(&user);
        assert!(typing.set(&user, true, Timestamp::from_millis(1)));
    }
}
