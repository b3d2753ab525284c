//! The HTTP stack of one worker: the application for ordinary requests, the upgrade for WebSocket.

use std::{net::SocketAddr, sync::Arc};

use actix_codec::Framed;
use actix_http::{ConnectionType, HttpService, Request, h1};
use actix_service::{Service, ServiceFactory as _, fn_service, map_config};
use actix_web::{
    App,
    body::MessageBody,
    dev::{AppConfig, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use shared::{problem, telemetry};
use tokio::sync::watch;

use super::{
    Configure, ConnectionSettings,
    connection::{Connection, Handshake},
};
use crate::upgrade::{self, Upgrades};

/// Builds the stack. It is `!Send`: every worker has its own.
pub(super) async fn stack(
    settings: &ConnectionSettings,
    configure: Arc<Configure>,
    upgrades: Arc<Upgrades>,
    stop: watch::Receiver<bool>,
) -> Result<impl Service<(Connection, Option<SocketAddr>), Response = ()> + 'static, StackError> {
    let app = App::new()
        // A plain request to the WebSocket's path is told what is missing.
        .service(web::resource(upgrade::PATH).to(upgrade::not_an_upgrade))
        .configure(|config| configure(config))
        .wrap(from_fn(problem::fill))
        .wrap(from_fn(telemetry::observe))
        .wrap(from_fn(first_head));
    let upgrade = move |(request, framed): (Request, Framed<Connection, h1::Codec>)| {
        let upgrades = upgrades.clone();
        async move {
            upgrade::upgrade(upgrades, request, framed).await;
            Ok::<(), actix_http::Error>(())
        }
    };
    let service = HttpService::build()
        .keep_alive(settings.http_keep_alive)
        .client_request_timeout(settings.handshake_timeout)
        .client_disconnect_timeout(std::time::Duration::from_secs(1))
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.handshake());
        })
        .graceful_shutdown_signal(move || {
            let mut stop = stop.clone();
            async move {
                let _ = stop.wait_for(|stop| *stop).await;
            }
        })
        .upgrade(fn_service(upgrade))
        .h1(map_config(app, |()| AppConfig::default()));
    service.new_service(()).await.map_err(|()| StackError)
}

/// The application cannot be built: a data factory failed, which it has logged.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP application cannot be built")]
pub struct StackError;

/// Notes that the request head arrived, and keeps an `Upgrade` we do not follow from spoiling the
/// answer: to an h2c offer (Java's HttpClient makes one with every first request) the codec would
/// say `connection: upgrade` and leave the client waiting for more.
async fn first_head<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    if let Some(handshake) = request.request().conn_data::<Handshake>() {
        handshake.over();
    }
    let offered_upgrade = request.head().upgrade();
    let mut response = next.call(request).await?;
    if offered_upgrade {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}
