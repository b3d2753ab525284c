//! What a node shows of what it has to do right now.

use std::{sync::Arc, time::Instant};

use shared::{
    live::{NodeFigures, NodeRates, Rates},
    telemetry::Metrics,
};

use crate::{overload::Overload, room::Rooms, session::Sessions};

/// What is counted of starts, commands and entries, in the order of [`NodeRates`].
const COUNTED: [&[&str]; 3] = [
    &["fireside_starts_total", "fireside_resumes_total"],
    &["fireside_commands_total"],
    &[
        "fireside_history_entries_total",
        "fireside_mongodb_entries_total",
    ],
];

/// The figures of a node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Live {
    sessions: Sessions,
    rooms: Rooms,
    overload: Overload,
    rates: Arc<Rates<3>>,
}

impl Live {
    /// Those of these parts.
    pub fn new(sessions: Sessions, rooms: Rooms, overload: Overload) -> Self {
        Self {
            sessions,
            rooms,
            overload,
            rates: Arc::default(),
        }
    }

    /// As of now. Rates are those of the process, where its metrics are kept.
    pub fn now(&self) -> NodeFigures {
        let counted = Metrics::installed().map(|metrics| metrics.totals(COUNTED));
        let rates = counted.and_then(|counted| self.rates.look(Instant::now(), counted));
        NodeFigures {
            sessions: self.sessions.len() as u64,
            rooms: self.rooms.live() as u64,
            overload: self.overload.rung(),
            per_second: rates.map(|[starts, commands, entries]| NodeRates {
                starts,
                commands,
                entries,
            }),
        }
    }
}
