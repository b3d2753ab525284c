//! Requests on their way to a back end and back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, Uri, Version,
    body::{Body as _, Incoming},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use shared::{codes::ErrorCode, problem::Problem};
use tokio::time::timeout;

use super::{Body, GatewaySettings, headers::strip_hops};
use crate::nodes::Backend;

/// How many back ends are asked before somebody is told that none answers.
const TRIES: usize = 3;
/// Connections kept to a back end while nothing is asked, a worker.
const IDLE: usize = 32;
/// For how long: less than back ends keep them, or requests would meet their end.
const IDLE_FOR: Duration = Duration::from_secs(15);

/// The connections of a worker to back ends.
pub(super) struct Forwarding {
    client: Client<HttpConnector, Full<Bytes>>,
    answer_timeout: Duration,
}

/// A request as a back end is to get it.
pub(super) struct Outgoing {
    pub(super) method: Method,
    /// Path and query, as the client wrote them.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Forwarding {
    pub(super) fn new(settings: &GatewaySettings) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(settings.connect_timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE)
            .pool_idle_timeout(IDLE_FOR)
            .build(connector);
        Self {
            client,
            answer_timeout: settings.answer_timeout,
        }
    }

    /// Asks the first of `backends`, and the next where that cannot have done anything, or doing it twice
    /// is the same as once. Answers by whom it was answered, too.
    pub(super) async fn ask(
        &self,
        outgoing: &Outgoing,
        backends: &[Arc<Backend>],
    ) -> Result<(Response<Body>, Arc<Backend>), Problem> {
        for backend in backends.iter().take(TRIES) {
            let request = outgoing.request(backend)?;
            let under_way = backend.request();
            match timeout(self.answer_timeout, self.client.request(request)).await {
                Ok(Ok(answer)) => {
                    backend.worked();
                    let (mut head, body) = answer.into_parts();
                    strip_hops(&mut head.headers);
                    // Under way until its last byte is.
                    let body = body.map_frame(move |frame| {
                        let _ = &under_way;
                        frame
                    });
                    let answer = Response::from_parts(head, body.boxed_unsync());
                    return Ok((answer, backend.clone()));
                }
                Ok(Err(error)) => {
                    backend.failed();
                    let again = error.is_connect() || outgoing.method.is_idempotent();
                    tracing::debug!(backend = backend.name(), %error, again, "a back end failed");
                    if !again {
                        let said = "the connection broke before the answer; whether it was done is not known";
                        return Err(Problem::new(ErrorCode::Unavailable, said));
                    }
                }
                Err(_) => {
                    backend.failed();
                    let said = "what is behind this address does not answer in time";
                    return Err(Problem::new(ErrorCode::Unavailable, said));
                }
            }
        }
        let said = "nobody behind this address answers right now; try again";
        Err(Problem::new(ErrorCode::Unavailable, said))
    }
}

impl Outgoing {
    fn request(&self, backend: &Backend) -> Result<Request<Full<Bytes>>, Problem> {
        let uri = format!("http://{}{}", backend.address(), self.target);
        let uri: Uri = uri
            .parse()
            .map_err(|_| Problem::invalid("the target of this request is no path"))?;
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// Reads a body whole, before anybody is asked: one that is slow, too long or cut short has cost nobody
/// but its sender.
pub(super) async fn whole(body: Incoming, most: usize, within: Duration) -> Result<Bytes, Problem> {
    let too_large = || {
        let said = format!("the body is longer than {most} bytes");
        Problem::new(ErrorCode::TooLarge, said)
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match timeout(within, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::invalid("the body did not arrive whole")),
        Err(_) => {
            let mut problem = Problem::invalid("the body did not arrive in time");
            problem.status = 408;
            Err(problem)
        }
    }
}
