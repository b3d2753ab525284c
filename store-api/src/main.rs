//! The program `store-api`: the store on an address of its own.

use std::{process::ExitCode, time::Duration};

use actix_web::{App, HttpServer, middleware::from_fn, web};
use anyhow::Context as _;
use shared::{
    lifecycle::{Check, ExitReason, Lifecycle, Phase},
    problem,
    program::{self, Program},
    redis::{self, Backoff, RedisLink},
    settings::Loader,
    telemetry,
};
use store_api::{Books, HttpOptions, METRICS, NodeSink, Routes, ServiceSettings, Store, command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How soon a database that is away is tried again, and how late at most.
const AGAIN_SOONEST: Duration = Duration::from_millis(200);
const AGAIN_LATEST: Duration = Duration::from_secs(5);
/// The longest body of a request, where a route does not say otherwise.
const BODY_LIMIT: usize = 16 << 10;

fn main() -> ExitCode {
    let loader = Loader::new(
        "store-api",
        env!("CARGO_PKG_VERSION"),
        "Accounts, friends and shop of Fireside. Commands: migrate, ledger check, role EMAIL ROLE",
    )
    .default_for("listen", "127.0.0.1:8104");
    let books = |settings: ServiceSettings| Books {
        server: settings.server,
        token: settings.token,
        store: settings.store,
    };
    command(&loader, books)
        .unwrap_or_else(|| program::run(&loader, &[METRICS, redis::METRICS], run))
}

async fn run(settings: ServiceSettings, program: Program) -> anyhow::Result<ExitReason> {
    let check = program.lifecycle().check("database");
    let Some(store) = open(&settings, program.lifecycle(), &check).await? else {
        // There is nothing to drain yet.
        return Ok(program.serve(async || {}).await);
    };
    let mut targets = Vec::with_capacity(settings.nodes.len());
    if let Some(token) = &settings.service_token {
        for node in &settings.nodes {
            targets.push(NodeSink::target(node, token.clone())?);
        }
    }
    if settings.redis.redis_url.is_some() {
        let link = RedisLink::connect(&settings.redis).context("Redis")?;
        // Without it this store judges by itself who comes first.
        link.wait_up(settings.redis.redis_connect_timeout).await;
        store.share(link);
    }
    store.seed(settings.store.seed_games).await?;
    let background = store.start(targets);

    let routes = Routes::new(
        store.clone(),
        HttpOptions {
            rate_limits: settings.store.rate_limits(),
            service_token: settings.service_token.clone(),
            trusted_proxies: settings.trusted_proxies.clone(),
            catalogue_kept: settings.store.catalogue_kept,
        },
    );
    let readiness = telemetry::public_readiness(program.lifecycle().clone());
    let server = HttpServer::new(move || {
        let routes = routes.clone();
        App::new()
            .configure(problem::extractors(BODY_LIMIT))
            .configure(move |config| routes.configure(config))
            .configure(&readiness)
            .default_service(web::to(problem::not_found))
            .wrap(from_fn(problem::fill))
            .wrap(from_fn(telemetry::observe))
    })
    .disable_signals()
    .keep_alive(settings.http_keep_alive)
    .shutdown_timeout(settings.server.shutdown_grace.as_secs())
    .bind(settings.server.listen)
    .with_context(|| format!("cannot listen on {} (--listen)", settings.server.listen))?;
    for address in server.addrs() {
        tracing::info!(%address, "serving");
    }
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    actix_web::rt::spawn(store.clone().watch(check));
    let drain = || async {
        handle.stop(true).await;
        // After the last request: what it changed is still told.
        background.stop().await;
        store.close().await;
    };
    Ok(program.serve(drain).await)
}

/// Opens the store as soon as PostgreSQL is there, unless the program is told to end before. Until then readiness and
/// the log say what is in the way.
async fn open(
    settings: &ServiceSettings,
    lifecycle: &Lifecycle,
    check: &Check,
) -> anyhow::Result<Option<Store>> {
    let data_dir = &settings.server.data_dir;
    let key = settings.token.signing_key(data_dir)?;
    let mut pauses = Backoff::new(AGAIN_SOONEST, AGAIN_LATEST);
    loop {
        let issuer = &settings.token.jwt_issuer;
        match Store::open(&settings.store, data_dir, &key, issuer).await {
            Err(error) if error.may_pass() => {
                let again_in = pauses.next_wait();
                tracing::warn!(%error, ?again_in, "the store waits for its database");
                check.fail(error.to_string());
                tokio::select! {
                    () = tokio::time::sleep(again_in) => {}
                    () = lifecycle.reached(Phase::Draining) => return Ok(None),
                }
            }
            opened => return Ok(Some(opened?)),
        }
    }
}
