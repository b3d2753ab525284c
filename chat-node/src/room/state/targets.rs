//! What a room remembers of messages that edits, deletions, reactions and replies point at.

use std::collections::{BTreeMap, HashSet};

use shared::{
    id::{Seq, Timestamp, UserId},
    protocol::room::Message,
};

/// How many messages are remembered; an older one is read from history when it is pointed at.
const REMEMBERED: usize = 256;

/// The newest messages and those asked for lately, bounded by [`REMEMBERED`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Targets(BTreeMap<Seq, Option<Target>>);

/// A message as far as it matters for what is done to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) author: UserId,
    /// When it was said.
    pub(super) ts: Timestamp,
    pub(super) deleted: bool,
    pub(super) reactions: Vec<Reacted>,
}

/// What stands at a position is not remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotRemembered;

/// Who reacted with one emoji.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reacted {
    pub(super) emoji: Box<str>,
    pub(super) users: HashSet<UserId>,
    /// How many: more than `users` when history named only the first.
    pub(super) count: u32,
}

impl Reacted {
    /// Whether `user` reacted so; `None` when only history can tell.
    pub(super) fn by(&self, user: &UserId) -> Option<bool> {
        if self.users.contains(user) {
            Some(true)
        } else if self.count as usize > self.users.len() {
            None
        } else {
            Some(false)
        }
    }
}

impl Targets {
    /// The message at `seq`; `Ok(None)`: none stands there.
    ///
    /// # Errors
    /// [`NotRemembered`]: history knows.
    pub(super) fn get(&self, seq: Seq) -> Result<Option<&Target>, NotRemembered> {
        self.0.get(&seq).map(Option::as_ref).ok_or(NotRemembered)
    }

    /// A message was said.
    pub(super) fn said(&mut self, seq: Seq, author: UserId, ts: Timestamp) {
        let target = Target {
            author,
            ts,
            deleted: false,
            reactions: Vec::new(),
        };
        self.keep(seq, Some(target));
    }

    /// History was asked what stands there.
    pub(super) fn learn(&mut self, seq: Seq, message: Option<&Message>) {
        let target = message.map(|message| Target {
            author: message.user.clone(),
            ts: message.ts,
            deleted: message.deleted,
            reactions: message
                .reactions
                .iter()
                .map(|reaction| Reacted {
                    emoji: reaction.emoji.as_str().into(),
                    users: reaction.users.iter().cloned().collect(),
                    count: reaction.count,
                })
                .collect(),
        });
        self.keep(seq, target);
    }

    pub(super) fn delete(&mut self, seq: Seq) {
        if let Some(Some(target)) = self.0.get_mut(&seq) {
            target.deleted = true;
            target.reactions = Vec::new();
        }
    }

    pub(super) fn react(&mut self, seq: Seq, emoji: &str, user: &UserId, on: bool) {
        let Some(Some(target)) = self.0.get_mut(&seq) else {
            return;
        };
        if target.deleted {
            return;
        }
        let at = target.reactions.iter().position(|r| &*r.emoji == emoji);
        match (at, on) {
            (Some(at), true) => {
                let reacted = &mut target.reactions[at];
                if reacted.users.insert(user.clone()) {
                    reacted.count += 1;
                }
            }
            (Some(at), false) => {
                let reacted = &mut target.reactions[at];
                let unnamed = reacted.count as usize > reacted.users.len();
                if reacted.users.remove(user) || unnamed {
                    reacted.count -= 1;
                }
                if reacted.count == 0 {
                    target.reactions.remove(at);
                }
            }
            (None, true) => target.reactions.push(Reacted {
                emoji: emoji.into(),
                users: HashSet::from([user.clone()]),
                count: 1,
            }),
            (None, false) => {}
        }
    }

    fn keep(&mut self, seq: Seq, target: Option<Target>) {
        self.0.insert(seq, target);
        if self.0.len() > REMEMBERED {
            // The oldest goes, but never the one that was just asked for.
            let oldest = self.0.keys().copied().find(|kept| *kept != seq);
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[test]
    fn an_old_message_asked_for_outlives_the_asking() {
        let mut targets = Targets::default();
        for n in 100..100 + REMEMBERED as u64 {
            targets.said(Seq::new(n), user("a"), Timestamp::default());
        }
        targets.learn(Seq::new(1), None);
        assert_eq!(targets.get(Seq::new(1)), Ok(None));
        assert_eq!(targets.get(Seq::new(100)), Err(NotRemembered));
        targets.said(Seq::new(1_000), user("a"), Timestamp::default());
        assert_eq!(targets.get(Seq::new(1)), Err(NotRemembered));
        assert_eq!(targets.0.len(), REMEMBERED);
    }

    #[test]
    fn reactions_fold() {
        let mut targets = Targets::default();
        let seq = Seq::new(1);
        targets.said(seq, user("a"), Timestamp::default());
        targets.react(seq, "x", &user("b"), true);
        targets.react(seq, "x", &user("b"), true);
        targets.react(seq, "x", &user("c"), true);
        let of = |targets: &Targets| targets.get(seq).unwrap().unwrap().reactions.clone();
        assert_eq!(of(&targets)[0].count, 2);
        targets.react(seq, "x", &user("b"), false);
        targets.react(seq, "x", &user("b"), false);
        assert_eq!(of(&targets)[0].by(&user("b")), Some(false));
        targets.react(seq, "x", &user("c"), false);
        assert!(of(&targets).is_empty());
    }
}
