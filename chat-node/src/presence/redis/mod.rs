//! Presence in Redis, which all nodes share.
//!
//! **Keys**, each script within one slot of a Cluster:
//! - `presence:{leases}`, a sorted set of all lives by when their lease expires, and
//!   `presence:{leases}:book`, a hash: the last incarnation, when this store was born, who reaps what.
//! - `presence:users:{LIFE}`, a sorted set of the users a life may hold; never fewer than it does,
//!   because a user is listed before and taken out after.
//! - `presence:untold:{LIFE}`, a sorted set of the users whom a life put or was answered as a reaper,
//!   and has not said to be told; noted before, in the round trip that lists, and taken out with
//!   the next put or renewal, so telling costs none of its own. At most the users of some puts. Who is in
//!   it and whose hash says that nothing was changed that others may see has not to be told of.
//! - `presence:user:{USER}`, a hash: what each life holds, the version, when it changed, when the
//!   user was last seen.
//!
//! **Time** is that of Redis. A change carries the deadline of its lease, less a margin for what
//! the clocks of two masters may differ, and is refused after it: so what is late finds the door closed
//! before a reaper comes. It carries a number too, and is refused behind a greater one: a
//! command that timed out may be executed after the one that took its place.
//!
//! **Loss.** Nothing here is the truth; all of it can be put again by the nodes, and is when a node finds
//! its lease gone. Versions and incarnations follow the time, so they grow over a loss.
//! Until everybody has had the time to notice, nothing is answered to [`PresenceStore::read`].
//!
//! **Memory.** Every key lives [`KEEP`] after it was last written; the hashes of those who stay
//! longer are touched in turn. When a user who is gone longer was last seen is known to [`SeenTimes`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ::redis::Value;
use async_trait::async_trait;
use parking_lot::Mutex;
use shared::id::{NodeId, Timestamp, UserId};

use super::{
    DeviceState, HANDED_OVER_IN, Incarnation, LEASE_FOR, Lease, PresenceError, PresenceStore,
    Reaped, Seen, SeenTimes, Standing,
};
use crate::redis::{Asked, RedisLink, Script};

mod holding;
mod reaping;
mod recalled;
mod scripts;
mod telling;

use holding::{Happened, Held, Mark};
use recalled::Recalled;
use telling::{Told, listing, unlisting};

/// How long a key is kept after it was last written.
const KEEP: Duration = Duration::from_hours(24);
/// In what time the keys of all users of a life are touched; well below [`KEEP`].
const TOUCH_WITHIN: Duration = Duration::from_hours(6);
/// How much before its lease expires a life may not hold anything new.
const MARGIN: Duration = Duration::from_millis(500);
/// For how long a lease is one reaper's.
const CLAIM: Duration = Duration::from_secs(10);
/// How many leases are reaped at a time.
const LIVES: usize = 8;
/// How many users are answered to one call to reap.
const REAPED_AT_ONCE: usize = 2048;

/// One node's handle on the presence of all nodes.
pub struct RedisPresence {
    link: RedisLink,
    node: NodeId,
    recalled: Option<Recalled>,
    /// Numbers what is asked.
    asked: AtomicU64,
    lease: Mutex<Taken>,
}

/// The lease that was taken last.
#[derive(Debug, Clone, Default)]
struct Taken {
    life: Option<String>,
    /// When the store was born that gave it, as the store says it.
    born: String,
    /// Where the touching of keys goes on, and how many there were.
    cursor: u64,
    listed: u64,
    /// Who was told, up to which number, that the store does not know yet.
    told: Told,
}

impl RedisPresence {
    /// The handle of `node`. `seen` keeps when users were last seen for longer than Redis does.
    pub fn new(link: RedisLink, node: NodeId, seen: Option<Arc<dyn SeenTimes>>) -> Self {
        Self {
            link,
            node,
            recalled: seen.map(Recalled::new),
            asked: AtomicU64::new(0),
            lease: Mutex::default(),
        }
    }

    fn life(&self, lease: Incarnation) -> String {
        format!("{}/{}", self.node, lease.get())
    }

    fn leases(&self) -> String {
        format!("{}presence:{{leases}}", self.link.prefix())
    }

    fn book(&self) -> String {
        format!("{}presence:{{leases}}:book", self.link.prefix())
    }

    fn list(&self, life: &str) -> String {
        format!("{}presence:users:{{{life}}}", self.link.prefix())
    }

    fn untold(&self, life: &str) -> String {
        format!("{}presence:untold:{{{life}}}", self.link.prefix())
    }

    fn user(&self, user: &UserId) -> String {
        format!("{}presence:user:{{{user}}}", self.link.prefix())
    }

    /// A call of a script on leases and book.
    fn on_leases(&self, script: &'static Script, args: &[&str]) -> Asked {
        let call = script.call().key(self.leases()).key(self.book());
        args.iter().fold(call, |call, arg| call.arg(*arg)).into()
    }

    /// A call that replaces what `life` holds of `user`.
    fn hold(&self, life: &str, number: u64, at: Timestamp, deadline: &str, held: &Change) -> Asked {
        let (mark, state) = match &held.state {
            _ if held.reaped => (Mark::Reaped, Vec::new()),
            None => (Mark::Gone, Vec::new()),
            Some(state) => holding::encode(state),
        };
        let call = scripts::HOLD.call().key(self.user(&held.user)).arg(life);
        let call = call.arg(number).arg(at.as_millis()).arg(deadline);
        call.arg(millis(KEEP)).arg(mark.letter()).arg(state).into()
    }

    async fn ask(&self, asked: Vec<Asked>) -> Result<Vec<Value>, PresenceError> {
        self.link
            .ask(&asked)
            .await
            .map_err(|error| PresenceError::Unavailable(error.to_string()))
    }

    async fn ask_one(&self, asked: Asked) -> Result<Value, PresenceError> {
        let mut answers = self.ask(vec![asked]).await?;
        answers.pop().ok_or_else(|| unreadable("nothing"))
    }

    /// Fills in what Redis no longer knows, and has it noted what changed.
    async fn complete<'a>(&self, users: impl Iterator<Item = (&'a UserId, &'a mut Standing)>) {
        if let Some(recalled) = &self.recalled {
            recalled.complete(users).await;
        }
    }

    fn note(&self, noted: Vec<Seen>) {
        if let Some(recalled) = &self.recalled
            && !noted.is_empty()
        {
            recalled.note(noted);
        }
    }

    /// Keeps the keys of users who stay long from going: some with each renewal, all in turn.
    async fn touch_some(&self, life: &str) -> Result<(), PresenceError> {
        let (cursor, listed) = {
            let taken = self.lease.lock();
            (taken.cursor, taken.listed)
        };
        let turns = TOUCH_WITHIN.as_secs() / super::RENEW_EVERY.as_secs();
        let list = self.list(life);
        let mut asked = vec![
            Asked::new("ZCARD").arg(&list),
            Asked::new("ZSCAN")
                .arg(&list)
                .arg(cursor)
                .arg("COUNT")
                .arg(listed / turns + 8),
            Asked::new("PEXPIRE").arg(&list).arg(millis(KEEP)),
            Asked::new("PEXPIRE")
                .arg(self.untold(life))
                .arg(millis(KEEP)),
        ];
        let told = self.to_be_said(life);
        asked.extend(self.saying(life, &told));
        let mut answers = self.ask(asked).await?.into_iter();
        self.said(&told);
        let (listed, scanned) = answers
            .next()
            .zip(answers.next())
            .ok_or_else(|| unreadable("a list"))?;
        let (cursor, users) = holding::scanned(scanned).ok_or_else(|| unreadable("a list"))?;
        {
            let mut taken = self.lease.lock();
            taken.cursor = cursor;
            taken.listed = holding::number(&listed).unwrap_or_default();
        }
        let touch = |user: &UserId| Asked::new("PEXPIRE").arg(self.user(user)).arg(millis(KEEP));
        self.ask(users.iter().map(touch).collect()).await.map(drop)
    }
}

/// What is to be held of one user.
struct Change {
    user: UserId,
    state: Option<DeviceState>,
    reaped: bool,
}

impl Change {
    fn reaping(user: UserId) -> Self {
        Self {
            user,
            state: None,
            reaped: true,
        }
    }
}

#[async_trait]
impl PresenceStore for RedisPresence {
    async fn lease(&self) -> Result<Lease, PresenceError> {
        let born = self.lease.lock().born.clone();
        let length = micros(LEASE_FOR);
        let args = [self.node.as_str(), &length, &born, &millis(KEEP)];
        let answer = self.ask_one(self.on_leases(&scripts::LEASE, &args)).await?;
        let (number, born, forgot) = holding::lease(answer).ok_or_else(|| unreadable("a lease"))?;
        let incarnation = Incarnation::new(number);
        *self.lease.lock() = Taken {
            life: Some(self.life(incarnation)),
            born,
            ..Taken::default()
        };
        if forgot && let Some(recalled) = &self.recalled {
            // Those who went since may be known to Redis no more.
            recalled.forget();
        }
        Ok(Lease {
            incarnation,
            forgot,
        })
    }

    async fn renew(&self, lease: Incarnation) -> Result<(), PresenceError> {
        let life = self.life(lease);
        let args = [life.as_str(), &micros(LEASE_FOR), &millis(KEEP)];
        let answer = self.ask_one(self.on_leases(&scripts::RENEW, &args)).await?;
        if holding::number(&answer) != Some(1) {
            return Err(PresenceError::Expired);
        }
        if let Err(error) = self.touch_some(&life).await {
            // There are hours left for it.
            tracing::debug!(%error, "presence is not touched");
        }
        Ok(())
    }

    async fn put(
        &self,
        lease: Incarnation,
        at: Timestamp,
        changes: &[(UserId, Option<DeviceState>)],
    ) -> Result<Vec<Standing>, PresenceError> {
        let life = self.life(lease);
        let list = self.list(&life);
        let first = self.asked.fetch_add(changes.len() as u64, Relaxed) + 1;
        let numbered = || changes.iter().zip(first..);
        let mut admit = vec![self.on_leases(&scripts::ADMIT, &[&life, &micros(MARGIN)])];
        let coming = || numbered().filter(|((_, state), _)| state.is_some());
        if coming().next().is_some() {
            let users = coming().map(|((user, _), number)| (user, number));
            admit.push(listing(&list, "GT", users));
            admit.push(Asked::new("PEXPIRE").arg(&list).arg(millis(KEEP)));
        }
        let told = self.to_be_said(&life);
        admit.extend(self.saying(&life, &told));
        if !changes.is_empty() {
            let users = numbered().map(|((user, _), number)| (user, number));
            admit.extend(self.note_untold(&life, users));
        }
        let admitted = self.ask(admit).await?;
        self.said(&told);
        let deadline = admitted.first().and_then(holding::text).unwrap_or_default();
        if deadline.is_empty() {
            return Err(PresenceError::Expired);
        }
        let changes: Vec<Change> = changes
            .iter()
            .map(|(user, state)| Change {
                user: user.clone(),
                state: state.clone(),
                reaped: false,
            })
            .collect();
        let holds = changes.iter().zip(first..);
        let holds = holds.map(|(change, number)| self.hold(&life, number, at, deadline, change));
        let answers = self.ask(holds.collect()).await?;
        let mut standings = Vec::with_capacity(changes.len());
        let mut noted = Vec::new();
        let mut late = false;
        for (change, answer) in changes.iter().zip(answers) {
            let held = Held::parse(answer).ok_or_else(|| unreadable("a holding"))?;
            late |= held.happened == Happened::Expired;
            noted.extend(held.noted(&change.user));
            standings.push(held.standing);
        }
        self.note(noted);
        if late {
            return Err(PresenceError::Expired);
        }
        let going = || {
            changes
                .iter()
                .zip(first..)
                .filter(|(change, _)| change.state.is_none())
        };
        if going().next().is_some() {
            let users = going().map(|(change, number)| (&change.user, number));
            if let Err(error) = self.ask_one(unlisting(&list, users)).await {
                // Too many listed do no harm.
                tracing::debug!(%error, "who went stays listed");
            }
        }
        let users = changes.iter().map(|change| &change.user);
        self.complete(users.zip(&mut standings)).await;
        Ok(standings)
    }

    fn told(&self, lease: Incarnation, users: &[UserId]) {
        self.keep_as_told(&self.life(lease), users);
    }

    async fn read(&self, users: &[UserId]) -> Result<Vec<Standing>, PresenceError> {
        let life = self.lease.lock().life.clone().unwrap_or_default();
        let look = [life.as_str(), &micros(HANDED_OVER_IN)];
        let mut asked = Vec::with_capacity(users.len() + 1);
        asked.push(self.on_leases(&scripts::LOOK, &look));
        asked.extend(
            users
                .iter()
                .map(|user| Asked::new("HGETALL").arg(self.user(user))),
        );
        let mut answers = self.ask(asked).await?.into_iter();
        match answers.next().as_ref().and_then(holding::text) {
            Some("whole") => {}
            Some("lost") => return Err(PresenceError::Expired),
            _ => {
                let reason = "what nodes hold is being handed over again";
                return Err(PresenceError::Unavailable(reason.to_owned()));
            }
        }
        let mut standings: Vec<Standing> = answers.map(holding::standing).collect();
        self.complete(users.iter().zip(&mut standings)).await;
        Ok(standings)
    }

    async fn reap(&self, lease: Incarnation, at: Timestamp) -> Result<Vec<Reaped>, PresenceError> {
        let own = self.life(lease);
        let args = [self.node.as_str(), &micros(CLAIM), &LIVES.to_string()];
        let answer = self
            .ask_one(self.on_leases(&scripts::EXPIRED, &args))
            .await?;
        let mut reaped = Vec::new();
        for life in holding::texts(answer) {
            let room = REAPED_AT_ONCE.saturating_sub(reaped.len());
            match self.empty(&life, Some(&own), at, room).await {
                Ok(some) => reaped.extend(some),
                Err((some, error)) => {
                    reaped.extend(some);
                    if reaped.is_empty() {
                        return Err(error);
                    }
                    // They are taken away and must be told of; the rest is for the next call.
                    break;
                }
            }
        }
        Ok(reaped)
    }

    async fn release(
        &self,
        lease: Incarnation,
        at: Timestamp,
    ) -> Result<Vec<Reaped>, PresenceError> {
        let life = self.life(lease);
        {
            let mut taken = self.lease.lock();
            if taken.life.as_ref() == Some(&life) {
                taken.life = None;
            }
        }
        let args = [life.as_str(), self.node.as_str(), &micros(CLAIM)];
        let answer = self
            .ask_one(self.on_leases(&scripts::RESIGN, &args))
            .await?;
        if holding::number(&answer) != Some(1) {
            return Ok(Vec::new());
        }
        match self.empty(&life, None, at, usize::MAX).await {
            Err((reaped, error)) if reaped.is_empty() => Err(error),
            Ok(reaped) | Err((reaped, _)) => Ok(reaped),
        }
    }
}

fn millis(span: Duration) -> String {
    span.as_millis().to_string()
}

fn micros(span: Duration) -> String {
    span.as_micros().to_string()
}

fn unreadable(what: &str) -> PresenceError {
    PresenceError::Unavailable(format!("{what} of another version"))
}
