//! Many nodes under load while something breaks: whatever was acknowledged stands, once and in
//! order, everybody sees all of it, and what recovery took is printed.
//!
//! Each test starts a cluster of its own, of real processes with a link that can be cut between any
//! two of them; the clients' record is judged by `loadtest::check`. One cluster runs at a time.

#![allow(clippy::unwrap_used)]

mod away;
mod chaos;
mod faults;
mod interruptions;
mod presence;
mod recovery;
mod resident;
mod rolling;
mod steady;
mod town;
