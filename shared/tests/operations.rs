//! docs/operations.md says what the code does: the settings and metrics that every service has
//! stand there word for word.

use shared::auth::TokenSettings;
use shared::settings::{Loader, Report, ServerSettings, SettingDoc, Settings, reference};
use shared::telemetry::{LogSettings, Metrics};

const OPERATIONS: &str = include_str!("../../docs/operations.md");

#[derive(Debug, clap::Args)]
struct Everywhere {
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    log: LogSettings,
    #[command(flatten)]
    token: TokenSettings,
}

impl Settings for Everywhere {
    fn validate(&self, report: &mut Report) {
        self.server.validate(report);
        self.log.validate(report);
        self.token.validate(report);
    }
}

fn missing(rows: impl IntoIterator<Item = String>) -> Vec<String> {
    rows.into_iter()
        .filter(|row| !OPERATIONS.lines().any(|line| line == row))
        .collect()
}

#[test]
fn settings_are_documented() {
    let loader = Loader::new("fireside", "0", "");
    let missing = missing(reference::<Everywhere>(&loader).iter().map(SettingDoc::row));
    assert!(
        missing.is_empty(),
        "docs/operations.md lacks:\n{}",
        missing.join("\n")
    );
}

#[test]
fn metrics_are_documented() {
    let (metrics, _recorder) = Metrics::build(&[]).unwrap_or_else(|error| panic!("{error}"));
    let missing = missing(
        metrics
            .catalogue()
            .iter()
            .map(shared::telemetry::Metric::row),
    );
    assert!(
        missing.is_empty(),
        "docs/operations.md lacks:\n{}",
        missing.join("\n")
    );
}
