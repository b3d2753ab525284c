//! Every session of this node, by its id, by its user and by its token.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use actix::Addr;
use parking_lot::Mutex;
use shared::{
    auth::Claims,
    codes::CloseCode,
    id::{DeviceId, SessionId, Timestamp, UserId},
};
use smallvec::SmallVec;

use super::{
    Passage,
    actor::Session,
    arrival::Inquiries,
    control::Close,
    departure::{self, Depart},
};
use crate::{bridge::SessionControl, ids::SharedIdMap};

/// A running session, for those who have something to do with it: its entry in the directory.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) sid: SessionId,
    pub(super) user: UserId,
    pub(super) device: Option<DeviceId>,
    begun: Timestamp,
    token: Mutex<Token>,
    attached: AtomicBool,
    pub(super) address: Addr<Session>,
}

#[derive(Debug, Clone)]
struct Token {
    jti: Arc<str>,
    issued: Timestamp,
}

impl Token {
    fn of(claims: &Claims) -> Self {
        Self {
            jti: claims.jti.as_str().into(),
            issued: claims.issued_at(),
        }
    }
}

impl Handle {
    /// A handle that is not in the directory yet.
    pub(super) fn new(
        sid: SessionId,
        claims: &Claims,
        device: Option<DeviceId>,
        begun: Timestamp,
        address: Addr<Session>,
    ) -> Arc<Self> {
        let token = Mutex::new(Token::of(claims));
        Arc::new(Self {
            sid,
            user: claims.sub.clone(),
            device,
            begun,
            token,
            attached: AtomicBool::new(true),
            address,
        })
    }

    /// When it began.
    pub(super) fn begun(&self) -> Timestamp {
        self.begun
    }

    /// Whether the session has a socket now.
    pub(super) fn attached(&self, attached: bool) {
        self.attached.store(attached, Relaxed);
    }

    /// Control is rare and must arrive, whatever else waits in the mailbox: a lost one would
    /// leave a revoked session living.
    pub(super) fn close(&self, close: Close) {
        self.address.do_send(close);
    }
}

/// Sessions of one user, or by one token: most have one.
pub(super) type Handles = SmallVec<[Arc<Handle>; 1]>;

/// The directory. Clones share it. Bound: one entry a session, of which there are
/// `max_sessions_per_user` a user, each made by an upgrade.
#[derive(Debug, Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    by_id: SharedIdMap<SessionId, Arc<Handle>>,
    by_user: SharedIdMap<UserId, Handles>,
    by_token: SharedIdMap<Arc<str>, Handles>,
    /// Those who ask other nodes for a session.
    inquiries: Inquiries,
    max_per_user: usize,
    draining: AtomicBool,
}

impl Sessions {
    /// An empty directory; a user has at most `max_per_user` sessions.
    pub fn new(max_per_user: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                by_id: SharedIdMap::default(),
                by_user: SharedIdMap::default(),
                by_token: SharedIdMap::default(),
                inquiries: Inquiries::default(),
                max_per_user,
                draining: AtomicBool::new(false),
            }),
        }
    }

    /// How many sessions there are, with and without a socket.
    pub fn len(&self) -> usize {
        self.shared.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shared.by_id.is_empty()
    }

    /// How many sessions a user has here.
    pub fn of_user(&self, user: &UserId) -> usize {
        self.shared
            .by_user
            .get(user)
            .map_or(0, |handles| handles.len())
    }

    /// Sends every socket away with 4001, evenly over `grace`, so that they do not all connect
    /// elsewhere at once; `alone`, they are told to wait until there is a process again. Returns when the last
    /// has been told; who comes after that is sent away at once.
    pub async fn drain(&self, grace: Duration, alone: bool) {
        const STEP: Duration = Duration::from_millis(100);
        // Before the sessions are counted: one that is not among them finds this set.
        self.shared.draining.store(true, SeqCst);
        let mut left: Vec<Arc<Handle>> = self
            .shared
            .by_id
            .iter()
            .map(|entry| entry.value().clone())
            .collect();
        let steps = (grace.as_millis() / STEP.as_millis()).max(1) as usize;
        let at_once = left.len().div_ceil(steps).max(1);
        while !left.is_empty() {
            for handle in left.drain(left.len().saturating_sub(at_once)..) {
                handle.close(Close::keep(CloseCode::Draining).after(away_for(alone)));
            }
            if !left.is_empty() {
                tokio::time::sleep(STEP).await;
            }
        }
    }

    /// Returns when every session has gone.
    pub async fn gone(&self) {
        while !self.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn inquiries(&self) -> &Inquiries {
        &self.shared.inquiries
    }

    /// Whether sockets are sent away.
    pub(super) fn draining(&self) -> bool {
        self.shared.draining.load(SeqCst)
    }

    pub(super) fn find(&self, sid: &SessionId) -> Option<Arc<Handle>> {
        self.shared.by_id.get(sid).map(|handle| handle.clone())
    }

    /// Takes a session in. Answers those that have to give way: older ones of the same device,
    /// and, if there are too many, the user's oldest, those without a socket first.
    pub(super) fn insert(&self, handle: &Arc<Handle>) -> Handles {
        let shared = &self.shared;
        shared.by_id.insert(handle.sid.clone(), handle.clone());
        let jti = handle.token.lock().jti.clone();
        shared.by_token.entry(jti).or_default().push(handle.clone());
        let mut of_user = shared.by_user.entry(handle.user.clone()).or_default();
        let mut displaced: Handles = of_user
            .iter()
            .filter(|other| handle.device.is_some() && other.device == handle.device)
            .cloned()
            .collect();
        // Handles stand in the order they came, and a stable sort keeps them so.
        let mut others: Handles = of_user
            .iter()
            .filter(|other| !displaced.iter().any(|gone| Arc::ptr_eq(gone, other)))
            .cloned()
            .collect();
        others.sort_by_key(|other| other.attached.load(Relaxed));
        let too_many = (others.len() + 1).saturating_sub(shared.max_per_user);
        displaced.extend(others.into_iter().take(too_many));
        of_user.push(handle.clone());
        displaced
    }

    /// The session lives by another token now.
    pub(super) fn retoken(&self, handle: &Arc<Handle>, claims: &Claims) {
        let token = Token::of(claims);
        let old = std::mem::replace(&mut *handle.token.lock(), token.clone());
        if old.jti != token.jti {
            self.shared
                .by_token
                .entry(token.jti)
                .or_default()
                .push(handle.clone());
            forget(&self.shared.by_token, &old.jti, handle);
        }
    }

    /// The session is over. Idempotent.
    pub(super) fn remove(&self, handle: &Arc<Handle>) {
        self.shared.by_id.remove(&handle.sid);
        forget(&self.shared.by_user, &handle.user, handle);
        let jti = handle.token.lock().jti.clone();
        forget(&self.shared.by_token, &jti, handle);
    }

    fn handles(&self, user: &UserId) -> Handles {
        self.shared
            .by_user
            .get(user)
            .map(|handles| handles.clone())
            .unwrap_or_default()
    }
}

impl SessionControl for Sessions {
    fn close_by_token(&self, jti: &str) {
        let handles = self.shared.by_token.get(jti).map(|handles| handles.clone());
        for handle in handles.unwrap_or_default() {
            handle.close(Close::end(CloseCode::Revoked));
        }
    }

    fn close_by_user(&self, user: &UserId, issued_at_or_before: Timestamp) {
        for handle in self.handles(user) {
            if handle.token.lock().issued <= issued_at_or_before {
                handle.close(Close::end(CloseCode::Revoked));
            }
        }
    }

    /// With 4101: a user with a good token may start again.
    fn disconnect(&self, user: &UserId, begun_at_or_before: Timestamp) {
        // Before those who are here: whoever arrives in between is one of them, or finds this.
        self.inquiries().disconnect(user, begun_at_or_before);
        for handle in self.handles(user) {
            if handle.begun <= begun_at_or_before {
                handle.close(Close::end(CloseCode::SessionLost));
            }
        }
    }

    fn passage(&self, passage: Passage) {
        if !passage.step.is_for_who_has_it() {
            return self.shared.inquiries.hear(passage);
        }
        let found = self.find(&passage.sid);
        if let Some(handle) = found.filter(|handle| handle.user == passage.user) {
            // Clients can make many of these; who asked and hears nothing gives up.
            if handle.address.try_send(Depart(passage)).is_err() {
                departure::unheard();
            }
        }
    }

    fn relocate(&self, user: &UserId) -> usize {
        let handles = self.handles(user);
        let attached = handles
            .iter()
            .filter(|handle| handle.attached.load(Relaxed));
        let close = |handle: &Arc<Handle>| handle.close(Close::keep(CloseCode::Rebalance));
        attached.map(close).count()
    }
}

/// How long a client that is sent away should wait, in ms: one that comes back at once to a server that
/// is `alone` may still find this process on its way down. Where there are others they take it in.
pub(super) fn away_for(alone: bool) -> u64 {
    rand::random_range(0..if alone { 1000 } else { 50 })
}

fn forget<K: Eq + std::hash::Hash>(map: &SharedIdMap<K, Handles>, key: &K, handle: &Arc<Handle>) {
    map.remove_if_mut(key, |_, handles| {
        handles.retain(|other| !Arc::ptr_eq(other, handle));
        handles.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use actix::Context;

    use super::*;

    fn handle(user: &str, device: Option<&str>, jti: &str) -> Arc<Handle> {
        let claims = Claims {
            sub: UserId::parse(user).unwrap(),
            name: user.into(),
            jti: jti.into(),
            iat: 1,
            exp: 2,
            iss: "i".into(),
            aud: "fireside".into(),
            scope: None,
        };
        // An address whose actor was never started: enough to stand in a directory.
        let address = Context::<Session>::new().address_of();
        let device = device.map(|device| DeviceId::parse(device).unwrap());
        let begun = Timestamp::from_millis(1);
        Handle::new(SessionId::generate(), &claims, device, begun, address)
    }

    trait AddressOf {
        fn address_of(self) -> Addr<Session>;
    }

    impl AddressOf for Context<Session> {
        fn address_of(self) -> Addr<Session> {
            actix::AsyncContext::address(&self)
        }
    }

    fn are(handles: &Handles, expected: &[&Arc<Handle>]) -> bool {
        handles
            .iter()
            .map(|handle| &handle.sid)
            .eq(expected.iter().map(|handle| &handle.sid))
    }

    #[test]
    fn the_same_device_replaces_its_older_session_only() {
        let sessions = Sessions::new(16);
        let (phone, desk) = (
            handle("u", Some("phone"), "a"),
            handle("u", Some("desk"), "b"),
        );
        let nameless = handle("u", None, "c");
        for first in [&phone, &desk, &nameless] {
            assert!(sessions.insert(first).is_empty());
        }
        let again = handle("u", Some("phone"), "d");
        assert!(are(&sessions.insert(&again), &[&phone]));
        assert!(sessions.insert(&handle("u", None, "e")).is_empty());
        assert!(sessions.insert(&handle("v", Some("phone"), "f")).is_empty());
    }

    #[test]
    fn the_oldest_gives_way() {
        let sessions = Sessions::new(2);
        let all: Vec<_> = ["a", "b", "c"].map(|jti| handle("u", None, jti)).into();
        assert!(sessions.insert(&all[0]).is_empty());
        assert!(sessions.insert(&all[1]).is_empty());
        assert!(are(&sessions.insert(&all[2]), &[&all[0]]));
        // One that is replaced makes room by itself.
        sessions.remove(&all[0]);
        let device = handle("u", Some("x"), "d");
        assert!(are(&sessions.insert(&device), &[&all[1]]));
    }

    /// A page that is reloaded again and again must not push another device off its live socket.
    #[test]
    fn who_has_no_socket_gives_way_first() {
        let sessions = Sessions::new(3);
        let all: Vec<_> = ["a", "b", "c"].map(|jti| handle("u", None, jti)).into();
        for one in &all {
            assert!(sessions.insert(one).is_empty());
        }
        all[1].attached(false);
        let next = handle("u", None, "d");
        assert!(are(&sessions.insert(&next), &[&all[1]]));
        sessions.remove(&all[1]);
        let last = handle("u", None, "e");
        assert!(are(&sessions.insert(&last), &[&all[0]]));
    }

    #[test]
    fn nothing_is_left_behind() {
        let sessions = Sessions::new(2);
        let one = handle("u", None, "a");
        sessions.insert(&one);
        let renewed = Claims {
            jti: "b".into(),
            sub: one.user.clone(),
            name: String::new(),
            iat: 5,
            exp: 6,
            iss: String::new(),
            aud: String::new(),
            scope: None,
        };
        sessions.retoken(&one, &renewed);
        assert!(sessions.shared.by_token.contains_key("b"));
        assert!(!sessions.shared.by_token.contains_key("a"));
        assert_eq!(sessions.of_user(&one.user), 1);
        sessions.remove(&one);
        sessions.remove(&one);
        let shared = &sessions.shared;
        assert!(shared.by_id.is_empty() && shared.by_user.is_empty() && shared.by_token.is_empty());
    }
}
