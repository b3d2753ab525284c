//! What every Fireside service speaks and needs.
//!
//! A module is admitted here only when two crates use it. [`id`] holds the newtypes every layer
//! passes around; [`protocol`] is the wire contract (one schema, two encodings); [`codes`] is the
//! one table of error and close codes, and [`problem`] is how REST says them; [`events`] is what the
//! store tells chat nodes. The rest is what running a service takes: [`program`] (the start and the
//! end of each), [`settings`], [`auth`], [`limits`], [`network`], [`listener`], [`live`], [`openapi`],
//! [`origin`], [`telemetry`], [`trace`], [`lifecycle`], [`text`]; and where there are several: [`revoked`], `redis`, `nodes`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auth;
pub mod codes;
pub mod events;
pub mod id;
pub mod lifecycle;
pub mod limits;
pub mod listener;
pub mod live;
pub mod network;
#[cfg(feature = "redis")]
pub mod nodes;
pub mod openapi;
pub mod origin;
pub mod problem;
pub mod program;
pub mod protocol;
#[cfg(feature = "redis")]
pub mod redis;
pub mod revoked;
pub mod settings;
pub mod telemetry;
pub mod text;
pub mod trace;
#[cfg(feature = "web-client")]
pub mod web_client;
