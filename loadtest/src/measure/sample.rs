//! One figure, and several readings of it.

use serde::{Deserialize, Serialize};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Seconds of CPU time for a million of something.
    CpuSecondsPerMillion,
    /// Microseconds of CPU time.
    CpuMicros,
    /// Seconds of CPU time.
    CpuSeconds,
    /// Milliseconds that passed.
    Millis,
    /// Seconds that passed.
    Seconds,
    /// Bytes.
    Bytes,
    /// Mebibytes.
    Mebibytes,
    /// So many a second.
    PerSecond,
    /// How often one fits into the other.
    Times,
    /// So many.
    Count,
}

impl Unit {
    /// As it is written beside a figure.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::CpuSecondsPerMillion => "CPU-s/M",
            Self::CpuMicros => "CPU-µs",
            Self::CpuSeconds => "CPU-s",
            Self::Millis => "ms",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::Mebibytes => "MiB",
            Self::PerSecond => "/s",
            Self::Times => "×",
            Self::Count => "",
        }
    }
}

/// One reading.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: Unit,
    /// How much.
    pub value: f64,
    /// Where it stands, when it is a point of a curve.
    pub point: Option<Point>,
}

/// A place on a curve: graphs are drawn of these, tables leave them out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The curve's name.
    pub curve: String,
    /// How far along: a share for a distribution, else a number of something.
    pub at: f64,
}

impl Figure {
    /// A reading.
    pub fn new(name: impl Into<String>, unit: Unit, value: f64) -> Self {
        Self {
            name: name.into(),
            unit,
            value,
            point: None,
        }
    }

    /// A reading at one place of a curve.
    pub fn on_curve(curve: impl Into<String>, at: f64, unit: Unit, value: f64) -> Self {
        let curve = curve.into();
        Self {
            name: format!("{curve} at {at}"),
            unit,
            value,
            point: Some(Point { curve, at }),
        }
    }
}

/// Several readings of one figure.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    values: Vec<f64>,
}

impl Sample {
    /// One more.
    pub fn add(&mut self, value: f64) {
        self.values.push(value);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The least and the greatest.
    pub fn range(&self) -> (f64, f64) {
        self.values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(*value), high.max(*value))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let mut sample = Sample::default();
        assert!(sample.median().is_nan());
        for value in [9.0, 1.0, 5.0] {
            sample.add(value);
        }
        assert!((sample.median() - 5.0).abs() < f64::EPSILON);
        sample.add(7.0);
        assert!((sample.median() - 6.0).abs() < f64::EPSILON);
        assert_eq!(sample.range(), (1.0, 9.0));
    }
}
