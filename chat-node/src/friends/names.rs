//! What people are called: a bounded cache with an age.

use std::{collections::HashMap, time::Duration};

use shared::id::UserId;
use tokio::time::Instant;

/// Names by id, at most `capacity` of them.
///
/// Two generations: new and lately used names are in the young one; when it holds half the
/// capacity it becomes the old one, and what nobody asked for since is let go of. Eviction is then a swap, not a search.
#[derive(Debug)]
pub(super) struct Names {
    young: HashMap<UserId, Named>,
    old: HashMap<UserId, Named>,
    capacity: usize,
}

#[derive(Debug, Clone)]
struct Named {
    /// `None`: store-api knows nobody of that id.
    name: Option<String>,
    read: Instant,
}

/// What the cache says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// It is this (`None`: nobody's).
    Fresh(Option<String>),
    /// It was this, some time ago.
    Stale(Option<String>),
    /// Never heard of.
    Missing,
}

/// How long a name is believed; a change of it comes as an event before that, if any session of
/// a friend is here.
const NAME_AGE: Duration = Duration::from_mins(10);
/// How long nobody is believed to be nobody: a new account must not stay nameless.
const NOBODY_AGE: Duration = Duration::from_secs(30);

impl Names {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            capacity: capacity.max(2),
        }
    }

    pub(super) fn look(&mut self, user: &UserId, now: Instant) -> Look {
        let named = match self.young.get(user) {
            Some(named) => named.clone(),
            None => match self.old.remove(user) {
                Some(named) => {
                    self.insert(user.clone(), named.clone());
                    named
                }
                None => return Look::Missing,
            },
        };
        let age = if named.name.is_some() {
            NAME_AGE
        } else {
            NOBODY_AGE
        };
        if now.duration_since(named.read) < age {
            Look::Fresh(named.name)
        } else {
            Look::Stale(named.name)
        }
    }

    pub(super) fn put(&mut self, user: UserId, name: Option<String>, now: Instant) {
        self.insert(user, Named { name, read: now });
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn insert(&mut self, user: UserId, named: Named) {
        if self.young.len() >= self.capacity / 2 && !self.young.contains_key(&user) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user, named);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: usize) -> UserId {
        UserId::parse(&format!("u{n}")).unwrap()
    }

    #[test]
    fn keeps_what_is_asked_for_and_stays_bounded() {
        let now = Instant::now();
        let mut names = Names::new(100);
        names.put(user(0), Some("zero".into()), now);
        for n in 1..10_000 {
            names.put(user(n), Some(n.to_string()), now);
            if n % 20 == 0 {
                assert_eq!(names.look(&user(0), now), Look::Fresh(Some("zero".into())));
            }
            assert!(names.len() <= 100);
        }
        assert_eq!(names.look(&user(1), now), Look::Missing);
    }

    #[test]
    fn names_age_and_nobodies_age_sooner() {
        let now = Instant::now();
        let mut names = Names::new(10);
        names.put(user(1), Some("one".into()), now);
        names.put(user(2), None, now);
        let later = now + NOBODY_AGE;
        assert_eq!(names.look(&user(1), later), Look::Fresh(Some("one".into())));
        assert_eq!(names.look(&user(2), later), Look::Stale(None));
        let later = now + NAME_AGE;
        assert_eq!(names.look(&user(1), later), Look::Stale(Some("one".into())));
    }
}
