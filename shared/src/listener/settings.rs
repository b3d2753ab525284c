//! What an operator may set about connections.

use std::time::Duration;

use crate::{
    network::Network,
    settings::{ByteSize, Report, Settings, duration},
};

/// The settings of the listener and of connections before they are sessions.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectionSettings {
    /// The most connections at once, HTTP and WebSocket together; more are answered with 503
    #[arg(long, default_value_t = 100_000)]
    pub max_connections: usize,
    /// The most connections at once from one address (a /64 for IPv6), proxies apart; more are
    /// answered with 429; 0 for no limit
    #[arg(long, default_value_t = 512)]
    pub max_connections_per_address: usize,
    /// The most connections at once that have not sent a whole request head yet; more wait in
    /// the kernel's queue
    #[arg(long, default_value_t = 1024)]
    pub max_handshakes: usize,
    /// How long the first request head of a connection may take to arrive
    #[arg(long, value_parser = duration, default_value = "5s")]
    pub handshake_timeout: Duration,
    /// How long an HTTP connection may stay idle between two requests
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub http_keep_alive: Duration,
    /// The kernel's send buffer of a connection, which bounds what a stalled reader hides there
    #[arg(long, default_value = "64KiB")]
    pub socket_send_buffer: ByteSize,
    /// Addresses (or networks, such as 10.0.0.0/8) of balancers: limits by address do not bind
    /// them, and their `X-Forwarded-For` is believed
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.0/8,::1")]
    pub trusted_proxies: Vec<Network>,
}

impl Settings for ConnectionSettings {
    fn validate(&self, report: &mut Report) {
        report.require(
            self.max_connections > 0,
            "max_connections",
            "must not be zero",
        );
        report.require(
            self.max_handshakes > 0,
            "max_handshakes",
            "must not be zero",
        );
        report.require(
            !self.handshake_timeout.is_zero(),
            "handshake_timeout",
            "must not be zero",
        );
        report.require(
            self.socket_send_buffer >= ByteSize::kib(4),
            "socket_send_buffer",
            "at least 4KiB",
        );
    }
}
