//! W3C trace context: the trace a request belongs to, and our place in it.

use std::{fmt, time::Instant};

use shared::trace::{self, TraceContext};

/// A place of ours in a trace, and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Whoever asks us, where they say so.
    before: Option<TraceContext>,
    own: TraceContext,
}

impl Trace {
    /// In the trace that `traceparent` names, or in a new one where it names none.
    pub fn of(traceparent: Option<&str>) -> Self {
        let before = traceparent.and_then(TraceContext::parse);
        let after = before
            .or_else(|| trace::follow(None))
            .unwrap_or_else(TraceContext::unfollowed);
        Self {
            before,
            own: after.next(),
        }
    }

    /// The trace's id.
    pub fn id(&self) -> String {
        self.own.trace_id()
    }

    /// Whether somebody before us began it, so that their `tracestate` goes with it.
    pub fn continued(&self) -> bool {
        self.before.is_some()
    }

    /// Tells what this balancer did, where the trace is followed. A WebSocket that was opened is remembered in any case,
    /// where anything is followed: for the messages that come over it.
    pub fn done(&self, began: Instant, opened: bool) {
        if let Some(own) = trace::follow(Some(self.own)) {
            trace::told_step(self.before, own, "door", began, None);
        } else if opened {
            trace::remembered_step(self.before, self.own, "door", began);
        }
    }
}

/// As whoever is behind us is told.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.own.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_goes_on_under_a_name_of_ours() {
        let trace = Trace::of(Some(SENT));
        assert!(trace.continued());
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let told = trace.to_string();
        assert_eq!(told.len(), SENT.len());
        assert!(told.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && told.ends_with("-01"));
        assert!(!told.contains("00f067aa0ba902b7"));
    }

    #[test]
    fn what_is_none_begins_a_new_one() {
        for none in [None, Some(""), Some("00-4bf92f3577b34da6a3ce929d0e0e4736")] {
            let trace = Trace::of(none);
            assert!(!trace.continued(), "{none:?}");
            // Nobody here asked that anything be followed.
            assert!(trace.to_string().ends_with("-00"), "{trace:?}");
            assert!(TraceContext::parse(&trace.to_string()).is_some());
        }
        assert_ne!(Trace::of(None).id(), Trace::of(None).id());
    }
}
