//! What the operator decides about rooms.

use std::time::Duration;

use shared::settings::{Report, Settings, duration};

use super::state::Policy;
use crate::history::retention::RetentionSettings;

/// Settings of rooms.
#[derive(Debug, Clone, clap::Args)]
pub struct RoomSettings {
    /// Let people who are not friends write to each other directly
    #[arg(long)]
    pub dm_between_strangers: bool,

    /// Let people bring anybody into a room, not only friends
    #[arg(long)]
    pub invite_strangers: bool,

    /// How long a lobby outlives its last member
    #[arg(long, value_parser = duration, default_value = "60s")]
    pub lobby_linger: Duration,

    /// After how long without a command a room's state leaves memory
    #[arg(long, value_parser = duration, default_value = "60s")]
    pub room_idle: Duration,

    /// How often a node among others looks in history for what it was not told
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub room_reconcile: Duration,

    /// Commands that may wait for one room before those who send them have to
    #[arg(long, default_value_t = 1024)]
    pub room_mailbox: usize,

    /// How long what was said is kept.
    #[command(flatten)]
    pub retention: RetentionSettings,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            dm_between_strangers: false,
            invite_strangers: false,
            lobby_linger: Duration::from_mins(1),
            room_idle: Duration::from_mins(1),
            room_reconcile: Duration::from_secs(30),
            room_mailbox: 1024,
            retention: RetentionSettings::FOREVER,
        }
    }
}

impl Settings for RoomSettings {
    fn validate(&self, report: &mut Report) {
        report.require(
            self.room_mailbox >= 16,
            "room_mailbox",
            "fewer than 16 makes every burst wait",
        );
        report.require(
            self.room_idle >= Duration::from_secs(1),
            "room_idle",
            "below a second rooms come and go with every command",
        );
        report.require(
            self.room_reconcile >= Duration::from_secs(1),
            "room_reconcile",
            "is at least 1s",
        );
        self.retention.validate(report);
    }
}

impl RoomSettings {
    pub(super) fn policy(&self) -> Policy {
        Policy {
            dm_friends_only: !self.dm_between_strangers,
            invite_friends_only: !self.invite_strangers,
            keep: self.retention,
        }
    }
}
