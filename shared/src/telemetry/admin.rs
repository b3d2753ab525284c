//! The listener for operators: health, readiness, metrics, and what a program shows of itself.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError as _, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::Metrics;
use crate::lifecycle::Lifecycle;
use crate::problem;
use crate::trace::{self, Wanted};

/// What `/live` answers: the state of a program in its own words, as of now. Nothing until it says
/// something. Clones are the same.
#[derive(Clone, Default)]
pub struct LiveView(Arc<OnceLock<Box<View>>>);

type View = dyn Fn() -> Value + Send + Sync;

impl LiveView {
    /// Shows what `view` says from now on; the first to show something stays.
    pub fn show<T: Serialize>(&self, view: impl Fn() -> T + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(move || json!(view())));
    }
}

impl fmt::Debug for LiveView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveView")
            .field(&self.0.get().is_some())
            .finish()
    }
}

/// The route `/readyz` on the address of clients, for a balancer that looks there. It says whether
/// and not why: what is wrong inside is nobody's matter outside.
pub fn public_readiness(lifecycle: Lifecycle) -> impl Fn(&mut web::ServiceConfig) + Clone {
    move |config| {
        let lifecycle = lifecycle.clone();
        let answer = move || {
            let readiness = lifecycle.readiness();
            let said = json!({"ready": readiness.ready, "phase": readiness.phase});
            std::future::ready(answer(readiness.ready, &said))
        };
        config.service(web::resource("/readyz").route(web::get().to(answer)));
    }
}

/// The routes `/healthz`, `/readyz`, `/metrics`, `/live` and `/trace`, for an application's `configure`.
pub fn admin_routes(
    lifecycle: Lifecycle,
    metrics: Metrics,
    live: LiveView,
) -> impl Fn(&mut web::ServiceConfig) + Clone {
    move |config| {
        config
            .app_data(web::Data::new(lifecycle.clone()))
            .app_data(web::Data::new(metrics.clone()))
            .app_data(web::Data::new(live.clone()))
            .service(web::resource("/healthz").route(web::get().to(health)))
            .service(web::resource("/readyz").route(web::get().to(readiness)))
            .service(web::resource("/metrics").route(web::get().to(exposition)))
            .service(web::resource("/live").route(web::get().to(live_view)))
            .service(web::resource("/trace").route(web::get().to(remembered)));
    }
}

/// An HTTP server with the [`admin_routes`] on an address of its own, with one worker. It must keep
/// answering during a drain, so it is stopped last, by its handle, and not by signals.
pub struct AdminServer {
    server: Server,
    address: SocketAddr,
}

impl AdminServer {
    /// Binds the address; port 0 picks a free one.
    pub fn bind(
        address: SocketAddr,
        lifecycle: Lifecycle,
        metrics: Metrics,
        live: LiveView,
    ) -> std::io::Result<Self> {
        let routes = admin_routes(lifecycle, metrics, live);
        let server = HttpServer::new(move || {
            App::new()
                .configure(routes.clone())
                .default_service(web::to(problem::not_found))
                .wrap(actix_web::middleware::from_fn(problem::fill))
        })
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1)
        .bind(address)?;
        let address = server.addrs().first().copied().unwrap_or(address);
        Ok(Self {
            server: server.run(),
            address,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves, in a task of the current actix system; stop it by the handle.
    pub fn start(self) -> ServerHandle {
        let handle = self.server.handle();
        actix_web::rt::spawn(self.server);
        handle
    }
}

impl std::fmt::Debug for AdminServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Alive: the process answers. Whether it should get traffic is `/readyz`'s matter.
async fn health(lifecycle: web::Data<Lifecycle>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({"status": "ok", "phase": lifecycle.phase()}))
}

async fn readiness(lifecycle: web::Data<Lifecycle>) -> HttpResponse {
    let readiness = lifecycle.readiness();
    answer(readiness.ready, &readiness)
}

fn answer(ready: bool, said: &impl serde::Serialize) -> HttpResponse {
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(said)
}

async fn live_view(live: web::Data<LiveView>) -> HttpResponse {
    match live.0.get() {
        Some(view) => HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .json(view()),
        None => problem::not_found().await,
    }
}

/// What is remembered of messages that were followed: `?id=TRACE`, or `?room=ROOM&seq=SEQ`.
async fn remembered(request: HttpRequest) -> HttpResponse {
    // Not by its type: what is untagged reads no numbers out of a query.
    let Ok(query) = web::Query::<HashMap<String, String>>::from_query(request.query_string())
    else {
        return problem::Problem::invalid("not a query").error_response();
    };
    let seq = query.get("seq").and_then(|seq| seq.parse().ok());
    let wanted = match (query.get("id"), query.get("room"), seq) {
        (Some(id), ..) => Wanted::Trace { id: id.clone() },
        (None, Some(room), Some(seq)) => Wanted::Entry {
            room: room.clone(),
            seq,
        },
        _ => {
            let said = "give `id`, or `room` and `seq`";
            return problem::Problem::invalid(said).error_response();
        }
    };
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(trace::recall(&wanted))
}

async fn exposition(metrics: web::Data<Metrics>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(metrics.render())
}

#[cfg(test)]
mod tests {
    use actix_web::test;

    use super::*;
    use crate::lifecycle::ExitReason;

    #[actix_web::test]
    async fn the_routes_tell_the_truth() {
        let lifecycle = Lifecycle::new();
        let store = lifecycle.check("store");
        let (metrics, _recorder) = Metrics::build(&[]).unwrap();
        let live = LiveView::default();
        let app = App::new()
            .configure(admin_routes(lifecycle.clone(), metrics, live.clone()))
            .service(web::scope("/public").configure(public_readiness(lifecycle.clone())))
            .wrap(actix_web::middleware::from_fn(problem::fill));
        let app = test::init_service(app).await;
        let get = async |path: &str| {
            let request = test::TestRequest::get().uri(path).to_request();
            let response = test::call_service(&app, request).await;
            (response.status().as_u16(), test::read_body(response).await)
        };
        let ready = async || {
            let (status, body) = get("/readyz").await;
            (status, serde_json::from_slice::<Value>(&body).unwrap())
        };

        assert_eq!(get("/healthz").await.0, 200);
        lifecycle.ready();
        let (status, body) = ready().await;
        assert_eq!(
            (status, &body["checks"]["store"]["ok"]),
            (503, &json!(false)),
            "{body}"
        );
        let (status, body) = get("/public/readyz").await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status, body),
            (503, json!({"ready": false, "phase": "ready"})),
            "why is not said to everybody"
        );
        assert_eq!(get("/live").await.0, 404);
        live.show(|| json!({"nodes": 3}));
        assert_eq!(get("/live").await.1, "{\"nodes\":3}");
        store.pass();
        assert_eq!(
            ready().await,
            (
                200,
                json!({"ready": true, "phase": "ready", "checks": {"store": {"ok": true}}})
            )
        );
        lifecycle.drain(ExitReason::Requested);
        let (status, body) = ready().await;
        assert_eq!((status, &body["phase"]), (503, &json!("draining")));
        assert_eq!(get("/healthz").await.0, 200, "a draining process is alive");
        let (status, body) = get("/metrics").await;
        assert_eq!(status, 200);
        assert!(String::from_utf8_lossy(&body).contains("process_open_fds"));
    }

    #[actix_web::test]
    async fn it_listens_on_an_address_of_its_own() {
        let (metrics, _recorder) = Metrics::build(&[]).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let server =
            AdminServer::bind(address, Lifecycle::new(), metrics, LiveView::default()).unwrap();
        let address = server.address();
        assert_ne!(address.port(), 0);
        let handle = server.start();
        assert!(tokio::net::TcpStream::connect(address).await.is_ok());
        handle.stop(true).await;
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}
