//! Wiring: the store and a chat node in one process, on one port.

use std::sync::Arc;

use actix_web::web::ServiceConfig;
use chat_node::{Node, NodeParts};
use shared::{
    lifecycle::{ExitReason, Lifecycle},
    telemetry::{AdminServer, Metrics},
};
use store_api::{EventTarget, HttpOptions, Routes, Store};

use crate::{
    adapters::{NodeEvents, StoreFriends},
    settings::FiresideSettings,
    web,
};

/// Runs until a signal ends it.
pub(crate) async fn run(settings: FiresideSettings) -> anyhow::Result<ExitReason> {
    let tables: Vec<_> = chat_node::METRICS
        .iter()
        .copied()
        .chain([store_api::METRICS])
        .collect();
    let metrics = Metrics::install(&tables)?;
    Metrics::build_info("fireside", env!("CARGO_PKG_VERSION"));
    let lifecycle = Lifecycle::new();
    actix_web::rt::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.follow_signals().await }
    });
    let admin = settings
        .server
        .admin_listen
        .map(|address| AdminServer::bind(address, lifecycle.clone(), metrics))
        .transpose()?
        .map(AdminServer::start);

    let server = &settings.server;
    server.prepare_data_dir()?;
    let key = settings.token.signing_key(&server.data_dir)?;
    let issuer = &settings.token.jwt_issuer;
    let store = Store::open(&settings.store, &server.data_dir, &key, issuer).await?;
    let node = Node::start(NodeParts {
        settings: settings.node.clone(),
        data_dir: server.data_dir.clone(),
        friends: Arc::new(StoreFriends(store.clone())),
        auth: chat_node::auth(&key, issuer),
        lifecycle: lifecycle.clone(),
    })
    .await?;
    let background = store.start(vec![EventTarget::new(
        "local",
        NodeEvents(node.events().clone()),
    )]);

    let routes = Routes::new(
        store.clone(),
        HttpOptions {
            rate_limits: settings.store.rate_limits(),
            service_token: settings.node.service_token.clone(),
            trusted_proxies: Vec::new(),
        },
    );
    let address = node
        .serve(server.listen, move |app: &mut ServiceConfig| {
            routes.configure(app);
            web::configure(app);
        })
        .await?;
    lifecycle.ready();
    println!("Fireside is ready: open http://{address}/ in your browser");

    let reason = lifecycle
        .drain_within(server.shutdown_grace, || async {
            node.drain(server.shutdown_grace).await;
            // After the last request: what it changed is still told.
            background.stop().await;
            store.close().await;
            node.close().await;
        })
        .await;
    if let Some(admin) = admin {
        admin.stop(false).await;
    }
    Ok(reason)
}
