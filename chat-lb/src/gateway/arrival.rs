//! What is known of a request from its head on, and what is told of it when it was answered.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use hyper::{
    Request, Response, StatusCode,
    header::{ALLOW, HeaderValue, ORIGIN, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use metrics::counter;
use shared::{
    problem::{self, Problem},
    telemetry::{RequestId, method_label},
};

use super::{
    Body, Peer, Route, Trace, Worker, answer, cors,
    headers::{self, REQUEST_ID, TRACEPARENT, text},
    plain,
};
use crate::nodes::Backend;

/// A request and all that is known of it.
pub(super) struct Asked<B> {
    pub(super) request: Request<B>,
    pub(super) id: RequestId,
    pub(super) trace: Trace,
    /// The client's address, where a limit by address may bind it.
    pub(super) client: Option<IpAddr>,
    pub(super) secure: bool,
}

/// What is told of a request when it was answered.
pub(super) struct Arrival {
    started: Instant,
    id: RequestId,
    trace: Trace,
    pub(super) client: Option<IpAddr>,
    method: &'static str,
    /// Whether a browser shows the answer to somebody.
    to_browser: bool,
    path: String,
    pub(super) route: Option<Route>,
    /// The page that may read the answer.
    pub(super) origin: Option<HeaderValue>,
}

/// Who answered, if it was not us.
pub(super) type Answered = (Response<Body>, Option<Arc<Backend>>);

impl Worker {
    pub(super) fn arrival<B>(&self, peer: &Peer, request: &Request<B>) -> Arrival {
        let (headers, path) = (request.headers(), request.uri().path());
        let origin = headers.get(ORIGIN);
        let origin = origin.filter(|_| cors::is_allowed(headers, self.gateway.allowed()));
        Arrival {
            started: Instant::now(),
            id: RequestId::accept(text(headers, &REQUEST_ID)),
            trace: Trace::of(text(headers, &TRACEPARENT)),
            client: headers::client(peer.address, headers, &self.gateway.proxies),
            method: method_label(request.method().as_str()),
            to_browser: problem::is_navigation(request.method().as_str(), |name| {
                headers.get(name)?.to_str().ok()
            }),
            route: plain(path).map(|path| Route::of(&path)),
            path: path.to_owned(),
            origin: origin.cloned(),
        }
    }

    /// Tells of an answer, and names the request in it.
    pub(super) fn told(
        &self,
        arrival: &Arrival,
        outcome: Result<Answered, Problem>,
    ) -> Response<Body> {
        let gateway = &self.gateway;
        let (mut response, backend) = outcome.unwrap_or_else(|problem| {
            gateway.counts.refused.fetch_add(1, Relaxed);
            counter!("fireside_lb_refused_total", "code" => problem.code.word()).increment(1);
            (refuse(&problem, arrival.to_browser), None)
        });
        if let Ok(value) = HeaderValue::from_str(arrival.id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        cors::let_read(arrival.origin.as_ref(), &mut response);
        self.note(arrival, response.status(), backend.as_deref());
        response
    }

    /// Tells that the client left before it was answered.
    pub(super) fn told_left(&self, arrival: &Arrival) {
        // As nginx calls it.
        let left = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        self.note(arrival, left, None);
    }

    fn note(&self, arrival: &Arrival, status: StatusCode, backend: Option<&Backend>) {
        let opened = status == StatusCode::SWITCHING_PROTOCOLS;
        arrival.trace.done(arrival.started, opened);
        self.gateway.counts.requests.fetch_add(1, Relaxed);
        let elapsed = arrival.started.elapsed();
        let word = arrival.route.map_or("refused", Route::word);
        self.counted.request(arrival.method, word, status, elapsed);
        tracing::info!(
            target: "access",
            id = %arrival.id,
            trace = arrival.trace.id(),
            client = arrival.client.map(tracing::field::display),
            method = arrival.method,
            path = arrival.path.as_str(),
            status = status.as_u16(),
            backend = backend.map(Backend::name),
            micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        );
    }
}

impl Arrival {
    pub(super) fn asked<B>(&self, request: Request<B>, peer: &Peer) -> Asked<B> {
        Asked {
            request,
            id: self.id.clone(),
            trace: self.trace,
            client: self.client,
            secure: peer.secure,
        }
    }
}

fn refuse(problem: &Problem, to_browser: bool) -> Response<Body> {
    let mut response = if to_browser {
        answer::refusal_page(problem)
    } else {
        answer::refusal(problem)
    };
    let headers = response.headers_mut();
    match problem.status {
        405 => {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        426 => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        _ => {}
    }
    response
}
