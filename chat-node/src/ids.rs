//! Maps by ids of users, rooms and sessions, which a start of a session looks into dozens of times.
//!
//! The ids are made by servers (here, or where tokens come from), so nobody chooses them to collide, and the
//! hash is seeded at random all the same. It takes a third of the time of the standard library's.

use std::collections::{HashMap, HashSet};

use dashmap::DashMap;
use foldhash::fast::RandomState;

/// A map by an id.
pub(crate) type IdMap<K, V> = HashMap<K, V, RandomState>;
/// A set of ids.
pub(crate) type IdSet<K> = HashSet<K, RandomState>;
/// A map by an id that threads share.
pub(crate) type SharedIdMap<K, V> = DashMap<K, V, RandomState>;
