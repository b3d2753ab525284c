//! The gateway: who gets through, and to whom.
//!
//! The checks go from cheap to dear, and nobody behind us is touched before all of them: the head
//! ([`crate::door`]), the path, the origin, the address's bucket, the token, the user's bucket, the body.

mod answer;
mod cors;
mod counted;
mod forward;
mod handshake;
mod headers;
mod limits;
mod route;
mod settings;
mod socket;
mod trace;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use hyper::{
    HeaderMap, Request, Response, StatusCode, Version,
    body::{Body as _, Incoming},
    header::{
        ALLOW, AUTHORIZATION, HOST, HeaderValue, ORIGIN, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
        UPGRADE,
    },
};
use metrics::counter;
use shared::{
    auth::{Claims, TokenError, bearer, bearer_of_upgrade},
    codes::ErrorCode,
    network::Network,
    origin::Origin,
    problem::Problem,
    telemetry::{Metric, RequestId, method_label},
};

use tokio::sync::{Semaphore, SemaphorePermit};

pub use answer::Body;
pub use limits::SocketPlace;
pub use route::{Route, plain};
pub use settings::GatewaySettings;
pub use socket::Opened;
pub use trace::Trace;

use crate::{
    door::{DoorSettings, Doorstep},
    nodes::{Backend, Pool},
    pin::Key,
    token::{Caller, Tokens},
};
use counted::Counted;
use forward::{Forwarding, Outgoing};
use headers::{REQUEST_ID, TRACEPARENT, Told, text};
use limits::Limits;

/// The longest body of a request to a node, or of nobody who is known: it is held here while it
/// arrives.
const SMALL_BODY: usize = 256 << 10;
/// So many longer ones may be held at once; more are refused as `busy`.
const LARGE_BODIES: usize = 64;

/// The metrics of this module, besides those of every HTTP service.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "fireside_lb_refused_total",
        "Requests and upgrades that the balancer refused itself, by the code of the refusal",
    )
    .by(&["code"]),
    Metric::counter("fireside_lb_upgrades_total", "WebSockets opened"),
    Metric::counter(
        "fireside_lb_fall_overs_total",
        "Upgrades given to the next node: full, it takes nobody; failed, it does not answer",
    )
    .by(&["reason"]),
];

/// What the gateway is made of.
pub struct GatewayParts {
    /// The chat nodes.
    pub nodes: Arc<Pool>,
    /// The store-apis.
    pub stores: Arc<Pool>,
    /// Who judges tokens.
    pub tokens: Tokens,
    /// Proxies before us whose word is believed.
    pub proxies: Vec<Network>,
    /// The bounds of a request.
    pub door: DoorSettings,
    /// Who gets through and how often.
    pub settings: GatewaySettings,
}

/// The gateway, which all workers share.
#[derive(Debug)]
pub struct Gateway {
    nodes: Arc<Pool>,
    stores: Arc<Pool>,
    tokens: Tokens,
    proxies: Vec<Network>,
    door: DoorSettings,
    settings: GatewaySettings,
    limits: Limits,
    large_bodies: Semaphore,
    counts: Counts,
}

/// What went through so far, for the live view.
#[derive(Debug, Default)]
pub struct Counts {
    requests: AtomicU64,
    upgrades: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    /// Requests, upgrades among them; upgrades; and what was refused here.
    pub fn now(&self) -> [u64; 3] {
        [&self.requests, &self.upgrades, &self.refused].map(|count| count.load(Relaxed))
    }
}

/// Whoever is at the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// The address it comes from.
    pub address: IpAddr,
    /// Whether over TLS.
    pub secure: bool,
    /// What stands at the door.
    pub doorstep: Arc<Doorstep>,
}

/// The gateway on one thread, with connections of its own to back ends.
pub struct Worker {
    gateway: Arc<Gateway>,
    forwarding: Forwarding,
    counted: Counted,
}

/// A request and all that is known of it.
struct Asked<B> {
    request: Request<B>,
    id: RequestId,
    trace: Trace,
    /// The client's address, where a limit by address may bind it.
    client: Option<IpAddr>,
    secure: bool,
}

/// What is told of a request when it was answered.
struct Arrival {
    started: Instant,
    id: RequestId,
    trace: Trace,
    client: Option<IpAddr>,
    method: &'static str,
    path: String,
    route: Option<Route>,
    /// The page that may read the answer.
    origin: Option<HeaderValue>,
}

/// Who answered, if it was not us.
type Answered = (Response<Body>, Option<Arc<Backend>>);

impl Gateway {
    /// Serves with these parts.
    pub fn new(parts: GatewayParts) -> Self {
        Self {
            limits: Limits::new(&parts.settings),
            nodes: parts.nodes,
            stores: parts.stores,
            tokens: parts.tokens,
            proxies: parts.proxies,
            door: parts.door,
            settings: parts.settings,
            large_bodies: Semaphore::new(LARGE_BODIES),
            counts: Counts::default(),
        }
    }

    /// What went through so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A place for one more large body.
    fn large_body(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.large_bodies.try_acquire().map_err(|_| {
            let said = "too many large requests at once";
            Problem::new(ErrorCode::Busy, said).retry_after(self.limits.later())
        })
    }

    fn allowed(&self) -> &[Origin] {
        &self.settings.allowed_origins
    }

    /// For the store, which shows some things to everybody: whether it is somebody who is known. A token
    /// that does not hold is refused, also where none is needed.
    async fn anybody(&self, headers: &HeaderMap) -> Result<bool, Problem> {
        let token = match bearer(authorization(headers)?) {
            Ok(token) => token,
            Err(TokenError::Missing) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        match self.tokens.of_store(token).await? {
            Caller::Person(claims) => self.limits.request_of(&claims.sub)?,
            // Of the latter only the store can say whether it holds.
            Caller::Service | Caller::StoreService => {}
        }
        Ok(true)
    }

    async fn person(&self, headers: &HeaderMap) -> Result<Claims, Problem> {
        let token = bearer(authorization(headers)?)?;
        let claims = self.tokens.person(token).await?;
        self.limits.request_of(&claims.sub)?;
        Ok(claims)
    }
}

impl Worker {
    /// The gateway on this thread.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let forwarding = Forwarding::new(&gateway.settings);
        Self {
            gateway,
            forwarding,
            counted: Counted::default(),
        }
    }

    /// Answers a request: always, and in a way that is logged and counted.
    pub async fn answer(&self, peer: Arc<Peer>, mut request: Request<Incoming>) -> Response<Body> {
        let _under_way = peer.doorstep.answering();
        let flaw = peer.doorstep.flaw();
        name_host(&mut request);
        let http1 = request.version() < Version::HTTP_2;
        let closes = http1 && request.headers().contains_key(TRANSFER_ENCODING);
        let has_body = !request.body().is_end_stream();
        let upgrade = request.headers().contains_key(UPGRADE);
        let mut arrival = self.arrival(&peer, &request);
        if flaw.is_some() {
            (arrival.route, arrival.origin) = (None, None);
        }
        let outcome = match flaw {
            Some(flaw) => {
                counter!("fireside_lb_heads_refused_total", "reason" => flaw.word()).increment(1);
                Err(flaw.problem())
            }
            None => {
                self.decide(arrival.asked(request, &peer), arrival.route)
                    .await
            }
        };
        let refused = outcome.is_err();
        let mut response = self.told(&arrival, outcome);
        if http1
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
            && (closes || upgrade || flaw.is_some() || (refused && has_body))
        {
            // What follows on the connection is not to be taken for a request.
            answer::last(&mut response);
        }
        response
    }

    /// The same for an upgrade of a connection that nobody else has to do with: with what is to be joined to it, if a
    /// node took it. After any other answer it ends.
    pub async fn upgrade(
        &self,
        peer: &Arc<Peer>,
        request: Request<()>,
    ) -> (Response<Body>, Option<Opened>) {
        let arrival = self.arrival(peer, &request);
        let opened = match self.gateway.limits.request_from(arrival.client) {
            Ok(()) => self.socket(arrival.asked(request, peer)).await,
            Err(refused) => Err(refused),
        };
        let (outcome, opened) = match opened {
            Ok((answered, opened)) => (Ok(answered), opened),
            Err(refused) => (Err(refused), None),
        };
        let mut response = self.told(&arrival, outcome);
        if opened.is_none() {
            answer::last(&mut response);
        }
        (response, opened)
    }

    fn arrival<B>(&self, peer: &Peer, request: &Request<B>) -> Arrival {
        let (headers, path) = (request.headers(), request.uri().path());
        let origin = headers.get(ORIGIN);
        let origin = origin.filter(|_| cors::is_allowed(headers, self.gateway.allowed()));
        Arrival {
            started: Instant::now(),
            id: RequestId::accept(text(headers, &REQUEST_ID)),
            trace: Trace::of(text(headers, &TRACEPARENT)),
            client: headers::client(peer.address, headers, &self.gateway.proxies),
            method: method_label(request.method().as_str()),
            route: plain(path).map(|path| Route::of(&path)),
            path: path.to_owned(),
            origin: origin.cloned(),
        }
    }

    /// Tells of an answer, and names the request in it.
    fn told(&self, arrival: &Arrival, outcome: Result<Answered, Problem>) -> Response<Body> {
        let gateway = &self.gateway;
        let (mut response, backend) = outcome.unwrap_or_else(|problem| {
            gateway.counts.refused.fetch_add(1, Relaxed);
            counter!("fireside_lb_refused_total", "code" => problem.code.word()).increment(1);
            (refuse(&problem), None)
        });
        let status = response.status();
        if let Ok(value) = HeaderValue::from_str(arrival.id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        cors::let_read(arrival.origin.as_ref(), &mut response);

        arrival.trace.done(arrival.started);
        gateway.counts.requests.fetch_add(1, Relaxed);
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
            backend = backend.as_ref().map(|backend| backend.name()),
            micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        );
        response
    }
    async fn decide(
        &self,
        mut asked: Asked<Incoming>,
        route: Option<Route>,
    ) -> Result<Answered, Problem> {
        let gateway = &*self.gateway;
        let on_client =
            (route == Some(Route::Socket)).then(|| hyper::upgrade::on(&mut asked.request));
        let (method, headers) = (asked.request.method(), asked.request.headers());
        let path = || Problem::invalid("the path of this request can be read in two ways");
        let route = route.ok_or_else(path)?;
        if method_label(method.as_str()) == "OTHER" {
            let mut problem = Problem::invalid("this method is not known here");
            problem.status = StatusCode::METHOD_NOT_ALLOWED.as_u16();
            return Err(problem);
        }
        gateway.limits.request_from(asked.client)?;
        if let Some(answer) = cors::preflight(method, headers, gateway.allowed()) {
            return answer.map(|answer| (answer, None));
        }
        match route {
            Route::Socket => {
                let (answered, opened) = self.socket(asked).await?;
                if let (Some(opened), Some(on_client)) = (opened, on_client) {
                    actix_rt::spawn(opened.join_later(on_client));
                }
                Ok(answered)
            }
            Route::Node => {
                let user = gateway.person(headers).await?.sub;
                let nodes = gateway.nodes.of_user(Key::of(user.as_str()));
                self.forward(asked, &nodes, SMALL_BODY).await
            }
            Route::Server => {
                gateway
                    .tokens
                    .service(bearer(authorization(headers)?)?)
                    .await?;
                self.forward(asked, &gateway.nodes.by_load(), SMALL_BODY)
                    .await
            }
            Route::Store => {
                let known = gateway.anybody(headers).await?;
                let most = if known { usize::MAX } else { SMALL_BODY };
                self.forward(asked, &gateway.stores.by_load(), most).await
            }
            Route::AnyNode => {
                self.forward(asked, &gateway.nodes.by_load(), SMALL_BODY)
                    .await
            }
            Route::PublicStore => {
                self.forward(asked, &gateway.stores.by_load(), SMALL_BODY)
                    .await
            }
            Route::Page => {
                let path = asked.request.uri().path();
                answer::page(method, path, headers).map(|page| (page, None))
            }
            Route::Nothing => Err(Problem::not_found("there is nothing at this address")),
        }
    }

    async fn forward(
        &self,
        asked: Asked<Incoming>,
        backends: &[Arc<Backend>],
        longest_body: usize,
    ) -> Result<Answered, Problem> {
        let door = &self.gateway.door;
        let Asked {
            request,
            id,
            trace,
            client,
            secure,
        } = asked;
        let (head, body) = request.into_parts();
        let large = body.size_hint().lower() > SMALL_BODY as u64 && longest_body > SMALL_BODY;
        // Held until the body is with a back end.
        let place = large.then(|| self.gateway.large_body());
        let _held = place.transpose()?;
        let most = if large { longest_body } else { SMALL_BODY };
        let most = door.max_body.as_usize().min(most);
        let body = forward::whole(body, most, door.body_timeout).await?;
        let mut outgoing = Outgoing {
            method: head.method,
            target: target(&head.uri),
            headers: head.headers,
            body,
        };
        let told = Told {
            client,
            secure,
            id: &id,
            trace: &trace,
        };
        headers::forward(&mut outgoing.headers, &told);
        let (answer, by) = self.forwarding.ask(&outgoing, backends).await?;
        Ok((answer, Some(by)))
    }

    /// Asks a node for a WebSocket: its answer, and what it opened.
    async fn socket<B>(&self, asked: Asked<B>) -> Result<(Answered, Option<Opened>), Problem> {
        let gateway = &*self.gateway;
        socket::check(&asked.request)?;
        let headers = asked.request.headers();
        if !cors::is_allowed(headers, gateway.allowed()) {
            let said = "pages of this origin may not connect";
            return Err(Problem::new(ErrorCode::Forbidden, said));
        }
        gateway.limits.upgrade_from(asked.client)?;
        let token = bearer_of_upgrade(authorization(headers)?, socket::protocols(headers))?;
        let user = gateway.tokens.person(token).await?.sub;
        let place = gateway.limits.upgrade_of(&user)?;
        gateway.limits.admit()?;
        let nodes = gateway.nodes.for_connect(Key::of(user.as_str()));
        let (mut head, _) = asked.request.into_parts();
        let told = Told {
            client: asked.client,
            secure: asked.secure,
            id: &asked.id,
            trace: &asked.trace,
        };
        headers::forward(&mut head.headers, &told);
        let wanted = socket::Wanted {
            target: target(&head.uri),
            user,
            headers: head.headers,
            place,
            connect_timeout: gateway.settings.connect_timeout,
            upgrade_timeout: gateway.settings.upgrade_timeout,
        };
        let later = gateway.limits.later();
        let (answer, by, opened) = socket::open(wanted, &nodes, later).await?;
        if opened.is_some() {
            gateway.counts.upgrades.fetch_add(1, Relaxed);
            counter!("fireside_lb_upgrades_total").increment(1);
        }
        Ok(((answer, Some(by)), opened))
    }
}

impl Arrival {
    fn asked<B>(&self, request: Request<B>, peer: &Peer) -> Asked<B> {
        Asked {
            request,
            id: self.id.clone(),
            trace: self.trace,
            client: self.client,
            secure: peer.secure,
        }
    }
}

/// The value of `Authorization`. Two of them are refused rather than guessed about.
fn authorization(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values
        .next()
        .map(|value| value.to_str().unwrap_or_default());
    if values.next().is_some() {
        return Err(TokenError::Malformed(
            "two tokens in one request".to_owned(),
        ));
    }
    Ok(first)
}

/// In HTTP/2 the name under which we were asked stands in the target; back ends look for it in `Host`.
fn name_host(request: &mut Request<Incoming>) {
    if request.version() < Version::HTTP_2 {
        return;
    }
    let authority = request.uri().authority().map(ToString::to_string);
    if let Some(host) = authority.and_then(|name| HeaderValue::from_str(&name).ok()) {
        request.headers_mut().insert(HOST, host);
    }
}

fn target(uri: &hyper::Uri) -> String {
    uri.path_and_query()
        .map_or_else(|| uri.path().to_owned(), ToString::to_string)
}

fn refuse(problem: &Problem) -> Response<Body> {
    let mut response = answer::refusal(problem);
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
