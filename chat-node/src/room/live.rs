//! A room at work: takes commands one after the other, asks the state what each comes to, and
//! does it. One turn at a time: while an append is in flight, everything else waits in the
//! mailbox and is the next turn's batch.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use shared::{
    id::{RoomId, Seq, Timestamp, UserId},
    protocol::{
        command::Command,
        reply::{Appended, ErrorBody},
        room::RoomKind,
    },
    telemetry::Sparing,
    trace::{self, TraceContext},
};
use smallvec::SmallVec;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Access, Caller, Clock, Followed, ReplyBody, RoomNews, RoomSettings,
    ask::{Ask, Owed},
    batch::Batch,
    delivery::heard,
    gauges::Gauges,
    place::{Known, Place},
    rules,
    state::{Decision, Facts, Policy, Question, RoomState},
    turns::Turns,
    typing::Typing,
};
use crate::{
    bridge::{Bridge, BusMessage},
    friends::{FriendCache, Graph},
    history::{AppendError, History},
    overload::{Overload, Shed},
    presence::{Opened, Presence},
    transport::{SessionKey, relay::Relays},
};

/// How long what is known of a room is believed that other nodes may change untold.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// What all rooms of a node work with.
pub(super) struct Parts {
    pub(super) history: Arc<dyn History>,
    pub(super) friends: Arc<FriendCache>,
    pub(super) bridge: Arc<Bridge>,
    pub(super) relays: Relays,
    pub(super) presence: Presence,
    pub(super) overload: Overload,
    pub(super) settings: RoomSettings,
    pub(super) policy: Policy,
    pub(super) clock: Clock,
    pub(super) owed: Arc<Owed>,
    pub(super) gauges: Gauges,
}

impl Parts {
    /// Who is whose friend. Of somebody with a session here it is what is known, at once: events
    /// keep it true, and when store-api is away nobody waits for it.
    pub(super) async fn graph(&self, user: &UserId) -> Result<Arc<Graph>, ErrorBody> {
        if self.relays.is_online(user)
            && let Some(graph) = self.friends.graph(user)
        {
            return Ok(graph);
        }
        self.friends.load(user).await.map_err(|error| {
            tracing::warn!(%user, %error, "cannot tell who is whose friend");
            rules::unavailable()
        })
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Tells the other nodes.
    pub(super) fn tell(&self, news: RoomNews) {
        let topics = news.topics();
        let message = BusMessage::Room(news);
        for topic in topics {
            self.bridge.publish(topic, &message);
        }
    }
}

/// What arrives in a room's mailbox.
pub(super) enum Mail {
    /// A command.
    Ask(Ask),
    /// What another node said.
    News(RoomNews),
    /// Another node may have said something that was lost: compare with history.
    Doubt,
    /// Somebody here begins to hear the room who has everything up to there. Answers whether
    /// whatever comes after it will be delivered.
    Begin(Seq, oneshot::Sender<bool>),
    /// A session that hears the room here goes on elsewhere, where what comes after that is delivered.
    /// Answers whether all up to it was delivered here.
    Reach(Seq, oneshot::Sender<bool>),
    /// What somebody may see.
    Authorize(Caller, oneshot::Sender<Result<Access, ErrorBody>>),
    /// A session has the room open and is to see its members' presence.
    Open(
        Caller,
        SessionKey,
        oneshot::Sender<Result<Opened, ErrorBody>>,
    ),
}

/// A room at work.
pub(super) struct Room {
    pub(super) parts: Arc<Parts>,
    pub(super) id: RoomId,
    pub(super) place: Place,
    /// Who came in, as another node said while history could not be read.
    pub(super) later: Vec<RoomNews>,
    /// History did not answer in this turn: nobody else in it waits for that again.
    pub(super) away: bool,
    /// When it was last compared with history although nothing is heard of it here.
    compared: Instant,
    pub(super) turns: Turns,
    pub(super) typing: Typing,
    /// Whose read marker history did not take.
    pub(super) unstored: Arc<Mutex<HashSet<UserId>>>,
    pub(super) queue: VecDeque<Mail>,
}

impl Room {
    /// A room of which nothing is known, but that this node's relays have everything up to
    /// `delivered`.
    pub(super) fn new(parts: Arc<Parts>, id: RoomId, delivered: Option<Seq>) -> Self {
        Self {
            parts,
            id,
            place: Place::new(delivered),
            later: Vec::new(),
            away: false,
            compared: Instant::now(),
            turns: Turns::default(),
            typing: Typing::default(),
            unstored: Arc::default(),
            queue: VecDeque::new(),
        }
    }

    /// A room that is about to be made, under an id that nobody else has.
    pub(super) fn unborn(parts: Arc<Parts>, id: RoomId) -> Self {
        let mut room = Self::new(parts, id, None);
        room.place.known = Known::Absent;
        room
    }

    /// Does everything in the queue.
    pub(super) async fn turn(&mut self) {
        self.away = false;
        self.mistrust();
        self.begin_where_told();
        // What others said is delivered before history is waited for, which may be away.
        if !matches!(self.queue.front(), Some(Mail::News(_))) {
            let _ = self.caught_up().await;
        }
        let mut batch = Batch::default();
        loop {
            let Some(mail) = self.queue.pop_front() else {
                if batch.is_empty() {
                    break;
                }
                self.flush(std::mem::take(&mut batch)).await;
                continue;
            };
            if let Mail::Ask(ask) = mail {
                self.take(ask, &mut batch).await;
                continue;
            }
            if !batch.is_empty() {
                self.queue.push_front(mail);
                self.flush(std::mem::take(&mut batch)).await;
                continue;
            }
            match mail {
                Mail::News(news) => self.hear(news).await,
                Mail::Doubt => self.place.behind = true,
                Mail::Begin(head, answer) => {
                    let _ = answer.send(self.place.covers(head));
                }
                Mail::Reach(head, answer) => {
                    let reached = self.reach(head).await;
                    let _ = answer.send(reached);
                }
                Mail::Authorize(caller, answer) => {
                    let access = self.access(&caller).await;
                    let _ = answer.send(access);
                }
                Mail::Open(caller, session, answer) => {
                    let opened = self.open_for(&caller, session).await;
                    let _ = answer.send(opened);
                }
                Mail::Ask(_) => {}
            }
        }
        let _ = self.caught_up().await;
    }

    /// What other nodes did to a room that nobody here hears, or while the link to them is broken,
    /// nobody tells: a member may have been put out. It is compared with history, once in a while.
    fn mistrust(&mut self) {
        let bridge = &self.parts.bridge;
        let told = bridge.alone() || (bridge.linked() && heard(self));
        if !told && self.compared.elapsed() >= TRUSTED_FOR {
            self.compared = Instant::now();
            self.place.behind = true;
        }
    }

    /// Whether there is no such room, and so nothing to keep alive.
    pub(super) fn absent(&self) -> bool {
        matches!(self.place.known, Known::Absent)
    }

    /// Whether it is a lobby that everybody left.
    pub(super) fn deserted(&self) -> bool {
        self.state()
            .is_some_and(|s| s.kind() == RoomKind::Lobby && s.members().len() == 0)
    }

    /// Removes a lobby that is still deserted.
    pub(super) async fn remove_deserted(&mut self) {
        // Somebody may have come in through another node.
        self.place.behind = true;
        self.away = false;
        if self.caught_up().await.is_err() || !self.deserted() {
            return;
        }
        let Some(head) = self.state().map(RoomState::head) else {
            return;
        };
        match self.parts.history.remove(&self.id, head).await {
            // Somebody came in through another node, at this moment.
            Ok(false) => self.place.behind = true,
            Ok(true) => {
                self.parts.relays.forget(&self.id);
                self.place.known = Known::Absent;
                tracing::debug!(room = %self.id, "removed a deserted lobby");
            }
            Err(error) => tracing::warn!(room = %self.id, %error, "cannot remove a lobby"),
        }
    }

    pub(super) fn state(&self) -> Option<&RoomState> {
        self.place.state()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.now()
    }

    async fn take(&mut self, mut ask: Ask, batch: &mut Batch) {
        if self.is_ahead(&ask.command) {
            if !batch.is_empty() {
                self.queue.push_front(Mail::Ask(ask));
                return self.flush(std::mem::take(batch)).await;
            }
            self.place.behind = true;
        }
        if self.caught_up().await.is_err() {
            return ask.answer.give(Err(rules::unavailable()));
        }
        if matches!(ask.command, Command::RoomCreate(_) | Command::RoomOpenDm(_)) {
            return self.open(ask).await;
        }
        let mut facts = Facts::default();
        loop {
            let Some(state) = self.state() else {
                return ask.answer.give(Err(rules::no_room()));
            };
            let now = self.now();
            let decision = state.decide(&ask.caller, &ask.command, facts, self.parts.policy, now);
            let bodies = match decision {
                Decision::Say => SmallVec::new(),
                Decision::Append(bodies) => bodies,
                // A message may be one that is decided and not yet stored.
                Decision::Consult(Question::Message(_) | Question::Reacted(_))
                    if !batch.is_empty() =>
                {
                    self.queue.push_front(Mail::Ask(ask));
                    return self.flush(std::mem::take(batch)).await;
                }
                Decision::Consult(question) => {
                    match self.consult(&ask, question, &mut facts).await {
                        Ok(()) => continue,
                        Err(error) => return ask.answer.give(Err(error)),
                    }
                }
                // Who types or has read looks at nothing that is decided and not stored: a room
                // where everybody reads at once still stores what is said together.
                Decision::Permit
                    if matches!(ask.command, Command::Read(_) | Command::Typing(_)) =>
                {
                    return self.perform(ask);
                }
                // What else was decided looks at what stands: first let stand what is decided.
                _ if !batch.is_empty() => {
                    self.queue.push_front(Mail::Ask(ask));
                    return self.flush(std::mem::take(batch)).await;
                }
                Decision::Already => {
                    let standing = Appended {
                        seq: state.head(),
                        ts: now,
                        dup: true,
                    };
                    return self.confirm(ask, standing);
                }
                Decision::Permit => return self.perform(ask),
                Decision::Refuse(error) => return ask.answer.give(Err(error)),
                Decision::RefuseNewSend(error) => return self.refuse_new_send(ask, error).await,
            };
            if self.parts.relays.congested() || !self.parts.overload.allows(Shed::Sends) {
                return ask.answer.give(Err(rules::busy()));
            }
            if let Err(handed_back) = batch.push(ask, bodies, now, state) {
                ask = *handed_back;
                self.queue.push_front(Mail::Ask(ask));
                self.flush(std::mem::take(batch)).await;
            }
            return;
        }
    }

    /// Whether the caller knows of more than this node: another node told, and died perhaps before it
    /// told this one. To whoever is right about that, the log must not seem to be another one.
    fn is_ahead(&self, command: &Command) -> bool {
        let known = match command {
            Command::RoomSync(sync) => sync.after,
            Command::Read(read) => read.seq,
            _ => return false,
        };
        !self.parts.bridge.alone() && self.state().is_some_and(|state| state.head() < known)
    }

    /// Appends a batch; afterwards its commands are answered, or back in the queue.
    async fn flush(&mut self, batch: Batch) {
        let Some(head) = self.state().map(RoomState::head) else {
            return self.requeue(batch);
        };
        self.parts.gauges.batch_entries.record(batch.len() as f64);
        let history = self.parts.history.clone();
        let began = Instant::now();
        match history.append(&self.id, head, batch.entries()).await {
            Ok(outcomes) => {
                self.turns.appended(Instant::now(), began.elapsed());
                let (asks, entries) = batch.stood(&outcomes);
                // First the answers, so that a sender's `ok` is ahead of the echo.
                let (mut slow, mut followed) = (Vec::new(), Vec::new());
                for (ask, stands) in asks {
                    if let Some((context, since)) = ask.followed.as_deref().copied() {
                        followed.push(self.stored(context, stands.seq, since, began));
                    }
                    if answers_room(&ask.command) {
                        slow.push((ask, stands));
                    } else {
                        self.typing.said(&ask.caller.user);
                        ask.answer.give(Ok(ReplyBody::Appended(stands)));
                    }
                }
                self.deliver_own(entries, followed).await;
                for (ask, stands) in slow {
                    self.confirm(ask, stands);
                }
            }
            Err(AppendError::Conflict { head: theirs }) => {
                self.parts.gauges.conflicts.increment(1);
                self.turns.outrun(Instant::now());
                self.place.outrun(theirs);
                self.requeue(batch);
            }
            Err(AppendError::NotCreated) => {
                self.place.known = Known::Nothing;
                self.requeue(batch);
            }
            Err(AppendError::Busy) => refuse(batch, &rules::busy()),
            Err(AppendError::Unavailable(error)) => {
                outcome_unknown(&self.id, &error);
                // Some of it may stand.
                self.place.unsure(head);
                refuse(batch, &rules::unavailable());
            }
        }
    }

    /// Tells of a message that is followed and stands now: it came `since` then, and its append `began` then.
    fn stored(
        &self,
        context: TraceContext,
        seq: Seq,
        since: std::time::Instant,
        began: Instant,
    ) -> Followed {
        let of = Some((&self.id, seq));
        let waited = began.into_std().saturating_duration_since(since);
        let now = trace::now_micros();
        let at = now.saturating_sub(since.elapsed().as_micros() as u64);
        let context = trace::step_at(context, "room", at, waited, of);
        trace::step(context, "store", began.into_std(), of);
        Followed {
            seq,
            context,
            at: now,
        }
    }

    /// Puts a batch's commands back, to be decided again on what stands by then.
    fn requeue(&mut self, batch: Batch) {
        for ask in batch.into_asks().rev() {
            self.queue.push_front(Mail::Ask(ask));
        }
    }

    /// Answers a command whose entries stand.
    fn confirm(&self, ask: Ask, stands: Appended) {
        if answers_room(&ask.command) {
            self.show(ask.caller, Some(stands), ask.answer);
        } else {
            ask.answer.give(Ok(ReplyBody::Appended(stands)));
        }
    }
}

/// History cannot be reached now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away;

/// Whether the op answers with the room.
fn answers_room(command: &Command) -> bool {
    matches!(
        command,
        Command::RoomJoin(_)
            | Command::RoomUpdate(_)
            | Command::RoomInvite(_)
            | Command::RoomKick(_)
            | Command::RoomBan(_)
            | Command::RoomUnban(_)
            | Command::RoomMute(_)
            | Command::RoomUnmute(_)
            | Command::RoomRole(_)
    )
}

fn refuse(batch: Batch, error: &ErrorBody) {
    for ask in batch.into_asks() {
        ask.answer.give(Err(error.clone()));
    }
}

/// Tells the log, at most once a second for all rooms: while a disk is full every send ends here.
pub(super) fn outcome_unknown(room: &RoomId, error: &str) {
    static LINES: Sparing = Sparing::each_second();
    if let Some(more) = LINES.due() {
        tracing::warn!(%room, error, more, "an append has no known outcome");
    }
}
