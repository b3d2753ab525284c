//! The way to a room: a directory from its id to its actor, which is started when something is
//! asked of it and stopped when nothing was for a while.

use std::{fmt, sync::Arc};

use actix::ArbiterHandle;
use futures_util::future::join_all;
use shared::{
    id::{RoomId, Seq, UserId},
    protocol::{command::Command, reply::ErrorBody, room::RoomView},
};
use tokio::sync::oneshot;

use super::{
    Access, Caller, Clock, Reply, ReplyTo, RoomCommand, RoomNews, RoomSettings,
    ask::Ask,
    consult::out_of_reach,
    directory::Directory,
    gauges::Gauges,
    live::{Mail, Parts},
    reconcile::MARGIN,
    room_of, rules,
    view::named,
};
use crate::{
    bridge::Bridge,
    friends::FriendCache,
    history::History,
    overload::Overload,
    presence::{Opened, Presence},
    transport::{SessionKey, relay::Relays},
};

/// Direct messages newer than this, in ms, may be found by a look at history: of those a session has
/// seen it is remembered.
const LATELY: i64 = 2 * MARGIN.as_millis() as i64;

/// How often views are read again that are older than where delivering began.
const READ_AGAIN: usize = 5;

/// What rooms need of the node.
pub struct RoomsParts {
    /// The threads rooms live on, by `hash(room) % N`.
    pub arbiters: Vec<ArbiterHandle>,
    /// The relays of those threads.
    pub relays: Relays,
    /// Where logs are kept.
    pub history: Arc<dyn History>,
    /// Who is whose friend.
    pub friends: Arc<FriendCache>,
    /// The way to other nodes.
    pub bridge: Arc<Bridge>,
    /// Who has which room open, and how its members are.
    pub presence: Presence,
    /// What is shed now.
    pub overload: Overload,
    /// What the operator decides.
    pub settings: RoomSettings,
    /// What time it is.
    pub clock: Clock,
}

/// The rooms of a node. A clone is the same rooms.
#[derive(Clone)]
pub struct Rooms(Arc<Directory>);

impl Rooms {
    /// Rooms on these threads.
    pub fn start(parts: RoomsParts) -> Self {
        let idle = parts.settings.room_idle;
        let arbiters = parts.arbiters;
        Self(Directory::start(
            arbiters,
            idle / 2,
            Parts {
                policy: parts.settings.policy(),
                history: parts.history,
                friends: parts.friends,
                bridge: parts.bridge,
                relays: parts.relays,
                presence: parts.presence,
                overload: parts.overload,
                settings: parts.settings,
                clock: parts.clock,
                owed: Arc::default(),
                gauges: Gauges::new(),
            },
        ))
    }

    /// Hands a command to its room; never waits. The answer comes by [`RoomCommand::reply`].
    ///
    /// # Errors
    /// The command, when the room's mailbox is full: stop reading from whoever sent it and try
    /// again.
    #[expect(
        clippy::result_large_err,
        reason = "a box would cost every send, not the rare refusal"
    )]
    pub fn send(&self, command: RoomCommand) -> Result<(), RoomCommand> {
        let parts = self.0.parts();
        let (room, unborn) = if let Command::RoomCreate(_) = command.command {
            (RoomId::generate(), true)
        } else if let Some(room) = room_of(&command.caller, &command.command) {
            (room, false)
        } else {
            let error = rules::invalid(format!("{} is for no room", command.command.op()));
            Ask::new(command, &parts.relays, &parts.owed)
                .answer
                .give(Err(error));
            return Ok(());
        };
        let ask = Ask::new(command, &parts.relays, &parts.owed);
        let by_friendship = matches!(
            &ask.command,
            Command::RoomInvite(_) | Command::RoomMembers(_) | Command::Read(_)
        );
        if by_friendship && !ask.caller.service && parts.friends.graph(&ask.caller.user).is_none() {
            // The room does not wait until store-api has said who is whose friend, or blocks whom.
            self.0.post_acquainted(room, ask);
            return Ok(());
        }
        match self.0.post(&room, Mail::Ask(ask), unborn) {
            Err(Mail::Ask(ask)) => Err(ask.give_back()),
            _ => Ok(()),
        }
    }

    /// Hands a command to its room and waits for the answer: `busy` when the room's mailbox is
    /// full, `unavailable` when the room died with the command.
    pub async fn ask(&self, caller: Caller, command: Command) -> Reply {
        let (to, answer) = oneshot::channel();
        let command = RoomCommand {
            caller,
            command,
            reply: ReplyTo::Caller(to),
        };
        if self.send(command).is_err() {
            return Err(rules::busy());
        }
        answer.await.unwrap_or_else(|_| Err(rules::unavailable()))
    }

    /// What the caller may see of a room.
    ///
    /// # Errors
    /// `not_found` for strangers, whether there is such a room or not.
    pub async fn authorize(&self, caller: &Caller, room: &RoomId) -> Result<Access, ErrorBody> {
        let (to, answer) = oneshot::channel();
        self.inquire(room, Mail::Authorize(caller.clone(), to), answer)
            .await
    }

    /// A session of the caller has the room open: from now on it sees the members' presence.
    ///
    /// # Errors
    /// `not_found` for strangers, `conflict` for a room too large, or one too many.
    pub async fn open(
        &self,
        caller: &Caller,
        session: SessionKey,
        room: &RoomId,
    ) -> Result<Opened, ErrorBody> {
        let (to, answer) = oneshot::channel();
        self.inquire(room, Mail::Open(caller.clone(), session, to), answer)
            .await
    }

    async fn inquire<T>(
        &self,
        room: &RoomId,
        mail: Mail,
        answer: oneshot::Receiver<Result<T, ErrorBody>>,
    ) -> Result<T, ErrorBody> {
        if self.0.post(room, mail, false).is_err() {
            return Err(rules::busy());
        }
        answer.await.unwrap_or_else(|_| Err(rules::unavailable()))
    }

    /// The rooms `user` belongs to, direct-message rooms apart: a session subscribes to them
    /// before it asks for [`Rooms::views`].
    pub async fn memberships(&self, user: &UserId) -> Result<Vec<RoomId>, ErrorBody> {
        let rooms = self.0.parts().history.memberships(user).await;
        let rooms = rooms.map_err(out_of_reach)?;
        if !self.0.parts().bridge.alone() {
            let unheard = rooms.iter().filter(|room| self.0.follow(room));
            join_all(unheard.map(|room| self.0.parts().bridge.room_up(room))).await;
        }
        Ok(rooms)
    }

    /// The rooms `user` belongs to as that user sees them, or only `only`; with names.
    pub async fn views(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<RoomView>, ErrorBody> {
        let views = named(self.0.parts(), user, only).await;
        views.map_err(out_of_reach)
    }

    /// As [`Rooms::views`], for a session that is registered and begins to hear its rooms: whatever
    /// comes after these views is delivered.
    pub async fn begin(&self, user: &UserId) -> Result<Vec<RoomView>, ErrorBody> {
        for _ in 0..READ_AGAIN {
            let views = self.views(user, None).await?;
            if self.0.parts().bridge.alone() || self.follow_from(user, &views).await {
                return Ok(views);
            }
        }
        Err(rules::unavailable())
    }

    /// How far a session that goes on here has to have been delivered each room elsewhere, to have
    /// everything: up to these views, but where nobody has spoken for so long that it has.
    pub fn heads(&self, views: &[RoomView]) -> Vec<(RoomId, Seq)> {
        let lately = self.0.parts().now().plus_millis(-LATELY);
        let stirred = |view: &&RoomView| {
            let last = view.last.as_ref();
            view.peer.is_none() || last.is_none_or(|last| last.ts >= lately)
        };
        let stirred = views.iter().filter(stirred);
        stirred.map(|view| (view.id.clone(), view.head)).collect()
    }

    /// Makes sure that the relays of this node were handed everything up to these heads; answers
    /// whether they were.
    pub async fn reach(&self, heads: &[(RoomId, Seq)]) -> bool {
        let behind = heads.iter().filter(|(room, head)| {
            let delivered = self.0.delivered(room);
            delivered.is_none_or(|delivered| delivered < *head)
        });
        let reached = behind.map(|(room, head)| async move {
            let (to, answer) = oneshot::channel();
            let posted = self.0.post(room, Mail::Reach(*head, to), false);
            posted.is_ok() && answer.await.unwrap_or(false)
        });
        join_all(reached).await.into_iter().all(|reached| reached)
    }

    /// What a view has need not be delivered; what comes after it must be. Answers whether it is.
    async fn follow_from(&self, user: &UserId, views: &[RoomView]) -> bool {
        let lately = self.0.parts().now().plus_millis(-LATELY);
        for view in views {
            let followed = match &view.peer {
                None => self.0.begin_after(&view.id, view.head).await,
                Some(peer) => {
                    let last = view.last.as_ref();
                    if last.is_some_and(|last| last.ts < lately) {
                        continue;
                    }
                    // Of a room of two, another session may not even have been told.
                    let relays = &self.0.parts().relays;
                    if relays.sessions_of([user, &peer.id]) > 1
                        && self.0.delivered(&view.id).is_none()
                    {
                        self.0.doubt(&view.id);
                        continue;
                    }
                    self.0.begin_after(&view.id, view.head).await
                }
            };
            if !followed {
                return false;
            }
        }
        true
    }

    /// Takes in what another node said of a room.
    pub fn hear(&self, news: RoomNews) {
        self.0.hear(news);
    }

    /// The bus may have lost messages: what somebody here should have heard is compared with
    /// history.
    pub fn restored(&self) {
        self.0.look_soon();
    }

    /// How many rooms are in memory.
    pub fn live(&self) -> usize {
        self.0.live()
    }

    /// How many commands were taken in and are not answered yet.
    pub fn owed(&self) -> usize {
        self.0.parts().owed.count()
    }

    /// Waits until every command taken in is answered.
    pub async fn drained(&self) {
        self.0.parts().owed.none().await;
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms")
            .field("live", &self.live())
            .finish_non_exhaustive()
    }
}
