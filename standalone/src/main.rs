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

    #[test]
    fn every_setting_is_documented() {
        let page = include_str!("../../docs/operations.md");
        for setting in shared::settings::reference::<FiresideSettings>(&loader()) {
            assert!(
                page.contains(&setting.row()),
                "docs/operations.md misses:\n{}",
                setting.row()
            );
        }
    }

    #[test]
    fn every_metric_is_documented() {
        let page = include_str!("../../docs/operations.md");
        for metric in chat_node::METRICS
            .iter()
            .flat_map(|t| t.iter())
            .chain(store_api::METRICS)
        {
            assert!(
                page.contains(&metric.row()),
                "docs/operations.md misses:\n{}",
                metric.row()
            );
        }
    }
}
