//! The recorder behind the `metrics` macros, and what it exports.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use parking_lot::Mutex;

use super::process::{self, PROCESS_METRICS};
use super::{HTTP_METRICS, Metric, MetricKind, TelemetryError};
use crate::trace::TRACE_METRICS;

/// How often histograms are folded, so that they stay small when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// What runs here.
pub const BUILD_METRICS: &[Metric] = &[Metric::gauge(
    "fireside_build_info",
    "Always 1; the labels say what runs here",
)
.by(&["service", "version"])];

/// The tables every service has.
const OWN_TABLES: &[&[Metric]] = &[PROCESS_METRICS, HTTP_METRICS, BUILD_METRICS, TRACE_METRICS];

static INSTALLED: OnceLock<Metrics> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

/// The metrics of this process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    catalogue: Arc<Mutex<BTreeMap<&'static str, Metric>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("described", &self.catalogue.lock().len())
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// Installs the recorder of this process and describes these tables.
    ///
    /// A second call (the standalone binary, tests) adds its tables to the first one's recorder.
    /// Buckets are fixed by the call that installs, so whoever runs several services in one process
    /// passes all their tables there.
    pub fn install(tables: &[&'static [Metric]]) -> Result<Self, TelemetryError> {
        let _one_at_a_time = INSTALLING.lock();
        if let Some(installed) = INSTALLED.get() {
            metrics::with_recorder(|recorder| installed.describe(tables, recorder))?;
            return Ok(installed.clone());
        }
        let (metrics, recorder) = Self::build(tables)?;
        metrics::set_global_recorder(recorder)
            .map_err(|_| TelemetryError::AlreadyStarted("the metrics were"))?;
        let handle = metrics.handle.clone();
        let upkeep = std::thread::Builder::new()
            .name("metrics-upkeep".into())
            .spawn(move || {
                loop {
                    std::thread::park_timeout(UPKEEP);
                    handle.run_upkeep();
                }
            });
        if let Err(error) = upkeep {
            tracing::warn!(%error, "no thread for metrics: they grow until they are scraped");
        }
        Ok(INSTALLED.get_or_init(|| metrics).clone())
    }

    /// A recorder for a test, which makes it the one in use with `metrics::with_local_recorder`.
    pub fn build(
        tables: &[&'static [Metric]],
    ) -> Result<(Self, PrometheusRecorder), TelemetryError> {
        let mut builder = PrometheusBuilder::new();
        for metric in OWN_TABLES.iter().chain(tables).copied().flatten() {
            if metric.kind == MetricKind::Histogram {
                let matcher = Matcher::Full(metric.name.to_owned());
                builder = builder
                    .set_buckets_for_metric(matcher, metric.buckets)
                    .map_err(|error| TelemetryError::Metric(metric.name, error.to_string()))?;
            }
        }
        let recorder = builder.build_recorder();
        let metrics = Self {
            handle: recorder.handle(),
            catalogue: Arc::default(),
        };
        metrics.describe(OWN_TABLES, &recorder)?;
        metrics.describe(tables, &recorder)?;
        Ok((metrics, recorder))
    }

    /// Says what runs here.
    pub fn build_info(service: &'static str, version: &'static str) {
        metrics::gauge!("fireside_build_info", "service" => service, "version" => version).set(1.0);
    }

    /// Every metric described so far, by name: what docs/operations.md must list.
    pub fn catalogue(&self) -> Vec<Metric> {
        self.catalogue.lock().values().copied().collect()
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        process::render(&mut text);
        text
    }

    /// What was installed in this process, if anything was.
    pub fn installed() -> Option<Self> {
        INSTALLED.get().cloned()
    }

    /// What counters have counted over all their labels: for each place the sum of the counters that it names.
    /// Takes a rendering, so it is for those who look now and then.
    pub fn totals<const N: usize>(&self, names: [&[&str]; N]) -> [u64; N] {
        let mut totals = [0; N];
        for line in self.handle.render().lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let name = series.split('{').next().unwrap_or_default();
            for (total, wanted) in totals.iter_mut().zip(names) {
                if wanted.contains(&name) {
                    *total += value.parse::<u64>().unwrap_or(0);
                }
            }
        }
        totals
    }

    /// Names that are exported but stand in no table. A test holds this to be empty.
    pub fn undescribed(&self) -> Vec<String> {
        let catalogue = self.catalogue.lock();
        self.render()
            .lines()
            .filter_map(|line| {
                line.strip_prefix("# TYPE ")?
                    .split(' ')
                    .next()
                    .map(str::to_owned)
            })
            .filter(|name| !catalogue.contains_key(name.as_str()))
            .collect()
    }

    fn describe(
        &self,
        tables: &[&'static [Metric]],
        recorder: &dyn Recorder,
    ) -> Result<(), TelemetryError> {
        let mut catalogue = self.catalogue.lock();
        for metric in tables.iter().copied().flatten() {
            if let Some(fault) = metric.fault() {
                return Err(TelemetryError::Metric(metric.name, fault.to_owned()));
            }
            match catalogue.insert(metric.name, *metric) {
                Some(other) if other != *metric => {
                    return Err(TelemetryError::Metric(
                        metric.name,
                        "described twice".to_owned(),
                    ));
                }
                Some(_) => {}
                None if PROCESS_METRICS.contains(metric) => {}
                None => announce(metric, recorder),
            }
        }
        Ok(())
    }
}

/// Describes a metric to the recorder, and lets one without labels start at zero: an alert on a
/// series that does not exist yet never fires.
fn announce(metric: &Metric, recorder: &dyn Recorder) {
    const METADATA: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
    let name = KeyName::from_const_str(metric.name);
    let key = Key::from_parts(metric.name, Vec::<Label>::new());
    let plain = metric.labels.is_empty();
    match metric.kind {
        MetricKind::Counter => {
            recorder.describe_counter(name, None, metric.help.into());
            if plain {
                recorder.register_counter(&key, &METADATA).increment(0);
            }
        }
        MetricKind::Gauge => {
            recorder.describe_gauge(name, None, metric.help.into());
            if plain {
                recorder.register_gauge(&key, &METADATA).increment(0.0);
            }
        }
        MetricKind::Histogram => recorder.describe_histogram(name, None, metric.help.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LATENCY_BUCKETS;

    const TABLE: &[Metric] = &[
        Metric::counter("test_sends_total", "Sends").by(&["kind"]),
        Metric::counter("test_drops_total", "Drops"),
        Metric::gauge("test_sessions", "Sessions"),
        Metric::histogram("test_append_seconds", "Appends", LATENCY_BUCKETS),
    ];

    #[test]
    fn what_is_counted_is_exported_with_its_help() {
        let (metrics, recorder) = Metrics::build(&[TABLE]).unwrap();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("test_sends_total", "kind" => "dm").increment(3);
            metrics::gauge!("test_sessions").set(7.0);
            metrics::histogram!("test_append_seconds").record(0.0007);
        });
        let text = metrics.render();
        for line in [
            "# HELP test_sends_total Sends",
            "# TYPE test_sends_total counter",
            "test_sends_total{kind=\"dm\"} 3",
            "test_sessions 7",
            "test_drops_total 0",
            "test_append_seconds_bucket{le=\"0.0005\"} 0",
            "test_append_seconds_bucket{le=\"0.001\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert_eq!(metrics.undescribed(), Vec::<String>::new());
        assert!(
            metrics
                .catalogue()
                .iter()
                .any(|metric| metric.name == "test_append_seconds")
        );
    }

    #[test]
    fn totals_are_sums_over_labels_and_names() {
        let (metrics, recorder) = Metrics::build(&[TABLE]).unwrap();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("test_sends_total", "kind" => "dm").increment(3);
            metrics::counter!("test_sends_total", "kind" => "a b").increment(4);
            metrics::counter!("test_drops_total").increment(2);
        });
        let names: [&[&str]; 3] = [
            &["test_sends_total"],
            &["test_sends_total", "test_drops_total"],
            &["test_sends"],
        ];
        assert_eq!(metrics.totals(names), [7, 9, 0]);
    }

    #[test]
    fn what_stands_in_no_table_is_found_out() {
        let (metrics, recorder) = Metrics::build(&[]).unwrap();
        metrics::with_local_recorder(&recorder, || metrics::counter!("rogue_total").increment(1));
        assert_eq!(metrics.undescribed(), ["rogue_total"]);
    }

    #[test]
    fn one_name_has_one_meaning() {
        const OTHER: &[Metric] = &[Metric::gauge("test_sessions", "Something else")];
        let error = Metrics::build(&[TABLE, OTHER]).map(drop).unwrap_err();
        assert!(error.to_string().contains("described twice"), "{error}");
    }

    #[test]
    fn a_second_installation_adds_its_table() {
        const FIRST: &[Metric] = &[Metric::counter("test_first_total", "First")];
        const SECOND: &[Metric] = &[Metric::counter("test_second_total", "Second")];
        Metrics::install(&[FIRST]).unwrap();
        let metrics = Metrics::install(&[SECOND]).unwrap();
        Metrics::build_info("test", "1.2.3");
        let text = metrics.render();
        assert!(text.contains("test_first_total 0") && text.contains("test_second_total 0"));
        assert!(
            text.contains("fireside_build_info{service=\"test\",version=\"1.2.3\"} 1"),
            "{text}"
        );
    }
}
