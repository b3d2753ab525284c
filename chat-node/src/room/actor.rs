//! Gives a room its thread and its bounded mailbox, and lets it go when nobody needs it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, ArbiterHandle, AsyncContext as _, Context,
    Handler, Message, SpawnHandle, WrapFuture as _, dev::channel, fut,
};
use tokio::time::Instant;

use super::{
    directory::{Directory, Link},
    live::{Mail, Room},
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
    due: Due,
    last: Instant,
}

/// What is scheduled.
#[derive(Debug, Default)]
struct Due {
    /// A turn, once the mailbox has given all it has.
    turn: bool,
    /// The end of a pause in which other nodes may append.
    resumption: Option<SpawnHandle>,
    /// Another try to read history.
    retry: bool,
    /// The removal of a deserted lobby.
    removal: bool,
}

impl RoomActor {
    /// Starts the actor of `room` on a thread.
    pub(super) fn start(
        room: Room,
        directory: Arc<Directory>,
        link: Arc<Link>,
        on: &ArbiterHandle,
    ) -> Addr<Self> {
        // As `Actor::start_in_arbiter`, but with the mailbox's bound from the first message on.
        let (sender, receiver) = channel::channel(room.parts.settings.room_mailbox);
        on.spawn_fn(move || {
            let actor = Self {
                room: Some(Box::new(room)),
                inbox: Vec::new(),
                directory,
                link,
                following: false,
                due: Due::default(),
                last: Instant::now(),
            };
            // The context runs as a task of this thread; the address is all that is needed of it.
            drop(Context::with_receiver(receiver).run(actor));
        });
        Addr::new(sender)
    }

    /// Begins a turn once the mailbox has given all it has.
    fn call(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.due.turn, true) {
            ctx.spawn(fut::ready(()).map(|(), actor: &mut Self, ctx| actor.turn(ctx)));
        }
    }

    fn turn(&mut self, ctx: &mut Context<Self>) {
        self.due.turn = false;
        let Some(mut room) = self.room.take() else {
            return;
        };
        self.last = Instant::now();
        room.place.behind |= self.link.doubt.swap(false, Ordering::AcqRel);
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
        if room.place.behind && !std::mem::replace(&mut self.due.retry, true) {
            ctx.run_later(RETRY, |actor, ctx| {
                actor.due.retry = false;
                actor.call(ctx);
            });
        }
        if let Some(resumption) = self.due.resumption.take() {
            ctx.cancel_future(resumption);
        }
        if let Some(pause) = room.turns.pause(Instant::now()) {
            let resumption = ctx.run_later(pause, |actor, ctx| {
                actor.due.resumption = None;
                if !actor.inbox.is_empty() {
                    actor.call(ctx);
                }
            });
            self.due.resumption = Some(resumption);
        } else if !self.inbox.is_empty() {
            self.call(ctx);
        }
        if room.deserted() && !std::mem::replace(&mut self.due.removal, true) {
            ctx.run_later(room.parts.settings.lobby_linger, Self::close);
        }
        self.link.remember(room.place.delivered, room.place.since);
        if !self.following && !room.parts.bridge.alone() && room.parts.relays.listeners(&room.id) {
            self.following = true;
            if self.directory.follow(&room.id) {
                let (bridge, id) = (room.parts.bridge.clone(), room.id.clone());
                let up = async move { bridge.room_up(&id).await };
                ctx.spawn(up.into_actor(self).map(|(), actor, ctx| {
                    // What was said before the subscription stood was not heard.
                    actor.link.doubt.store(true, Ordering::Release);
                    actor.call(ctx);
                }));
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
        self.due.removal = false;
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
        if idle && !room.place.behind && !self.due.removal {
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
        // Commands wait while others have their turn; whatever else comes may be what they did with it.
        let waits = self.due.resumption.is_some() && matches!(mail, Mail::Ask(_));
        self.inbox.push(mail);
        if !waits {
            self.call(ctx);
        }
    }
}
