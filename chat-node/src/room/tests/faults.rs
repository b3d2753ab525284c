//! What happens when history does not answer, answers late, or the room dies.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures_util::future::Either;
use shared::{
    id::Timestamp,
    protocol::room::{Entry, EntryBody, Message, MessageBody},
};

use super::{
    node::{Setup, TestNode, eventually},
    *,
};
use crate::history::{
    AppendError, Cursor, Expired, Found, History, HistoryError, Missed, NewEntry, Outcome, Overdue,
    Page, RoomRecord, Search, sqlite::SqliteHistory,
};

/// What the next append suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Fault {
    None,
    /// It is stored, and the answer is lost.
    AnswerLost,
    /// Half of it is stored, and the answer is lost.
    HalfStored,
    /// It never arrives.
    Unreachable,
    Full,
    Panic,
}

const FAULTS: [Fault; 6] = [
    Fault::None,
    Fault::AnswerLost,
    Fault::HalfStored,
    Fault::Unreachable,
    Fault::Full,
    Fault::Panic,
];

/// SQLite history behind a link that breaks on demand.
struct Link {
    inner: SqliteHistory,
    fault: AtomicU8,
    /// How many reads of the log fail from now on.
    blind: AtomicUsize,
    appends: AtomicUsize,
    /// How many read markers are not taken from now on.
    deaf: AtomicUsize,
}

impl Link {
    fn next(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }
}

fn away<T>() -> Result<T, HistoryError> {
    Err(HistoryError::Unavailable("the link is cut".into()))
}

#[async_trait]
impl History for Link {
    async fn append(
        &self,
        room: &RoomId,
        expected_head: Seq,
        mut entries: Vec<NewEntry>,
    ) -> Result<Vec<Outcome>, AppendError> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        let fault = FAULTS[usize::from(self.fault.swap(0, Ordering::SeqCst))];
        let lost = Err(AppendError::Unavailable("the link is cut".into()));
        match fault {
            Fault::None => self.inner.append(room, expected_head, entries).await,
            Fault::AnswerLost => {
                self.inner.append(room, expected_head, entries).await?;
                lost
            }
            Fault::HalfStored => {
                entries.truncate(entries.len() / 2);
                self.inner.append(room, expected_head, entries).await?;
                lost
            }
            Fault::Unreachable => lost,
            Fault::Full => Err(AppendError::Busy),
            Fault::Panic => panic!("planted"),
        }
    }

    async fn room(&self, room: &RoomId) -> Result<Option<RoomRecord>, HistoryError> {
        self.inner.room(room).await
    }

    async fn log(&self, room: &RoomId, after: Seq, limit: u32) -> Result<Vec<Entry>, HistoryError> {
        let blind = self.blind.load(Ordering::SeqCst);
        if blind > 0 {
            self.blind.store(blind - 1, Ordering::SeqCst);
            return away();
        }
        self.inner.log(room, after, limit).await
    }

    async fn page(&self, room: &RoomId, at: Cursor, limit: u32) -> Result<Page, HistoryError> {
        self.inner.page(room, at, limit).await
    }

    async fn messages(&self, room: &RoomId, seqs: &[Seq]) -> Result<Vec<Message>, HistoryError> {
        self.inner.messages(room, seqs).await
    }

    async fn sent(
        &self,
        room: &RoomId,
        user: &UserId,
        nonce: &Nonce,
    ) -> Result<Option<Outcome>, HistoryError> {
        self.inner.sent(room, user, nonce).await
    }

    async fn reacted(
        &self,
        room: &RoomId,
        seq: Seq,
        user: &UserId,
        emoji: &str,
    ) -> Result<bool, HistoryError> {
        self.inner.reacted(room, seq, user, emoji).await
    }

    async fn deserted_lobbies(&self, limit: u32) -> Result<Vec<RoomId>, HistoryError> {
        self.inner.deserted_lobbies(limit).await
    }

    async fn memberships(&self, user: &UserId) -> Result<Vec<RoomId>, HistoryError> {
        self.inner.memberships(user).await
    }

    async fn views(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<RoomView>, HistoryError> {
        self.inner.views(user, only).await
    }

    async fn mark_read(&self, room: &RoomId, user: &UserId, seq: Seq) -> Result<Seq, HistoryError> {
        let deaf = self.deaf.load(Ordering::SeqCst);
        if deaf > 0 {
            self.deaf.store(deaf - 1, Ordering::SeqCst);
            return away();
        }
        self.inner.mark_read(room, user, seq).await
    }

    async fn search(&self, query: &Search) -> Result<Found, HistoryError> {
        self.inner.search(query).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, HistoryError> {
        self.inner.heads(rooms).await
    }

    async fn since(&self, users: &[UserId], since: Timestamp) -> Result<Missed, HistoryError> {
        self.inner.since(users, since).await
    }

    async fn remove(&self, room: &RoomId, at: Seq) -> Result<bool, HistoryError> {
        self.inner.remove(room, at).await
    }

    async fn first(&self, room: &RoomId) -> Result<Seq, HistoryError> {
        self.inner.first(room).await
    }

    async fn overdue(
        &self,
        kind: RoomKind,
        before: Timestamp,
        from: Option<String>,
    ) -> Result<Overdue, HistoryError> {
        self.inner.overdue(kind, before, from).await
    }

    async fn expire(&self, room: &RoomId, before: Timestamp) -> Result<Expired, HistoryError> {
        self.inner.expire(room, before).await
    }

    async fn ping(&self) -> Result<(), HistoryError> {
        self.inner.ping().await
    }
}

async fn node() -> (TestNode, Arc<Link>) {
    let link = Arc::new(Link {
        inner: SqliteHistory::in_memory().unwrap(),
        fault: AtomicU8::new(0),
        blind: AtomicUsize::new(0),
        appends: AtomicUsize::new(0),
        deaf: AtomicUsize::new(0),
    });
    let node = TestNode::with(Setup {
        history: link.clone(),
        ..Setup::default()
    })
    .await;
    (node, link)
}

#[actix_rt::test]
async fn what_was_stored_without_an_answer_is_delivered_and_never_doubled() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let mut b = node.listen("b").await;
    for fault in [Fault::AnswerLost, Fault::HalfStored, Fault::Unreachable] {
        let before = node.head(&room).await;
        let nonces: Vec<String> = (0..20).map(|n| format!("{fault:?}-{n}")).collect();
        let send = |nonce: &String| node.ask(by("a"), say(&room, nonce));
        link.next(fault);
        let replies = futures_util::future::join_all(nonces.iter().map(send)).await;
        let lost = replies.iter().filter(|reply| reply.is_err()).count();
        assert!(lost > 0, "{fault:?}");
        for reply in replies.into_iter().filter(Result::is_err) {
            let error = refused(reply);
            assert!(error.code == ErrorCode::Unavailable && error.retry);
        }
        // Every retry finds the first, or is the first.
        let mut seqs = Vec::new();
        for reply in futures_util::future::join_all(nonces.iter().map(send)).await {
            seqs.push(appended(reply).seq.get());
        }
        seqs.sort_unstable();
        assert_eq!(
            seqs,
            (before + 1..=before + 20).collect::<Vec<_>>(),
            "{fault:?}"
        );
        assert_eq!(b.seqs_until(before + 20).await, seqs, "{fault:?}");
    }
}

/// Nobody asks anything more, and history cannot be read at first: it is delivered all the same.
#[actix_rt::test]
async fn what_was_stored_is_delivered_without_being_asked_for() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let mut b = node.listen("b").await;
    link.next(Fault::AnswerLost);
    link.blind.store(3, Ordering::SeqCst);
    assert_eq!(
        code(node.ask(by("a"), say(&room, "n1")).await),
        ErrorCode::Unavailable
    );
    assert_eq!(
        code(node.ask(by("a"), say(&room, "n2")).await),
        ErrorCode::Unavailable,
        "nothing is decided before the log was read"
    );
    assert_eq!(b.event("message.new").await["nonce"], "n1");
    assert_eq!(node.head(&room).await, 4);
}

#[actix_rt::test]
async fn a_read_marker_that_was_not_taken_is_sent_again() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    appended(node.ask(by("a"), say(&room, "n")).await);
    link.deaf.store(1, Ordering::SeqCst);
    let read = || Command::Read(of_message(&room, 4));
    assert_eq!(
        code(node.ask(by("b"), read()).await),
        ErrorCode::Unavailable
    );
    assert!(node.ask(by("b"), read()).await.is_ok());
    let views = link.views(&user("b"), Some(&room)).await.unwrap();
    assert_eq!(views[0].read.get(), 4);
}

#[actix_rt::test]
async fn a_full_store_is_busy_and_nothing_was_stored() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Group, &[]).await.id;
    link.next(Fault::Full);
    let error = refused(node.ask(by("a"), say(&room, "n")).await);
    assert!(error.code == ErrorCode::Busy && error.retry);
    assert!(!appended(node.ask(by("a"), say(&room, "n")).await).dup);
}

#[actix_rt::test]
async fn a_room_that_dies_takes_only_itself() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let other = node.room(RoomKind::Group, &[]).await.id;
    let mut b = node.listen("b").await;
    link.next(Fault::Panic);
    let nonces: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    let sends = nonces
        .iter()
        .map(|nonce| node.ask(by("a"), say(&room, nonce)));
    let replies = futures_util::future::join_all(sends).await;
    assert!(replies.iter().any(Result::is_err));
    for reply in replies.into_iter().filter(Result::is_err) {
        assert_eq!(code(reply), ErrorCode::Unavailable, "nobody hangs");
    }
    appended(node.ask(by("a"), say(&other, "n")).await);
    for nonce in &nonces {
        appended(node.ask(by("a"), say(&room, nonce)).await);
    }
    let heard = b.seqs_until(23).await;
    assert_eq!(heard, (4..=23).collect::<Vec<_>>());
    node.rooms.drained().await;
}

/// As a room is when it is alive: whoever hears a message says that it was read.
#[actix_rt::test]
async fn read_markers_among_messages_part_no_batch() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let before = link.appends.load(Ordering::SeqCst);
    let commands = (0..200).map(|n| {
        if n % 2 == 0 {
            node.ask(by("a"), say(&room, &format!("n{n}")))
        } else {
            node.ask(by("b"), Command::Read(of_message(&room, 3)))
        }
    });
    for reply in futures_util::future::join_all(commands).await {
        assert!(reply.is_ok(), "{reply:?}");
    }
    let appends = link.appends.load(Ordering::SeqCst) - before;
    assert!(appends < 50, "{appends} appends for 100 messages");
}

#[actix_rt::test]
async fn a_burst_costs_few_appends() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Group, &[]).await.id;
    let before = link.appends.load(Ordering::SeqCst);
    let nonces: Vec<String> = (0..400).map(|n| format!("n{n}")).collect();
    let sends = nonces
        .iter()
        .map(|nonce| node.ask(by("a"), say(&room, nonce)));
    for reply in futures_util::future::join_all(sends).await {
        appended(reply);
    }
    let appends = link.appends.load(Ordering::SeqCst) - before;
    assert!(appends < 200, "{appends} appends for 400 messages");
}

/// People who come in at once come in together, and are followed at once by what they say.
#[actix_rt::test]
async fn a_rush_of_people_costs_few_appends_and_none_of_them_is_missed() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Channel, &["b"]).await.id;
    let mut b = node.listen("b").await;
    let come = |name: &String| node.ask(by(name), Command::RoomJoin(of_room(&room)));
    let names: Vec<String> = (0..300).map(|n| format!("u{n}")).collect();
    let asks = names.iter().flat_map(|name| {
        let said = node.ask(by(name), say(&room, name));
        [Either::Left(come(name)), Either::Right(said)]
    });
    let mut seqs = Vec::new();
    for reply in futures_util::future::join_all(asks).await {
        seqs.push(match reply.unwrap() {
            ReplyBody::Appended(at) => at.seq.get(),
            other => view_appended(Ok(other)).seq.get(),
        });
    }
    // Each is in before it speaks.
    assert!(seqs.chunks(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
    let heard = b.seqs_until(603).await;
    assert_eq!(heard, (4..=603).collect::<Vec<_>>());
    let again = view_appended(come(&names[0]).await);
    assert!(again.dup);
    let before = link.appends.load(Ordering::SeqCst);
    let more: Vec<String> = (300..1_100).map(|n| format!("u{n}")).collect();
    for reply in futures_util::future::join_all(more.iter().map(come)).await {
        assert!(!view_appended(reply).dup);
    }
    let appends = link.appends.load(Ordering::SeqCst) - before;
    assert!(appends < 100, "{appends} appends for 800 who came in");
}

fn view_appended(reply: Reply) -> Appended {
    match reply.unwrap() {
        ReplyBody::Room(room) => room.appended.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn elsewhere(nonce: &str, node: &TestNode) -> NewEntry {
    NewEntry {
        user: user("b"),
        ts: node.now(),
        body: EntryBody::Message(MessageBody {
            unreadable: false,
            nonce: Nonce::parse(nonce).unwrap(),
            text: nonce.into(),
            reply_to: None,
            mentions: Vec::new(),
            data: None,
        }),
    }
}

/// Another node appended, and its message on the bus was lost.
#[actix_rt::test]
async fn who_loses_the_race_reads_delivers_and_tries_again() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let mut b = node.listen("b").await;
    let theirs = vec![elsewhere("x1", &node), elsewhere("x2", &node)];
    link.inner.append(&room, Seq::new(3), theirs).await.unwrap();
    assert_eq!(
        appended(node.ask(by("a"), say(&room, "n")).await).seq.get(),
        6
    );
    assert_eq!(b.seqs_until(6).await, [4, 5, 6]);
    // What lies far behind takes several pages.
    let many = (0..1_200)
        .map(|n| elsewhere(&format!("y{n}"), &node))
        .collect();
    link.inner.append(&room, Seq::new(6), many).await.unwrap();
    assert_eq!(
        appended(node.ask(by("a"), say(&room, "n2")).await)
            .seq
            .get(),
        1_207
    );
    assert_eq!(b.seqs_until(1_207).await, (7..=1_207).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn the_bus_came_back_and_what_it_lost_is_delivered() {
    let (node, link) = node().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let mut b = node.listen("b").await;
    link.inner
        .append(&room, Seq::new(3), vec![elsewhere("x", &node)])
        .await
        .unwrap();
    node.rooms.restored();
    assert_eq!(b.event("message.new").await["nonce"], "x");
}

/// The log is gone, behind everybody's back.
async fn lose(link: &Link, room: &RoomId) {
    let head = link.inner.room(room).await.unwrap().unwrap().head;
    assert_eq!(link.inner.remove(room, head).await, Ok(true));
}

/// The log a client saw is gone: the room's members start afresh, under another epoch.
#[actix_rt::test]
async fn a_lost_log_is_a_reset() {
    let (node, link) = node().await;
    let room = view(node.ask(by("a"), open_dm("b")).await);
    let mut b = node.listen("b").await;
    for n in 0..5 {
        appended(node.ask(by("a"), say(&room.id, &format!("n{n}"))).await);
    }
    b.seqs_until(8).await;
    let first: Vec<NewEntry> = link
        .inner
        .log(&room.id, Seq::ZERO, 3)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| NewEntry {
            user: entry.user,
            ts: entry.ts,
            body: entry.body,
        })
        .collect();
    lose(&link, &room.id).await;
    link.inner.append(&room.id, Seq::ZERO, first).await.unwrap();
    assert_eq!(
        appended(node.ask(by("a"), say(&room.id, "new")).await)
            .seq
            .get(),
        4
    );
    let reset = b.event("room.reset").await;
    assert_ne!(reset["room"]["epoch"], room.epoch.as_str());
    assert_eq!(b.event("message.new").await["seq"], 4);
    // Gone altogether.
    lose(&link, &room.id).await;
    assert_eq!(
        code(node.ask(by("a"), say(&room.id, "n")).await),
        ErrorCode::NotFound
    );
    eventually(|| async { node.rooms.live() == 0 }).await;
}
