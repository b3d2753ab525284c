//! Ports for servers that have to come back to them.

use std::{
    io,
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// The ports given out: below those the system gives to connections of its own, of which one could
/// take the port while its server is down.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// A port of 127.0.0.1 nobody listens on, and that this process gave to nobody else.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that test at the same time begin at places far from each other, even if their numbers
    // are neighbours (Fibonacci hashing): a port that two give out is a server of one test in the
    // other's cluster.
    let scattered = std::process::id().wrapping_mul(2_654_435_769);
    let start = ((u64::from(scattered) * u64::from(COUNT)) >> 32) as u16;
    for _ in 0..COUNT {
        let n = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + n) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("every port is taken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once() {
        let (a, b) = (free_port().unwrap(), free_port().unwrap());
        assert_ne!(a, b);
        assert!((FIRST..FIRST + COUNT).contains(&a));
        let _taken = TcpListener::bind(("127.0.0.1", b)).unwrap();
        assert!((0..5).all(|_| free_port().unwrap() != b));
    }
}
