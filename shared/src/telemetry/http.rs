//! A request's id, its line in the log, and its place in the metrics.

use std::fmt;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpResponse, ResponseError};
use tracing::Instrument as _;
use ulid::Ulid;

use super::{LATENCY_BUCKETS, Metric};

/// What [`observe`] counts.
pub const HTTP_METRICS: &[Metric] = &[
    Metric::counter("fireside_http_requests_total", "HTTP requests answered")
        .by(&["method", "route", "status"]),
    Metric::histogram(
        "fireside_http_request_seconds",
        "Time from a request's head to its answer's",
        LATENCY_BUCKETS,
    )
    .by(&["method", "route"]),
];

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The name of one request, in its answer, in the log, and in the extensions of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(request: &ServiceRequest) -> Self {
        let sent = request.headers().get(HEADER);
        Self::accept(sent.and_then(|value| value.to_str().ok()))
    }

    /// The one a balancer or client sent, if it is fit for a log line; otherwise a new one.
    pub fn accept(sent: Option<&str>) -> Self {
        let fit = |text: &&str| {
            (1..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
        };
        Self(
            sent.filter(fit)
                .map_or_else(|| Ulid::new().to_string(), str::to_owned),
        )
    }

    fn header(&self) -> HeaderValue {
        // Checked in `of`: letters, digits and `_-.:`.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Middleware, outermost: `App::new().wrap(from_fn(telemetry::observe))`.
///
/// Accepts or makes an `x-request-id` and answers with it; logs one line a request under the target
/// `access`, with the path and never the query, a header or a body; counts into [`HTTP_METRICS`] by
/// route pattern, so that ids in paths do not become labels.
pub async fn observe<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let started = Instant::now();
    let id = RequestId::of(&request);
    let method = method_label(request.method().as_str());
    let route = request
        .match_pattern()
        .unwrap_or_else(|| "unmatched".to_owned());
    let path = request.path().to_owned();
    request.extensions_mut().insert(id.clone());

    let span = tracing::info_span!("request", id = %id);
    let outcome = next.call(request).instrument(span).await;

    let status = match &outcome {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    let elapsed = started.elapsed();
    // A balancer asks twice a second whether we are ready.
    if path != "/readyz" {
        tracing::info!(
            target: "access",
            id = %id,
            method,
            path,
            status = status.as_u16(),
            micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        );
    }
    metrics::counter!("fireside_http_requests_total", "method" => method, "route" => route.clone(),
        "status" => status.as_str().to_owned())
    .increment(1);
    metrics::histogram!("fireside_http_request_seconds", "method" => method, "route" => route)
        .record(elapsed);

    match outcome {
        Ok(mut response) => {
            response.headers_mut().insert(HEADER, id.header());
            Ok(response)
        }
        Err(inner) => Err(Identified { inner, id }.into()),
    }
}

/// Methods are a client's to invent, so only the known ones become labels.
pub fn method_label(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// An error that a middleware returned, on its way to become an answer with the request's id.
#[derive(Debug)]
struct Identified {
    inner: Error,
    id: RequestId,
}

impl fmt::Display for Identified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl ResponseError for Identified {
    fn status_code(&self) -> StatusCode {
        self.inner.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.inner.error_response();
        response.headers_mut().insert(HEADER, self.id.header());
        response
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use actix_web::middleware::from_fn;
    use actix_web::{App, HttpRequest, test, web};
    use parking_lot::Mutex;

    use super::*;
    use crate::problem::Problem;
    use crate::telemetry::Metrics;

    async fn echo(request: HttpRequest) -> String {
        request.extensions().get::<RequestId>().unwrap().to_string()
    }

    async fn refuse<B>(_: ServiceRequest, _: Next<B>) -> Result<ServiceResponse<B>, Error> {
        Err(Problem::not_found("not here").into())
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[actix_web::test]
    async fn requests_are_named_logged_and_counted() {
        let (metrics, recorder) = Metrics::build(&[]).unwrap();
        let _recording = metrics::set_default_local_recorder(&recorder);
        let lines = Lines::default();
        let log = {
            let lines = lines.clone();
            tracing_subscriber::fmt()
                .json()
                .with_writer(move || lines.clone())
                .finish()
        };
        let _logging = tracing::subscriber::set_default(log);

        let app = App::new()
            .route("/rooms/{id}", web::get().to(echo))
            .service(
                web::scope("/refused")
                    .wrap(from_fn(refuse))
                    .route("/x", web::get().to(echo)),
            )
            .wrap(from_fn(observe));
        let app = test::init_service(app).await;
        let get = |path: &str| test::TestRequest::get().uri(path);

        let request = get("/rooms/r1?token=hunter2").insert_header(("x-request-id", "from.lb:1"));
        let request = request.insert_header(("authorization", "Bearer hunter3"));
        let response = test::call_service(&app, request.to_request()).await;
        assert_eq!(response.headers().get("x-request-id").unwrap(), "from.lb:1");
        assert_eq!(test::read_body(response).await, "from.lb:1");

        let request = get("/rooms/r2").insert_header(("x-request-id", "two words\"{}"));
        let response = test::call_service(&app, request.to_request()).await;
        let made = response
            .headers()
            .get("x-request-id")
            .unwrap()
            .to_str()
            .unwrap();
        assert!(Ulid::from_string(made).is_ok(), "{made}");

        let refused = test::try_call_service(&app, get("/refused/x").to_request()).await;
        let response = refused.err().unwrap().error_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(response.headers().contains_key("x-request-id"));

        let log = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert!(
            log.contains("\"path\":\"/rooms/r1\"") && log.contains("from.lb:1"),
            "{log}"
        );
        assert!(!log.contains("hunter"), "{log}");
        let text = metrics.render();
        let counted =
            "fireside_http_requests_total{method=\"GET\",route=\"/rooms/{id}\",status=\"200\"} 2";
        assert!(text.contains(counted), "{text}");
        assert!(text.contains("status=\"404\""), "{text}");
        assert_eq!(metrics.undescribed(), Vec::<String>::new());
    }
}
