//! Faults of what a session works with, over the wire: an actor that dies takes only itself, and
//! what is not known is said to be unknown.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use async_trait::async_trait;
use chat_node::presence::{
    DeviceState, Incarnation, Lease, LocalPresence, LocalPresenceNode, PresenceError,
    PresenceStore, Reaped, Standing,
};
use loadtest::{Seen, WsClient, client::SeenEvent};
use serde_json::{Value, json};
use shared::{
    codes::{CloseCode, ErrorCode},
    id::{RoomId, Timestamp, UserId},
    protocol::{codec::Encoding, command::SessionStart, presence::Status, reply::RoomReply},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::rig::{Options, Rig, node, rig, rig_with, user};

/// Whose session dies.
const DOOMED: &str = "doomed";

/// A log that panics when it is told of something that the doomed session does: code of somebody
/// else's, in the middle of the session's own.
struct Tripwire;

impl Subscriber for Tripwire {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::DEBUG && metadata.target().starts_with("chat_node::session")
    }

    fn event(&self, event: &Event<'_>) {
        struct Names(bool);
        impl Visit for Names {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 |= field.name() == "user" && format!("{value:?}") == DOOMED;
            }
        }
        let mut names = Names(false);
        event.record(&mut names);
        let undecodable = event.metadata().fields().field("error").is_some();
        assert!(!(names.0 && undecodable), "planted in the log");
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Presence that works, does not answer, or panics when asked about the doomed.
struct Faulty {
    inner: LocalPresenceNode,
    mode: AtomicU8,
}

const WORKS: u8 = 0;
const AWAY: u8 = 1;
const PANICS: u8 = 2;

impl Faulty {
    fn new(mode: u8) -> Arc<Self> {
        Arc::new(Self {
            inner: LocalPresence::new().node(node()),
            mode: AtomicU8::new(mode),
        })
    }

    fn now(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

#[async_trait]
impl PresenceStore for Faulty {
    async fn lease(&self) -> Result<Lease, PresenceError> {
        self.inner.lease().await
    }

    async fn renew(&self, lease: Incarnation) -> Result<(), PresenceError> {
        self.inner.renew(lease).await
    }

    async fn put(
        &self,
        lease: Incarnation,
        at: Timestamp,
        changes: &[(UserId, Option<DeviceState>)],
    ) -> Result<Vec<Standing>, PresenceError> {
        self.inner.put(lease, at, changes).await
    }

    async fn read(&self, users: &[UserId]) -> Result<Vec<Standing>, PresenceError> {
        match self.mode.load(Ordering::SeqCst) {
            AWAY => Err(PresenceError::Unavailable("the link is cut".into())),
            PANICS if users.contains(&user(DOOMED)) => panic!("planted in the presence store"),
            _ => self.inner.read(users).await,
        }
    }

    fn told(&self, lease: Incarnation, users: &[UserId]) {
        self.inner.told(lease, users);
    }

    async fn reap(&self, lease: Incarnation, at: Timestamp) -> Result<Vec<Reaped>, PresenceError> {
        self.inner.reap(lease, at).await
    }

    async fn release(
        &self,
        lease: Incarnation,
        at: Timestamp,
    ) -> Result<Vec<Reaped>, PresenceError> {
        self.inner.release(lease, at).await
    }
}

/// Enough neighbours that both threads have some.
const NEIGHBOURS: usize = 12;

async fn neighbours(rig: &Rig) -> (RoomId, Vec<WsClient>) {
    let mut sockets = vec![rig.start("u0").await.0];
    let body = json!({"kind": "channel", "name": "Here"});
    let made: RoomReply = sockets[0].command("room.create", &body).await.unwrap();
    let room = made.room.id;
    for n in 1..NEIGHBOURS {
        let (mut socket, _) = rig.start(&format!("u{n}")).await;
        join(&mut socket, &room).await;
        sockets.push(socket);
    }
    (room, sockets)
}

async fn join(socket: &mut WsClient, room: &RoomId) {
    let body = json!({"room": room});
    let _: RoomReply = socket.command("room.join", &body).await.unwrap();
}

/// Everybody still hears what one of them says.
async fn all_are_well(room: &RoomId, sockets: &mut [WsClient], nonce: &str) {
    let seq = sockets[0].say(room, nonce, "all well").await.unwrap().seq;
    for socket in sockets {
        socket.entry(room, seq.get()).await.unwrap();
        socket.until_pong().await.unwrap();
    }
}

#[actix_rt::test]
async fn a_session_that_dies_of_a_clients_bytes_takes_only_itself() {
    tracing::subscriber::set_global_default(Tripwire).unwrap();
    let rig = rig().await;
    let (room, mut sockets) = neighbours(&rig).await;
    for round in 0..4 {
        let (mut doomed, started) = rig.start(DOOMED).await;
        join(&mut doomed, &room).await;
        doomed.send_frame(b"{".to_vec()).await.unwrap();
        let bye = doomed.event("bye").await.unwrap();
        assert_eq!(bye.d["code"], 4000, "{bye:?}");
        doomed.closed_with(CloseCode::Internal).await.unwrap();
        all_are_well(&room, &mut sockets, &format!("round{round}")).await;
        // The session died; its user comes back and hears the room.
        let mut back = rig.socket(DOOMED).await;
        let lost = back.resume(&started.sid, 0).await.unwrap_err();
        assert_eq!(lost.code(), Some(ErrorCode::SessionLost));
        let _: Value = back.command("session.start", &json!({})).await.unwrap();
        let nonce = format!("back{round}");
        let seq = sockets[1].say(&room, &nonce, "welcome").await.unwrap().seq;
        back.entry(&room, seq.get()).await.unwrap();
    }
    // The same bytes without a fault behind them are the client's own.
    sockets[2].send_frame(b"{".to_vec()).await.unwrap();
    sockets[2]
        .closed_with(CloseCode::Undecodable)
        .await
        .unwrap();
}

#[actix_rt::test]
async fn a_session_that_dies_as_it_starts_takes_only_itself() {
    let presence = Faulty::new(PANICS);
    let rig = rig_with(Options {
        presence: presence.clone(),
        ..Options::default()
    })
    .await;
    let (room, mut sockets) = neighbours(&rig).await;
    for round in 0..4 {
        let mut doomed = rig.socket(DOOMED).await;
        doomed.hello().await.unwrap();
        let start = SessionStart::default();
        doomed.post("session.start", &start).await.unwrap();
        // Nobody is left to say why.
        let closed = doomed.closed().await.unwrap();
        assert_eq!(closed.code, None, "{closed:?}");
        all_are_well(&room, &mut sockets, &format!("round{round}")).await;
    }
    presence.now(WORKS);
    let (mut back, _) = rig.start(DOOMED).await;
    join(&mut back, &room).await;
    sockets.push(back);
    all_are_well(&room, &mut sockets, "whole").await;
}

#[actix_rt::test]
async fn presence_that_is_not_known_is_unknown_and_told_when_it_is() {
    let presence = Faulty::new(WORKS);
    let rig = rig_with(Options {
        presence: presence.clone(),
        ..Options::default()
    })
    .await;
    let (ann, bob) = (user("ann"), user("bob"));
    rig.people.befriend(&ann, &bob);
    let (_bob, _) = rig.start("bob").await;
    let of_bob = |e: &SeenEvent| e.name == "presence" && e.d["user"] == "bob";
    // Only what the store was given can be known of him again: first it is given that he is here.
    let (mut early, started) = rig.start("ann").await;
    if started.friends[0].presence.status != Status::Online {
        let told = early.event_where("bob", of_bob).await.unwrap();
        assert_eq!(told.d["status"], "online");
    }
    let _: Value = early.command("session.end", &json!({})).await.unwrap();
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        presence.now(AWAY);
        let mut socket = rig.socket_with(&rig.token("ann"), encoding).await;
        let started = socket.start(&SessionStart::default()).await.unwrap();
        assert_eq!(started.friends[0].presence.status, Status::Unknown);
        // One's own is what one says.
        assert_eq!(started.me.presence.status, Status::Online);
        let seen = socket.until_pong().await.unwrap();
        let offline = |s: &Seen| matches!(s, Seen::Event(e) if e.d["status"] == "offline");
        assert!(!seen.iter().any(offline), "{seen:?}");
        presence.now(WORKS);
        // Of herself she may be told first.
        let told = socket.event_where("bob", of_bob).await.unwrap();
        assert_eq!(told.d["status"], "online");
    }
}
