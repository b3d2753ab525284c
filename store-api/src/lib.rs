//! Accounts, users and friends over REST.
//!
//! A request comes in through [`Routes`] (`http/`), whose handlers only read it and spell the
//! answer. The domain is [`Store`]: `accounts/` (registering, logging in, sessions, revocation),
//! `users/` (profiles, names, search) and `friends/` (requests, friendships, blocks). Each of its
//! methods is one transaction, on SQLite or PostgreSQL (`database`, `entity/`, `migration/`).
//!
//! What changes is told to the chat nodes: the transaction that makes a change also writes its
//! events into a table, and after the commit `outbox/` delivers them, in order and at least once,
//! to each [`EventTarget`]: a chat node over HTTP, or whatever implements [`EventSink`] in the same
//! process. [`Store::start`] sets that going; [`Store::friend_graphs`], [`Store::names`] and
//! [`Store::active_revocations`] are what a node asks in return.
//!
//! Invariants: nobody else writes these tables; the store never calls a chat node but to deliver
//! events; what one person may not know of another (a block above all) is decided here, in
//! `friends/relation.rs`, and nowhere else.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accounts;
mod app;
mod background;
mod config;
mod database;
mod entity;
mod error;
mod friends;
mod health;
mod http;
mod metrics;
mod migration;
mod outbox;
mod paging;
mod store;
mod users;

pub use accounts::{LoggedIn, NewAccount};
pub use app::OpenError;
pub use background::Background;
pub use config::{ServiceSettings, StoreSettings};
pub use error::{StoreError, Violation};
pub use friends::{Blocked, Friend, FriendGraph, Relation};
pub use http::{HttpOptions, RateLimits, Routes, openapi};
pub use metrics::METRICS;
#[cfg(feature = "http-client")]
pub use outbox::NodeSink;
pub use outbox::{DeliveryError, EventSink, EventTarget};
pub use paging::{DEFAULT_PAGE, MAX_PAGE, Page, PageRequest};
pub use store::{Clock, Store};
pub use users::{Change, OwnProfile, Profile, ProfileChange};
