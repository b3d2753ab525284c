//! The history port: the log of every room, and what is derived from it.
//!
//! **The store is the sequencer.** [`History::append`] compares the head it is given with the head
//! it has, so two room actors on two nodes cannot fork a log: the loser gets
//! [`AppendError::Conflict`], reads what it missed and tries again. Membership, settings and the
//! folded messages are derived from entries; a backend updates them in the same transaction as the
//! entry, or afterwards, idempotently, by the seq last applied.
//!
//! What is older than the operator keeps expires ([`retention`]): from the front of a log, never its head,
//! so that what is left has no hole, and [`History::first`] says where it begins.
//!
//! Every backend passes `tests/conformance/history.rs`.

#[cfg(feature = "mongodb")]
pub mod mongodb;
pub mod retention;
pub mod sqlite;

use async_trait::async_trait;
use shared::{
    id::{Epoch, Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{Entry, EntryBody, Message, Role, RoomKind, RoomView},
};

/// Durable rooms. All methods may be called from any thread and wait on I/O, never on a lock.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// Appends `entries` after `expected_head`, in order.
    ///
    /// Atomic per entry and durable on return: it survives the loss of any one process. An entry
    /// is a message whose `(room, user, nonce)` is known already: it is not appended again, its
    /// outcome is the first one's position with `dup`, and the entries after it close ranks, so
    /// seq stays dense. The log of a room begins with an append at [`Seq::ZERO`] whose first entry
    /// is a [`EntryBody::Room`] with `created`; that makes the room and its epoch.
    ///
    /// What an entry says is folded as it stands, without asking whether it was allowed: that is
    /// the room's business. What cannot apply (an edit of a deleted message, a reaction that is
    /// there already, a role for a stranger) stays in the log and changes nothing. Deleting a
    /// message takes its words, and those of its edits, out of the log as well: the entries keep
    /// their positions and lose `text`, `mentions` and `data`.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when the head is another one (0 when there is no such room):
    /// nothing was appended, and the nonces were not looked up.
    /// [`AppendError::Unavailable`] when the outcome is not known or the store is out of reach:
    /// some prefix of the entries may stand; a retry finds messages by their nonce.
    async fn append(
        &self,
        room: &RoomId,
        expected_head: Seq,
        entries: Vec<NewEntry>,
    ) -> Result<Vec<Outcome>, AppendError>;

    /// What a room actor starts from; `None` when there is no such room.
    async fn room(&self, room: &RoomId) -> Result<Option<RoomRecord>, HistoryError>;

    /// Up to `limit` entries after `after`, or from the first that is still kept when that is later,
    /// ascending and without a hole.
    async fn log(&self, room: &RoomId, after: Seq, limit: u32) -> Result<Vec<Entry>, HistoryError>;

    /// A page of messages as they now read, ascending.
    ///
    /// # Errors
    /// [`HistoryError::NoRoom`] when there is no such room.
    async fn page(&self, room: &RoomId, at: Cursor, limit: u32) -> Result<Page, HistoryError>;

    /// Messages by position, as they now read; a position that is no message is left out.
    async fn messages(&self, room: &RoomId, seqs: &[Seq]) -> Result<Vec<Message>, HistoryError>;

    /// Where the message that `user` sent under `nonce` stands, if it stands: how a retry is
    /// recognised although the sender could not send it any more (muted since, or gone).
    async fn sent(
        &self,
        room: &RoomId,
        user: &UserId,
        nonce: &Nonce,
    ) -> Result<Option<Outcome>, HistoryError>;

    /// Whether `user`'s reaction with `emoji` stands on a message: asked only when the folded
    /// message names fewer people than it counts.
    async fn reacted(
        &self,
        room: &RoomId,
        seq: Seq,
        user: &UserId,
        emoji: &str,
    ) -> Result<bool, HistoryError>;

    /// The rooms `user` belongs to, direct-message rooms apart: what a session subscribes to
    /// before it reads [`History::views`], so that nothing falls between the two.
    async fn memberships(&self, user: &UserId) -> Result<Vec<RoomId>, HistoryError>;

    /// The rooms `user` belongs to as that user sees them, or only `only` of them. Names of
    /// people are not known here: `peer.name` is `None`.
    async fn views(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<RoomView>, HistoryError>;

    /// Up to `limit` lobbies that nobody is in: whoever was to remove them may have crashed.
    async fn deserted_lobbies(&self, limit: u32) -> Result<Vec<RoomId>, HistoryError>;

    /// Moves `user`'s read marker to `seq`, but not past the head, unless it is further already;
    /// answers where it is now ([`Seq::ZERO`] for a stranger). A member's marker begins at the
    /// entry that brought them in: what was said before is not unread. Idempotent and monotonic.
    /// It may be durable only soon after: losing the last one in a crash shows a message as unread
    /// again.
    async fn mark_read(&self, room: &RoomId, user: &UserId, seq: Seq) -> Result<Seq, HistoryError>;

    /// Messages that contain all words of the query, newest first, only from rooms the caller
    /// belongs to. Deleted messages are never found, edited ones by what they now say.
    async fn search(&self, query: &Search) -> Result<Found, HistoryError>;

    /// Where the logs of these rooms stand, in any order; what is no room is left out. What a
    /// node knows is compared with it, so it has to be cheap for a thousand at once.
    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, HistoryError>;

    /// What these users may have missed since a time, by the times of the entries.
    async fn since(&self, users: &[UserId], since: Timestamp) -> Result<Missed, HistoryError>;

    /// Forgets a room and its log, if its head is still `at`; answers whether the room is gone.
    /// Nothing that was appended meanwhile, by whatever node, is forgotten with it. Idempotent.
    async fn remove(&self, room: &RoomId, at: Seq) -> Result<bool, HistoryError>;

    /// The first entry that is still kept of a room's log: 1 until something expired, at most the head;
    /// [`Seq::ZERO`] when there is no such room. It never goes back, and nothing after it is missing.
    async fn first(&self, room: &RoomId) -> Result<Seq, HistoryError>;

    /// Rooms of a kind whose logs begin before a time and in which something may expire; perhaps some
    /// in which nothing does. Looks at a bounded number of rooms, from the first one on or from where an
    /// earlier answer ended ([`Overdue::next`]).
    async fn overdue(
        &self,
        kind: RoomKind,
        before: Timestamp,
        from: Option<String>,
    ) -> Result<Overdue, HistoryError>;

    /// Forgets what a room's log begins with from before a time: up to the first entry of that time or
    /// later, never the head, and a bounded number at once.
    ///
    /// With a message goes what is derived from it: words, reactions, mentions, its nonce, its part in
    /// what is unread. Who belongs to the room, its settings and all read markers stay, and seqs go on. The entries are out of
    /// sight when this returns; [`Expired::more`] says whether there is more to do, which may be no
    /// more than taking them off the disk. Idempotent; two nodes that do it at once do it once.
    async fn expire(&self, room: &RoomId, before: Timestamp) -> Result<Expired, HistoryError>;

    /// Whether the store answers and what is said can be kept, for readiness. What the last writes
    /// came to is part of the answer; a store that refused them finds out by itself when it could
    /// take them again.
    async fn ping(&self) -> Result<(), HistoryError>;
}

/// An entry that has no position yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntry {
    /// Who makes it.
    pub user: UserId,
    /// When the node took it in.
    pub ts: Timestamp,
    /// What changes.
    pub body: EntryBody,
}

/// Where an entry stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Its position, or that of the first with its nonce.
    pub seq: Seq,
    /// The time it was first taken in.
    pub ts: Timestamp,
    /// It stood there already.
    pub dup: bool,
}

/// Why an append did not happen, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The room's head is not the expected one; nothing was appended.
    #[error("the room's head is {head}, not the expected one")]
    Conflict {
        /// The head as it is.
        head: Seq,
    },
    /// Out of reach, or the outcome is not known.
    #[error("history is out of reach: {0}")]
    Unavailable(String),
    /// The store's own queue is full; nothing was appended.
    #[error("history has more to write than it can")]
    Busy,
    /// The log of a room that does not exist must begin with its creation; nothing was appended.
    #[error("the log of a room begins with its creation")]
    NotCreated,
}

/// Why a question to history has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Out of reach.
    #[error("history is out of reach: {0}")]
    Unavailable(String),
    /// The query cannot be run as it is.
    #[error("{0}")]
    Invalid(String),
    /// There is no such room.
    #[error("there is no such room")]
    NoRoom,
}

/// A room as its actor needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRecord {
    /// The room.
    pub id: RoomId,
    /// Its kind.
    pub kind: RoomKind,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// The least time between two messages of one member, in ms; 0 is off.
    pub slow_mode_ms: u32,
    /// The identity of its log.
    pub epoch: Epoch,
    /// The newest entry.
    pub head: Seq,
    /// Its members in the order they came in: the room falls to the senior one when its owner goes.
    pub members: Vec<MemberRecord>,
    /// Who may not come in, and until when (`None`: never again).
    pub bans: Vec<(UserId, Option<Timestamp>)>,
}

/// A member as the room's actor needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// Who.
    pub user: UserId,
    /// The role.
    pub role: Role,
    /// Muted, and until when: `Some(None)` for good.
    pub muted: Option<Option<Timestamp>>,
    /// How far the member has read. Who comes in has read up to the entry that says so.
    pub read: Seq,
}

/// What users may have missed since a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missed {
    /// Direct-message rooms of theirs whose newest entry is of that time or later, once each.
    pub direct: Vec<Stirred>,
    /// Who came into which other room then or later and is still in, and the entry that says so.
    pub joined: Vec<(UserId, RoomId, Seq)>,
}

/// A room in which something happened lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stirred {
    /// The room.
    pub room: RoomId,
    /// The newest entry before that time; [`Seq::ZERO`] when there is none.
    pub before: Seq,
    /// The newest entry.
    pub head: Seq,
}

/// Where something may expire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overdue {
    /// The rooms.
    pub rooms: Vec<RoomId>,
    /// For the next ones; `None` when all rooms were looked at.
    pub next: Option<String>,
}

/// What expired in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// How many entries.
    pub entries: u64,
    /// There is more to do.
    pub more: bool,
}

/// Where a page of messages lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// The newest.
    Newest,
    /// The ones right before a position.
    Before(Seq),
    /// The ones right after a position.
    After(Seq),
    /// Half before (the smaller half) and half from a position on; a short side is not made up
    /// for by the other.
    Around(Seq),
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Messages as they now read, ascending.
    pub items: Vec<Message>,
    /// There are older ones.
    pub has_before: bool,
    /// There are newer ones.
    pub has_after: bool,
    /// The first entry of the log that is still kept.
    pub first: Seq,
    /// The identity of the log.
    pub epoch: Epoch,
}

/// A search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Who asks.
    pub user: UserId,
    /// Words; a word may end in `*` for a prefix.
    pub text: String,
    /// Only in this room.
    pub room: Option<RoomId>,
    /// Only by this author.
    pub author: Option<UserId>,
    /// Continue after this answer's last ([`Found::next`]).
    pub after: Option<String>,
    /// At most so many, 1–100.
    pub limit: u32,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Messages with their rooms, newest first.
    pub items: Vec<(RoomId, Message)>,
    /// For the next page; `None` on the last.
    pub next: Option<String>,
}
