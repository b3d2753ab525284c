//! The program `chat-lb`: the one door before chat nodes and stores.

use std::process::ExitCode;

use chat_lb::{METRICS, app};
use shared::{program, settings::Loader};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    program::run(&loader(), METRICS, app::run)
}

fn loader() -> Loader {
    Loader::new(
        "chat-lb",
        env!("CARGO_PKG_VERSION"),
        "The one door before the chat nodes and stores of Fireside",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_and_metric_is_documented() {
        let page = include_str!("../../docs/operations.md");
        let settings = shared::settings::reference::<chat_lb::LbSettings>(&loader());
        let settings = settings.iter().map(shared::settings::SettingDoc::row);
        let metrics = METRICS.iter().copied().flatten();
        let metrics = metrics.map(shared::telemetry::Metric::row);
        let missing: Vec<String> = settings
            .chain(metrics)
            .filter(|row| !page.lines().any(|line| line == row))
            .collect();
        let missing = missing.join("\n");
        assert!(missing.is_empty(), "docs/operations.md misses:\n{missing}");
    }
}
