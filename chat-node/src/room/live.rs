//! A room at work: takes commands one after the other, asks the state what each comes to, and
//! does it. One turn at a time: while an append is in flight, everything else waits in the
//! mailbox and is the next turn's batch.

use std::{collections::VecDeque, sync::Arc};

use metrics::{Counter, Histogram};
use shared::{
    codes::ErrorCode,
    id::{RoomId, Seq, Timestamp, UserId},
    protocol::{
        codec::SharedEvent,
        command::{Command, MessageSend, RoomMembers, RoomSync, Switch},
        event::Event,
        reply::{Appended, Empty, ErrorBody, MembersReply, ReadReply, Synced},
        room::{EntryBody, RoomKind},
    },
};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::{
    Access, Caller, Clock, Reply, ReplyBody, RoomNews, RoomSettings,
    ask::{Ask, Owed},
    batch::Batch,
    rules,
    state::{Decision, Facts, Policy, Question, RoomState, Tie},
    typing::Typing,
};
use crate::{
    bridge::{Bridge, BusMessage},
    friends::FriendCache,
    history::{AppendError, Cursor, History, HistoryError},
    overload::{Overload, Shed},
    transport::{
        outbox::StateKey,
        relay::{Audience, Relays},
    },
};

/// Messages read at once when looking back for who spoke lately.
const LOOK_BACK: u32 = 100;
/// How often, at most.
const LOOK_BACK_PAGES: usize = 10;

/// What all rooms of a node work with.
pub(super) struct Parts {
    pub(super) history: Arc<dyn History>,
    pub(super) friends: Arc<FriendCache>,
    pub(super) bridge: Arc<Bridge>,
    pub(super) relays: Relays,
    pub(super) overload: Overload,
    pub(super) settings: RoomSettings,
    pub(super) policy: Policy,
    pub(super) clock: Clock,
    pub(super) owed: Arc<Owed>,
    pub(super) gauges: Gauges,
}

impl Parts {
    /// Tells the other nodes.
    pub(super) fn tell(&self, news: RoomNews) {
        let topics = news.topics();
        let message = BusMessage::Room(news);
        for topic in topics {
            self.bridge.publish(topic, &message);
        }
    }
}

/// Handles of metrics that are too hot to look up by name.
pub(super) struct Gauges {
    pub(super) batch_entries: Histogram,
    pub(super) conflicts: Counter,
    pub(super) repairs: Counter,
}

impl Gauges {
    pub(super) fn new() -> Self {
        Self {
            batch_entries: metrics::histogram!("fireside_room_batch_entries"),
            conflicts: metrics::counter!("fireside_room_conflicts_total"),
            repairs: metrics::counter!("fireside_room_repairs_total"),
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
    /// What somebody may see.
    Authorize(Caller, oneshot::Sender<Result<Access, ErrorBody>>),
    /// Who is in, for presence.
    Watchable(Caller, oneshot::Sender<Result<Vec<UserId>, ErrorBody>>),
}

/// What is known of the room.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing yet.
    Nothing,
    /// There is none.
    Absent,
    /// This, and history may have more only if another node wrote it.
    State(Box<RoomState>),
}

/// A room at work.
pub(super) struct Room {
    pub(super) parts: Arc<Parts>,
    pub(super) id: RoomId,
    pub(super) known: Known,
    /// Everything up to here went to the relays of this node; `None`: whatever stands when the
    /// room is loaded is no news.
    pub(super) delivered: Option<Seq>,
    /// History may have more than the state: nothing is decided before it was read.
    pub(super) behind: bool,
    pub(super) typing: Typing,
    pub(super) queue: VecDeque<Mail>,
}

impl Room {
    /// A room of which nothing is known, but that this node's relays have everything up to
    /// `delivered`.
    pub(super) fn new(parts: Arc<Parts>, id: RoomId, delivered: Option<Seq>) -> Self {
        Self {
            parts,
            id,
            known: Known::Nothing,
            delivered,
            behind: false,
            typing: Typing::default(),
            queue: VecDeque::new(),
        }
    }

    /// A room that is about to be made, under an id that nobody else has.
    pub(super) fn unborn(parts: Arc<Parts>, id: RoomId) -> Self {
        Self {
            known: Known::Absent,
            ..Self::new(parts, id, None)
        }
    }

    /// Does everything in the queue.
    pub(super) async fn turn(&mut self) {
        // Whoever cannot be helped while history is away is told so by `caught_up` below.
        let _ = self.caught_up().await;
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
                Mail::Doubt => self.behind = true,
                Mail::Authorize(caller, answer) => {
                    let access = self.access(&caller).await;
                    let _ = answer.send(access);
                }
                Mail::Watchable(caller, answer) => {
                    let members = self.watchable(&caller).await;
                    let _ = answer.send(members);
                }
                Mail::Ask(_) => {}
            }
        }
        let _ = self.caught_up().await;
    }

    /// Whether there is no such room, and so nothing to keep alive.
    pub(super) fn absent(&self) -> bool {
        matches!(self.known, Known::Absent)
    }

    /// Whether it is a lobby that everybody left.
    pub(super) fn deserted(&self) -> bool {
        self.state()
            .is_some_and(|s| s.kind() == RoomKind::Lobby && s.members().len() == 0)
    }

    /// Removes a lobby that is still deserted.
    pub(super) async fn remove_deserted(&mut self) {
        if self.caught_up().await.is_err() || !self.deserted() {
            return;
        }
        match self.parts.history.remove(&self.id).await {
            Ok(()) => {
                self.parts.relays.forget(&self.id);
                self.known = Known::Absent;
                tracing::debug!(room = %self.id, "removed a deserted lobby");
            }
            Err(error) => tracing::warn!(room = %self.id, %error, "cannot remove a lobby"),
        }
    }

    pub(super) fn state(&self) -> Option<&RoomState> {
        match &self.known {
            Known::State(state) => Some(state),
            _ => None,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.parts.clock)()
    }

    async fn take(&mut self, mut ask: Ask, batch: &mut Batch) {
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
                Decision::Consult(question) => {
                    match self.consult(&ask, question, &mut facts).await {
                        Ok(()) => continue,
                        Err(error) => return ask.answer.give(Err(error)),
                    }
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
                    return self.confirm(ask, standing).await;
                }
                Decision::Permit => return self.perform(ask).await,
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

    /// Appends a batch; afterwards its commands are answered, or back in the queue.
    async fn flush(&mut self, batch: Batch) {
        let Some(head) = self.state().map(RoomState::head) else {
            return self.requeue(batch);
        };
        self.parts.gauges.batch_entries.record(batch.len() as f64);
        let history = self.parts.history.clone();
        match history.append(&self.id, head, batch.entries()).await {
            Ok(outcomes) => {
                let (asks, entries) = batch.stood(&outcomes);
                // First the answers, so that a sender's `ok` is ahead of the echo.
                let mut slow = Vec::new();
                for (ask, stands) in asks {
                    if answers_room(&ask.command) {
                        slow.push((ask, stands));
                    } else {
                        self.typing.said(&ask.caller.user);
                        ask.answer.give(Ok(ReplyBody::Appended(stands)));
                    }
                }
                self.deliver_own(entries).await;
                for (ask, stands) in slow {
                    self.confirm(ask, stands).await;
                }
            }
            Err(AppendError::Conflict { head: theirs }) => {
                self.parts.gauges.conflicts.increment(1);
                self.behind = true;
                if theirs < head {
                    // The log is shorter than what was delivered: it was lost or removed.
                    self.known = Known::Nothing;
                }
                self.requeue(batch);
            }
            Err(AppendError::NotCreated) => {
                self.known = Known::Nothing;
                self.requeue(batch);
            }
            Err(AppendError::Busy) => refuse(batch, &rules::busy()),
            Err(AppendError::Unavailable(error)) => {
                tracing::warn!(room = %self.id, %error, "an append has no known outcome");
                // Some of it may stand: it is read, and delivered, before anything else is decided.
                self.behind = true;
                refuse(batch, &rules::unavailable());
            }
        }
    }

    /// Puts a batch's commands back, to be decided again on what stands by then.
    fn requeue(&mut self, batch: Batch) {
        for ask in batch.into_asks().rev() {
            self.queue.push_front(Mail::Ask(ask));
        }
    }

    async fn consult(
        &mut self,
        ask: &Ask,
        question: Question,
        facts: &mut Facts,
    ) -> Result<(), ErrorBody> {
        let history = self.parts.history.clone();
        match question {
            Question::Tie(other) => {
                facts.tie = Some(self.tie(&ask.caller.user, &other).await?);
            }
            Question::Message(seq) => {
                let found = history
                    .messages(&self.id, &[seq])
                    .await
                    .map_err(out_of_reach)?;
                let known = match &mut self.known {
                    Known::State(state) => state.learn(seq, found.first()),
                    _ => false,
                };
                if !known {
                    return Err(rules::no_message());
                }
            }
            Question::Reacted(seq) => {
                let (Command::ReactionAdd(react) | Command::ReactionRemove(react)) = &ask.command
                else {
                    return Err(ErrorBody::new(ErrorCode::Internal, "not a reaction"));
                };
                let reacted = history.reacted(&self.id, seq, &ask.caller.user, &react.emoji);
                facts.reacted = Some(reacted.await.map_err(out_of_reach)?);
            }
        }
        Ok(())
    }

    /// How two people stand to each other, from the first one's graph.
    pub(super) async fn tie(&self, user: &UserId, other: &UserId) -> Result<Tie, ErrorBody> {
        let graph = self.parts.friends.load(user).await.map_err(|error| {
            tracing::warn!(%user, %error, "cannot tell who is whose friend");
            rules::unavailable()
        })?;
        Ok(Tie {
            friends: graph.friends.contains_key(other),
            unblocked: graph.unblocked(other),
        })
    }

    /// A send the rules refuse now may be the retry of one that stands.
    async fn refuse_new_send(&mut self, ask: Ask, error: ErrorBody) {
        let Command::MessageSend(MessageSend { nonce, .. }) = &ask.command else {
            return ask.answer.give(Err(error));
        };
        let sent = self.parts.history.sent(&self.id, &ask.caller.user, nonce);
        let reply = match sent.await {
            Ok(Some(first)) => Ok(ReplyBody::Appended(Appended {
                seq: first.seq,
                ts: first.ts,
                dup: true,
            })),
            Ok(None) => Err(error),
            Err(error) => Err(out_of_reach(error)),
        };
        ask.answer.give(reply);
    }

    /// Answers a command whose entries stand.
    async fn confirm(&mut self, ask: Ask, stands: Appended) {
        let reply = if answers_room(&ask.command) {
            self.view(&ask.caller, Some(stands)).await
        } else {
            Ok(ReplyBody::Appended(stands))
        };
        ask.answer.give(reply);
    }

    /// Does what was permitted and leaves no entry.
    async fn perform(&mut self, ask: Ask) {
        let Ask {
            caller,
            command,
            answer,
        } = ask;
        let reply = match &command {
            Command::RoomGet(_) => self.view(&caller, None).await,
            Command::RoomMembers(page) => self.members(page).await,
            Command::RoomSync(sync) => self.sync(sync).await,
            Command::Typing(typing) => self.types(&caller, typing),
            Command::Read(read) => self.read(&caller, read.seq).await,
            _ => Ok(ReplyBody::Empty(Empty {})),
        };
        answer.give(reply);
    }

    async fn members(&self, page: &RoomMembers) -> Reply {
        let limit = page_limit(page.limit)?;
        let state = self.state().ok_or_else(rules::no_room)?;
        let mut members = state.member_page(page.after.as_ref(), limit as usize + 1);
        let more = members.len() > limit as usize;
        members.truncate(limit as usize);
        let next = members.last().filter(|_| more).map(|last| last.id.clone());
        let ids: Vec<UserId> = members.iter().map(|m| m.id.clone()).collect();
        let mut names = self.parts.friends.names(&ids).await;
        for member in &mut members {
            member.name = names.remove(&member.id);
        }
        Ok(ReplyBody::Members(MembersReply { members, next }))
    }

    async fn sync(&self, sync: &RoomSync) -> Reply {
        let limit = page_limit(sync.limit)?;
        let state = self.state().ok_or_else(rules::no_room)?;
        let other_log = sync
            .epoch
            .as_ref()
            .is_some_and(|epoch| epoch != state.epoch());
        if other_log || sync.after > state.head() {
            return Ok(ReplyBody::Synced(Synced {
                epoch: state.epoch().clone(),
                head: state.head(),
                reset: true,
                entries: Vec::new(),
                more: false,
            }));
        }
        let log = self.parts.history.log(&self.id, sync.after, limit);
        let entries = log.await.map_err(out_of_reach)?;
        let last = entries.last().map_or(sync.after, |last| last.seq);
        let head = state.head().max(last);
        Ok(ReplyBody::Synced(Synced {
            epoch: state.epoch().clone(),
            head,
            reset: false,
            entries,
            more: last < head,
        }))
    }

    fn types(&mut self, caller: &Caller, typing: &Switch) -> Reply {
        let done = Ok(ReplyBody::Empty(Empty {}));
        let now = self.now();
        let Some(state) = self.state() else {
            return done;
        };
        let seen = state.members().len() <= rules::MAX_TYPING_MEMBERS;
        if !seen || !self.parts.overload.allows(Shed::Typing) {
            return done;
        }
        if !self.typing.set(&caller.user, typing.on, now) {
            return done;
        }
        let hidden = self.hidden_from(&caller.user);
        self.show_typing(&caller.user, typing.on, &hidden);
        if !self.parts.bridge.alone() {
            self.parts.tell(RoomNews::Typing {
                room: self.id.clone(),
                users: self.state().and_then(RoomState::pair),
                user: caller.user.clone(),
                on: typing.on,
                hidden,
            });
        }
        done
    }

    /// Members who may not see what `user` is about to say: one blocked the other.
    fn hidden_from(&self, user: &UserId) -> Vec<UserId> {
        let (Some(state), Some(graph)) = (self.state(), self.parts.friends.graph(user)) else {
            return Vec::new();
        };
        let apart = graph.blocked.iter().chain(&graph.blocked_by);
        apart
            .filter(|other| state.member(other).is_some())
            .cloned()
            .collect()
    }

    pub(super) fn show_typing(&self, user: &UserId, on: bool, hidden: &[UserId]) {
        let Some(state) = self.state() else {
            return;
        };
        let audience = if hidden.is_empty() {
            self.audience()
        } else {
            let seen = state.members().filter(|member| !hidden.contains(*member));
            Audience::Users(seen.cloned().collect())
        };
        let event = Arc::new(SharedEvent::new(Event::Typing {
            room: self.id.clone(),
            user: user.clone(),
            on,
        }));
        let key = StateKey::Typing(self.id.clone(), user.clone());
        self.parts
            .relays
            .update(&audience, &key, &event, Some(user));
    }

    async fn read(&mut self, caller: &Caller, seq: Seq) -> Reply {
        let Known::State(state) = &mut self.known else {
            return Err(rules::no_room());
        };
        let user = &caller.user;
        let moved = state.mark_read(user, seq);
        let read = state
            .member(user)
            .map(|member| member.read)
            .unwrap_or_default();
        let answer = Ok(ReplyBody::Read(ReadReply { seq: read }));
        let Some(before) = moved else {
            return answer;
        };
        if let Err(error) = self.parts.history.mark_read(&self.id, user, read).await {
            if let Known::State(state) = &mut self.known {
                state.unmark_read(user, before);
            }
            return Err(out_of_reach(error));
        }
        let own_only = self.state().is_none_or(|s| !rules::shows_reads(s.kind()))
            || !self.parts.overload.allows(Shed::Receipts);
        self.show_read(user, read, own_only);
        if !self.parts.bridge.alone() {
            self.parts.tell(RoomNews::Read {
                room: self.id.clone(),
                users: self.state().and_then(RoomState::pair),
                user: user.clone(),
                seq: read,
                own_only,
            });
        }
        answer
    }

    pub(super) fn show_read(&self, user: &UserId, seq: Seq, own_only: bool) {
        let audience = if own_only {
            Audience::user(user)
        } else {
            self.audience()
        };
        let event = Arc::new(SharedEvent::new(Event::Read {
            room: self.id.clone(),
            user: user.clone(),
            seq,
        }));
        self.parts.relays.publish(&audience, &event);
    }

    async fn access(&mut self, caller: &Caller) -> Result<Access, ErrorBody> {
        self.caught_up()
            .await
            .map_err(|Away| rules::unavailable())?;
        let state = self.state().ok_or_else(rules::no_room)?;
        state.visible_to(caller)?;
        Ok(Access {
            kind: state.kind(),
            role: state.member(&caller.user).map(|member| member.role),
            epoch: state.epoch().clone(),
            head: state.head(),
            members: state.members().len() as u32,
        })
    }

    async fn watchable(&mut self, caller: &Caller) -> Result<Vec<UserId>, ErrorBody> {
        self.access(caller).await?;
        let state = self.state().ok_or_else(rules::no_room)?;
        Ok(state
            .members()
            .take(rules::MAX_TYPING_MEMBERS)
            .cloned()
            .collect())
    }

    /// Reads who spoke within slow mode's time, so that a restart lets nobody speak early.
    pub(super) async fn look_back(&mut self) -> Result<(), HistoryError> {
        let now = self.now();
        let Known::State(state) = &mut self.known else {
            return Ok(());
        };
        if state.slow_mode_ms() == 0 {
            return Ok(());
        }
        let since = now.plus_millis(-i64::from(state.slow_mode_ms()));
        let mut at = Cursor::Newest;
        for _ in 0..LOOK_BACK_PAGES {
            let page = self.parts.history.page(&self.id, at, LOOK_BACK).await?;
            for message in &page.items {
                state.recall(&message.user, message.ts);
            }
            match page.items.first() {
                Some(oldest) if oldest.ts > since && page.has_before => {
                    at = Cursor::Before(oldest.seq);
                }
                _ => break,
            }
        }
        Ok(())
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

fn page_limit(limit: Option<u32>) -> Result<u32, ErrorBody> {
    match limit.unwrap_or(100) {
        limit @ 1..=500 => Ok(limit),
        _ => Err(rules::invalid("limit goes from 1 to 500")),
    }
}

/// What a caller is told when history does not answer. Logged here, where it is handled.
pub(super) fn out_of_reach(error: HistoryError) -> ErrorBody {
    tracing::warn!(%error, "history has no answer");
    match error {
        HistoryError::Unavailable(_) => rules::unavailable(),
        HistoryError::Invalid(message) => rules::invalid(message),
        HistoryError::NoRoom => rules::no_room(),
    }
}

/// Whether an entry takes a member out.
pub(super) fn expels(body: &EntryBody) -> Option<&UserId> {
    use shared::protocol::room::MemberAction::{Ban, Kick, Leave};
    match body {
        EntryBody::Member(change) if matches!(change.action, Leave | Kick | Ban) => {
            Some(&change.member)
        }
        _ => None,
    }
}

/// Whether an entry brings a member in.
pub(super) fn admits(body: &EntryBody) -> Option<&UserId> {
    use shared::protocol::room::MemberAction::Join;
    match body {
        EntryBody::Member(change) if change.action == Join => Some(&change.member),
        _ => None,
    }
}
