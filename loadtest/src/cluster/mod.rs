//! Real servers as processes, for tests and for measurements: started on free ports with a data
//! directory of their own, killed, paused, started again.
//!
//! - [`RedisServer`]: Redis, from the distribution. [`RedisSentinel`]: a master and a replica behind
//!   Sentinels. [`RedisCluster`]: a Cluster.
//! - [`MongoServer`]: the MongoDB stand-in, SecantusDB, from a virtual environment of Python that
//!   `./test tools` makes outside the checkout.
//! - [`Program`]: one of our own programs.
//! - [`Cluster`]: all of them, joined to one chat of many nodes.
//! - [`Network`]: places with addresses of their own, as pods have them, whose cables can be pulled out.
//! - [`Proxy`]: a link between two of them that is cut, held or swallowed when it is told to.
//!
//! `REDIS_URL` and `MONGODB_URI` name servers that run already; they take the place of
//! [`RedisServer::shared`] and [`MongoServer::shared`], which nobody kills. A server that can be
//! neither found nor started is a [`Failure`] that says what to install.

mod failure;
mod guarded;
mod many;
mod mongodb;
mod network;
mod port;
mod process;
mod program;
mod proxy;
mod redis;
mod redis_cluster;
mod redis_sentinel;

pub use failure::Failure;
pub(crate) use guarded::Guarded;
pub use many::{Cluster, ClusterNode, ClusterPlan, Links};
pub use mongodb::MongoServer;
pub use network::{Network, Place};
pub use port::free_port;
pub use process::ServerProcess;
pub(crate) use process::find;
pub use program::{Program, built};
pub use proxy::{Direction, Flow, Proxy};
pub use redis::RedisServer;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
