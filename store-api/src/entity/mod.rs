//! The tables as `SeaORM` sees them.

// The derive makes its items `pub`; this module is private to the crate all the same.
#![allow(unreachable_pub, missing_docs)]

pub mod access_token;
pub mod block;
pub mod outbox;
pub mod relation;
pub mod revocation;
pub mod session;
pub mod user;
