//! The pure state of one room: a command comes in with who asks and what time it is, and out
//! comes what it comes to; entries that stand are applied. No clock, no I/O, no runtime.
//!
//! - [`fold`]: entries that stand.
//! - [`membership`]: who comes, goes and may do what.
//! - [`messages`]: sending, editing, taking back, reacting.
//! - [`settings`]: name, topic, slow mode.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use shared::{
    id::{Epoch, RoomId, Seq, Timestamp, UserId},
    protocol::{
        command::Command,
        reply::ErrorBody,
        room::{EntryBody, Member, Message, Role, RoomKind},
    },
};
use smallvec::{SmallVec, smallvec};

use super::{
    Caller,
    rules::{self, Act},
};
use crate::history::{RoomRecord, retention::RetentionSettings};
pub(crate) use membership::change;
use targets::Targets;

mod fold;
mod membership;
mod messages;
mod settings;
mod targets;
#[cfg(test)]
mod tests;

/// A room as its log tells it, up to [`RoomState::head`].
#[derive(Debug, Clone, PartialEq)]
pub struct RoomState {
    id: RoomId,
    kind: RoomKind,
    name: Option<String>,
    topic: Option<String>,
    slow_mode_ms: u32,
    epoch: Epoch,
    head: Seq,
    members: BTreeMap<UserId, Membership>,
    /// How many ever came in: whoever came earlier is senior.
    arrivals: u64,
    bans: HashMap<UserId, Option<Timestamp>>,
    targets: Targets,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) role: Role,
    pub(crate) read: Seq,
    muted: Option<Muted>,
    arrival: u64,
    /// When the member last said something, for slow mode.
    spoke: Option<Timestamp>,
}

/// How long a member is silenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Muted {
    Until(Timestamp),
    ForEver,
}

impl Muted {
    fn until(until: Option<Timestamp>) -> Self {
        until.map_or(Self::ForEver, Self::Until)
    }

    /// For views, which know no "for ever".
    fn shown(self) -> Timestamp {
        match self {
            Self::Until(until) => until,
            Self::ForEver => Timestamp::FOREVER,
        }
    }
}

/// What a command comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// A `message.send` whose message goes into the log as it is.
    Say,
    /// These go into the log together, in order.
    Append(SmallVec<[EntryBody; 1]>),
    /// It stands so already; nothing is appended.
    Already,
    /// The caller may; nothing is appended. Looking something up, typing, reading.
    Permit,
    /// It cannot be told without an answer to this; decide again with it.
    Consult(Question),
    /// No.
    Refuse(ErrorBody),
    /// No, unless this is a retry of a send that stands: the promise to answer a known nonce
    /// with its position goes before every other rule.
    RefuseNewSend(ErrorBody),
}

/// What the room itself does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// How the caller and this person stand to each other: into [`Facts::tie`].
    Tie(UserId),
    /// What message stands there: [`RoomState::learn`].
    Message(Seq),
    /// Whether the caller's reaction stands: into [`Facts::reacted`].
    Reacted(Seq),
}

/// What is known of the world outside the room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The answer to [`Question::Tie`].
    pub tie: Option<Tie>,
    /// The answer to [`Question::Reacted`].
    pub reacted: Option<bool>,
    /// What was asked of history just now, by [`Question::Message`].
    pub read: Option<Seq>,
}

/// How two people stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tie {
    /// They are friends.
    pub friends: bool,
    /// Neither blocked the other.
    pub unblocked: bool,
}

/// What the operator decides about who may talk to whom, and how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Direct messages between friends only.
    pub dm_friends_only: bool,
    /// Only friends are brought into rooms.
    pub invite_friends_only: bool,
    /// How long what was said is kept: what is older history may have forgotten meanwhile.
    pub keep: RetentionSettings,
}

impl Tie {
    pub(crate) fn allows(self, friends_only: bool) -> bool {
        self.unblocked && (self.friends || !friends_only)
    }
}

type Decided = Result<Decision, ErrorBody>;

impl RoomState {
    /// A room whose log has no entry yet; its first says what it is.
    pub fn unborn(id: RoomId, epoch: Epoch) -> Self {
        Self {
            id,
            kind: RoomKind::Group,
            name: None,
            topic: None,
            slow_mode_ms: 0,
            epoch,
            head: Seq::ZERO,
            members: BTreeMap::new(),
            arrivals: 0,
            bans: HashMap::new(),
            targets: Targets::default(),
        }
    }

    /// The room as history has it.
    pub fn load(record: RoomRecord) -> Self {
        let mut state = Self {
            kind: record.kind,
            name: record.name,
            topic: record.topic,
            slow_mode_ms: record.slow_mode_ms,
            head: record.head,
            bans: record.bans.into_iter().collect(),
            ..Self::unborn(record.id, record.epoch)
        };
        for member in record.members {
            let membership = Membership {
                role: member.role,
                read: member.read,
                muted: member.muted.map(Muted::until),
                arrival: state.arrivals,
                spoke: None,
            };
            state.arrivals += 1;
            state.members.insert(member.user, membership);
        }
        state
    }

    /// What `command` comes to when `caller` gives it at `now`.
    ///
    /// The answer holds until the next entry is applied; two decisions may be appended together
    /// only as a batch (`room::batch`) admits.
    pub fn decide(
        &self,
        caller: &Caller,
        command: &Command,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Decision {
        let decided = match command {
            Command::MessageSend(send) => return self.send(caller, send, facts, policy, now),
            Command::RoomJoin(_) => self.join(caller, now),
            _ => self.visible_to(caller).and_then(|()| match command {
                Command::RoomGet(_)
                | Command::RoomMembers(_)
                | Command::RoomSync(_)
                | Command::RoomWatch(_) => Ok(Decision::Permit),
                Command::Read(_) => self.membership(caller).map(|_| Decision::Permit),
                Command::Typing(_) => self.typing(caller, facts, policy, now),
                Command::RoomUpdate(update) => self.update(caller, update),
                Command::RoomInvite(invite) => {
                    self.invite(caller, &invite.user, facts, policy, now)
                }
                Command::RoomLeave(_) => self.leave(caller),
                Command::RoomKick(kick) => self.kick(caller, &kick.user),
                Command::RoomBan(ban) => self.ban(caller, &ban.user, ban.until, now),
                Command::RoomUnban(unban) => self.unban(caller, &unban.user),
                Command::RoomMute(mute) => self.mute(caller, &mute.user, mute.until, now),
                Command::RoomUnmute(unmute) => self.unmute(caller, &unmute.user),
                Command::RoomRole(role) => self.set_role(caller, &role.user, role.role),
                Command::MessageEdit(edit) => self.edit(caller, edit, facts, policy, now),
                Command::MessageDelete(delete) => {
                    self.delete(caller, delete.seq, facts, policy, now)
                }
                Command::ReactionAdd(react) => self.react(caller, react, true, facts, policy, now),
                Command::ReactionRemove(react) => {
                    self.react(caller, react, false, facts, policy, now)
                }
                other => Err(rules::invalid(format!("{} names no room", other.op()))),
            }),
        };
        decided.unwrap_or_else(Decision::Refuse)
    }

    /// Takes in what history says stands at `seq`, for [`Question::Message`]. Answers whether it
    /// can be remembered: nothing is remembered of positions that have no entry yet.
    pub(crate) fn learn(&mut self, seq: Seq, message: Option<&Message>) -> bool {
        if message.is_none() && seq > self.head {
            return false;
        }
        self.targets.learn(seq, message);
        true
    }

    /// Takes in that `user` spoke at `ts`, before this state was loaded.
    pub(crate) fn recall(&mut self, user: &UserId, ts: Timestamp) {
        if let Some(member) = self.members.get_mut(user) {
            member.spoke = member.spoke.max(Some(ts));
        }
    }

    /// Moves a read marker forward, and no further than the head; answers whether it moved.
    pub(crate) fn mark_read(&mut self, user: &UserId, seq: Seq) -> bool {
        let seq = seq.min(self.head);
        match self.members.get_mut(user) {
            Some(member) if member.read < seq => {
                member.read = seq;
                true
            }
            _ => false,
        }
    }

    /// The room.
    pub(crate) fn id(&self) -> &RoomId {
        &self.id
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> RoomKind {
        self.kind
    }

    /// The identity of its log.
    pub(crate) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The newest entry applied.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// The least time between two messages of one member, in ms; 0 is off.
    pub(crate) fn slow_mode_ms(&self) -> u32 {
        self.slow_mode_ms
    }

    /// Its name.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its topic.
    pub(crate) fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// A member.
    pub(crate) fn member(&self, user: &UserId) -> Option<&Membership> {
        self.members.get(user)
    }

    /// Everybody in it, by id.
    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = &UserId> {
        self.members.keys()
    }

    /// The two of a direct-message room; `None` for any other kind.
    pub(crate) fn pair(&self) -> Option<[UserId; 2]> {
        if self.kind != RoomKind::Dm {
            return None;
        }
        let mut members = self.members.keys().cloned();
        Some([members.next()?, members.next()?])
    }

    /// The other person of a direct-message room.
    pub(crate) fn peer(&self, user: &UserId) -> Option<&UserId> {
        if self.kind != RoomKind::Dm || !self.members.contains_key(user) {
            return None;
        }
        self.members.keys().find(|member| *member != user)
    }

    /// Up to `limit` members after `after`, by id, without names.
    pub(crate) fn member_page(&self, after: Option<&UserId>, limit: usize) -> Vec<Member> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let shows_reads = rules::shows_reads(self.kind);
        self.members
            .range::<UserId, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(user, member)| Member {
                id: user.clone(),
                name: None,
                role: member.role,
                read: shows_reads.then_some(member.read),
                muted_until: member.muted.map(Muted::shown),
            })
            .collect()
    }

    /// Refuses whoever may not know of the room.
    pub(crate) fn visible_to(&self, caller: &Caller) -> Result<(), ErrorBody> {
        if caller.service || self.members.contains_key(&caller.user) {
            Ok(())
        } else {
            Err(rules::no_room())
        }
    }

    fn membership(&self, caller: &Caller) -> Result<&Membership, ErrorBody> {
        self.members.get(&caller.user).ok_or_else(rules::no_room)
    }

    /// Whether the caller's role allows an act on nobody in particular.
    fn may(&self, caller: &Caller, act: Act) -> Result<(), ErrorBody> {
        let least = rules::least_role(self.kind, act);
        let allowed = match (least, caller.service) {
            (None, _) => false,
            (Some(_), true) => true,
            (Some(least), false) => self.membership(caller)?.role >= least,
        };
        if allowed {
            Ok(())
        } else {
            Err(rules::forbidden(
                "your role in this room does not allow that",
            ))
        }
    }

    /// Whether the caller may do `act` to `target`: the role allows it and outranks the other's.
    fn may_to(&self, caller: &Caller, act: Act, target: &UserId) -> Result<(), ErrorBody> {
        self.may(caller, act)?;
        let theirs = self.members.get(target).map_or(Role::Member, |m| m.role);
        if caller.service || self.membership(caller)?.role > theirs {
            Ok(())
        } else {
            Err(rules::forbidden(
                "their role in this room is not below yours",
            ))
        }
    }

    /// Whether the caller may speak now: role, mute, and in a direct-message room the tie between
    /// the two. `Ok(Some)` when the tie has to be asked for.
    fn may_speak(
        &self,
        caller: &Caller,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Result<Option<Question>, ErrorBody> {
        self.may(caller, Act::Speak)?;
        if caller.service {
            return Ok(None);
        }
        self.membership(caller)?.unmuted(now)?;
        let Some(peer) = self.peer(&caller.user) else {
            return Ok(None);
        };
        match facts.tie {
            None => Ok(Some(Question::Tie(peer.clone()))),
            Some(tie) if tie.allows(policy.dm_friends_only) => Ok(None),
            // One answer for "blocked" and "no longer friends", or a block could be told.
            Some(_) => Err(rules::forbidden("you cannot write to this person")),
        }
    }
}

fn one(body: impl Into<EntryBody>) -> Decision {
    Decision::Append(smallvec![body.into()])
}
