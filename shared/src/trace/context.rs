//! W3C trace context: which trace something belongs to, and after which step of it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A place in a trace, as a `traceparent` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl TraceContext {
    /// The beginning of a new trace that is kept; nobody is told of it before its first step.
    pub(super) fn begin() -> Self {
        Self {
            trace: rand::random::<u128>().max(1),
            // After no step.
            span: 0,
            sampled: true,
        }
    }

    /// The beginning of a new trace that nobody keeps: its id is for logs.
    pub fn unfollowed() -> Self {
        Self {
            sampled: false,
            ..Self::begin()
        }
    }

    /// The place that a `traceparent` names, if it is written as it ought to be.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            text.len() == length && text.bytes().all(digit)
        };
        let fits = hex(version, 2)
            && version != "ff"
            && hex(trace, 32)
            && hex(span, 16)
            && hex(flags, 2)
            // Later versions may say more behind it.
            && (version != "00" || parts.next().is_none());
        if !fits {
            return None;
        }
        let context = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (context.trace != 0 && context.span != 0).then_some(context)
    }

    /// The trace's id, 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The id of the step it is after, 16 hexadecimal digits.
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }

    /// The same; nothing at the beginning.
    pub(super) fn parent_id(self) -> String {
        match self.span {
            0 => String::new(),
            _ => self.span_id(),
        }
    }

    /// Whether whoever began it wants it kept.
    pub fn is_sampled(self) -> bool {
        self.sampled
    }

    /// The next place in the same trace.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            span: rand::random::<u64>().max(1),
            ..self
        }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where a `traceparent` may stand; what is none is left out, as W3C asks, and no mistake of the message it
/// came with.
pub(crate) fn lenient<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<TraceContext>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let context = text.as_deref().and_then(TraceContext::parse);
    Ok(context.map(Box::new))
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let none = || serde::de::Error::custom("not a traceparent");
        Self::parse(&text).ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context = TraceContext::parse(SENT).unwrap();
        assert_eq!(context.to_string(), SENT);
        assert!(context.is_sampled());
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id(), "00f067aa0ba902b7");
        let next = context.next();
        assert_eq!(next.trace_id(), context.trace_id());
        assert_ne!(next, context);
        let unsampled = SENT.replace("-01", "-00");
        assert!(!TraceContext::parse(&unsampled).unwrap().is_sampled());
        assert!(
            TraceContext::parse(&SENT.replace("00-4b", "01-4b").replace("-01", "-01-more"))
                .is_some()
        );
    }

    #[test]
    fn what_is_none_is_none() {
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
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
