//! What rooms report of themselves.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use shared::telemetry::Metric;

/// The metrics of rooms.
pub const METRICS: &[Metric] = &[
    Metric::gauge("fireside_rooms_live", "Rooms whose state is in memory"),
    Metric::gauge(
        "fireside_room_answers_owed",
        "Commands that rooms took in and have not answered, in mailboxes and in flight",
    ),
    Metric::counter(
        "fireside_room_mailbox_full_total",
        "Commands handed back because a room's mailbox was full",
    ),
    Metric::histogram(
        "fireside_room_batch_entries",
        "Entries of one append of one room",
        &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0],
    ),
    Metric::counter(
        "fireside_room_conflicts_total",
        "Appends that another node was ahead of",
    ),
    Metric::counter(
        "fireside_room_repairs_total",
        "Times a room read entries that were missing from its log",
    ),
    Metric::counter(
        "fireside_room_found_missing_total",
        "Times a look at history found entries of a room that nobody had told this node of",
    ),
    Metric::counter(
        "fireside_room_deaths_total",
        "Rooms that died of a fault and were started afresh",
    ),
];

/// Handles are fetched once, so the recorder must be installed before rooms are started.
pub(super) struct Gauges {
    pub(super) live: Gauge,
    pub(super) owed: Gauge,
    pub(super) full: Counter,
    pub(super) batch_entries: Histogram,
    pub(super) conflicts: Counter,
    pub(super) repairs: Counter,
    pub(super) found_missing: Counter,
    pub(super) deaths: Counter,
}

impl Gauges {
    pub(super) fn new() -> Self {
        Self {
            live: gauge!("fireside_rooms_live"),
            owed: gauge!("fireside_room_answers_owed"),
            full: counter!("fireside_room_mailbox_full_total"),
            batch_entries: histogram!("fireside_room_batch_entries"),
            conflicts: counter!("fireside_room_conflicts_total"),
            repairs: counter!("fireside_room_repairs_total"),
            found_missing: counter!("fireside_room_found_missing_total"),
            deaths: counter!("fireside_room_deaths_total"),
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::settings::{Loader, SettingDoc, Settings, reference};

    use super::*;
    use crate::room::RoomSettings;

    #[derive(Debug, clap::Args)]
    struct Documented {
        #[command(flatten)]
        rooms: RoomSettings,
    }

    impl Settings for Documented {}

    #[test]
    fn the_operations_page_has_every_setting_and_metric() {
        let page = include_str!("../../../docs/operations.md");
        let settings = reference::<Documented>(&Loader::new("chat-node", "0", ""));
        let own = |doc: &&SettingDoc| {
            let begins = ["room_", "lobby_"]
                .iter()
                .any(|with| doc.key.starts_with(with));
            begins || doc.key.ends_with("_strangers")
        };
        let own: Vec<String> = settings.iter().filter(own).map(SettingDoc::row).collect();
        assert_eq!(own.len(), 6);
        let missing: Vec<String> = own
            .into_iter()
            .chain(METRICS.iter().map(Metric::row))
            .filter(|row| !page.lines().any(|line| line == row))
            .collect();
        assert!(
            missing.is_empty(),
            "docs/operations.md lacks:\n{}",
            missing.join("\n")
        );
    }
}
