//! Which CPU works for whom: the server has one for itself, the load another.

use std::{
    io,
    process::{Child, Command},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Keeps the calling thread, and what it starts from now on, on one CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Keeps the calling thread, and what it starts from now on, on one CPU, or lets it run on all.
pub fn roam(cpu: Option<usize>) -> io::Result<()> {
    if let Some(cpu) = cpu {
        return pin(cpu);
    }
    let mut set = CpuSet::new();
    for cpu in 0..CpuSet::count() {
        set.set(cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Starts a process on one CPU, which it and its threads keep to.
pub fn pinned(command: &mut Command, cpu: Option<usize>) -> io::Result<Child> {
    let Some(cpu) = cpu else {
        return command.spawn();
    };
    // A child inherits the CPUs of the thread that starts it.
    let own = sched_getaffinity(Pid::from_raw(0))?;
    pin(cpu)?;
    let child = command.spawn();
    sched_setaffinity(Pid::from_raw(0), &own)?;
    child
}
