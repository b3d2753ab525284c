//! What an operator may set about sessions.

use std::time::Duration;

use shared::settings::{ByteSize, Report, Settings, duration};

/// The settings of sessions.
#[derive(Debug, Clone, clap::Args)]
pub struct SessionSettings {
    /// How often the server pings, give or take a tenth
    #[arg(long, value_parser = duration, default_value = "25s")]
    pub heartbeat: Duration,
    /// After how much silence a socket is closed with 4002
    #[arg(long, value_parser = duration, default_value = "40s")]
    pub heartbeat_timeout: Duration,
    /// How long a fresh socket has to start or resume a session
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub greeting_timeout: Duration,
    /// How long making a session's snapshot may take
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub session_start_timeout: Duration,
    /// How long a session outlives its socket
    #[arg(long, value_parser = duration, default_value = "2m")]
    pub session_ttl: Duration,
    /// How long a session that is resumed here and is on another node may take between two signs of life
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub handover_timeout: Duration,
    /// The most sessions of one user; the oldest gives way (close 4406)
    #[arg(long, default_value_t = 16)]
    pub max_sessions_per_user: usize,
    /// The longest inbound message, whole or in fragments; longer ones close with 1009
    #[arg(long, default_value = "16KiB")]
    pub max_frame: ByteSize,
    /// How long a command waits for a room whose mailbox is full before it is answered `busy`.
    /// Meanwhile the socket is not read
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub busy_after: Duration,
}

impl Settings for SessionSettings {
    fn validate(&self, report: &mut Report) {
        report.require(
            self.heartbeat >= Duration::from_millis(250),
            "heartbeat",
            "at least 250ms, the tick of the timer wheel",
        );
        report.require(
            self.heartbeat_timeout > self.heartbeat,
            "heartbeat_timeout",
            "must be longer than `heartbeat`",
        );
        report.require(
            !self.greeting_timeout.is_zero(),
            "greeting_timeout",
            "must not be zero",
        );
        report.require(
            self.max_sessions_per_user > 0,
            "max_sessions_per_user",
            "must not be zero",
        );
        report.require(
            self.max_frame >= ByteSize::kib(8) && self.max_frame <= ByteSize::kib(64),
            "max_frame",
            "8KiB (a message of 4,000 characters and its data) to 64KiB",
        );
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(25),
            heartbeat_timeout: Duration::from_secs(40),
            greeting_timeout: Duration::from_secs(10),
            session_start_timeout: Duration::from_secs(10),
            session_ttl: Duration::from_mins(2),
            handover_timeout: Duration::from_secs(2),
            max_sessions_per_user: 16,
            max_frame: ByteSize::kib(16),
            busy_after: Duration::from_secs(2),
        }
    }
}
