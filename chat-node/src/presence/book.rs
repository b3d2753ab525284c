//! Who holds what, on which lease, and who has to be told: the store of presence without locks or a
//! clock. Pure: time comes in as an argument.

use std::collections::HashMap;

use shared::id::{NodeId, Timestamp, UserId};
use tokio::time::Instant;

use super::{
    Availability, DeviceState, Holding, Incarnation, LEASE_FOR, PresenceError, Reaped, Seen,
    Standing,
};
use crate::ids::{IdMap, IdSet};

/// Of how many users who are gone the time last seen is kept.
const MAX_REMEMBERED: usize = 200_000;

/// One life of a node.
pub(super) type Life = (NodeId, Incarnation);

/// Leases, and how users stand.
#[derive(Default)]
pub(super) struct Book {
    leases: HashMap<Life, Held>,
    standings: IdMap<UserId, Standing>,
    incarnations: u64,
    versions: u64,
    /// Who came and went, to be noted when the book is closed.
    pub(super) noted: Vec<Seen>,
}

struct Held {
    expires: Instant,
    users: IdSet<UserId>,
    /// Whom it has to answer for.
    untold: IdSet<UserId>,
}

impl Book {
    /// Gives a node a lease.
    pub(super) fn lease(&mut self, node: &NodeId, now: Instant) -> Incarnation {
        self.incarnations += 1;
        let incarnation = Incarnation::new(self.incarnations);
        let held = Held {
            expires: now + LEASE_FOR,
            users: IdSet::default(),
            untold: IdSet::default(),
        };
        self.leases.insert((node.clone(), incarnation), held);
        incarnation
    }

    /// Extends a lease.
    pub(super) fn renew(&mut self, life: &Life, now: Instant) -> Result<(), PresenceError> {
        self.live(life, now)?.expires = now + LEASE_FOR;
        Ok(())
    }

    /// Replaces what a life holds of users.
    pub(super) fn put(
        &mut self,
        life: &Life,
        now: Instant,
        at: Timestamp,
        changes: &[(UserId, Option<DeviceState>)],
    ) -> Result<Vec<Standing>, PresenceError> {
        self.live(life, now)?;
        let mut standings = Vec::with_capacity(changes.len());
        for (user, state) in changes {
            let (standing, shows) = self.hold(life, at, user, state.clone());
            if let Some(held) = self.leases.get_mut(life) {
                if state.is_some() {
                    held.users.insert(user.clone());
                } else {
                    held.users.remove(user);
                }
                if shows {
                    held.untold.insert(user.clone());
                }
            }
            standings.push(standing);
        }
        Ok(standings)
    }

    /// These were told.
    pub(super) fn told(&mut self, life: &Life, users: &[UserId]) {
        if let Some(held) = self.leases.get_mut(life) {
            for user in users {
                held.untold.remove(user);
            }
        }
    }

    /// Ends the leases that have expired; `own` has to tell of whom they leave behind.
    pub(super) fn reap(&mut self, own: &Life, now: Instant, at: Timestamp) -> Vec<Reaped> {
        let expired = self.leases.iter().filter(|(_, lease)| lease.expires <= now);
        let expired: Vec<Life> = expired.map(|(life, _)| life.clone()).collect();
        let reaped = expired.iter().flat_map(|life| self.end(life, at));
        let reaped: Vec<Reaped> = reaped.collect();
        if let Some(own) = self.leases.get_mut(own) {
            let to_tell = reaped.iter().filter(|reaped| reaped.is_to_be_told());
            own.untold.extend(to_tell.map(|reaped| reaped.user.clone()));
        }
        if self.standings.len() > MAX_REMEMBERED {
            self.forget_some();
        }
        reaped
    }

    /// How a user stands.
    pub(super) fn standing(&self, user: &UserId) -> Standing {
        self.standings.get(user).cloned().unwrap_or_default()
    }

    /// Whether it says anything of a user.
    pub(super) fn knows(&self, user: &UserId) -> bool {
        self.standings.contains_key(user)
    }

    /// Takes in when a user was last seen, by another book.
    pub(super) fn recall(&mut self, user: UserId, at: Timestamp) {
        // Whoever came meanwhile stands there already.
        let standing = self.standings.entry(user).or_default();
        standing.last_seen = standing.last_seen.max(Some(at));
    }

    fn live(&mut self, life: &Life, now: Instant) -> Result<&mut Held, PresenceError> {
        let lease = self.leases.get_mut(life).ok_or(PresenceError::Expired)?;
        if lease.expires <= now {
            return Err(PresenceError::Expired);
        }
        Ok(lease)
    }

    /// Answers how the user stands then, and whether others may see that something changed.
    fn hold(
        &mut self,
        life: &Life,
        at: Timestamp,
        user: &UserId,
        state: Option<DeviceState>,
    ) -> (Standing, bool) {
        if state.is_none() && !self.standings.contains_key(user) {
            return (Standing::default(), false);
        }
        let standing = self.standings.entry(user.clone()).or_default();
        let here = |holding: &Holding| holding.node == life.0 && holding.incarnation == life.1;
        let before = standing.held.iter().position(here);
        let was_visible = visible(standing);
        let changed = match (before, state) {
            (Some(at), Some(state)) => {
                std::mem::replace(&mut standing.held[at].state, state.clone()) != state
            }
            (Some(at), None) => {
                standing.held.remove(at);
                true
            }
            (None, Some(state)) => {
                let (node, incarnation) = life.clone();
                standing.held.push(Holding {
                    node,
                    incarnation,
                    state,
                });
                true
            }
            (None, None) => false,
        };
        let mut shows = false;
        if changed {
            self.versions += 1;
            standing.version = self.versions;
            standing.changed = Some(at);
            let is_visible = visible(standing);
            shows = was_visible || is_visible;
            if was_visible && !is_visible {
                standing.last_seen = standing.last_seen.max(Some(at));
            }
            if was_visible != is_visible {
                self.noted.push(Seen {
                    user: user.clone(),
                    at: standing.last_seen.filter(|_| !is_visible),
                });
            }
        }
        (standing.clone(), shows)
    }

    /// Ends a lease, and answers with whom it held and for whom it has to answer.
    pub(super) fn end(&mut self, life: &Life, at: Timestamp) -> Vec<Reaped> {
        let Some(lease) = self.leases.remove(life) else {
            return Vec::new();
        };
        let users: IdSet<UserId> = lease.users.union(&lease.untold).cloned().collect();
        let reaped = users.into_iter().filter_map(|user| {
            let here =
                |holding: &&Holding| (&holding.node, holding.incarnation) == (&life.0, life.1);
            let held = self.standings.get(&user).map(|standing| &standing.held);
            let lost = held.and_then(|held| held.iter().find(here));
            let lost = lost.map(|holding| holding.state.clone());
            let untold = lease.untold.contains(&user);
            (lost.is_some() || untold).then(|| Reaped {
                standing: self.hold(life, at, &user, None).0,
                user,
                lost,
                untold,
            })
        });
        reaped.collect()
    }

    /// Forgets when the users who left longest ago were last seen.
    fn forget_some(&mut self) {
        let mut gone: Vec<Option<Timestamp>> = Vec::new();
        gone.extend(
            self.standings
                .values()
                .filter(|s| s.held.is_empty())
                .map(|s| s.changed),
        );
        if gone.len() > MAX_REMEMBERED {
            gone.sort_unstable();
            let median = gone[gone.len() / 2];
            self.standings
                .retain(|_, s| !s.held.is_empty() || s.changed > median);
        }
    }
}

fn visible(standing: &Standing) -> bool {
    let invisible = |holding: &Holding| holding.state.availability == Availability::Invisible;
    !standing.held.is_empty() && !standing.held.iter().any(invisible)
}
