//! Gives a room its thread and its bounded mailbox, and lets it go when nobody needs it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, ArbiterHandle, AsyncContext as _, Context,
    Handler, Message, WrapFuture as _, fut,
};
use tokio::time::Instant;

use super::{
    live::{Mail, Room},
    rooms::{Directory, Link},
};

/// How long after a failure to read history it is tried again when nothing else asks for it.
const RETRY: Duration = Duration::from_secs(1);

impl Message for Mail {
    type Result = ();
}

/// A room's actor. One turn runs at a time, and while it does the mailbox fills; that is the
/// only queue in front of a room, bounded by `room_mailbox`.
pub(super) struct RoomActor {
    /// The room; away while a turn runs.
    room: Option<Box<Room>>,
    /// What was taken out of the mailbox for the next turn.
    inbox: Vec<Mail>,
    directory: Arc<Directory>,
    /// What it shares with those who send to it.
    link: Arc<Link>,
    /// Other nodes' news of the room are heard.
    following: bool,
    /// A turn is about to begin.
    called: bool,
    /// A removal of the deserted lobby is scheduled.
    closing: bool,
    last: Instant,
}

impl RoomActor {
    /// Starts the actor of `room` on a thread.
    pub(super) fn start(
        room: Room,
        directory: Arc<Directory>,
        link: Arc<Link>,
        on: &ArbiterHandle,
    ) -> Addr<Self> {
        Self::start_in_arbiter(on, move |ctx| {
            ctx.set_mailbox_capacity(room.parts.settings.room_mailbox);
            Self {
                room: Some(Box::new(room)),
                inbox: Vec::new(),
                directory,
                link,
                following: false,
                called: false,
                closing: false,
                last: Instant::now(),
            }
        })
    }

    /// Begins a turn once the mailbox has given all it has.
    fn call(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.called, true) {
            ctx.spawn(fut::ready(()).map(|(), actor: &mut Self, ctx| actor.turn(ctx)));
        }
    }

    fn turn(&mut self, ctx: &mut Context<Self>) {
        self.called = false;
        let Some(mut room) = self.room.take() else {
            return;
        };
        self.last = Instant::now();
        room.behind |= self.link.doubt.swap(false, Ordering::AcqRel);
        room.queue.extend(self.inbox.drain(..));
        let turn = async move {
            room.turn().await;
            room
        };
        ctx.wait(
            turn.into_actor(self)
                .map(|room, actor, ctx| actor.turned(room, ctx)),
        );
    }

    fn turned(&mut self, room: Box<Room>, ctx: &mut Context<Self>) {
        if room.behind {
            ctx.run_later(RETRY, Self::call);
        }
        if room.deserted() && !self.closing {
            self.closing = true;
            ctx.run_later(room.parts.settings.lobby_linger, Self::close);
        }
        self.link.remember(room.delivered);
        if !self.following && !room.parts.bridge.alone() && room.parts.relays.listeners(&room.id) {
            self.following = true;
            if self.directory.follow(&room.id) {
                let (bridge, id) = (room.parts.bridge.clone(), room.id.clone());
                ctx.spawn(async move { bridge.room_up(&id).await }.into_actor(self));
            }
        }
        let absent = room.absent();
        self.room = Some(room);
        if absent {
            self.retire(ctx);
        }
    }

    /// Removes the lobby if it is still deserted.
    fn close(&mut self, ctx: &mut Context<Self>) {
        self.closing = false;
        let Some(mut room) = self.room.take() else {
            return;
        };
        let close = async move {
            room.remove_deserted().await;
            room
        };
        ctx.wait(
            close
                .into_actor(self)
                .map(|room, actor, ctx| actor.turned(room, ctx)),
        );
    }

    fn check_idle(&mut self, ctx: &mut Context<Self>) {
        let Some(room) = &self.room else {
            return;
        };
        let idle = self.last.elapsed() >= room.parts.settings.room_idle;
        if idle && !room.behind && !self.closing {
            self.retire(ctx);
        }
    }

    /// Stops, unless something is on its way here: senders count it under the directory's lock,
    /// so what is not counted when the entry goes will find the next actor.
    fn retire(&mut self, ctx: &mut Context<Self>) {
        let Some(room) = &self.room else {
            return;
        };
        if self.inbox.is_empty() && self.directory.retire(room, &self.link) {
            ctx.stop();
        }
    }
}

impl Actor for RoomActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(room) = &self.room {
            let every = room.parts.settings.room_idle / 2;
            ctx.run_interval(every, Self::check_idle);
        }
    }
}

impl Handler<Mail> for RoomActor {
    type Result = ();

    fn handle(&mut self, mail: Mail, ctx: &mut Self::Context) {
        self.link.waiting.fetch_sub(1, Ordering::AcqRel);
        self.inbox.push(mail);
        self.call(ctx);
    }
}
