//! How one user stands to others.

use shared::id::UserId;

/// How one user stands to others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph {
    /// Friends, by id, with their names.
    pub friends: ById<Box<str>>,
    /// Whom the user blocked.
    pub blocked: ById<()>,
    /// Who blocked the user.
    pub blocked_by: ById<()>,
}

impl Graph {
    /// Whether neither blocked the other.
    pub fn unblocked(&self, other: &UserId) -> bool {
        !self.blocked.contains(other) && !self.blocked_by.contains(other)
    }

    /// Whether the two are friends and neither blocked the other.
    pub fn befriended(&self, other: &UserId) -> bool {
        self.friends.contains(other) && self.unblocked(other)
    }
}

/// People, each once and with something, in the order of their ids.
///
/// A node holds one of these for every user who is online, most with a few dozen in it: in place of a
/// hash map this takes half the memory, and finding somebody no hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ById<V>(Vec<(UserId, V)>);

impl<V> Default for ById<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> ById<V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody is among them.
    pub fn contains(&self, user: &UserId) -> bool {
        self.place(user).is_ok()
    }

    /// What stands with somebody.
    pub fn get(&self, user: &UserId) -> Option<&V> {
        self.place(user).ok().map(|place| &self.0[place].1)
    }

    /// The people.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = &UserId> {
        self.0.iter().map(|(user, _)| user)
    }

    /// The people, each with what stands with them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&UserId, &V)> {
        self.0.iter().map(|(user, value)| (user, value))
    }

    /// Takes somebody in, or puts something else with them.
    pub fn insert(&mut self, user: UserId, value: impl Into<V>) {
        let value = value.into();
        match self.place(&user) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (user, value)),
        }
    }

    /// Takes somebody out, who need not be in.
    pub fn remove(&mut self, user: &UserId) {
        if let Ok(place) = self.place(user) {
            self.0.remove(place);
        }
    }

    /// Puts an equal id in the place of each, where there is one: ids that many hold stand in
    /// memory once.
    pub(super) fn share(&mut self, equal: impl Fn(&UserId) -> Option<UserId>) {
        for (user, _) in &mut self.0 {
            if let Some(equal) = equal(user) {
                *user = equal;
            }
        }
    }

    fn place(&self, user: &UserId) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(user))
    }
}

impl<V, W: Into<V>> FromIterator<(UserId, W)> for ById<V> {
    fn from_iter<I: IntoIterator<Item = (UserId, W)>>(people: I) -> Self {
        let people = people.into_iter();
        let mut people: Vec<(UserId, V)> =
            people.map(|(user, value)| (user, value.into())).collect();
        // Stores answer in this order already.
        people.sort_by(|(a, _), (b, _)| a.cmp(b));
        people.dedup_by(|(a, _), (b, _)| a == b);
        people.shrink_to_fit();
        Self(people)
    }
}

impl FromIterator<UserId> for ById<()> {
    fn from_iter<I: IntoIterator<Item = UserId>>(people: I) -> Self {
        people.into_iter().map(|user| (user, ())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(
            first in proptest::collection::vec(0..12_u8, 0..12),
            changes in proptest::collection::vec((any::<bool>(), 0..12_u8, any::<u8>()), 0..40),
        ) {
            let user = |n: u8| UserId::parse(&format!("u{n}")).unwrap();
            let mut people: ById<u8> = first.iter().map(|n| (user(*n), 7)).collect();
            let mut model: BTreeMap<UserId, u8> = first.iter().map(|n| (user(*n), 7)).collect();
            for (insert, n, value) in changes {
                if insert {
                    people.insert(user(n), value);
                    model.insert(user(n), value);
                } else {
                    people.remove(&user(n));
                    model.remove(&user(n));
                }
                prop_assert!(people.iter().eq(model.iter()));
                prop_assert!(people.ids().eq(model.keys()));
                prop_assert_eq!((people.len(), people.is_empty()), (model.len(), model.is_empty()));
                for n in 0..12 {
                    prop_assert_eq!(people.get(&user(n)), model.get(&user(n)));
                    prop_assert_eq!(people.contains(&user(n)), model.contains_key(&user(n)));
                }
            }
        }
    }
}
