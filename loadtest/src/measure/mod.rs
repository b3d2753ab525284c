//! Figures: taken several times, in turns, and reported with how far they spread.

mod report;
mod sample;

pub use report::{Progress, Report, Row};
pub use sample::{Figure, Point, Sample, Unit};
