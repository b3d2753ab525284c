//! What two people are to each other, and what each of their acts makes of it. Pure.
//!
//! A blocked person must not find out: towards somebody who blocks them, each act has the very
//! same effect on their own side as towards somebody who merely does not answer. Their request
//! stands as `outgoing` on their side alone; it reaches the other side if the block is lifted.

use std::fmt;

/// What one person sees of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// They are friends.
    Friend,
    /// The other asks to be friends.
    Incoming,
    /// The person asked the other.
    Outgoing,
}

impl Relation {
    /// The word on the wire and in the database.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Friend => "friend",
            Self::Incoming => "incoming",
            Self::Outgoing => "outgoing",
        }
    }

    /// The relation that `word` stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Friend, Self::Incoming, Self::Outgoing]
            .into_iter()
            .find(|r| r.word() == word)
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Side {
    /// What this person sees of the other.
    pub(crate) sees: Option<Relation>,
    /// Whether this person blocks the other.
    pub(crate) blocks: bool,
}

/// Two people, from the point of view of the one who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Pair {
    pub(crate) me: Side,
    pub(crate) them: Side,
}

/// What a person does about another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Asks to be friends, or accepts being asked.
    Befriend,
    /// Unfriends, rejects or cancels.
    Part,
    Block,
    Unblock,
}

/// The one reason to refuse an act: the actor blocks the other, and knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockedByMe;

impl Pair {
    /// The same two, from the other's point of view.
    #[cfg(test)]
    fn turned(self) -> Self {
        Self {
            me: self.them,
            them: self.me,
        }
    }

    /// What the pair becomes by an act of `me`.
    pub(crate) fn after(mut self, act: Act) -> Result<Self, BlockedByMe> {
        match act {
            Act::Befriend => self.befriend()?,
            Act::Part => self.part(),
            Act::Block => {
                // Their request stays on their side, as one I never answer: were it to vanish at
                // this moment, and only then, they could tell.
                if self.me.sees == Some(Relation::Incoming) {
                    self.me.sees = None;
                } else {
                    self.part();
                }
                self.me.blocks = true;
            }
            Act::Unblock => {
                if self.me.blocks && self.them.sees == Some(Relation::Outgoing) {
                    self.me.sees = Some(Relation::Incoming);
                }
                self.me.blocks = false;
            }
        }
        Ok(self)
    }

    fn befriend(&mut self) -> Result<(), BlockedByMe> {
        if self.me.blocks {
            return Err(BlockedByMe);
        }
        match self.me.sees {
            Some(Relation::Friend | Relation::Outgoing) => {}
            Some(Relation::Incoming) => {
                self.me.sees = Some(Relation::Friend);
                self.them.sees = Some(Relation::Friend);
            }
            None => {
                self.me.sees = Some(Relation::Outgoing);
                if !self.them.blocks {
                    self.them.sees = Some(Relation::Incoming);
                }
            }
        }
        Ok(())
    }

    fn part(&mut self) {
        // Without a relation of mine theirs can only be a request that my block hides from me.
        if self.me.sees.take().is_some() {
            self.them.sees = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn acts() -> impl Strategy<Value = Vec<(bool, Act)>> {
        let act = prop_oneof![
            Just(Act::Befriend),
            Just(Act::Part),
            Just(Act::Block),
            Just(Act::Unblock)
        ];
        prop::collection::vec((any::<bool>(), act), 0..40)
    }

    fn run(acts: &[(bool, Act)]) -> Pair {
        let mut pair = Pair::default();
        for &(mine, act) in acts {
            let seen = if mine { pair } else { pair.turned() };
            let next = seen.after(act).unwrap_or(seen);
            pair = if mine { next } else { next.turned() };
        }
        pair
    }

    proptest! {
        #[test]
        fn both_sides_agree_but_for_what_a_block_hides(acts in acts()) {
            let pair = run(&acts);
            for side in [pair, pair.turned()] {
                match side.me.sees {
                    Some(Relation::Friend) => {
                        prop_assert_eq!(side.them.sees, Some(Relation::Friend));
                    }
                    Some(Relation::Incoming) => {
                        prop_assert_eq!(side.them.sees, Some(Relation::Outgoing));
                    }
                    Some(Relation::Outgoing) if side.them.blocks => {
                        prop_assert_eq!(side.them.sees, None);
                    }
                    Some(Relation::Outgoing) => {
                        prop_assert_eq!(side.them.sees, Some(Relation::Incoming));
                    }
                    None => {}
                }
                if side.me.blocks {
                    prop_assert_eq!(side.me.sees, None);
                }
            }
        }

        /// Whatever the blocked person does, they see what they would see of somebody who does
        /// nothing at all.
        #[test]
        fn a_blocked_person_sees_silence(before in acts(), after in acts()) {
            let mut start = run(&before);
            start.them.blocks = false;
            // From strangers, so that the block itself changes nothing in sight.
            start = Pair { me: Side { sees: None, ..start.me }, them: Side::default() };
            let mut blocked = start.turned().after(Act::Block).unwrap().turned();
            let mut silent = start;
            for (_, act) in after {
                let (one, other) = (blocked.after(act), silent.after(act));
                prop_assert_eq!(one.is_err(), other.is_err());
                blocked = one.unwrap_or(blocked);
                silent = other.unwrap_or(silent);
                prop_assert_eq!(blocked.me, silent.me);
                prop_assert_eq!(blocked.them.sees, None);
            }
        }

        #[test]
        fn every_act_is_idempotent(acts in acts(), act in prop_oneof![
            Just(Act::Part), Just(Act::Block), Just(Act::Unblock)]) {
            let once = run(&acts).after(act).unwrap();
            prop_assert_eq!(once.after(act).unwrap(), once);
        }
    }

    #[test]
    fn crossed_requests_accept_each_other() {
        let pair = run(&[(true, Act::Befriend), (false, Act::Befriend)]);
        assert_eq!(pair.me.sees, Some(Relation::Friend));
        assert_eq!(pair.them.sees, Some(Relation::Friend));
    }

    #[test]
    fn a_request_made_to_a_blocker_arrives_when_the_block_is_lifted() {
        let hidden = run(&[(false, Act::Block), (true, Act::Befriend)]);
        assert_eq!(hidden.me.sees, Some(Relation::Outgoing));
        assert_eq!(hidden.them.sees, None);
        let lifted = hidden.turned().after(Act::Unblock).unwrap();
        assert_eq!(lifted.me.sees, Some(Relation::Incoming));
    }

    #[test]
    fn a_blocker_cannot_befriend_without_unblocking() {
        let pair = run(&[(true, Act::Block)]);
        assert_eq!(pair.after(Act::Befriend), Err(BlockedByMe));
    }
}
