//! docs/operations.md says what the code does: the store's settings and metrics stand there word
//! for word.

use shared::{
    settings::{Loader, SettingDoc, reference},
    telemetry::Metric,
};
use store_api::{METRICS, ServiceSettings};

const OPERATIONS: &str = include_str!("../../docs/operations.md");

fn hold(rows: impl IntoIterator<Item = String>) {
    let missing: Vec<String> = rows
        .into_iter()
        .filter(|row| !OPERATIONS.lines().any(|line| line == row))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/operations.md lacks:\n{}",
        missing.join("\n")
    );
}

#[test]
fn settings_are_documented() {
    // `listen` is the one setting with another default here than elsewhere, and documented there.
    let loader = Loader::new("store-api", "0", "");
    hold(
        reference::<ServiceSettings>(&loader)
            .iter()
            .map(SettingDoc::row),
    );
}

#[test]
fn metrics_are_documented() {
    hold(METRICS.iter().map(Metric::row));
}
