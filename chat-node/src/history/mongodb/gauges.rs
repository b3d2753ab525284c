//! What the backend reports of itself.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use shared::telemetry::{LATENCY_BUCKETS, Metric};

/// The metrics of the MongoDB backend.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "fireside_mongodb_queue_depth",
        "Appends that wait to be written, and other questions under way or waiting",
    )
    .by(&["queue"]),
    Metric::counter(
        "fireside_mongodb_refused_total",
        "Appends and other questions refused because too many waited",
    )
    .by(&["queue"]),
    Metric::histogram(
        "fireside_mongodb_insert_seconds",
        "Time of one insert of a batch of entries, until a majority has it in its journal",
        LATENCY_BUCKETS,
    ),
    Metric::histogram(
        "fireside_mongodb_batch_entries",
        "Entries in one insert",
        &[
            1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0,
        ],
    ),
    Metric::histogram(
        "fireside_mongodb_question_seconds",
        "Time of one question other than an append, with the time it waited",
        LATENCY_BUCKETS,
    ),
    Metric::counter(
        "fireside_mongodb_ambiguous_total",
        "Inserts whose outcome was not known and was looked up",
    ),
    Metric::counter(
        "fireside_mongodb_unavailable_total",
        "Appends and questions that ended as unavailable",
    ),
    Metric::counter(
        "fireside_mongodb_conflicts_total",
        "Appends refused because the room's head had moved",
    ),
    Metric::counter("fireside_mongodb_entries_total", "Entries appended"),
    Metric::counter(
        "fireside_mongodb_duplicates_total",
        "Messages whose nonce was known already",
    ),
    Metric::counter(
        "fireside_mongodb_folds_total",
        "Folds of new entries into what is derived from them",
    ),
    Metric::counter(
        "fireside_mongodb_fold_races_total",
        "Folds begun again because another node was at the same",
    ),
    Metric::counter(
        "fireside_mongodb_unreadable_total",
        "Entries met that cannot be read and were served as `unreadable`",
    ),
];

/// Handles are fetched once, so the recorder must be installed before the history is opened.
#[derive(Clone)]
pub(super) struct Gauges {
    pub(super) write_queue: Gauge,
    pub(super) read_queue: Gauge,
    pub(super) writes_refused: Counter,
    pub(super) reads_refused: Counter,
    pub(super) insert_seconds: Histogram,
    pub(super) batch_entries: Histogram,
    pub(super) question_seconds: Histogram,
    pub(super) ambiguous: Counter,
    pub(super) unavailable: Counter,
    pub(super) conflicts: Counter,
    pub(super) entries: Counter,
    pub(super) duplicates: Counter,
    pub(super) folds: Counter,
    pub(super) fold_races: Counter,
}

impl Gauges {
    pub(super) fn new() -> Self {
        Self {
            write_queue: gauge!("fireside_mongodb_queue_depth", "queue" => "write"),
            read_queue: gauge!("fireside_mongodb_queue_depth", "queue" => "read"),
            writes_refused: counter!("fireside_mongodb_refused_total", "queue" => "write"),
            reads_refused: counter!("fireside_mongodb_refused_total", "queue" => "read"),
            insert_seconds: histogram!("fireside_mongodb_insert_seconds"),
            batch_entries: histogram!("fireside_mongodb_batch_entries"),
            question_seconds: histogram!("fireside_mongodb_question_seconds"),
            ambiguous: counter!("fireside_mongodb_ambiguous_total"),
            unavailable: counter!("fireside_mongodb_unavailable_total"),
            conflicts: counter!("fireside_mongodb_conflicts_total"),
            entries: counter!("fireside_mongodb_entries_total"),
            duplicates: counter!("fireside_mongodb_duplicates_total"),
            folds: counter!("fireside_mongodb_folds_total"),
            fold_races: counter!("fireside_mongodb_fold_races_total"),
        }
    }
}
