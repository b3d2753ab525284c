//! Sessions: what a client's connection is to the rest of the node, and what outlives the socket.
//!
//! An upgrade hands over a bare socket ([`Surroundings::greet`]); an actor greets it and waits for
//! `session.start` or `session.resume`. A start makes the snapshot (`begin`) and enters the
//! session into the directory ([`Sessions`]); a resume moves the socket, perhaps to another
//! worker, into the session that is meant (`handover`), or fetches that session from the node that has
//! it (`arrival`, there `departure`; what they say is a [`Passage`], and `splice` joins the two halves of
//! the stream). From then on the actor turns frames into
//! commands (`commands`) and hands those about rooms over (`mailroom`); answers and events come
//! back through the relay of its worker into its sink.
//!
//! - `clock`: the deadlines, pure. `actor`: the shell that moves bytes. `lifetime`: how sockets
//!   and sessions end. `control`: what others tell a session. `farewell`: the last words to a
//!   socket that was replaced. `residence`: what its being here means to others.
//!
//! Sessions never touch history or bus. An idle one holds no buffer and no timer.

mod actor;
mod arrival;
mod begin;
mod clock;
mod commands;
mod control;
mod departure;
mod directory;
mod farewell;
mod handover;
mod lifetime;
mod mailroom;
mod passage;
mod residence;
mod seat;
mod settings;
mod splice;
mod surroundings;

use shared::telemetry::Metric;

pub use directory::Sessions;
pub use passage::{Luggage, Passage, Step};
pub use settings::SessionSettings;
pub use surroundings::Surroundings;

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    Metric::gauge("fireside_sockets", "WebSockets right now, begun or not"),
    Metric::gauge(
        "fireside_sessions",
        "Sessions right now, with and without a socket",
    ),
    Metric::gauge(
        "fireside_sessions_detached",
        "Sessions right now that wait for a socket to come back",
    ),
    Metric::counter(
        "fireside_starts_total",
        "Starts of sessions: ok, or the error's code",
    )
    .by(&["outcome"]),
    Metric::counter(
        "fireside_resumes_total",
        "Resumes of sessions: resumed or lost",
    )
    .by(&["outcome"]),
    Metric::counter(
        "fireside_sessions_sought_total",
        "Resumes of sessions that were not here: taken from another node, or why not",
    )
    .by(&["outcome"]),
    Metric::counter(
        "fireside_sessions_departed_total",
        "Sessions that another node wanted: taken there, refused, unheard or unfetched",
    )
    .by(&["outcome"]),
    Metric::counter(
        "fireside_replayed_events_total",
        "Events replayed by resumes",
    ),
    Metric::counter(
        "fireside_commands_total",
        "Commands read, by op; invalid: those that are none",
    )
    .by(&["op"]),
    Metric::counter(
        "fireside_commands_stalled_total",
        "Commands that had to wait for a room whose mailbox was full",
    ),
    Metric::counter(
        "fireside_closes_total",
        "WebSockets closed, by the word of the close code",
    )
    .by(&["code"]),
    Metric::counter(
        "fireside_session_panics_total",
        "Sessions that ended by a fault of ours",
    ),
];

#[cfg(test)]
mod tests {
    use shared::settings::{Loader, Report, SettingDoc, Settings, reference};

    use super::*;
    use crate::{
        server::{self, ConnectionSettings},
        upgrade::{self, UpgradeSettings},
    };

    #[derive(Debug, clap::Args)]
    struct Here {
        #[command(flatten)]
        connections: ConnectionSettings,
        #[command(flatten)]
        upgrade: UpgradeSettings,
        #[command(flatten)]
        session: SessionSettings,
    }

    impl Settings for Here {
        fn validate(&self, report: &mut Report) {
            self.connections.validate(report);
            self.upgrade.validate(report);
            self.session.validate(report);
        }
    }

    #[test]
    fn what_can_be_set_and_what_is_measured_stands_in_the_operations_page() {
        let page = include_str!("../../../docs/operations.md");
        let settings = reference::<Here>(&Loader::new("chat-node", "0", ""));
        let metrics = [server::METRICS, upgrade::METRICS, METRICS].concat();
        let rows = settings
            .iter()
            .map(SettingDoc::row)
            .chain(metrics.iter().map(Metric::row));
        let missing: Vec<String> = rows
            .filter(|row| !page.lines().any(|line| line == row))
            .collect();
        assert!(
            missing.is_empty(),
            "docs/operations.md lacks:\n{}",
            missing.join("\n")
        );
    }

    #[test]
    fn a_session_is_small() {
        // What an idle session costs besides its sink, its mailbox and its socket.
        let size = std::mem::size_of::<actor::Session>();
        assert!(size <= 512, "{size} bytes");
    }
}
