//! One message followed through all it passes: door, room, history, bus, delivery.
//!
//! What is followed carries a [`TraceContext`]; whoever works on it says so with [`step`]. A process keeps
//! the steps of lately in a bounded ring, answers for them at `/trace` of its admin address, and, where it is told
//! to, hands them to a collector of OpenTelemetry ([`TraceSettings::otlp_endpoint`]). The command `trace`,
//! which all programs have, asks several processes and prints one table.
//!
//! Nothing is followed unless [`TraceSettings::trace_share`] says so; then asking whether something is costs one
//! load of an atomic. No step ever holds a word of what was said.

pub mod command;
mod context;
#[cfg(feature = "http-client")]
mod export;
mod ring;
mod settings;

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub use context::TraceContext;
pub(crate) use context::lenient;
pub use ring::{Link, Step, Wanted};
pub use settings::TraceSettings;

use self::ring::Ring;
use crate::{
    id::{RoomId, Seq},
    telemetry::Metric,
};

/// What following counts.
pub const TRACE_METRICS: &[Metric] = &[
    Metric::counter(
        "fireside_trace_steps_total",
        "Steps of messages that were followed",
    ),
    Metric::counter(
        "fireside_trace_steps_lost_total",
        "Steps that the collector was not given: it was away, or too slow",
    ),
];

/// How large a part of all is followed, of 2^64; nothing at zero.
static SHARE: AtomicU64 = AtomicU64::new(0);
static KEPT: OnceLock<Kept> = OnceLock::new();

struct Kept {
    /// The name of this process.
    process: String,
    ring: Ring,
    #[cfg(feature = "http-client")]
    export: Option<export::Export>,
}

/// Begins to follow, where the settings say so; the first to begin in a process stays. To be called in the runtime
/// that lasts as long as the process.
pub(crate) fn start(settings: &TraceSettings, process: String) {
    if settings.trace_share <= 0.0 {
        return;
    }
    KEPT.get_or_init(|| Kept {
        #[cfg(feature = "http-client")]
        export: settings
            .otlp_endpoint
            .as_deref()
            .and_then(|endpoint| export::Export::start(endpoint, &process)),
        process,
        ring: Ring::default(),
    });
    // Whole numbers that large are not exact in a float, which is near enough.
    let share = (settings.trace_share * u64::MAX as f64) as u64;
    SHARE.store(share.max(1), Ordering::Relaxed);
}

/// What is to be followed of something that says itself where it belongs, or does not: what it says,
/// when that wants to be kept; else a share of all; nothing when nothing is followed here.
pub fn follow(said: Option<TraceContext>) -> Option<TraceContext> {
    let share = SHARE.load(Ordering::Relaxed);
    if share == 0 {
        return None;
    }
    match said {
        Some(said) => said.is_sampled().then_some(said),
        None => (rand::random::<u64>() <= share).then(TraceContext::begin),
    }
}

/// Now, in microseconds since 1970.
pub fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

/// A step is over that began then; answers the place in the trace of what comes of it.
pub fn step(
    context: TraceContext,
    name: &'static str,
    began: Instant,
    of: Option<(&RoomId, Seq)>,
) -> TraceContext {
    let (at, took) = span_since(began);
    step_at(context, name, at, took, of)
}

/// The same of one that began at this time, in microseconds since 1970, and took so long.
pub fn step_at(
    context: TraceContext,
    name: &'static str,
    at: u64,
    took: Duration,
    of: Option<(&RoomId, Seq)>,
) -> TraceContext {
    let own = context.next();
    if let Some(kept) = KEPT.get() {
        kept.tell(Step {
            room: of.map(|(room, _)| room.to_string()),
            seq: of.map(|(_, seq)| seq.get()),
            ..kept.step(own, context.parent_id(), name, at, took)
        });
    }
    own
}

/// A step is over that began then, came of `before` (of nothing that is known where there is none), and that others
/// were told of meanwhile, as the place `own`. What came over a WebSocket came `over` the one that was opened there.
pub fn told_step(
    before: Option<TraceContext>,
    own: TraceContext,
    name: &'static str,
    began: Instant,
    over: Option<TraceContext>,
) {
    if let Some(kept) = KEPT.get() {
        kept.tell(Step {
            over: over.map(Link::to),
            ..kept.told(before, own, name, began)
        });
    }
}

/// The same of one that nobody asked to be followed: where anything is followed it is remembered, for what will come over
/// it, and given to no collector.
pub fn remembered_step(
    before: Option<TraceContext>,
    own: TraceContext,
    name: &'static str,
    began: Instant,
) {
    if let Some(kept) = KEPT.get() {
        kept.ring.keep(kept.told(before, own, name, began));
    }
}

/// Now, where anything is followed: what a step may begin with of which nobody knows yet whether it will be
/// followed.
pub fn clock() -> Option<Instant> {
    (SHARE.load(Ordering::Relaxed) != 0).then(Instant::now)
}

fn span_since(began: Instant) -> (u64, Duration) {
    let took = began.elapsed();
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    (now_micros().saturating_sub(micros), took)
}

impl Kept {
    /// A step of this process.
    fn step(
        &self,
        own: TraceContext,
        parent: String,
        name: &'static str,
        at: u64,
        took: Duration,
    ) -> Step {
        Step {
            trace: own.trace_id(),
            span: own.span_id(),
            parent,
            name: name.into(),
            process: self.process.clone(),
            at,
            took: took.as_micros() as u64,
            room: None,
            seq: None,
            over: None,
        }
    }

    /// One that others were told of meanwhile.
    fn told(
        &self,
        before: Option<TraceContext>,
        own: TraceContext,
        name: &'static str,
        began: Instant,
    ) -> Step {
        let (at, took) = span_since(began);
        let parent = before.map_or_else(String::new, TraceContext::parent_id);
        self.step(own, parent, name, at, took)
    }

    /// Remembers a step, and gives it to the collector if there is one.
    fn tell(&self, step: Step) {
        metrics::counter!("fireside_trace_steps_total").increment(1);
        #[cfg(feature = "http-client")]
        if let Some(export) = &self.export {
            export.give(step.clone());
        }
        self.ring.keep(step);
    }
}

/// The steps that this process remembers of those who are wanted.
pub fn recall(wanted: &Wanted) -> Vec<Step> {
    KEPT.get()
        .map(|kept| kept.ring.recall(wanted))
        .unwrap_or_default()
}
