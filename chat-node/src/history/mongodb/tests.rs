use shared::{
    settings::{Loader, SettingDoc, Settings, reference},
    telemetry::Metric,
};

use super::*;

#[test]
fn settings_and_metrics_are_documented() {
    #[derive(Debug, clap::Args)]
    struct Documented {
        #[command(flatten)]
        mongodb: MongoSettings,
    }
    impl Settings for Documented {}
    let operations = include_str!("../../../../docs/operations.md");
    let settings = reference::<Documented>(&Loader::new("chat-node", "0", ""));
    let own = settings.iter().filter(|s| s.key.starts_with("mongodb_"));
    let rows = own
        .map(SettingDoc::row)
        .chain(METRICS.iter().map(Metric::row));
    let missing: Vec<_> = rows
        .filter(|row| !operations.lines().any(|line| line == row))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/operations.md lacks:\n{}",
        missing.join("\n")
    );
}

#[test]
fn the_defaults_on_the_command_line_are_the_defaults() {
    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        mongodb: MongoSettings,
    }
    let parsed = <Program as clap::Parser>::parse_from(["chat-node"]);
    assert_eq!(parsed.mongodb, MongoSettings::default());
}
