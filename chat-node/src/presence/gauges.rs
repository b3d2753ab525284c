//! What is measured of presence.

use shared::telemetry::Metric;

/// The metrics of presence.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "fireside_presence_users",
        "Users with a device here, or of whom something is yet to be told",
    ),
    Metric::gauge(
        "fireside_presence_queued",
        "Users to whom something is due at some time",
    ),
    Metric::gauge(
        "fireside_presence_behind",
        "Users to be shown their friends anew",
    ),
    Metric::gauge(
        "fireside_presence_watched_rooms",
        "Rooms open on some screen, whose members' presence is shown",
    ),
    Metric::counter(
        "fireside_presence_puts_total",
        "States handed to the presence store",
    )
    .by(&["outcome"]),
    Metric::counter("fireside_presence_published_total", "Changes told of"),
    Metric::counter(
        "fireside_presence_told_total",
        "Users on this node told of a change",
    ),
    Metric::counter(
        "fireside_presence_shed_total",
        "Changes not told because of load; the newest is told later",
    ),
    Metric::counter(
        "fireside_presence_reaped_total",
        "Users found on an expired lease",
    ),
];
