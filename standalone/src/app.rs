//! Wiring: the store and a chat node in one process, on one port.

use std::{net::SocketAddr, sync::Arc};

use actix_web::web::ServiceConfig;
use chat_node::{Node, NodeParts, Storage};
use shared::{lifecycle::ExitReason, program::Program};
use store_api::{EventTarget, HttpOptions, Routes, Store};

use crate::{
    adapters::{NodeEvents, StoreFriends},
    settings::FiresideSettings,
    web,
};

/// Runs until a signal ends it.
pub(crate) async fn run(
    settings: FiresideSettings,
    program: Program,
) -> anyhow::Result<ExitReason> {
    let server = &settings.server;
    let key = settings.token.signing_key(&server.data_dir)?;
    let issuer = &settings.token.jwt_issuer;
    let store = Store::open(&settings.store, &server.data_dir, &key, issuer).await?;
    store.seed(settings.store.seed_games).await?;
    let node = Node::start(NodeParts {
        settings: settings.node.clone(),
        storage: Storage::Embedded(server.data_dir.clone()),
        friends: Arc::new(StoreFriends(store.clone())),
        auth: chat_node::auth(&key, issuer),
        lifecycle: program.lifecycle().clone(),
    })
    .await?;
    let background = store.start(vec![EventTarget::new(
        "local",
        NodeEvents(node.events().clone()),
    )]);

    actix_web::rt::spawn(store.clone().watch(program.lifecycle().check("database")));

    let routes = Routes::new(
        store.clone(),
        HttpOptions {
            rate_limits: settings.store.rate_limits(),
            service_token: settings.node.service_token.clone(),
            trusted_proxies: settings.node.connections.trusted_proxies.clone(),
            catalogue_kept: settings.store.catalogue_kept,
        },
    );
    let address = node
        .serve(server.listen, move |app: &mut ServiceConfig| {
            routes.configure(app);
            web::configure(app);
        })
        .await?;
    let live = node.live().clone();
    program.live_view().show(move || live.now());
    println!(
        "Fireside is ready: open http://{}/ in your browser",
        reachable(address)
    );
    let drain = || async {
        node.drain(server.shutdown_grace).await;
        // After the last request: what it changed is still told.
        background.stop().await;
        store.close().await;
        node.close().await;
    };
    Ok(program.serve(drain).await)
}

/// Where a browser on this machine finds `address`: "any" is nowhere to go.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => [127, 0, 0, 1].into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        _ => return address,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_address_is_one_to_open() {
        for (bound, shown) in [
            ("127.0.0.1:8102", "127.0.0.1:8102"),
            ("0.0.0.0:8102", "127.0.0.1:8102"),
            ("[::]:8102", "[::1]:8102"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), shown);
        }
    }
}
