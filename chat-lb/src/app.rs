//! Wiring: how the parts of the balancer are put together.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use shared::{
    auth::{Auth, Revocations},
    lifecycle::{Check, ExitReason},
    nodes::NodeRegister,
    program::Program,
    redis::RedisLink,
    revoked::RedisRevoked,
};
use tokio::time::sleep;

use crate::{
    door::{Certificate, Door, DoorParts},
    gateway::{Gateway, GatewayParts},
    live::Live,
    nodes::{Pool, PoolKind, Relocation, Service, Source, census, follow},
    settings::LbSettings,
    token::{Tokens, follow_revocations},
};

/// How often the keys of tokens are read again without a reason.
const KEYS_EVERY: Duration = Duration::from_mins(5);
/// How often it is looked at whether anybody is fit.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// Runs until a signal ends it.
pub async fn run(settings: LbSettings, program: Program) -> anyhow::Result<ExitReason> {
    let verifier = settings.token.remote_verifier()?;
    actix_rt::spawn({
        let verifier = verifier.clone();
        async move { verifier.keep_fresh(KEYS_EVERY).await }
    });
    let revocations = Revocations::new();
    let link = match &settings.redis.redis_url {
        Some(_) => Some(RedisLink::connect(&settings.redis).context("Redis")?),
        None => None,
    };
    if let Some(link) = &link {
        link.wait_up(settings.redis.redis_connect_timeout).await;
        let set = RedisRevoked::new(link.clone());
        actix_rt::spawn(follow_revocations(set, revocations.clone()));
    }

    let pool = |kind| {
        let thresholds = settings.health.thresholds();
        Arc::new(Pool::new(kind, thresholds, settings.health.load_bound))
    };
    let (nodes, stores) = (pool(PoolKind::Nodes), pool(PoolKind::Stores));
    let register = link.map(NodeRegister::new);
    let sources = [
        (&nodes, Source::of_nodes(&settings.discovery, register)),
        (&stores, Source::of_stores(&settings.discovery)),
    ];
    for (pool, source) in sources {
        let (discovery, health) = (settings.discovery.clone(), settings.health.clone());
        actix_rt::spawn(follow(pool.clone(), source, discovery, health));
    }
    let check = program.lifecycle().check("nodes");
    actix_rt::spawn(report(nodes.clone(), stores.clone(), check));

    let service = settings.service_token.clone().map(Service::new);
    if let Some(service) = &service {
        actix_rt::spawn(census(nodes.clone(), service.clone()));
    }
    let relocation = service.map(|service| Relocation::new(nodes.clone(), service));
    match (&relocation, settings.health.relocations) {
        (_, 0) => {}
        (Some(relocation), most) => {
            actix_rt::spawn(relocation.clone().run(most as usize));
        }
        (None, _) => tracing::info!("without `service_token` nobody is moved to a node that comes"),
    }

    let auth = Auth {
        verifier,
        revocations,
    };
    let gateway = Arc::new(Gateway::new(GatewayParts {
        nodes: nodes.clone(),
        stores: stores.clone(),
        tokens: Tokens::new(auth, settings.service_token.clone()),
        proxies: settings.connections.trusted_proxies.clone(),
        door: settings.door.clone(),
        settings: settings.gateway.clone(),
    }));
    let certificate = Certificate::of(&settings.tls)?;
    if let Some(certificate) = certificate.clone() {
        actix_rt::spawn(async move {
            if let Err(error) = certificate.follow().await {
                tracing::error!(%error, "the certificate is not read again");
            }
        });
    }
    let mut door = Door::open(DoorParts {
        listen: settings.server.listen,
        workers: settings.worker_count(),
        connections: &settings.connections,
        door: &settings.door,
        certificate,
        gateway: gateway.clone(),
    })
    .await?;
    let live = Live::new(nodes.clone(), stores, gateway, door.admission().clone());
    actix_rt::spawn(live.clone().sample());
    program.live_view().show(move || live.show());
    tracing::info!(address = %door.address(), "serving");

    let grace = settings.server.shutdown_grace;
    let drain = move || async move {
        // They come back through another balancer; whoever is left at the deadline does so then.
        if let Some(relocation) = relocation {
            actix_rt::spawn(async move {
                sleep(grace / 4).await;
                relocation.empty(grace / 2).await;
            });
        }
        door.shut(grace).await;
        while nodes.tunnels() > 0 {
            sleep(REPORT_EVERY).await;
        }
        door.stop();
    };
    Ok(program.serve(drain).await)
}

/// Tells metrics and readiness who is fit, for ever. Without a store chat goes on, so that does not make
/// us unready.
async fn report(nodes: Arc<Pool>, stores: Arc<Pool>, check: Check) {
    loop {
        stores.report();
        if nodes.report() {
            check.pass();
        } else {
            check.fail("no chat node is ready");
        }
        sleep(REPORT_EVERY).await;
    }
}
