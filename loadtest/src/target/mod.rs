//! What is measured: a server that was started for the purpose or one that runs already.

mod affinity;
mod machine;
mod server;
mod usage;
mod world;

pub use affinity::{pin, pinned, roam};
pub use machine::Machine;
pub(crate) use server::LIMITS_OFF;
pub use server::{Access, Launch, Server};
pub use usage::{Cpu, Process, Processes};
pub use world::{Friends, World};
