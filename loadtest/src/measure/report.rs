//! The table at the end, for people and for programs, and the line that moves meanwhile.

use std::{
    fmt, fs,
    io::{self, IsTerminal as _},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use shared::protocol::codec::Encoding;

use super::{Aim, Figure, Point, Sample, Unit};
use crate::target::Machine;

/// All readings of one invocation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    scenario: String,
    /// What clients spoke: json or msgpack.
    encoding: String,
    /// The command line.
    command: String,
    /// Where and when.
    machine: Machine,
    rows: Vec<Row>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aims: Vec<Aim>,
}

/// All readings of one figure.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// Of which server; what the kernel alone costs is `floor`.
    pub of: String,
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: Unit,
    /// The middle one of the readings.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The greatest.
    pub high: f64,
    #[serde(flatten)]
    sample: Sample,
    /// Where it stands, when it is a point of a curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
}

impl Row {
    fn of(of: &str, figure: &Figure) -> Self {
        Self {
            of: of.to_owned(),
            name: figure.name.clone(),
            unit: figure.unit,
            median: 0.0,
            low: 0.0,
            high: 0.0,
            sample: Sample::default(),
            point: figure.point.clone(),
        }
    }
}

impl Report {
    /// Nothing yet of this scenario.
    pub fn begin(scenario: &str, encoding: Encoding) -> Self {
        let mut words = std::env::args();
        let program = words.next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default().to_owned();
        Self {
            scenario: scenario.to_owned(),
            encoding: match encoding {
                Encoding::Json => "json".to_owned(),
                Encoding::MsgPack => "msgpack".to_owned(),
            },
            command: std::iter::once(program)
                .chain(words)
                .collect::<Vec<_>>()
                .join(" "),
            machine: Machine::here(),
            rows: Vec::new(),
            aims: Vec::new(),
        }
    }

    /// Adds readings of one run.
    pub fn add(&mut self, of: &str, figures: impl IntoIterator<Item = Figure>) {
        for figure in figures {
            let known = (self.rows.iter()).position(|row| row.of == of && row.name == figure.name);
            let place = known.unwrap_or(self.rows.len());
            if known.is_none() {
                self.rows.push(Row::of(of, &figure));
            }
            let row = &mut self.rows[place];
            row.sample.add(figure.value);
            row.median = row.sample.median();
            (row.low, row.high) = row.sample.range();
        }
    }

    /// Says of a figure whether every reading so far is what it is to be at most.
    pub fn aim(&mut self, of: &str, name: &str, at_most: f64) {
        let found = (self.rows.iter()).find(|row| row.of == of && row.name == name);
        self.aims.extend(found.map(|row| Aim::of(row, at_most)));
    }

    /// For programs.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads what [`Self::json`] wrote.
    ///
    /// # Errors
    /// There is no such file, or it holds something else.
    pub fn read(path: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
    }

    /// The scenario's name.
    pub fn scenario(&self) -> &str {
        &self.scenario
    }

    /// What clients spoke, in words.
    pub fn spoken(&self) -> &str {
        match self.encoding.as_str() {
            "msgpack" => "MessagePack",
            _ => "JSON",
        }
    }

    /// What was measured.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The machine and the commit, in a line.
    pub fn provenance(&self) -> String {
        let Machine {
            processor,
            cpus,
            kernel,
            commit,
            load,
            ..
        } = &self.machine;
        format!("{processor}, {cpus} CPUs, Linux {kernel}, commit {commit}, load {load}")
    }

    /// The rows that tables show: those that are no points of curves.
    fn table(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.point.is_none())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.command)?;
        writeln!(f, "{}", self.provenance())?;
        let named: Vec<String> = (self.table())
            .map(|row| format!("{} {}", row.of, row.name))
            .collect();
        let width = named
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        writeln!(f, "{:width$}  {:>12}  {:>24}  runs", "", "median", "range")?;
        for (row, name) in self.table().zip(&named) {
            let range = format!("{} – {}", digits(row.low), digits(row.high));
            let (median, runs) = (digits(row.median), row.sample.len());
            let unit = row.unit.symbol();
            writeln!(
                f,
                "{name:width$}  {median:>12}  {range:>24}  {runs:>4}  {unit}"
            )?;
        }
        for aim in &self.aims {
            writeln!(f, "{aim}")?;
        }
        Ok(())
    }
}

/// Three significant digits, more for large numbers.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What is going on, on the terminal's last line; a line a step where there is no terminal.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
    shown: bool,
}

impl Progress {
    /// A silent line.
    pub fn begin() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_secs(1));
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            shown: std::io::stderr().is_terminal(),
        }
    }

    /// A new step.
    pub fn step(&self, what: impl Into<String>) {
        let what = what.into();
        if !self.shown {
            eprintln!("{what}");
        }
        self.bar.set_message(what);
    }

    /// How far a step has come.
    pub fn count(&self, what: &str, done: usize, of: usize) {
        if self.shown && (done.is_multiple_of(64) || done == of) {
            self.bar.set_message(format!("{what}: {done} of {of}"));
        }
    }

    /// Leaves the line empty.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_one_figure_share_a_row() {
        let mut report = Report::begin("some", Encoding::Json);
        for value in [3.0, 1.0, 2.0] {
            report.add("a", [Figure::new("cost", Unit::CpuMicros, value)]);
        }
        report.add("b", [Figure::new("cost", Unit::CpuMicros, 1234.5)]);
        let text = report.to_string();
        let row = text
            .lines()
            .find(|line| line.starts_with("a cost"))
            .unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            words,
            ["a", "cost", "2.00", "1.00", "–", "3.00", "3", "CPU-µs"]
        );
        assert!(text.contains("b cost"));
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(
            json["rows"][0]["values"],
            serde_json::json!([3.0, 1.0, 2.0])
        );
    }

    #[test]
    fn an_aim_is_reached_by_every_reading_or_not() {
        let mut report = Report::begin("some", Encoding::Json);
        for value in [0.5, 2.0] {
            report.add("a", [Figure::new("wait", Unit::Seconds, value)]);
        }
        report.aim("a", "wait", 2.0);
        report.aim("a", "wait", 1.5);
        report.aim("a", "what was not measured", 1.5);
        let text = report.to_string();
        let aims: Vec<&str> = text.lines().filter(|l| l.starts_with("aim")).collect();
        assert_eq!(
            aims,
            [
                "aim reached: a wait ≤ 2.00 s",
                "aim not reached: a wait ≤ 1.50 s, was up to 2.00 s"
            ]
        );
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["aims"][1]["reached"], false);
    }

    #[test]
    fn points_of_curves_are_kept_for_graphs_and_left_out_of_tables() {
        let mut report = Report::begin("some", Encoding::MsgPack);
        report.add("a", [Figure::on_curve("wait", 0.99, Unit::Millis, 7.5)]);
        assert!(!report.to_string().contains("wait"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("some.json");
        fs::write(&file, report.json()).unwrap();
        let read = Report::read(&file).unwrap();
        assert_eq!((read.scenario(), read.spoken()), ("some", "MessagePack"));
        let point = read.rows()[0].point.clone().unwrap();
        assert_eq!(point.curve, "wait");
        assert!((point.at - 0.99).abs() < 1e-9 && (read.rows()[0].median - 7.5).abs() < 1e-9);
    }
}
