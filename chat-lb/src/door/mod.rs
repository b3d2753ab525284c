//! The door: sockets accepted, TLS, HTTP/1.1 and HTTP/2, and a look at every head before anybody reads
//! it as a request.

mod answers;
mod connection;
mod head;
mod http2;
mod sentry;
mod settings;
mod stream;
mod tls;

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_rt::Arbiter;
use shared::{
    listener::{self, Admission, BindError, Bound, ConnectionSettings},
    telemetry::Metric,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
};

pub use head::{Flaw, Follows, Head, has_no_body, read as read_head};
pub use http2::judge as judge_http2;
pub use sentry::{Doorstep, HeadLimits, Sentry, Speaks, UnderWay};
pub use settings::DoorSettings;
pub use stream::Stream;
pub use tls::{Certificate, TlsError, TlsSettings};

use crate::gateway::{Gateway, Worker};
use connection::Reception;

/// After how much silence the kernel asks whether a client is still there. Of nodes that is asked by probes.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// How often a worker's clock ticks with nobody waiting for it: more often than an upgrade may take to get to a node.
const TICK: Duration = Duration::from_millis(500);

/// The metrics of this module, besides those of every listener.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "fireside_lb_heads_refused_total",
        "Requests refused for how their head was written or sent",
    )
    .by(&["reason"]),
    Metric::counter(
        "fireside_lb_certificate_reads_total",
        "Times the certificate was read again: read, or refused with the one in force kept",
    )
    .by(&["outcome"]),
];

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A listening socket cannot be watched.
    #[error("cannot watch the listening socket: {0}")]
    Listener(#[from] std::io::Error),
    /// A worker thread is gone.
    #[error("a worker thread is gone")]
    Worker,
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The door, open.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    admission: Admission,
    workers: Vec<Arbiter>,
    stop: watch::Sender<bool>,
    working: mpsc::Receiver<std::convert::Infallible>,
}

/// What the door is made of.
pub struct DoorParts<'a> {
    /// Where it is.
    pub listen: SocketAddr,
    /// How many threads stand there.
    pub workers: usize,
    /// Who may come in.
    pub connections: &'a ConnectionSettings,
    /// How a request has to look.
    pub door: &'a DoorSettings,
    /// The certificate, if there is one.
    pub certificate: Option<Arc<Certificate>>,
    /// Who answers.
    pub gateway: Arc<Gateway>,
}

impl Door {
    /// Opens it: a thread a worker, each with a listening socket of its own. Run it on an actix system.
    pub async fn open(parts: DoorParts<'_>) -> Result<Self, DoorError> {
        let send_buffer = parts.connections.socket_send_buffer.as_usize();
        let bound = Bound::bind(parts.listen, parts.workers, send_buffer)?;
        let address = bound.address();
        let admission = Admission::new(parts.connections);
        let (stop, stopped) = watch::channel(false);
        let (working, all_done) = mpsc::channel(1);
        let limits = HeadLimits {
            length: parts.door.max_head.as_usize(),
            time: parts.connections.handshake_timeout,
            between: parts.connections.http_keep_alive,
        };
        let tls = parts.certificate.as_ref().map(Certificate::acceptor);
        let tls = tls.transpose()?;
        let mut workers = Vec::new();
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        for listener in bound.into_listeners() {
            // Sockets that are accepted inherit it.
            SockRef::from(&listener).set_tcp_keepalive(&keepalive)?;
            let arbiter = Arbiter::new();
            let (gateway, admission) = (parts.gateway.clone(), admission.clone());
            let (tls, stop, working) = (tls.clone(), stopped.clone(), working.clone());
            let (report, started) = oneshot::channel();
            arbiter.spawn_fn(move || {
                let listener = match TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => {
                        let _ = report.send(Err(error));
                        return;
                    }
                };
                let reception = Rc::new(Reception {
                    worker: Rc::new(Worker::new(gateway)),
                    tls,
                    limits,
                    stop: stop.clone(),
                });
                actix_rt::spawn(listener::accept(
                    listener,
                    admission,
                    stop,
                    move |stream, peer, permit, handshake| {
                        let (reception, working) = (reception.clone(), working.clone());
                        // Boxed, for a runtime moves what it is given several times on its way in and out.
                        actix_rt::spawn(Box::pin(async move {
                            reception.serve(stream, peer, permit, handshake).await;
                            drop(working);
                        }));
                    },
                ));
                actix_rt::spawn(tick());
                let _ = report.send(Ok(()));
            });
            started.await.map_err(|_| DoorError::Worker)??;
            workers.push(arbiter);
        }
        Ok(Self {
            address,
            admission,
            workers,
            stop,
            working: all_done,
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who is in.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Takes nobody in any more, and waits until every request is answered or `grace` is over. Tunnels
    /// are not touched.
    pub async fn shut(&mut self, grace: Duration) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(grace, self.working.recv()).await;
    }

    /// Ends the threads, and whatever is left with them.
    pub fn stop(&self) {
        for worker in &self.workers {
            worker.stop();
        }
    }
}

/// Keeps a timer that is due before those of upgrades, for ever. The runtime wakes itself, by a write to a descriptor, for every
/// timer that is due before all it knew when it went to sleep: without this one, for each of a crowd that comes at
/// once.
async fn tick() {
    loop {
        tokio::time::sleep(TICK).await;
    }
}
