//! The back ends: which there are, which are fit, who is sent where.
//!
//! [`discovery`] says which there are, a prober for each asks it every so often whether it is ready,
//! [`health`] makes of that, and of what happens to clients, whether it is fit, and a [`Pool`] puts
//! those that are into an order for whoever asks. Nothing here waits: a choice reads a table. Those who are
//! where they do not belong any more are moved by [`relocation`]; what nodes have to do is asked by [`mod@census`].

mod census;
mod discovery;
mod health;
mod pool;
mod probe;
mod relocation;
mod roll;
mod service;
mod settings;
mod tunnels;

pub use census::census;
pub use discovery::{Source, follow};
pub use health::{Fitness, Health, Probe, Thresholds};
pub use pool::{Backend, BackendView, Pool, PoolKind, Request, Shares};
pub use relocation::Relocation;
pub use roll::{InvalidPlace, Place, Roll};
pub use service::Service;
pub use settings::{DiscoverySettings, HealthSettings};
pub use tunnels::{TunnelPlace, Tunnels};

use shared::telemetry::Metric;

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "fireside_lb_backends",
        "Back ends right now: fit, ejected, down",
    )
    .by(&["pool", "state"]),
    Metric::gauge("fireside_lb_tunnels", "WebSockets right now"),
    Metric::counter(
        "fireside_lb_tunnels_cut_total",
        "WebSockets cut because their node was gone",
    ),
    Metric::counter(
        "fireside_lb_relocations_total",
        "People whom a node was asked to let go, because they belong elsewhere or the balancer ends",
    )
    .by(&["outcome"]),
    Metric::counter(
        "fireside_lb_backend_failures_total",
        "Connections to a back end that failed, and answers that did not come",
    )
    .by(&["pool"]),
    Metric::counter(
        "fireside_lb_discovery_errors_total",
        "Failures to learn which back ends there are; those known stay",
    )
    .by(&["pool"]),
];
