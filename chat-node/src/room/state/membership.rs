//! Who comes, goes, and may do what in a room.

use shared::{
    codes::ErrorCode,
    id::{Timestamp, UserId},
    protocol::{
        reply::ErrorBody,
        room::{EntryBody, MemberAction, MemberChange, Role},
    },
};
use smallvec::smallvec;

use super::{Decided, Decision, Facts, Membership, Muted, Policy, Question, RoomState, one};
use crate::room::{
    Caller,
    rules::{self, Act},
};

impl RoomState {
    pub(super) fn join(&self, caller: &Caller, now: Timestamp) -> Decided {
        if self.members.contains_key(&caller.user) {
            return Ok(Decision::Already);
        }
        if !rules::open(self.kind) && !caller.service {
            return Err(rules::no_room());
        }
        // The room is open to everybody who knows it, so its being there is no secret.
        self.admits(&caller.user, now)?;
        Ok(one(
            change(MemberAction::Join, &caller.user).role(Role::Member)
        ))
    }

    pub(super) fn invite(
        &self,
        caller: &Caller,
        user: &UserId,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Decided {
        self.may(caller, Act::Invite)?;
        if self.members.contains_key(user) {
            return Ok(Decision::Already);
        }
        if !caller.service {
            match facts.tie {
                None => return Ok(Decision::Consult(Question::Tie(user.clone()))),
                Some(tie) if tie.allows(policy.invite_friends_only) => {}
                // The same words whether they are strangers or one blocked the other.
                Some(_) => return Err(rules::forbidden("you cannot invite this person")),
            }
        }
        self.admits(user, now)?;
        Ok(one(change(MemberAction::Join, user).role(Role::Member)))
    }

    pub(super) fn leave(&self, caller: &Caller) -> Decided {
        self.membership(caller)?;
        self.may(caller, Act::Leave)?;
        let leave = change(MemberAction::Leave, &caller.user);
        Ok(self.out(&caller.user, leave))
    }

    /// `user` goes by this change; an owner who goes, by whatever way, leaves the room to an heir.
    fn out(&self, user: &UserId, going: Change) -> Decision {
        let mut entries = smallvec![going.entry()];
        let owner = self.members.get(user).map(|m| m.role) == Some(Role::Owner);
        if owner && let Some(heir) = self.heir(user) {
            entries.push(change(MemberAction::Role, heir).role(Role::Owner).entry());
        }
        Decision::Append(entries)
    }

    /// Whom the room falls to when its owner goes: the senior moderator, or the senior member.
    pub(super) fn heir(&self, owner: &UserId) -> Option<&UserId> {
        self.members
            .iter()
            .filter(|(user, _)| *user != owner)
            .max_by_key(|(_, member)| (member.role, std::cmp::Reverse(member.arrival)))
            .map(|(user, _)| user)
    }

    pub(super) fn kick(&self, caller: &Caller, user: &UserId) -> Decided {
        self.may(caller, Act::Kick)?;
        self.other_member(user)?;
        self.may_to(caller, Act::Kick, user)?;
        Ok(self.out(user, change(MemberAction::Kick, user)))
    }

    pub(super) fn ban(
        &self,
        caller: &Caller,
        user: &UserId,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Decided {
        self.may_to(caller, Act::Ban, user)?;
        in_future(until, now)?;
        if self.bans.get(user) == Some(&until) && !self.members.contains_key(user) {
            return Ok(Decision::Already);
        }
        Ok(self.out(user, change(MemberAction::Ban, user).until(until)))
    }

    pub(super) fn unban(&self, caller: &Caller, user: &UserId) -> Decided {
        self.may(caller, Act::Ban)?;
        if !self.bans.contains_key(user) {
            return Ok(Decision::Already);
        }
        Ok(one(change(MemberAction::Unban, user)))
    }

    pub(super) fn mute(
        &self,
        caller: &Caller,
        user: &UserId,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Decided {
        self.may(caller, Act::Mute)?;
        let member = self.other_member(user)?;
        self.may_to(caller, Act::Mute, user)?;
        in_future(until, now)?;
        if member.muted == Some(Muted::until(until)) {
            return Ok(Decision::Already);
        }
        Ok(one(change(MemberAction::Mute, user).until(until)))
    }

    pub(super) fn unmute(&self, caller: &Caller, user: &UserId) -> Decided {
        self.may(caller, Act::Mute)?;
        let member = self.other_member(user)?;
        self.may_to(caller, Act::Mute, user)?;
        if member.muted.is_none() {
            return Ok(Decision::Already);
        }
        Ok(one(change(MemberAction::Unmute, user)))
    }

    pub(super) fn set_role(&self, caller: &Caller, user: &UserId, role: Role) -> Decided {
        self.may(caller, Act::SetRole)?;
        let member = self.other_member(user)?;
        if !caller.service && *user == caller.user {
            return if role == Role::Owner {
                Ok(Decision::Already)
            } else {
                Err(rules::invalid("make somebody else the owner first"))
            };
        }
        if member.role == role {
            return Ok(Decision::Already);
        }
        let mut entries = smallvec![];
        if role == Role::Owner {
            // First down, then up: no prefix of the log has two owners.
            let owner = self.members.iter().find(|(_, m)| m.role == Role::Owner);
            if let Some((owner, _)) = owner {
                let down = change(MemberAction::Role, owner).role(Role::Moderator);
                entries.push(down.entry());
            }
        }
        entries.push(change(MemberAction::Role, user).role(role).entry());
        Ok(Decision::Append(entries))
    }

    /// Whether somebody who is not in may come in.
    fn admits(&self, user: &UserId, now: Timestamp) -> Result<(), ErrorBody> {
        let banned = match self.bans.get(user) {
            None => false,
            Some(until) => until.is_none_or(|until| until > now),
        };
        if banned {
            return Err(rules::forbidden("this person is banned from the room"));
        }
        if self.members.len() >= rules::max_members(self.kind) {
            return Err(ErrorBody::new(ErrorCode::Conflict, "the room is full"));
        }
        Ok(())
    }

    fn other_member(&self, user: &UserId) -> Result<&Membership, ErrorBody> {
        let absent = || ErrorBody::new(ErrorCode::NotFound, "this person is not in the room");
        self.members.get(user).ok_or_else(absent)
    }
}

impl Membership {
    /// Refuses while a mute lasts.
    pub(super) fn unmuted(&self, now: Timestamp) -> Result<(), ErrorBody> {
        let muted = ErrorBody::new(ErrorCode::Muted, "you are muted in this room");
        match self.muted {
            None => Ok(()),
            Some(Muted::ForEver) => Err(muted),
            Some(Muted::Until(until)) => match until.as_millis() - now.as_millis() {
                left @ 1.. => Err(muted.retry_after(left as u64)),
                _ => Ok(()),
            },
        }
    }
}

fn in_future(until: Option<Timestamp>, now: Timestamp) -> Result<(), ErrorBody> {
    if until.is_some_and(|until| until <= now) {
        return Err(rules::invalid("`until` has passed already"));
    }
    Ok(())
}

/// A membership entry in the making.
pub(crate) fn change(action: MemberAction, member: &UserId) -> Change {
    Change(MemberChange {
        action,
        member: member.clone(),
        role: None,
        until: None,
    })
}

pub(crate) struct Change(MemberChange);

impl Change {
    pub(crate) fn role(mut self, role: Role) -> Self {
        self.0.role = Some(role);
        self
    }

    fn until(mut self, until: Option<Timestamp>) -> Self {
        self.0.until = until;
        self
    }

    pub(crate) fn entry(self) -> EntryBody {
        EntryBody::Member(self.0)
    }
}

impl From<Change> for EntryBody {
    fn from(change: Change) -> Self {
        change.entry()
    }
}
