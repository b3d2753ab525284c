//! The steps of lately.

use std::{
    borrow::Cow,
    collections::{HashSet, VecDeque},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::TraceContext;

/// How many steps are remembered: some 300 bytes each.
const KEPT: usize = 8_192;

/// Something that was done for a message that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The trace it belongs to.
    pub trace: String,
    /// Its own id.
    pub span: String,
    /// The id of the step that led to it.
    pub parent: String,
    /// What was done.
    pub name: Cow<'static, str>,
    /// By which process.
    pub process: String,
    /// When it began, in microseconds since 1970, by that process's clock.
    pub at: u64,
    /// How long it took, in microseconds.
    pub took: u64,
    /// The room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The entry of its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The step that opened the WebSocket it came over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Link>,
}

/// A step of another trace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    /// That trace.
    pub trace: String,
    /// The step's id.
    pub span: String,
}

impl Link {
    /// To the step that has this place.
    pub(super) fn to(step: TraceContext) -> Self {
        Self {
            trace: step.trace_id(),
            span: step.span_id(),
        }
    }
}

/// Which steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Those of a trace.
    Trace {
        /// Its id.
        id: String,
    },
    /// Those of the traces that led to an entry.
    Entry {
        /// The room.
        room: String,
        /// The entry of its log.
        seq: u64,
    },
}

/// A bounded memory; the oldest step makes place for the next.
#[derive(Debug, Default)]
pub(super) struct Ring(Mutex<VecDeque<Step>>);

impl Ring {
    pub(super) fn keep(&self, step: Step) {
        let mut steps = self.0.lock();
        if steps.len() >= KEPT {
            steps.pop_front();
        }
        steps.push_back(step);
    }

    pub(super) fn recall(&self, wanted: &Wanted) -> Vec<Step> {
        let steps = self.0.lock();
        let traces: HashSet<&str> = match wanted {
            Wanted::Trace { id } => HashSet::from([id.as_str()]),
            Wanted::Entry { room, seq } => (steps.iter())
                .filter(|step| step.room.as_ref() == Some(room) && step.seq == Some(*seq))
                .map(|step| step.trace.as_str())
                .collect(),
        };
        let found = steps.iter().filter(|step| traces.contains(&*step.trace));
        found.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(trace: &str, seq: Option<u64>) -> Step {
        Step {
            trace: trace.into(),
            span: "s".into(),
            parent: "p".into(),
            name: "store".into(),
            process: "x".into(),
            at: 1,
            took: 2,
            room: seq.map(|_| "r".into()),
            seq,
            over: None,
        }
    }

    #[test]
    fn steps_are_found_by_trace_and_by_entry_and_forgotten_in_the_end() {
        let ring = Ring::default();
        ring.keep(step("a", None));
        ring.keep(step("a", Some(7)));
        ring.keep(step("b", Some(8)));
        let of = |wanted: &Wanted| ring.recall(wanted).len();
        assert_eq!(of(&Wanted::Trace { id: "a".into() }), 2);
        let entry = |seq| Wanted::Entry {
            room: "r".into(),
            seq,
        };
        // The step before it was known where the message would stand is of it too.
        assert_eq!(of(&entry(7)), 2);
        assert_eq!(of(&entry(9)), 0);
        for _ in 0..KEPT {
            ring.keep(step("c", None));
        }
        assert_eq!(of(&entry(8)), 0);
        assert_eq!(of(&Wanted::Trace { id: "c".into() }), KEPT);
    }
}
