//! Figures: taken several times, in turns, and reported with how far they spread.

mod aim;
mod report;
mod sample;

pub use aim::Aim;
pub use report::{Progress, Report, Row};
pub use sample::{Figure, Point, Sample, Unit};
