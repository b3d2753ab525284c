//! Graphs of reports, as SVG: what `loadtest … --out FILE` wrote goes in, pictures for
//! docs/performance.md come out.
//!
//! - `fanout`: bars, the CPU time of a delivery by case, beside the kernel's floor.
//! - `latency`: the distribution of how long a message takes to the last of its recipients, a curve
//!   for each number of members.
//! - `idle`: memory over the number of sessions.
//! - Any other scenario that times something: the distributions of what it timed.

mod bars;
mod lines;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use self::{
    bars::{Bar, Bars},
    lines::{Curve, Lines, Scale},
};
use crate::measure::{Report, Row, Unit};

/// How wide and how high, in pixels.
const SIZE: (u32, u32) = (760, 420);

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A graph cannot be drawn.
    #[error("drawing {path}: {reason}")]
    Drawing {
        /// Into which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A report and the name of its file, without what follows the dot.
struct Source {
    name: String,
    report: Report,
}

/// Reads the reports and draws a graph for each scenario among them; returns the files written.
///
/// # Errors
/// A report that cannot be read, or a folder that cannot be written.
pub fn draw(files: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>, GraphError> {
    let mut sources = Vec::with_capacity(files.len());
    for file in files {
        let report = Report::read(file).map_err(|source| GraphError::File {
            path: file.clone(),
            source,
        })?;
        let name = file.file_stem().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        sources.push(Source { name, report });
    }
    fs::create_dir_all(out).map_err(|source| GraphError::File {
        path: out.to_owned(),
        source,
    })?;
    let mut scenarios: Vec<&str> = Vec::new();
    for source in &sources {
        let scenario = source.report.scenario();
        if !scenarios.contains(&scenario) {
            scenarios.push(scenario);
        }
    }
    let mut written = Vec::new();
    for scenario in scenarios {
        let of: Vec<&Source> = (sources.iter())
            .filter(|source| source.report.scenario() == scenario)
            .collect();
        let path = out.join(format!("{scenario}.svg"));
        let drawn = match scenario {
            "fanout" => fanout(&of).draw(&path),
            "latency" => latency(&of).draw(&path),
            "idle" => idle(&of).draw(&path),
            _ => waits(scenario, &of).draw(&path),
        };
        if drawn.map_err(|reason| GraphError::Drawing {
            path: path.clone(),
            reason,
        })? {
            written.push(path);
        }
    }
    Ok(written)
}

/// Of which servers a report tells.
fn servers(report: &Report) -> Vec<&str> {
    let mut servers: Vec<&str> = Vec::new();
    for row in report.rows() {
        if row.of != "floor" && !servers.contains(&row.of.as_str()) {
            servers.push(&row.of);
        }
    }
    servers
}

fn row<'a>(report: &'a Report, of: &str, name: &str) -> Option<&'a Row> {
    (report.rows().iter()).find(|row| row.of == of && row.name == name)
}

fn fanout(sources: &[&Source]) -> Bars {
    let mut bars = Vec::new();
    for Source { report, .. } in sources {
        let servers = servers(report);
        for server in &servers {
            let cases = (report.rows().iter())
                .filter(|row| row.of == *server)
                .filter_map(|row| row.name.strip_suffix(": deliveries"));
            for case in cases {
                let value = |of: &str, what: &str| {
                    let name = format!("{case}: deliveries{what}");
                    row(report, of, &name).map_or(0.0, |row| row.median)
                };
                let mut label = vec![format!("{}, {case}", report.spoken())];
                if servers.len() > 1 {
                    label.push((*server).to_owned());
                }
                bars.push(Bar {
                    label: label.join(", "),
                    parts: vec![value(server, ", user"), value(server, ", system")],
                    beside: value("floor", ""),
                });
            }
        }
    }
    Bars {
        title: "CPU time of a delivery, by the kernel's floor",
        unit: "CPU-s a million deliveries",
        parts: vec!["our code", "the kernel on our behalf"],
        beside: "the floor: the same writes and nothing else",
        cases: bars,
    }
}

fn latency(sources: &[&Source]) -> Lines {
    let mut curves = Vec::new();
    for Source { report, .. } in sources {
        for (server, name) in curves_of(report) {
            let Some(members) = name.strip_prefix("last of ") else {
                continue;
            };
            let figure = |name| row(report, server, name).map_or(0.0, |row| row.median);
            let (rate, busy) = (figure("messages"), figure("CPUs in use"));
            let spoken = report.spoken();
            curves.push(Curve {
                label: format!("{members} members, {rate:.0}/s at {busy:.2} CPU, {spoken}"),
                points: points(report, server, name),
            });
        }
    }
    Lines {
        title: "Until the last recipient has a message".into(),
        x: "share of the messages",
        y: "ms",
        scale: Scale::Nines,
        curves,
    }
}

fn idle(sources: &[&Source]) -> Lines {
    let mut curves = Vec::new();
    for Source { name, report } in sources {
        for (server, curve) in curves_of(report) {
            let each = row(report, server, "memory of a session").map_or(0.0, |row| row.median);
            curves.push(Curve {
                label: format!("{name}: {each:.0} B a session"),
                points: points(report, server, curve),
            });
        }
    }
    Lines {
        title: "Memory of a server whose sessions are idle".into(),
        x: "sessions, with 10 friends and 3 rooms each",
        y: "MiB of RSS",
        scale: Scale::Plain,
        curves,
    }
}

fn waits(scenario: &str, sources: &[&Source]) -> Lines {
    let mut curves = Vec::new();
    for Source { name, report } in sources {
        for (server, curve) in curves_of(report) {
            let label = if sources.len() > 1 {
                format!("{name}: {curve}")
            } else {
                curve.to_owned()
            };
            curves.push(Curve {
                label,
                points: points(report, server, curve),
            });
        }
    }
    Lines {
        title: format!("loadtest {scenario}"),
        x: "share of the messages",
        y: "ms",
        scale: Scale::Nines,
        curves,
    }
}

/// The curves of a report, each with the server it is of.
fn curves_of(report: &Report) -> Vec<(&str, &str)> {
    let mut curves = Vec::new();
    for row in report.rows() {
        let Some(point) = &row.point else { continue };
        let curve = (row.of.as_str(), point.curve.as_str());
        if matches!(row.unit, Unit::Millis | Unit::Mebibytes) && !curves.contains(&curve) {
            curves.push(curve);
        }
    }
    curves
}

fn points(report: &Report, server: &str, curve: &str) -> Vec<(f64, f64)> {
    let of = report.rows().iter().filter(|row| row.of == server);
    of.filter_map(|row| {
        let point = row.point.as_ref().filter(|point| point.curve == curve)?;
        Some((point.at, row.median))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use shared::protocol::codec::Encoding;

    use super::*;
    use crate::measure::Figure;

    fn written(dir: &Path, name: &str, report: &Report) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, report.json()).unwrap();
        path
    }

    #[test]
    fn each_scenario_has_its_graph_and_each_case_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (encoding, name) in [(Encoding::Json, "a.json"), (Encoding::MsgPack, "b.json")] {
            let mut report = Report::begin("fanout", encoding);
            let cost = |what: &str, value| {
                let name = format!("1 in flight: deliveries{what}");
                Figure::new(name, Unit::CpuSecondsPerMillion, value)
            };
            let server = [cost("", 7.0), cost(", user", 0.6), cost(", system", 6.4)];
            report.add("fireside", server);
            report.add("floor", [cost("", 5.6)]);
            files.push(written(dir.path(), name, &report));
        }
        let mut report = Report::begin("latency", Encoding::Json);
        for (at, wait) in [(0.5, 3.0), (0.9, 5.0), (0.99, 9.0), (0.999, 14.0)] {
            report.add(
                "fireside",
                [Figure::on_curve("last of 1000", at, Unit::Millis, wait)],
            );
        }
        report.add("fireside", [Figure::new("messages", Unit::PerSecond, 80.0)]);
        files.push(written(dir.path(), "latency-1000.json", &report));
        let mut report = Report::begin("idle", Encoding::Json);
        for (at, memory) in [(2000.0, 30.0), (16_000.0, 120.0)] {
            let figure = Figure::on_curve("memory", at, Unit::Mebibytes, memory);
            report.add("fireside", [figure]);
        }
        files.push(written(dir.path(), "idle.json", &report));
        // Nothing is drawn of what has no curves.
        let mut report = Report::begin("storm", Encoding::Json);
        report.add("fireside", [Figure::new("resumes", Unit::CpuSeconds, 3.0)]);
        files.push(written(dir.path(), "storm.json", &report));

        let out = dir.path().join("graphs");
        let graphs = draw(&files, &out).unwrap();
        let names: Vec<_> = (graphs.iter())
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["fanout.svg", "latency.svg", "idle.svg"]);
        let text = |name: &str| fs::read_to_string(out.join(name)).unwrap();
        let fanout = text("fanout.svg");
        for words in ["JSON, 1 in flight", "MessagePack, 1 in flight", "our code"] {
            assert!(fanout.contains(words), "{words}");
        }
        assert!(text("latency.svg").contains("1000 members, 80/s"));
        assert!(text("latency.svg").contains("99.9 %"));
        assert!(text("idle.svg").contains("MiB of RSS"));
        // The same reports make the same pictures.
        let again = dir.path().join("again");
        draw(&files, &again).unwrap();
        assert_eq!(
            fs::read_to_string(again.join("fanout.svg")).unwrap(),
            fanout
        );
    }

    #[test]
    fn what_is_no_report_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.json");
        fs::write(&path, "{}").unwrap();
        let error = draw(&[path], dir.path()).unwrap_err();
        assert!(error.to_string().contains("other.json"), "{error}");
    }
}
