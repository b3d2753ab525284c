//! What the backend reports of itself.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use shared::telemetry::{LATENCY_BUCKETS, Metric};

/// The metrics of the SQLite backend.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "fireside_history_queue_depth",
        "Jobs that wait for the writer thread, a reader thread or the thread that searches",
    )
    .by(&["queue"]),
    Metric::histogram(
        "fireside_history_commit_seconds",
        "Time of one group commit, from its first statement to the end of its fsync",
        LATENCY_BUCKETS,
    ),
    Metric::histogram(
        "fireside_history_batch_entries",
        "Entries and read markers in one group commit",
        &[
            1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
        ],
    ),
    Metric::gauge(
        "fireside_history_batch_limit",
        "How many entries a group commit takes at most just now",
    ),
    Metric::counter(
        "fireside_history_refused_total",
        "Jobs refused because a queue was full",
    )
    .by(&["queue"]),
    Metric::counter(
        "fireside_history_checkpoints_total",
        "Times the write-ahead log was folded into the file: thread (beside the writer), writer (because the thread did not get on)",
    )
    .by(&["by"]),
    Metric::counter(
        "fireside_history_failed_commits_total",
        "Group commits that failed as a whole",
    ),
    Metric::counter(
        "fireside_history_unreadable_total",
        "Entries met that cannot be read and were served as `unreadable`",
    ),
    Metric::gauge(
        "fireside_history_writable",
        "1, or 0 while the disk takes nothing: full, read-only or failing",
    ),
    Metric::counter(
        "fireside_history_conflicts_total",
        "Appends refused because the room's head had moved",
    ),
    Metric::counter("fireside_history_entries_total", "Entries appended"),
    Metric::counter(
        "fireside_history_duplicates_total",
        "Messages whose nonce was known already",
    ),
    Metric::histogram(
        "fireside_history_read_seconds",
        "Time of one question on a reader thread",
        LATENCY_BUCKETS,
    ),
    Metric::gauge(
        "fireside_history_gone_rooms",
        "Removed rooms whose rows are still to be deleted",
    ),
];

/// Handles are fetched once, so the recorder must be installed before the history is opened.
#[derive(Clone)]
pub(super) struct Gauges {
    pub(super) write_queue: Gauge,
    pub(super) read_queue: Gauge,
    pub(super) search_queue: Gauge,
    pub(super) commit_seconds: Histogram,
    pub(super) batch_entries: Histogram,
    pub(super) batch_limit: Gauge,
    pub(super) writes_refused: Counter,
    pub(super) reads_refused: Counter,
    pub(super) failed_commits: Counter,
    pub(super) writable: Gauge,
    pub(super) conflicts: Counter,
    pub(super) entries: Counter,
    pub(super) duplicates: Counter,
    pub(super) read_seconds: Histogram,
    pub(super) gone_rooms: Gauge,
}

impl Gauges {
    pub(super) fn new() -> Self {
        Self {
            write_queue: gauge!("fireside_history_queue_depth", "queue" => "write"),
            read_queue: gauge!("fireside_history_queue_depth", "queue" => "read"),
            search_queue: gauge!("fireside_history_queue_depth", "queue" => "search"),
            commit_seconds: histogram!("fireside_history_commit_seconds"),
            batch_entries: histogram!("fireside_history_batch_entries"),
            batch_limit: gauge!("fireside_history_batch_limit"),
            writes_refused: counter!("fireside_history_refused_total", "queue" => "write"),
            reads_refused: counter!("fireside_history_refused_total", "queue" => "read"),
            failed_commits: counter!("fireside_history_failed_commits_total"),
            writable: gauge!("fireside_history_writable"),
            conflicts: counter!("fireside_history_conflicts_total"),
            entries: counter!("fireside_history_entries_total"),
            duplicates: counter!("fireside_history_duplicates_total"),
            read_seconds: histogram!("fireside_history_read_seconds"),
            gone_rooms: gauge!("fireside_history_gone_rooms"),
        }
    }
}
