//! Real servers as processes, for tests and for measurements: started on free ports with a data
//! directory of their own, killed, paused, started again.
//!
//! - [`RedisServer`]: Redis, from the distribution.
//! - [`MongoServer`]: the MongoDB stand-in, SecantusDB, from a virtual environment of Python that
//!   `./test tools` makes outside the checkout.
//!
//! `REDIS_URL` and `MONGODB_URI` name servers that run already; they take the place of
//! [`RedisServer::shared`] and [`MongoServer::shared`], which nobody kills. A server that can be
//! neither found nor started is a [`Failure`] that says what to install.

mod failure;
mod mongodb;
mod port;
mod process;
mod redis;

pub use failure::Failure;
pub use mongodb::MongoServer;
pub use port::free_port;
pub use process::ServerProcess;
pub use redis::RedisServer;
