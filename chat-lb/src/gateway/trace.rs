//! W3C trace context: the trace a request belongs to, and our place in it.

use std::{fmt::Write as _, time::Instant};

use shared::trace::TraceContext;

/// A trace, and the name of our part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    id: String,
    span: u64,
    flags: u8,
    /// Whether somebody before us began it.
    continued: bool,
}

impl Trace {
    /// The trace that `traceparent` names, or a new one where it names none.
    pub fn of(traceparent: Option<&str>) -> Self {
        let span = rand::random::<u64>().max(1);
        if let Some((id, flags)) = traceparent.and_then(parse) {
            return Self {
                id,
                span,
                flags,
                continued: true,
            };
        }
        let mut id = String::with_capacity(32);
        let _ = write!(id, "{:032x}", rand::random::<u128>().max(1));
        Self {
            id,
            span,
            flags: u8::from(shared::trace::follow(None).is_some()),
            continued: false,
        }
    }

    /// The trace's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether somebody before us began it, so that their `tracestate` goes with it.
    pub fn continued(&self) -> bool {
        self.continued
    }

    /// Tells what this balancer did, where the trace is followed.
    pub fn done(&self, began: Instant) {
        let own = TraceContext::parse(&self.traceparent());
        if let Some(own) = shared::trace::follow(own) {
            shared::trace::first_step(own, "door", began);
        }
    }

    /// As whoever is behind us is told.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{:016x}-{:02x}", self.id, self.span, self.flags)
    }
}

/// The trace and the flags of a header that is written as it ought to be.
fn parse(text: &str) -> Option<(String, u8)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let fits = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && hex(span, 16)
        && hex(flags, 2)
        && !zero(trace)
        && !zero(span)
        // Later versions may say more behind it.
        && (version != "00" || parts.next().is_none());
    let flags = u8::from_str_radix(flags, 16).ok()? & 1;
    fits.then(|| (trace.to_owned(), flags))
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
        let told = trace.traceparent();
        assert_eq!(told.len(), SENT.len());
        assert!(told.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && told.ends_with("-01"));
        assert!(!told.contains("00f067aa0ba902b7"));
    }

    #[test]
    fn what_is_none_begins_a_new_one() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}-00f067aa0ba902b7-01",
        ] {
            let trace = Trace::of(Some(bad));
            assert!(!trace.continued(), "{bad}");
            assert!(parse(&trace.traceparent()).is_some());
        }
        assert_ne!(Trace::of(None).id(), Trace::of(None).id());
    }
}
