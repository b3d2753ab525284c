//! Sending, editing, taking back, reacting.

use shared::{
    codes::ErrorCode,
    id::{Seq, Timestamp, UserId},
    protocol::{
        command::{MessageEdit, MessageSend, React},
        reply::ErrorBody,
        room::EntryBody,
    },
};

use super::{Decided, Decision, Facts, Policy, Question, RoomState, one, targets::Target};
use crate::room::{
    Caller,
    rules::{self, Act},
};

impl RoomState {
    /// What the state refuses may have been allowed when it was first sent; what is malformed
    /// never was. Hence the two kinds of no.
    pub(super) fn send(
        &self,
        caller: &Caller,
        send: &MessageSend,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Decision {
        let visible = self.visible_to(caller);
        if let Err(error) = visible {
            return Decision::RefuseNewSend(error);
        }
        if let Err(error) = well_formed(send) {
            return Decision::Refuse(error);
        }
        self.say(caller, send, facts, policy, now)
            .unwrap_or_else(Decision::RefuseNewSend)
    }

    fn say(
        &self,
        caller: &Caller,
        send: &MessageSend,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Decided {
        if let Some(question) = self.may_speak(caller, facts, policy, now)? {
            return Ok(Decision::Consult(question));
        }
        self.paced(caller, now)?;
        self.mentionable(&send.mentions)?;
        let Some(answered) = send.reply_to else {
            return Ok(Decision::Say);
        };
        match self.target(answered, facts, policy, now) {
            Err(question) => Ok(Decision::Consult(question)),
            Ok(Some(_)) => Ok(Decision::Say),
            Ok(None) => Err(rules::no_message()),
        }
    }

    /// Refuses who spoke less than slow mode's time ago.
    fn paced(&self, caller: &Caller, now: Timestamp) -> Result<(), ErrorBody> {
        if self.slow_mode_ms == 0 || self.may(caller, Act::SkipSlowMode).is_ok() {
            return Ok(());
        }
        let Some(spoke) = self.membership(caller)?.spoke else {
            return Ok(());
        };
        let again = spoke.plus_millis(i64::from(self.slow_mode_ms));
        let left = again.as_millis() - now.as_millis();
        if left <= 0 {
            return Ok(());
        }
        // A clock that ran ahead elsewhere must not lock anybody out for longer than the rule.
        let left = left.min(i64::from(self.slow_mode_ms));
        let error = ErrorBody::new(ErrorCode::SlowMode, "this room is in slow mode");
        Err(error.retry_after(left as u64))
    }

    fn mentionable(&self, mentions: &[UserId]) -> Result<(), ErrorBody> {
        match mentions
            .iter()
            .find(|user| !self.members.contains_key(*user))
        {
            None => Ok(()),
            Some(user) => Err(rules::invalid(format!(
                "{user} is mentioned but not in the room"
            ))),
        }
    }

    pub(super) fn edit(
        &self,
        caller: &Caller,
        edit: &MessageEdit,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Decided {
        let target = match self.target(edit.seq, facts, policy, now) {
            Err(question) => return Ok(Decision::Consult(question)),
            Ok(target) => target
                .filter(|t| !t.deleted)
                .ok_or_else(rules::no_message)?,
        };
        if target.author != caller.user {
            return Err(rules::forbidden("only its author changes a message"));
        }
        rules::check_text(&edit.text, false)?;
        rules::check_mentions(&edit.mentions)?;
        if let Some(question) = self.may_speak(caller, facts, policy, now)? {
            return Ok(Decision::Consult(question));
        }
        self.mentionable(&edit.mentions)?;
        Ok(one(EntryBody::Edit {
            target: edit.seq,
            text: edit.text.clone(),
            mentions: edit.mentions.clone(),
        }))
    }

    pub(super) fn delete(
        &self,
        caller: &Caller,
        seq: Seq,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Decided {
        let target = match self.target(seq, facts, policy, now) {
            Err(question) => return Ok(Decision::Consult(question)),
            Ok(target) => target.ok_or_else(rules::no_message)?,
        };
        if target.author != caller.user {
            self.may_to(caller, Act::DeleteOthers, &target.author)?;
        }
        if target.deleted {
            return Ok(Decision::Already);
        }
        Ok(one(EntryBody::Delete { target: seq }))
    }

    pub(super) fn react(
        &self,
        caller: &Caller,
        react: &React,
        on: bool,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Decided {
        rules::check_emoji(&react.emoji)?;
        let target = match self.target(react.seq, facts, policy, now) {
            Err(question) => return Ok(Decision::Consult(question)),
            Ok(target) => target
                .filter(|t| !t.deleted)
                .ok_or_else(rules::no_message)?,
        };
        let reacted = target.reactions.iter().find(|r| *r.emoji == *react.emoji);
        let stands = match reacted.map(|reacted| reacted.by(&caller.user)) {
            None => false,
            Some(Some(stands)) => stands,
            Some(None) => match facts.reacted {
                Some(stands) => stands,
                None => return Ok(Decision::Consult(Question::Reacted(react.seq))),
            },
        };
        if stands == on {
            return Ok(Decision::Already);
        }
        // Taking something back is no speaking: a muted or blocked person may.
        if on {
            if let Some(question) = self.may_speak(caller, facts, policy, now)? {
                return Ok(Decision::Consult(question));
            }
            if reacted.is_none() && target.reactions.len() >= rules::MAX_EMOJI {
                let message = format!("a message bears at most {} emoji", rules::MAX_EMOJI);
                return Err(ErrorBody::new(ErrorCode::Conflict, message));
            }
        }
        Ok(one(EntryBody::Reaction {
            target: react.seq,
            emoji: react.emoji.clone(),
            on,
        }))
    }

    pub(super) fn typing(
        &self,
        caller: &Caller,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Decided {
        self.membership(caller)?;
        Ok(match self.may_speak(caller, facts, policy, now)? {
            Some(question) => Decision::Consult(question),
            None => Decision::Permit,
        })
    }

    /// The message at `seq`. One that is remembered and older than is kept may have expired, by
    /// whatever node's sweep: then history is asked, once.
    fn target(
        &self,
        seq: Seq,
        facts: Facts,
        policy: Policy,
        now: Timestamp,
    ) -> Result<Option<&Target>, Question> {
        let ask = Question::Message(seq);
        let Ok(target) = self.targets.get(seq) else {
            return Err(ask);
        };
        let kept_from = policy.keep.horizon(self.kind, now);
        let old = target.is_some_and(|target| kept_from.is_some_and(|from| target.ts < from));
        if old && facts.read != Some(seq) {
            return Err(ask);
        }
        Ok(target)
    }
}

fn well_formed(send: &MessageSend) -> Result<(), ErrorBody> {
    rules::check_text(&send.text, send.data.is_some())?;
    rules::check_mentions(&send.mentions)?;
    send.data.as_ref().map_or(Ok(()), rules::check_data)
}
