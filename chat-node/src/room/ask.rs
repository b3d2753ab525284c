//! A command in a room's hands, and the answer it owes.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use shared::{
    protocol::command::{Command, MessageEdit, MessageSend},
    trace::{self, TraceContext},
};
use tokio::sync::Notify;

use super::{Caller, Reply, ReplyTo, RoomCommand, rules};
use crate::transport::relay::Relays;

/// A command with its answer still owed.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) caller: Caller,
    pub(super) command: Command,
    pub(super) answer: Answer,
    /// A message that is followed: where, and since when it is here.
    pub(super) followed: Option<Box<(TraceContext, Instant)>>,
}

/// The duty to answer. Dropped unanswered (the room died, or its thread ended), it answers
/// `unavailable`, so that nobody waits for ever.
#[derive(Debug)]
pub(super) struct Answer {
    to: ReplyTo,
    relays: Relays,
    owed: Arc<Owed>,
}

/// How many answers a node's rooms owe.
#[derive(Debug, Default)]
pub(super) struct Owed {
    count: AtomicUsize,
    none: Notify,
}

impl Ask {
    pub(super) fn new(mut command: RoomCommand, relays: &Relays, owed: &Arc<Owed>) -> Self {
        // Who is mentioned twice is mentioned.
        if let Command::MessageSend(MessageSend { mentions, .. })
        | Command::MessageEdit(MessageEdit { mentions, .. }) = &mut command.command
            && mentions.len() > 1
        {
            let mut seen = HashSet::with_capacity(mentions.len());
            mentions.retain(|user| seen.insert(user.clone()));
        }
        let followed = match &command.command {
            Command::MessageSend(send) => match (&command.reply, send.traceparent.as_deref()) {
                // Whether it is one of the share its session has decided.
                (ReplyTo::Session(_), None) => None,
                (_, said) => trace::follow(said.copied()),
            },
            _ => None,
        };
        owed.count.fetch_add(1, Ordering::AcqRel);
        Self {
            followed: followed.map(|context| Box::new((context, Instant::now()))),
            caller: command.caller,
            command: command.command,
            answer: Answer {
                to: command.reply,
                relays: relays.clone(),
                owed: owed.clone(),
            },
        }
    }

    /// The command as it came, no longer owed an answer.
    pub(super) fn give_back(mut self) -> RoomCommand {
        RoomCommand {
            reply: std::mem::replace(&mut self.answer.to, ReplyTo::Nobody),
            caller: self.caller,
            command: self.command,
        }
    }
}

impl Answer {
    pub(super) fn give(mut self, reply: Reply) {
        self.deliver(reply);
    }

    fn deliver(&mut self, reply: Reply) {
        match std::mem::replace(&mut self.to, ReplyTo::Nobody) {
            ReplyTo::Session(debt) => self.relays.reply(debt, reply),
            // The caller may have stopped waiting; then nobody needs it.
            ReplyTo::Caller(caller) => drop(caller.send(reply)),
            ReplyTo::Nobody => {}
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.deliver(Err(rules::unavailable()));
        if self.owed.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.owed.none.notify_waiters();
        }
    }
}

impl Owed {
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until no answer is owed.
    pub(super) async fn none(&self) {
        loop {
            let none = self.none.notified();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}
