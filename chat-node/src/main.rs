//! The program `chat-node`: a chat node on an address of its own, friends asked of a store-api.

use std::{process::ExitCode, sync::Arc, time::Duration};

use chat_node::{METRICS, Node, NodeParts, NodeSettings, friends::HttpFriends};
use shared::{
    auth::{Auth, Revocations, TokenSettings},
    lifecycle::{ExitReason, Lifecycle},
    problem,
    settings::{Loader, Report, ServerSettings, Settings, Sources},
    telemetry::{AdminServer, LogSettings, Metrics},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often keys that were fetched are looked at again.
const KEYS_EVERY: Duration = Duration::from_mins(5);

/// The settings of the program `chat-node`.
#[derive(Debug, Clone, clap::Args)]
struct ServiceSettings {
    /// Where to listen, where to keep things.
    #[command(flatten)]
    server: ServerSettings,
    /// What to log.
    #[command(flatten)]
    log: LogSettings,
    /// How tokens are judged.
    #[command(flatten)]
    token: TokenSettings,
    /// The node itself.
    #[command(flatten)]
    node: NodeSettings,
    /// The store-api that knows friends and revocations
    #[arg(long, default_value = "http://127.0.0.1:8104", value_name = "URL")]
    store_url: String,
}

impl Settings for ServiceSettings {
    fn validate(&self, report: &mut Report) {
        self.server.validate(report);
        self.token.validate(report);
        self.node.validate(report);
        let known = self.node.service_token.is_some();
        report.require(
            known,
            "service_token",
            "is needed to ask store-api about friends",
        );
    }
}

fn loader() -> Loader {
    Loader::new(
        "chat-node",
        env!("CARGO_PKG_VERSION"),
        "Rooms, sessions, presence and history of Fireside",
    )
    .default_for("listen", "127.0.0.1:8110")
}

fn main() -> ExitCode {
    let loaded = match loader().load::<ServiceSettings>(Sources::process()) {
        Ok(loaded) => loaded,
        Err(error) => return error.report(),
    };
    if let Err(error) = loaded.settings.log.start() {
        eprintln!("chat-node: {error}");
        return ExitCode::FAILURE;
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match actix_rt::System::new().block_on(run(loaded.settings)) {
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

async fn run(settings: ServiceSettings) -> anyhow::Result<ExitReason> {
    let metrics = Metrics::install(METRICS)?;
    Metrics::build_info("chat-node", env!("CARGO_PKG_VERSION"));
    let lifecycle = Lifecycle::new();
    actix_rt::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.follow_signals().await }
    });
    let server = &settings.server;
    let admin = server
        .admin_listen
        .map(|address| AdminServer::bind(address, lifecycle.clone(), metrics))
        .transpose()?
        .map(AdminServer::start);

    server.prepare_data_dir()?;
    let verifier = settings.token.remote_verifier()?;
    actix_rt::spawn({
        let verifier = verifier.clone();
        async move { verifier.keep_fresh(KEYS_EVERY).await }
    });
    let token = settings.node.service_token.clone();
    let token = token.ok_or_else(|| anyhow::anyhow!("`service_token` is not set"))?;
    let node = Node::start(NodeParts {
        friends: Arc::new(HttpFriends::new(&settings.store_url, token)?),
        settings: settings.node.clone(),
        data_dir: server.data_dir.clone(),
        auth: Auth {
            verifier,
            revocations: Revocations::new(),
        },
        lifecycle: lifecycle.clone(),
    })
    .await?;
    let address = node
        .serve(server.listen, |app| {
            app.default_service(actix_web::web::to(problem::not_found));
        })
        .await?;
    tracing::info!(%address, "serving");
    lifecycle.ready();

    let reason = lifecycle
        .drain_within(server.shutdown_grace, || async {
            node.drain(server.shutdown_grace).await;
            node.close().await;
        })
        .await;
    if let Some(admin) = admin {
        admin.stop(false).await;
    }
    Ok(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_documented() {
        let page = include_str!("../../docs/operations.md");
        for setting in shared::settings::reference::<ServiceSettings>(&loader()) {
            // The default address of a service of its own stands in the text.
            let known = page.contains(&setting.row()) || setting.key == "listen";
            assert!(known, "docs/operations.md misses:\n{}", setting.row());
        }
    }
}
