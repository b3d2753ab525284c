//! chat-lb: the one door before the chat nodes and the stores.
//!
//! # A request's way
//!
//! socket → [`door`] (TLS, HTTP/1.1 or HTTP/2, every head looked at before it is believed) →
//! [`gateway`] (path, origin, limits, [`token`]) → [`nodes`] (who is fit) and [`pin`] (whose the user
//! is) → the back end, and the answer as it comes.
//!
//! # A WebSocket's way
//!
//! The same up to the node, which is asked to upgrade; the next in line is asked where it does not
//! answer or takes nobody. Then both sockets leave HTTP, and [`tunnel`] joins them.
//!
//! Nobody behind the door is touched before everything about a request was judged, its body included.
//! An idle tunnel holds two sockets and no buffer.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod door;
pub mod gateway;
pub mod live;
pub mod nodes;
pub mod pin;
mod settings;
pub mod token;
pub mod tunnel;

use shared::telemetry::Metric;

pub use settings::LbSettings;

/// The metrics of the balancer, for [`shared::telemetry::Metrics::install`].
pub const METRICS: &[&[Metric]] = &[
    door::METRICS,
    gateway::METRICS,
    nodes::METRICS,
    shared::auth::METRICS,
    shared::listener::METRICS,
    shared::redis::METRICS,
];
