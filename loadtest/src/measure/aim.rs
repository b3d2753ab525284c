//! What a figure is to be, and whether it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Row, Unit, report::digits};

/// What a figure is to be at most, and whether every reading of it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Aim {
    of: String,
    name: String,
    unit: Unit,
    at_most: f64,
    /// The greatest reading.
    was: f64,
    reached: bool,
}

impl Aim {
    pub(super) fn of(row: &Row, at_most: f64) -> Self {
        Self {
            of: row.of.clone(),
            name: row.name.clone(),
            unit: row.unit,
            at_most,
            was: row.high,
            reached: row.high <= at_most,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, unit) = (if self.reached { "" } else { " not" }, self.unit.symbol());
        let in_unit = |value| format!("{} {unit}", digits(value)).trim_end().to_owned();
        let Self { of, name, .. } = self;
        write!(
            f,
            "aim{word} reached: {of} {name} ≤ {}",
            in_unit(self.at_most)
        )?;
        if self.reached {
            return Ok(());
        }
        write!(f, ", was up to {}", in_unit(self.was))
    }
}
