//! What each kind of program took while something happened.

use crate::{
    measure::{Figure, Unit},
    target::{Cpu, Process},
};

use super::fault;
use crate::swarm::Fault;

/// Programs under observation, by what they are.
pub(super) struct Cost(Vec<(&'static str, Process, Cpu)>);

impl Cost {
    /// From now on of these.
    pub(super) fn begin(
        programs: impl IntoIterator<Item = (&'static str, Process)>,
    ) -> Result<Self, Fault> {
        let begun = programs.into_iter().map(|(name, process)| {
            let before = process.cpu().map_err(fault)?;
            Ok((name, process, before))
        });
        begun.collect::<Result<_, _>>().map(Self)
    }

    /// The CPU time of each kind since then.
    pub(super) fn figures(&self) -> Result<Vec<Figure>, Fault> {
        let mut kinds: Vec<(&str, f64)> = Vec::new();
        for (name, process, before) in &self.0 {
            let took = process.cpu().map_err(fault)?.since(*before).total();
            match kinds.iter_mut().find(|(kind, _)| kind == name) {
                Some((_, sum)) => *sum += took.as_secs_f64(),
                None => kinds.push((name, took.as_secs_f64())),
            }
        }
        let figure = |(name, sum): (&str, f64)| {
            Figure::new(format!("until then, {name}"), Unit::CpuSeconds, sum)
        };
        Ok(kinds.into_iter().map(figure).collect())
    }
}
