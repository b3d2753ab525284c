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

use shared::{program, settings::Loader, telemetry::Metric};
use store_api::{Books, command};

use crate::settings::FiresideSettings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The loader of `fireside`'s settings.
fn loader() -> Loader {
    Loader::new(
        "fireside",
        env!("CARGO_PKG_VERSION"),
        "Friend chat and presence for games: the whole product in one process. Commands: migrate, ledger check, role EMAIL ROLE",
    )
    // Whoever just tries it out has something to look at.
    .default_for("seed_games", "240")
}

/// The metrics of everything it contains.
fn metrics() -> Vec<&'static [Metric]> {
    let mut tables = chat_node::METRICS.to_vec();
    tables.push(store_api::METRICS);
    tables
}

fn main() -> ExitCode {
    let books = |settings: FiresideSettings| Books {
        server: settings.server,
        token: settings.token,
        store: settings.store,
    };
    command(&loader(), books).unwrap_or_else(|| program::run(&loader(), &metrics(), app::run))
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
        let missing = missing(metrics().into_iter().flatten().map(Metric::row));
        assert!(missing.is_empty(), "docs/operations.md misses:\n{missing}");
    }
}
