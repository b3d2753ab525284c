//! The way to the relays from any thread: an inbox per worker, and who listens where.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use shared::{
    id::{RoomId, UserId},
    protocol::codec::SharedEvent,
};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::super::{debt::Debt, outbox::StateKey};
use crate::{
    ids::SharedIdMap,
    overload::{Overload, Source},
    room::Reply,
};

/// Posts in one inbox at which rooms stop taking sends.
pub const CONGESTED_AT: usize = 16 * 1024;

/// Whose sessions on this node hear something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who hears the room.
    Room(RoomId),
    /// Every session of these users.
    Users(SmallVec<[UserId; 2]>),
}

impl Audience {
    /// Every session of one user.
    pub fn user(user: &UserId) -> Self {
        Self::Users(smallvec::smallvec![user.clone()])
    }
}

/// The relays of all workers of a node.
#[derive(Clone)]
pub struct Relays(Arc<Shared>);

impl std::fmt::Debug for Relays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relays")
            .field("workers", &self.0.inboxes.len())
            .finish_non_exhaustive()
    }
}

struct Shared {
    inboxes: Vec<Inbox>,
    /// How many sinks of each worker hear a user or a room, and how many are about to
    /// (an enrolment under way counts one), so that a post goes only where somebody listens.
    users: SharedIdMap<UserId, Counts>,
    rooms: SharedIdMap<RoomId, Counts>,
    overload: Overload,
}

/// Four take no more place than the pointer to more.
type Counts = SmallVec<[u32; 4]>;

struct Inbox {
    waiting: metrics::Gauge,
    posts: Mutex<VecDeque<Post>>,
    len: AtomicUsize,
    waker: AtomicWaker,
}

#[derive(Debug)]
pub(super) enum Post {
    Publish {
        audience: Audience,
        event: Arc<SharedEvent>,
    },
    Update {
        audience: Audience,
        key: StateKey,
        event: Arc<SharedEvent>,
        except: Option<UserId>,
    },
    Enroll {
        user: UserId,
        room: RoomId,
    },
    Withdraw {
        user: UserId,
        room: RoomId,
    },
    Forget {
        room: RoomId,
    },
    Reply {
        debt: Debt,
        reply: Reply,
    },
    Passed(oneshot::Sender<()>),
}

impl Inbox {
    fn new(worker: usize) -> Self {
        Self {
            waiting: metrics::gauge!("fireside_relay_posts", "worker" => worker.to_string()),
            posts: Mutex::default(),
            len: AtomicUsize::new(0),
            waker: AtomicWaker::new(),
        }
    }
}

impl Relays {
    /// Relays for `workers` threads; each of them starts its own with [`Relay::start`].
    pub fn new(workers: usize, overload: Overload) -> Self {
        Self(Arc::new(Shared {
            inboxes: (0..workers).map(Inbox::new).collect(),
            users: SharedIdMap::default(),
            rooms: SharedIdMap::default(),
            overload,
        }))
    }

    /// Adds an event to the replayable stream of everybody in `audience`.
    pub fn publish(&self, audience: &Audience, event: &Arc<SharedEvent>) {
        self.to_listeners(audience, |audience| Post::Publish {
            audience,
            event: event.clone(),
        });
    }

    /// Tells everybody in `audience` but `except` the newest state of `key`.
    pub fn update(
        &self,
        audience: &Audience,
        key: &StateKey,
        event: &Arc<SharedEvent>,
        except: Option<&UserId>,
    ) {
        self.to_listeners(audience, |audience| Post::Update {
            audience,
            key: key.clone(),
            event: event.clone(),
            except: except.cloned(),
        });
    }

    /// The user's sessions on this node hear the room from here on.
    pub fn enroll(&self, user: &UserId, room: &RoomId) {
        let Some(at) = self.0.users.get(user).map(|counts| workers(&counts)) else {
            return;
        };
        for worker in at {
            // Counted now, not when handled: a publish that follows at once must find it.
            self.0.count(&self.0.rooms, room, worker, 1);
            self.post(
                worker,
                Post::Enroll {
                    user: user.clone(),
                    room: room.clone(),
                },
            );
        }
    }

    /// The user's sessions on this node hear the room no longer.
    pub fn withdraw(&self, user: &UserId, room: &RoomId) {
        let Some(at) = self.0.users.get(user).map(|counts| workers(&counts)) else {
            return;
        };
        for worker in at {
            self.post(
                worker,
                Post::Withdraw {
                    user: user.clone(),
                    room: room.clone(),
                },
            );
        }
    }

    /// Nobody on this node hears the room any more.
    pub fn forget(&self, room: &RoomId) {
        let Some(at) = self.0.rooms.get(room).map(|counts| workers(&counts)) else {
            return;
        };
        for worker in at {
            self.post(worker, Post::Forget { room: room.clone() });
        }
    }

    /// Answers a command, after whatever was published to its session before, unless its socket
    /// has gone.
    pub fn reply(&self, debt: Debt, reply: Reply) {
        self.post(debt.to.session.worker(), Post::Reply { debt, reply });
    }

    /// Returns when the relay of a worker has handled all that was posted to it before.
    pub async fn passed(&self, worker: usize) {
        let (to, passed) = oneshot::channel();
        self.post(worker, Post::Passed(to));
        // A relay that is gone has nothing in it.
        let _ = passed.await;
    }

    /// Whether the user has a session on this node.
    pub fn is_online(&self, user: &UserId) -> bool {
        self.0.users.contains_key(user)
    }

    /// How many sessions these users have on this node.
    pub fn sessions_of<'a>(&self, users: impl IntoIterator<Item = &'a UserId>) -> u32 {
        let here = users.into_iter().filter_map(|user| self.0.users.get(user));
        here.map(|counts| counts.iter().sum::<u32>()).sum()
    }

    /// Everybody with a session on this node.
    pub fn people(&self) -> Vec<UserId> {
        self.0.users.iter().map(|user| user.key().clone()).collect()
    }

    /// Whether some session on this node hears the room.
    pub fn listeners(&self, room: &RoomId) -> bool {
        self.0.rooms.contains_key(room)
    }

    /// Whether some worker is so far behind that rooms should take nothing more in.
    pub fn congested(&self) -> bool {
        self.0
            .inboxes
            .iter()
            .any(|inbox| inbox.len.load(Relaxed) >= CONGESTED_AT)
    }

    /// Books that `change` more sinks of a worker hear a user.
    pub(super) fn count_user(&self, user: &UserId, worker: usize, change: i32) {
        self.0.count(&self.0.users, user, worker, change);
    }

    /// Books that `change` more sinks of a worker hear a room.
    pub(super) fn count_room(&self, room: &RoomId, worker: usize, change: i32) {
        self.0.count(&self.0.rooms, room, worker, change);
    }

    /// Wakes `waker` when a post comes to an empty inbox.
    pub(super) fn wake_on_post(&self, worker: usize, waker: &Waker) {
        self.0.inboxes[worker].waker.register(waker);
    }

    /// Takes up to `most` posts out of a worker's inbox; says whether more wait.
    pub(super) fn take(&self, worker: usize, most: usize) -> (Vec<Post>, bool) {
        let inbox = &self.0.inboxes[worker];
        let (posts, left) = {
            let mut waiting = inbox.posts.lock();
            let taken = waiting.len().min(most);
            let posts: Vec<Post> = waiting.drain(..taken).collect();
            if waiting.is_empty() && waiting.capacity() > most {
                *waiting = VecDeque::new();
            }
            // Under the lock, as in `post`: the figure must not be older than the queue.
            inbox.len.store(waiting.len(), Relaxed);
            (posts, waiting.len())
        };
        inbox.waiting.set(left as f64);
        if posts.len() == most || left == 0 {
            self.report();
        }
        (posts, left > 0)
    }

    fn to_listeners(&self, audience: &Audience, post: impl Fn(Audience) -> Post) {
        let at: SmallVec<[usize; 8]> = match audience {
            Audience::Room(room) => match self.0.rooms.get(room) {
                Some(counts) => workers(&counts),
                None => return,
            },
            Audience::Users(users) => {
                let mut at = SmallVec::new();
                for user in users {
                    if let Some(counts) = self.0.users.get(user) {
                        at.extend(workers(&counts));
                    }
                }
                at.sort_unstable();
                at.dedup();
                at
            }
        };
        for worker in at {
            self.post(worker, post(audience.clone()));
        }
    }

    fn post(&self, worker: usize, post: Post) {
        let Some(inbox) = self.0.inboxes.get(worker) else {
            return;
        };
        let len = {
            let mut posts = inbox.posts.lock();
            posts.push_back(post);
            inbox.len.store(posts.len(), Relaxed);
            posts.len()
        };
        if len == 1 {
            inbox.waker.wake();
        }
        if len.is_multiple_of(256) {
            self.report();
        }
    }

    /// Tells the overload ladder how full the fullest inbox is: one worker that has nothing to do
    /// must not hide another that drowns.
    fn report(&self) {
        let lengths = self.0.inboxes.iter().map(|inbox| inbox.len.load(Relaxed));
        let fullest = || lengths.max().unwrap_or(0);
        self.0.overload.report(Source::Relay, fullest, CONGESTED_AT);
    }
}

impl Shared {
    fn count<K: Clone + Eq + std::hash::Hash>(
        &self,
        map: &SharedIdMap<K, Counts>,
        key: &K,
        worker: usize,
        change: i32,
    ) {
        let all = self.inboxes.len();
        if change > 0 {
            let mut counts = map
                .entry(key.clone())
                .or_insert_with(|| SmallVec::from_elem(0, all));
            counts[worker] = counts[worker].saturating_add_signed(change);
        } else if let Some(mut counts) = map.get_mut(key) {
            counts[worker] = counts[worker].saturating_add_signed(change);
            let empty = counts.iter().all(|n| *n == 0);
            drop(counts);
            if empty {
                map.remove_if(key, |_, counts| counts.iter().all(|n| *n == 0));
            }
        }
    }
}

fn workers(counts: &Counts) -> SmallVec<[usize; 8]> {
    counts
        .iter()
        .enumerate()
        .filter(|(_, n)| **n > 0)
        .map(|(worker, _)| worker)
        .collect()
}
