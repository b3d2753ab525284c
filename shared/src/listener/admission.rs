//! How many connections there may be: in total, from one address, and not yet past their first
//! request head.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{limits::address_key, network::Network};
use dashmap::DashMap;
use metrics::{Gauge, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ConnectionSettings;

/// The counts, shared by all workers. Bound of the map: one entry for every address that has a
/// connection right now.
#[derive(Debug, Clone)]
pub struct Admission {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    max_total: usize,
    max_per_address: usize,
    proxies: Vec<Network>,
    total: AtomicUsize,
    addresses: DashMap<IpAddr, usize>,
    handshakes: Arc<Semaphore>,
    /// Held, because finding it costs as much as a part of a handshake.
    gauge: Gauge,
}

/// Why a connection is turned away at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// There are as many connections as there may be.
    Full,
    /// There are as many from this address as there may be.
    Crowd,
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
}

impl Admission {
    /// Nobody is in yet.
    pub fn new(settings: &ConnectionSettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                max_total: settings.max_connections,
                max_per_address: settings.max_connections_per_address,
                proxies: settings.trusted_proxies.clone(),
                total: AtomicUsize::new(0),
                addresses: DashMap::new(),
                handshakes: Arc::new(Semaphore::new(settings.max_handshakes)),
                gauge: gauge!("fireside_connections"),
            }),
        }
    }

    /// Waits until one more connection may be without its first request head. An attacker who
    /// fills these places makes others wait in the kernel's queue for a handshake time-out at
    /// most; limits by address make that hard to do.
    pub async fn handshake(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.handshakes.clone().acquire_owned().await.ok()
    }

    /// Takes a place for a connection from `peer`.
    pub fn admit(&self, peer: IpAddr) -> Result<Permit, TurnedAway> {
        let shared = &self.shared;
        let counted = shared.max_per_address > 0
            && !shared.proxies.iter().any(|network| network.contains(peer));
        let before = shared.total.fetch_add(1, Ordering::Relaxed);
        // From here on, dropping the permit gives back what was taken.
        let mut permit = Permit {
            shared: shared.clone(),
            address: None,
        };
        if before >= shared.max_total {
            return Err(TurnedAway::Full);
        }
        if counted {
            let key = address_key(peer);
            let mut count = shared.addresses.entry(key).or_insert(0);
            if *count >= shared.max_per_address {
                return Err(TurnedAway::Crowd);
            }
            *count += 1;
            permit.address = Some(key);
        }
        shared.gauge.set((before + 1) as f64);
        Ok(permit)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.total.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.shared.addresses.remove_if_mut(&address, |_, count| {
                *count -= 1;
                *count == 0
            });
        }
        let before = self.shared.total.fetch_sub(1, Ordering::Relaxed);
        self.shared.gauge.set(before.saturating_sub(1) as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::settings::ByteSize;

    use super::*;

    fn admission(total: usize, per_address: usize) -> Admission {
        Admission::new(&ConnectionSettings {
            max_connections: total,
            max_connections_per_address: per_address,
            max_handshakes: 1,
            handshake_timeout: Duration::from_secs(5),
            http_keep_alive: Duration::from_secs(30),
            socket_send_buffer: ByteSize::kib(64),
            trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        })
    }

    #[test]
    fn places_come_back() {
        let admission = admission(3, 2);
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = admission.admit(a).unwrap();
        let second = admission.admit(a).unwrap();
        assert_eq!(admission.admit(a).unwrap_err(), TurnedAway::Crowd);
        let third = admission.admit(b).unwrap();
        assert_eq!(admission.admit(b).unwrap_err(), TurnedAway::Full);
        assert_eq!(admission.connections(), 3);
        drop(first);
        drop(admission.admit(a).unwrap());
        drop((second, third));
        assert_eq!(admission.connections(), 0);
        assert!(admission.shared.addresses.is_empty());
    }

    #[test]
    fn a_proxy_is_not_a_crowd() {
        let admission = admission(10, 1);
        let proxy: IpAddr = "127.0.0.1".parse().unwrap();
        let permits: Vec<Permit> = (0..10).map(|_| admission.admit(proxy).unwrap()).collect();
        assert_eq!(admission.admit(proxy).unwrap_err(), TurnedAway::Full);
        drop(permits);
    }
}
