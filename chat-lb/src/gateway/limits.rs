//! How often is too often, and how many are too many.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::Rng as _;
use shared::{
    codes::ErrorCode,
    id::UserId,
    limits::{Decision, Limiter, address_key},
    problem::Problem,
};

use super::GatewaySettings;
use crate::pin::Key;

/// Buckets kept of each kind before newcomers share.
const KEYS: usize = 100_000;

/// The limits of the whole balancer. Its queues: none. Its bounds: the buckets of [`Limiter`], and a
/// count for each user who has a socket.
#[derive(Debug)]
pub(super) struct Limits {
    upgrades_by_address: Limiter<IpAddr>,
    upgrades_by_user: Limiter<UserId>,
    requests_by_address: Limiter<IpAddr>,
    requests_by_user: Limiter<UserId>,
    admissions: Limiter<()>,
    come_back_within: Duration,
    sockets: Arc<Sockets>,
}

#[derive(Debug)]
struct Sockets {
    most: u32,
    /// By the user's name as a number, which a socket can hold for less.
    of_user: Mutex<HashMap<Key, u32>>,
}

/// A user's place among their sockets; free again when this is dropped.
#[derive(Debug)]
pub struct SocketPlace {
    sockets: Arc<Sockets>,
    user: Key,
}

impl Limits {
    pub(super) fn new(settings: &GatewaySettings) -> Self {
        Self {
            upgrades_by_address: Limiter::new(settings.upgrades_per_address, KEYS),
            upgrades_by_user: Limiter::new(settings.upgrades_per_user, KEYS),
            requests_by_address: Limiter::new(settings.requests_per_address, KEYS),
            requests_by_user: Limiter::new(settings.requests_per_user, KEYS),
            admissions: Limiter::new(settings.admissions, KEYS),
            come_back_within: settings.come_back_within,
            sockets: Arc::new(Sockets {
                most: settings.sockets_per_user,
                of_user: Mutex::default(),
            }),
        }
    }

    /// One more request from there; `None` is nobody that a limit by address should bind.
    pub(super) fn request_from(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        check(address, &self.requests_by_address)
    }

    /// One more request of this user.
    pub(super) fn request_of(&self, user: &UserId) -> Result<(), Problem> {
        passed(self.requests_by_user.check(user))
    }

    /// One more upgrade from there.
    pub(super) fn upgrade_from(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        check(address, &self.upgrades_by_address)
    }

    /// One more upgrade of this user, and a place for the socket.
    pub(super) fn upgrade_of(&self, user: &UserId) -> Result<SocketPlace, Problem> {
        passed(self.upgrades_by_user.check(user))?;
        let key = Key::of(user.as_str());
        let mut of_user = self.sockets.of_user.lock();
        let count = of_user.entry(key).or_insert(0);
        if *count >= self.sockets.most {
            let said = "this user has as many connections as there may be";
            return Err(Problem::new(ErrorCode::RateLimited, said).retry_after(self.later()));
        }
        *count += 1;
        Ok(SocketPlace {
            sockets: self.sockets.clone(),
            user: key,
        })
    }

    /// One more WebSocket of anybody. In a flood, those who have to wait are told different times, so
    /// that they do not come back as one.
    pub(super) fn admit(&self) -> Result<(), Problem> {
        match self.admissions.check(&()).allowed() {
            Ok(()) => Ok(()),
            Err(wait) => {
                let said = "many are coming at once; come back a little later";
                let wait = wait + self.later();
                Err(Problem::new(ErrorCode::Busy, said).retry_after(wait))
            }
        }
    }

    /// Some time within which everybody is to come back.
    pub(super) fn later(&self) -> Duration {
        let most = self.come_back_within.as_millis() as u64;
        Duration::from_millis(rand::rng().random_range(most / 10..=most.max(1)))
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        let mut of_user = self.sockets.of_user.lock();
        if let Some(count) = of_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                of_user.remove(&self.user);
            }
        }
    }
}

fn check(address: Option<IpAddr>, limiter: &Limiter<IpAddr>) -> Result<(), Problem> {
    address.map_or(Ok(()), |address| {
        passed(limiter.check(&address_key(address)))
    })
}

fn passed(decision: Decision) -> Result<(), Problem> {
    if decision.is_allowed() {
        Ok(())
    } else {
        Err(decision.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(&GatewaySettings {
            allowed_origins: Vec::new(),
            upgrades_per_address: "1/h burst 2".parse().unwrap(),
            upgrades_per_user: "1/h burst 9".parse().unwrap(),
            sockets_per_user: 2,
            requests_per_address: "1/h burst 2".parse().unwrap(),
            requests_per_user: "1/h burst 2".parse().unwrap(),
            admissions: "1/h burst 3".parse().unwrap(),
            come_back_within: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(1),
            upgrade_timeout: Duration::from_secs(1),
        })
    }

    #[test]
    fn a_users_sockets_are_counted_and_given_back() {
        let limits = limits();
        let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let one = limits.upgrade_of(&ann).unwrap();
        let _two = limits.upgrade_of(&ann).unwrap();
        assert_eq!(
            limits.upgrade_of(&ann).unwrap_err().code,
            ErrorCode::RateLimited
        );
        drop(limits.upgrade_of(&bob).unwrap());
        assert_eq!(limits.sockets.of_user.lock().len(), 1);
        drop(one);
        assert!(limits.upgrade_of(&ann).is_ok());
    }

    #[test]
    fn a_flood_is_asked_to_come_back_at_different_times() {
        let limits = limits();
        let refused: Vec<Problem> = (0..100).filter_map(|_| limits.admit().err()).collect();
        assert_eq!(refused.len(), 97);
        let mut waits: Vec<u64> = refused.iter().filter_map(|p| p.retry_after_ms).collect();
        assert_eq!(waits.len(), 97);
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 50, "{waits:?}");
        assert!(
            refused
                .iter()
                .all(|problem| problem.code == ErrorCode::Busy && problem.retry)
        );
    }

    #[test]
    fn who_is_nobody_is_not_bound_by_an_address() {
        let limits = limits();
        let there = Some("192.0.2.1".parse().unwrap());
        for _ in 0..2 {
            assert!(limits.request_from(there).is_ok());
            assert!(limits.upgrade_from(there).is_ok());
        }
        assert!(limits.request_from(there).is_err() && limits.upgrade_from(there).is_err());
        assert!((0..9).all(|_| limits.request_from(None).is_ok()));
    }
}
