//! The program `chat-node`: a chat node on an address of its own, friends asked of a store-api.

use std::{process::ExitCode, sync::Arc, time::Duration};

use chat_node::{
    Cluster, METRICS, Node, NodeParts, NodeSettings, Stopped, Storage, friends::HttpFriends,
    history::mongodb::MongoSettings, redis::RedisSettings,
};
use shared::{
    auth::{Algorithm, Auth, Revocations, TokenSettings},
    lifecycle::ExitReason,
    problem,
    program::{self, Program, ProgramSettings},
    settings::{Loader, Report, ServerSettings, Settings},
    telemetry::{self, LogSettings},
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
    /// History that nodes share.
    #[command(flatten)]
    mongodb: MongoSettings,
    /// What joins nodes.
    #[command(flatten)]
    redis: RedisSettings,
    /// The store-api that knows friends and revocations
    #[arg(long, default_value = "http://127.0.0.1:8104", value_name = "URL")]
    store_url: String,
}

impl Settings for ServiceSettings {
    fn validate(&self, report: &mut Report) {
        self.server.validate(report);
        self.log.validate(report);
        self.token.validate(report);
        self.node.validate(report);
        self.mongodb.validate(report);
        self.redis.validate(report);
        // Nodes on one history that do not hear each other would each believe to be alone; nodes that
        // hear each other would speak of rooms the others do not have.
        let (joined, shared) = (
            self.redis.redis_url.is_some(),
            self.mongodb.mongodb_uri.is_some(),
        );
        report.require(
            joined || !shared,
            "redis_url",
            "is needed beside `mongodb_uri`",
        );
        report.require(
            shared || !joined,
            "mongodb_uri",
            "is needed beside `redis_url`",
        );
        let known = self.node.service_token.is_some();
        report.require(
            known,
            "service_token",
            "is needed to ask store-api about friends",
        );
        let url = reqwest::Url::parse(&self.store_url);
        let http = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        report.require(
            http,
            "store_url",
            format!("`{}` is no http:// address", self.store_url),
        );
        // This program signs nothing: a key of its own would believe nobody.
        let token = &self.token;
        let (setting, given) = match token.jwt_algorithm {
            Algorithm::Hs256 => ("jwt_secret", token.jwt_secret.is_some()),
            Algorithm::EdDsa => (
                "jwks_url",
                token.jwks_url.is_some() || token.jwks_file.is_some(),
            ),
        };
        report.require(given, setting, "is needed to check what store-api signs");
    }
}

impl ProgramSettings for ServiceSettings {
    fn server(&self) -> &ServerSettings {
        &self.server
    }

    fn log(&self) -> &LogSettings {
        &self.log
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
    program::run(&loader(), METRICS, run)
}

async fn run(settings: ServiceSettings, program: Program) -> anyhow::Result<ExitReason> {
    let server = settings.server;
    let verifier = settings.token.remote_verifier()?;
    actix_rt::spawn({
        let verifier = verifier.clone();
        async move { verifier.keep_fresh(KEYS_EVERY).await }
    });
    let token = settings.node.service_token.clone();
    let token = token.ok_or_else(|| anyhow::anyhow!("`service_token` is not set"))?;
    let storage = if settings.mongodb.mongodb_uri.is_some() {
        Storage::Shared(Box::new(Cluster {
            mongodb: settings.mongodb,
            redis: settings.redis,
        }))
    } else {
        Storage::Embedded(server.data_dir)
    };
    let node = match Node::start(NodeParts {
        friends: Arc::new(HttpFriends::new(&settings.store_url, token)?),
        settings: settings.node,
        storage,
        auth: Auth {
            verifier,
            revocations: Revocations::new(),
        },
        lifecycle: program.lifecycle().clone(),
    })
    .await
    {
        // There is nothing to drain yet.
        Err(error) if error.is::<Stopped>() => return Ok(program.serve(async || {}).await),
        started => started?,
    };
    let readiness = telemetry::public_readiness(program.lifecycle().clone());
    let address = node
        .serve(server.listen, move |app| {
            app.configure(&readiness);
            app.default_service(actix_web::web::to(problem::not_found));
        })
        .await?;
    tracing::info!(%address, "serving");
    let live = node.live().clone();
    program.live_view().show(move || live.now());
    let drain = || async {
        node.drain(server.shutdown_grace).await;
        node.close().await;
    };
    Ok(program.serve(drain).await)
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
