//! The devices of one node's users, and when what they come to is due. Pure: time comes in as
//! an argument, and what is to be done comes out of [`Roster::due`]. What is known of one user, and when
//! that has to be told, is in [`tracked`].
//!
//! A user's change is due at once unless the last one was less than the damping ago; then when that is over,
//! by which time only the newest counts. A device whose socket is gone counts for the grace. A user to
//! whom nothing is to happen has no entry in the queue and no timer.

use std::{collections::BTreeSet, time::Duration};

use shared::id::{Timestamp, UserId};
use tokio::time::Instant;

use super::DeviceState;
use crate::{ids::IdMap, transport::SessionKey};
use tracked::{Device, Link, Tracked};

mod tracked;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long a device counts after its socket is gone.
    pub(super) grace: Duration,
    /// The least time between two publications about one user.
    pub(super) damping: Duration,
}

/// The users with a session here.
#[derive(Debug)]
pub(super) struct Roster {
    pace: Pace,
    users: IdMap<UserId, Tracked>,
    /// By the time something is due, each user at most once.
    queue: BTreeSet<(Instant, UserId)>,
}

/// A change to hand to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    /// Whose.
    pub(super) user: UserId,
    /// The state over the devices here; `None`: there are none.
    pub(super) held: Option<DeviceState>,
}

/// What is to be told of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    /// What was told last.
    pub(super) before: Option<DeviceState>,
    /// How it is now.
    pub(super) after: Option<DeviceState>,
}

/// What the store answered to a [`Due`].
#[derive(Debug)]
pub(super) struct Settled {
    /// What was put.
    pub(super) held: Option<DeviceState>,
    /// What the other nodes hold.
    pub(super) elsewhere: Option<DeviceState>,
    /// Both.
    pub(super) total: Option<DeviceState>,
    /// The version of it.
    pub(super) version: u64,
    /// Whether it may be told now (the overload ladder allows it).
    pub(super) tell: bool,
}

impl Roster {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            users: IdMap::default(),
            queue: BTreeSet::new(),
        }
    }

    /// A session starts.
    pub(super) fn connected(
        &mut self,
        session: SessionKey,
        user: &UserId,
        state: DeviceState,
        now: Instant,
    ) {
        let tracked = self.users.entry(user.clone()).or_default();
        tracked.devices.retain(|device| device.session != session);
        tracked.devices.push(Device {
            session,
            state,
            link: Link::Up,
        });
        self.schedule(user, now);
    }

    /// A session is taken up again.
    pub(super) fn resumed(&mut self, session: SessionKey, user: &UserId, now: Instant) {
        self.with_device(session, user, now, |device| device.link = Link::Up);
    }

    /// A device says something else. `set` makes the new state from the one before.
    pub(super) fn set(
        &mut self,
        session: SessionKey,
        user: &UserId,
        now: Instant,
        set: impl FnOnce(&DeviceState) -> DeviceState,
    ) {
        self.with_device(session, user, now, |device| {
            device.state = set(&device.state);
        });
    }

    /// A session's socket is gone.
    pub(super) fn disconnected(&mut self, session: SessionKey, user: &UserId, now: Instant) {
        let until = now + self.pace.grace;
        self.with_device(session, user, now, |device| {
            if device.link == Link::Up {
                device.link = Link::Grace(until);
            }
        });
    }

    /// A session is gone.
    pub(super) fn ended(&mut self, session: SessionKey, user: &UserId, now: Instant) {
        if let Some(tracked) = self.users.get_mut(user) {
            tracked.devices.retain(|device| device.session != session);
            self.schedule(user, now);
        }
    }

    /// Whether the session runs.
    pub(super) fn has(&self, session: SessionKey, user: &UserId) -> bool {
        let tracked = self.users.get(user);
        tracked.is_some_and(|tracked| tracked.devices.iter().any(|d| d.session == session))
    }

    /// What a session's device says of itself.
    pub(super) fn device(&self, session: SessionKey, user: &UserId) -> Option<DeviceState> {
        let devices = &self.users.get(user)?.devices;
        let device = devices.iter().find(|device| device.session == session)?;
        Some(device.state.clone())
    }

    /// The devices here, merged.
    pub(super) fn held(&self, user: &UserId) -> Option<DeviceState> {
        self.users.get(user)?.held()
    }

    /// Whether the user is invisible: by a device here at once, whatever is still to be told, and
    /// by one elsewhere, or one that ceased to be, for as long as that is what was told last.
    pub(super) fn unseen(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(Tracked::unseen)
    }

    /// Another node told of the user; `shows` says whether friends were told, too. Answers whether that is
    /// news here.
    pub(super) fn heard(
        &mut self,
        user: &UserId,
        total: Option<&DeviceState>,
        version: u64,
        shows: bool,
    ) -> bool {
        let tracked = self.users.get_mut(user);
        tracked.is_none_or(|tracked| tracked.heard(total, version, shows))
    }

    /// Another node told others of the user as `total`, which is older than what stands here. Whoever
    /// was told what is newer passes over it; but if this node had found that nobody had to be told, it
    /// tells now.
    pub(super) fn overtook(
        &mut self,
        user: &UserId,
        total: Option<&DeviceState>,
        version: u64,
        now: Instant,
    ) {
        let Some(tracked) = self.users.get_mut(user) else {
            return;
        };
        if tracked.overtook(total, version) {
            self.schedule(user, now);
        }
    }

    /// A user whose node died is to be told of, once, as having been `before`.
    pub(super) fn owe(&mut self, user: &UserId, before: Option<DeviceState>, now: Instant) {
        let tracked = self.users.entry(user.clone()).or_default();
        tracked.owe_as(before);
        self.schedule(user, now);
    }

    /// A user is to be told of, whatever others know: a node died that may not have told what it
    /// changed.
    pub(super) fn owe_anyhow(&mut self, user: &UserId, now: Instant) {
        let tracked = self.users.entry(user.clone()).or_default();
        tracked.unsure = true;
        tracked.owe();
        self.schedule(user, now);
    }

    /// The store forgot what it was given: all of it is due again.
    pub(super) fn owe_all(&mut self, now: Instant) {
        let users: Vec<UserId> = self.users.keys().cloned().collect();
        for user in users {
            if let Some(tracked) = self.users.get_mut(&user) {
                tracked.owe();
            }
            self.schedule(&user, now);
        }
    }

    /// Somebody else may have told of the users here as if they were not: others know what the other
    /// nodes hold.
    pub(super) fn doubt_told(&mut self) {
        for tracked in self.users.values_mut() {
            tracked.doubt_told();
        }
    }

    /// What others told of the users here may not have been heard: the next change of each is told,
    /// whatever it seems to change, and the last one now, if it seemed to change nothing.
    pub(super) fn doubt_heard(&mut self, now: Instant) {
        let mut silent = Vec::new();
        for (user, tracked) in &mut self.users {
            tracked.unsure = true;
            if tracked.silent {
                tracked.owed = true;
                silent.push(user.clone());
            }
        }
        for user in silent {
            self.schedule(&user, now);
        }
    }

    /// The sessions of a user.
    pub(super) fn sessions(&self, user: &UserId) -> Vec<SessionKey> {
        let tracked = self.users.get(user);
        let devices = tracked.into_iter().flat_map(|tracked| &tracked.devices);
        devices.map(|device| device.session).collect()
    }

    /// The users with a session here.
    pub(super) fn users(&self) -> Vec<UserId> {
        let present = self.users.iter().filter(|(_, t)| !t.devices.is_empty());
        present.map(|(user, _)| user.clone()).collect()
    }

    /// When something is next due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// How many users there are, and how many wait for their time.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.users.len(), self.queue.len())
    }

    /// Takes up to `limit` changes that are due. Each is under way until it is settled or failed.
    pub(super) fn due(&mut self, now: Instant, limit: usize) -> Vec<Due> {
        let mut due = Vec::new();
        while due.len() < limit {
            let Some((at, user)) = self.queue.first() else {
                break;
            };
            if *at > now {
                break;
            }
            let user = user.clone();
            self.queue.pop_first();
            let Some(tracked) = self.users.get_mut(&user) else {
                continue;
            };
            tracked.queued = None;
            tracked.end_graces(now);
            if tracked.changed() && tracked.rests.is_none_or(|until| until <= now) {
                let held = tracked.held();
                tracked.goes_to_store(held.is_some());
                due.push(Due { user, held });
            } else if tracked.is_over(now) {
                self.users.remove(&user);
            } else {
                self.schedule(&user, now);
            }
        }
        due
    }

    /// Whether the store knows that the user is here.
    pub(super) fn is_noticed(&self, user: &UserId) -> bool {
        let tracked = self.users.get(user);
        tracked.is_none_or(|tracked| tracked.noticed || tracked.held().is_none())
    }

    /// Until the store knows of the user, others do not tell here what they change.
    pub(super) fn falls_behind(&mut self, user: &UserId, since: Timestamp) {
        if let Some(tracked) = self.users.get_mut(user) {
            tracked.behind.get_or_insert(since);
        }
    }

    /// The store has what it was given. Answers since when the user has missed what others changed,
    /// if so.
    pub(super) fn taken(&mut self, user: &UserId, held: Option<&DeviceState>) -> Option<Timestamp> {
        let tracked = self.users.get_mut(user)?;
        tracked.taken(held.is_some())
    }

    /// The store took a change. Answers what is to be told, if anything.
    pub(super) fn settled(
        &mut self,
        user: &UserId,
        settled: Settled,
        now: Instant,
    ) -> Option<News> {
        let tracked = self.users.get_mut(user)?;
        let news = tracked.settled(settled, now + self.pace.damping);
        self.schedule(user, now);
        news
    }

    /// The store did not take a change: it is due again after `wait`.
    pub(super) fn failed(&mut self, user: &UserId, now: Instant, wait: Duration) {
        if let Some(tracked) = self.users.get_mut(user) {
            tracked.failed(now + wait);
            self.schedule(user, now);
        }
    }

    /// Telling did not come about: as if nothing had been told since `before`.
    pub(super) fn untold(&mut self, user: &UserId, before: Option<DeviceState>, now: Instant) {
        let tracked = self.users.entry(user.clone()).or_default();
        tracked.untold(before);
        self.schedule(user, now);
    }

    fn with_device(
        &mut self,
        session: SessionKey,
        user: &UserId,
        now: Instant,
        change: impl FnOnce(&mut Device),
    ) {
        let Some(tracked) = self.users.get_mut(user) else {
            return;
        };
        if let Some(device) = tracked.devices.iter_mut().find(|d| d.session == session) {
            change(device);
            self.schedule(user, now);
        }
    }

    /// Puts the user where it belongs in the queue, or nowhere.
    fn schedule(&mut self, user: &UserId, now: Instant) {
        let Some(tracked) = self.users.get_mut(user) else {
            return;
        };
        let at = tracked.next(now);
        if tracked.queued == at {
            return;
        }
        if let Some(old) = tracked.queued.take() {
            self.queue.remove(&(old, user.clone()));
        }
        tracked.queued = at;
        if let Some(at) = at {
            self.queue.insert((at, user.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
