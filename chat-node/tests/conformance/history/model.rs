//! The reference: what a room's entries mean, in the plainest code that says it.

use std::collections::BTreeMap;

use chat_node::history::{MemberRecord, NewEntry, Outcome};
use shared::{
    id::{Seq, Timestamp, UserId},
    protocol::room::{Entry, EntryBody, MemberAction, MemberChange, Message, Reaction, RoomKind},
};

/// A room as it ought to be.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) kind: Option<RoomKind>,
    pub(crate) log: Vec<Entry>,
    pub(crate) messages: BTreeMap<Seq, Message>,
    pub(crate) members: BTreeMap<UserId, MemberRecord>,
    pub(crate) bans: BTreeMap<UserId, Option<Timestamp>>,
    pub(crate) name: Option<String>,
    pub(crate) topic: Option<String>,
    pub(crate) slow_mode_ms: u32,
}

impl Model {
    pub(crate) fn head(&self) -> Seq {
        Seq::new(self.log.len() as u64)
    }

    pub(crate) fn append(&mut self, new: NewEntry) -> Outcome {
        if let EntryBody::Message(body) = &new.body
            && let Some(first) = self
                .messages
                .values()
                .find(|m| m.user == new.user && m.nonce == body.nonce)
        {
            return Outcome {
                seq: first.seq,
                ts: first.ts,
                dup: true,
            };
        }
        let entry = Entry {
            seq: self.head().next(),
            user: new.user,
            ts: new.ts,
            body: new.body,
        };
        self.log.push(entry.clone());
        self.fold(&entry);
        Outcome {
            seq: entry.seq,
            ts: entry.ts,
            dup: false,
        }
    }

    fn fold(&mut self, entry: &Entry) {
        match &entry.body {
            EntryBody::Message(body) => {
                let message = Message {
                    unreadable: false,
                    seq: entry.seq,
                    user: entry.user.clone(),
                    ts: entry.ts,
                    nonce: body.nonce.clone(),
                    text: body.text.clone(),
                    reply_to: body.reply_to,
                    mentions: body.mentions.clone(),
                    data: body.data.clone(),
                    edited_ts: None,
                    deleted: false,
                    reactions: Vec::new(),
                };
                self.messages.insert(entry.seq, message);
            }
            EntryBody::Edit {
                target,
                text,
                mentions,
            } => {
                if let Some(message) = self.live(*target) {
                    message.text.clone_from(text);
                    message.mentions.clone_from(mentions);
                    message.edited_ts = Some(entry.ts);
                }
            }
            EntryBody::Delete { target } => self.delete(*target),
            EntryBody::Reaction { target, emoji, on } => {
                if let Some(message) = self.live(*target) {
                    react(&mut message.reactions, &entry.user, emoji, *on);
                }
            }
            EntryBody::Member(change) => self.member(entry.seq, change),
            EntryBody::Room(change) => {
                self.kind = self.kind.or(change.created);
                self.name = change.name.clone().or(self.name.take());
                self.topic = change.topic.clone().or(self.topic.take());
                self.slow_mode_ms = change.slow_mode_ms.unwrap_or(self.slow_mode_ms);
            }
        }
    }

    fn delete(&mut self, at: Seq) {
        let Some(message) = self.live(at) else { return };
        message.deleted = true;
        message.text.clear();
        message.mentions.clear();
        message.data = None;
        message.reactions.clear();
        for entry in &mut self.log {
            match &mut entry.body {
                EntryBody::Message(body) if entry.seq == at => {
                    body.text.clear();
                    body.mentions.clear();
                    body.data = None;
                }
                EntryBody::Edit {
                    target,
                    text,
                    mentions,
                } if *target == at => {
                    text.clear();
                    mentions.clear();
                }
                _ => {}
            }
        }
    }

    fn member(&mut self, seq: Seq, change: &MemberChange) {
        let who = &change.member;
        match change.action {
            MemberAction::Join => {
                if self.members.contains_key(who) {
                    return self.role(change);
                }
                let member = MemberRecord {
                    user: who.clone(),
                    role: change.role.unwrap_or_default(),
                    muted: None,
                    read: seq,
                };
                self.members.insert(who.clone(), member);
            }
            MemberAction::Leave | MemberAction::Kick => drop(self.members.remove(who)),
            MemberAction::Ban => {
                self.members.remove(who);
                self.bans.insert(who.clone(), change.until);
            }
            MemberAction::Unban => drop(self.bans.remove(who)),
            MemberAction::Mute | MemberAction::Unmute => {
                if let Some(member) = self.members.get_mut(who) {
                    member.muted = (change.action == MemberAction::Mute).then_some(change.until);
                }
            }
            MemberAction::Role => self.role(change),
        }
    }

    fn role(&mut self, change: &MemberChange) {
        if let (Some(member), Some(role)) = (self.members.get_mut(&change.member), change.role) {
            member.role = role;
        }
    }

    pub(crate) fn mark_read(&mut self, who: &UserId, seq: Seq) -> Seq {
        let head = self.head();
        let Some(member) = self.members.get_mut(who) else {
            return Seq::ZERO;
        };
        member.read = member.read.max(seq.min(head));
        member.read
    }

    /// Unread messages of a member, and those of them that mention the member.
    pub(crate) fn unread(&self, who: &UserId) -> (u64, u64) {
        if self.kind == Some(RoomKind::Channel) {
            return (0, 0);
        }
        let read = self.members[who].read;
        let unread: Vec<_> = self
            .messages
            .range(read.next()..)
            .map(|(_, m)| m)
            .filter(|m| m.user != *who && !m.deleted)
            .collect();
        let mentions = unread.iter().filter(|m| m.mentions.contains(who)).count();
        (unread.len() as u64, mentions as u64)
    }

    fn live(&mut self, target: Seq) -> Option<&mut Message> {
        self.messages.get_mut(&target).filter(|m| !m.deleted)
    }
}

fn react(reactions: &mut Vec<Reaction>, who: &UserId, emoji: &str, on: bool) {
    let at = reactions.iter().position(|r| r.emoji == emoji);
    match (on, at) {
        (true, None) => reactions.push(Reaction {
            emoji: emoji.to_owned(),
            count: 1,
            users: vec![who.clone()],
        }),
        (true, Some(at)) => {
            if !reactions[at].users.contains(who) {
                reactions[at].users.push(who.clone());
                reactions[at].count += 1;
            }
        }
        (false, None) => {}
        (false, Some(at)) => {
            reactions[at].users.retain(|user| user != who);
            reactions[at].count = reactions[at].users.len() as u32;
            if reactions[at].count == 0 {
                reactions.remove(at);
            }
        }
    }
}
