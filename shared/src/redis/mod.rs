//! The link to Redis: one server, a master behind Sentinel, or a Cluster.
//!
//! [`RedisSettings`] says where it is, [`RedisAddress`] is what its URL means, [`Dialer`] opens
//! connections, and [`RedisLink`] is the connection that commands go over; [`Asked`] are many of them
//! at once. The bus opens its own
//! by the dialer: a subscription must neither wait behind commands nor hold them up.
//!
//! Redis holds nothing here that cannot be made again: whoever uses it is told when the link
//! comes back ([`RedisLink::ups`]), and then puts back what should stand there.

use crate::telemetry::Metric;

mod address;
mod asked;
mod backoff;
mod dial;
mod link;
mod settings;

pub use address::{RedisAddress, RedisAddressError, RedisHost, Topology};
pub use asked::{Asked, Call, Script};
pub use backoff::Backoff;
pub use dial::{Dialer, Push, Shards};
pub use link::RedisLink;
pub use settings::{RedisSettings, RedisSetupError};

/// The metrics of the link.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "fireside_redis_up",
        "1 while commands reach Redis (and a Cluster serves every slot), else 0",
    ),
    Metric::counter(
        "fireside_redis_connects_total",
        "Connections for commands opened to Redis",
    ),
    Metric::counter(
        "fireside_redis_errors_total",
        "Commands to Redis that failed",
    )
    .by(&["kind"]),
];
