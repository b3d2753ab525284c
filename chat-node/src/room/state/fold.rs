//! Entries that stand, taken into the state. What cannot apply changes nothing, as in history.

use std::collections::btree_map::Entry;

use shared::{
    id::Seq,
    protocol::room::{self, EntryBody, MemberAction, MemberChange, RoomChange},
};

use super::{Membership, Muted, RoomState};

impl RoomState {
    /// Takes an entry in that stands at [`RoomState::head`]` + 1`.
    pub fn apply(&mut self, entry: &room::Entry) {
        debug_assert_eq!(
            entry.seq,
            self.head.next(),
            "entries are applied without a hole"
        );
        self.head = entry.seq;
        match &entry.body {
            EntryBody::Message(_) => {
                if let Some(member) = self.members.get_mut(&entry.user) {
                    member.spoke = Some(entry.ts);
                }
                self.targets.said(entry.seq, entry.user.clone(), entry.ts);
            }
            EntryBody::Edit { .. } => {}
            EntryBody::Delete { target } => self.targets.delete(*target),
            EntryBody::Reaction { target, emoji, on } => {
                self.targets.react(*target, emoji, &entry.user, *on);
            }
            EntryBody::Member(change) => self.apply_member(change, entry.seq),
            EntryBody::Room(change) => self.apply_change(change),
        }
    }

    fn apply_member(&mut self, change: &MemberChange, seq: Seq) {
        let member = &change.member;
        match change.action {
            MemberAction::Join => {
                let arrival = self.arrivals;
                let membership = Membership {
                    role: change.role.unwrap_or_default(),
                    read: seq,
                    muted: None,
                    arrival,
                    spoke: None,
                };
                match self.members.entry(member.clone()) {
                    Entry::Vacant(entry) => {
                        entry.insert(membership);
                        self.arrivals += 1;
                    }
                    Entry::Occupied(mut entry) => {
                        entry.get_mut().role = change.role.unwrap_or(entry.get().role);
                    }
                }
            }
            MemberAction::Leave | MemberAction::Kick => {
                self.members.remove(member);
            }
            MemberAction::Ban => {
                self.members.remove(member);
                self.bans.insert(member.clone(), change.until);
            }
            MemberAction::Unban => {
                self.bans.remove(member);
            }
            MemberAction::Mute | MemberAction::Unmute | MemberAction::Role => {
                let Some(membership) = self.members.get_mut(member) else {
                    return;
                };
                match change.action {
                    MemberAction::Mute => membership.muted = Some(Muted::until(change.until)),
                    MemberAction::Unmute => membership.muted = None,
                    _ => membership.role = change.role.unwrap_or_default(),
                }
            }
        }
    }

    fn apply_change(&mut self, change: &RoomChange) {
        if let Some(kind) = change.created {
            self.kind = kind;
        }
        if change.name.is_some() {
            self.name.clone_from(&change.name);
        }
        if change.topic.is_some() {
            self.topic.clone_from(&change.topic);
        }
        if let Some(slow) = change.slow_mode_ms {
            self.slow_mode_ms = slow;
        }
    }
}
