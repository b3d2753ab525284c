//! One suite a port; every backend runs all of it.

mod bus;
