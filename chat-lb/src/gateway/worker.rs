//! The gateway on one thread: who answers a request, and what becomes of an upgrade.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body as _, Incoming},
    header::{HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE},
};
use metrics::counter;
use shared::{
    auth::{bearer, bearer_of_upgrade},
    codes::ErrorCode,
    problem::Problem,
    telemetry::method_label,
};

use super::{
    Body, Gateway, Opened, Peer, Route, SMALL_BODY, answer,
    arrival::{Answered, Asked},
    authorization, cors,
    counted::Counted,
    forward::{self, Forwarding, Outgoing},
    handshake,
    headers::{Told, path_and_query},
    socket,
};
use crate::{
    door::{Flaw, has_no_body, judge_http2},
    nodes::Backend,
    pin::Key,
};

/// The gateway on one thread, with connections of its own to back ends.
pub struct Worker {
    pub(super) gateway: Arc<Gateway>,
    pub(super) counted: Counted,
    forwarding: Forwarding,
}

impl Worker {
    /// The gateway on this thread.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let forwarding = Forwarding::new(&gateway.settings);
        Self {
            gateway,
            forwarding,
            counted: Counted::new(),
        }
    }

    /// Answers a request: always, and in a way that is logged and counted.
    pub async fn answer(&self, peer: Arc<Peer>, mut request: Request<Incoming>) -> Response<Body> {
        let _under_way = peer.doorstep.answering();
        let http1 = request.version() < Version::HTTP_2;
        let flaw = if http1 {
            peer.doorstep.flaw()
        } else {
            judge_http2(&request)
        };
        name_host(&mut request);
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
    /// node took it. After any other answer it ends. None: the client left meanwhile, which is when `left` is ready;
    /// then the node is not waited for, and has nobody.
    pub async fn upgrade(
        &self,
        peer: &Peer,
        request: Request<()>,
        left: impl Future<Output = ()>,
    ) -> Option<(Response<Body>, Option<Opened>)> {
        let arrival = self.arrival(peer, &request);
        let asks = async {
            self.gateway.limits.request_from(arrival.client)?;
            self.socket(arrival.asked(request, peer)).await
        };
        let opened = tokio::select! {
            biased;
            opened = asks => opened,
            () = left => {
                self.told_left(&arrival);
                return None;
            }
        };
        let (outcome, opened) = match opened {
            Ok((answered, opened)) => (Ok(answered), opened),
            Err(refused) => (Err(refused), None),
        };
        let mut response = self.told(&arrival, outcome);
        if opened.is_none() {
            answer::last(&mut response);
        }
        Some((response, opened))
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
        // In HTTP/2 that shows when it is here.
        if !body.is_empty() && has_no_body(head.method.as_str()) {
            return Err(Flaw::Body.problem());
        }
        let mut outgoing = Outgoing {
            method: head.method,
            target: path_and_query(&head.uri).to_owned(),
            headers: head.headers,
            body,
        };
        let told = Told {
            client,
            secure,
            id: &id,
            trace: &trace,
        };
        told.forward(&mut outgoing.headers);
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
        let told = Told {
            client: asked.client,
            secure: asked.secure,
            id: &asked.id,
            trace: &asked.trace,
        };
        let wanted = socket::Wanted {
            head: handshake::request(asked.request.uri(), headers, &told),
            user,
            place,
            connect_timeout: gateway.settings.connect_timeout,
            upgrade_timeout: gateway.settings.upgrade_timeout,
        };
        let later = gateway.limits.later();
        // Boxed, or it is moved with each of those who wait for it before they begin.
        let opened = Box::pin(socket::open(wanted, &nodes, later));
        let (answer, by, opened) = opened.await?;
        if opened.is_some() {
            gateway.counts.upgrades.fetch_add(1, Relaxed);
            self.counted.upgrade();
        }
        Ok(((answer, Some(by)), opened))
    }
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
