//! Asking a back end whether it is ready.

use std::{error::Error as _, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Backend, HealthSettings, Probe};

/// The longest answer that is read for the connection's sake.
const LONGEST: usize = 16 << 10;

/// Asks `backend` for as long as it matters.
pub(super) async fn keep_asking(backend: Arc<Backend>, settings: HealthSettings) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(1)
        // What is asked must not succeed over a connection whose other end is only said to be there.
        .retry_canceled_requests(true)
        .build(connector);
    let uri = format!("http://{}/readyz", backend.address());
    let Ok(uri) = uri.parse::<Uri>() else {
        tracing::error!(address = backend.address(), "no address of a back end");
        return;
    };
    while !backend.is_left() {
        let asked = Instant::now();
        backend.probed(ask(&client, &uri, settings.health_timeout).await);
        // After a time-out the next question comes at once.
        sleep_until(asked + settings.health_interval).await;
    }
}

async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, uri: &Uri, within: Duration) -> Probe {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.clone();
    let answered = async {
        let answer = client.request(request).await.map_err(|error| {
            let mut cause = error.source();
            while let Some(inner) = cause {
                if let Some(io) = inner.downcast_ref::<io::Error>() {
                    return matches!(io.kind(), io::ErrorKind::ConnectionRefused);
                }
                cause = inner.source();
            }
            false
        })?;
        let status = answer.status();
        // Read to the end, so that the connection serves again.
        let _ = Limited::new(answer.into_body(), LONGEST).collect().await;
        Ok(status)
    };
    match timeout(within, answered).await {
        Ok(Ok(StatusCode::OK)) => Probe::Ready,
        Ok(Ok(_)) => Probe::Unready,
        Ok(Err(true)) => Probe::Refused,
        Ok(Err(false)) | Err(_) => Probe::Silent,
    }
}
