//! `fireside`: accounts, friends, chat and the browser client in one process and on one port, on
//! embedded storage. The same code as the services of a cluster, wired to the backends that need
//! no other server.
//!
//! [`adapters`] is each service through the ports of the other, [`app`] the wiring, [`web`] the
//! embedded client.

mod adapters;
mod app;
mod settings;
mod web;

use std::process::ExitCode;

use settings::FiresideSettings;
use shared::settings::{Loader, Sources};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The loader of `fireside`'s settings.
fn loader() -> Loader {
    Loader::new(
        "fireside",
        env!("CARGO_PKG_VERSION"),
        "Friend chat and presence for games: the whole product in one process",
    )
}

fn main() -> ExitCode {
    let loaded = match loader().load::<FiresideSettings>(Sources::process()) {
        Ok(loaded) => loaded,
        Err(error) => return error.report(),
    };
    if let Err(error) = loaded.settings.log.start() {
        eprintln!("fireside: {error}");
        return ExitCode::FAILURE;
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match actix_web::rt::System::new().block_on(app::run(loaded.settings)) {
        Ok(reason) => {
            tracing::info!(%reason, "stopped");
            reason.exit_code()
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/operations.md");

    fn missing(rows: impl Iterator<Item = String>) -> String {
        rows.filter(|row| !PAGE.contains(row))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn every_setting_is_documented() {
        let settings = shared::settings::reference::<FiresideSettings>(&loader());
        let missing = missing(settings.iter().map(shared::settings::SettingDoc::row));
        assert!(missing.is_empty(), "docs/operations.md misses:\n{missing}");
    }

    #[test]
    fn every_metric_is_documented() {
        let tables = chat_node::METRICS
            .iter()
            .copied()
            .chain([store_api::METRICS]);
        let missing = missing(tables.flatten().map(shared::telemetry::Metric::row));
        assert!(missing.is_empty(), "docs/operations.md misses:\n{missing}");
    }
}
