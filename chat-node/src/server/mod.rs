//! The server: ordinary HTTP to the application, WebSocket upgrades to the session side, over the
//! sockets of [`shared::listener`].
//!
//! [`crate::upgrade`] decides about upgrades and hands the bare socket over; from then on nothing
//! of the HTTP stack is left of it. There is no TLS here: that is the balancer's matter.

mod connection;
mod http;

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_rt::ArbiterHandle;
use actix_service::Service;
use actix_web::web;
use shared::listener;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
};

pub(crate) use connection::Connection;
pub use http::StackError;
pub use shared::listener::{
    Admission, BindError, Bound, ConnectionSettings, METRICS, Permit, TurnedAway,
};

use crate::upgrade::Upgrades;

/// Mounts REST, the store's API and the web client. Called once a worker.
pub type Configure = dyn Fn(&mut web::ServiceConfig) + Send + Sync;

/// Held by whatever still works on a connection's HTTP; the channel carries nothing.
type Working = mpsc::Sender<std::convert::Infallible>;

/// A running listener.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    admission: Admission,
    stop: watch::Sender<bool>,
    working: mpsc::Receiver<std::convert::Infallible>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The HTTP stack of a worker cannot be built.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A listening socket cannot be watched.
    #[error("cannot watch the listening socket: {0}")]
    Listener(#[from] std::io::Error),
    /// A worker thread is gone.
    #[error("a worker thread is gone")]
    Worker,
}

impl Server {
    /// Starts accepting on every worker, one listening socket each. Returns when all of them do.
    pub async fn start(
        bound: Bound,
        workers: &[ArbiterHandle],
        settings: &ConnectionSettings,
        upgrades: Arc<Upgrades>,
        configure: Arc<Configure>,
    ) -> Result<Self, ServerError> {
        let address = bound.address();
        let admission = Admission::new(settings);
        let (stop, stopped) = watch::channel(false);
        let (working, all_done) = mpsc::channel(1);
        for (listener, worker) in bound.into_listeners().into_iter().zip(workers) {
            let (settings, admission) = (settings.clone(), admission.clone());
            let (upgrades, configure) = (upgrades.clone(), configure.clone());
            let (stopped, working) = (stopped.clone(), working.clone());
            let (report, started) = oneshot::channel();
            // The stack cannot leave its thread, so it is built there.
            worker.spawn_fn(move || {
                actix_rt::spawn(async move {
                    let stack = http::stack(&settings, configure, upgrades, stopped.clone());
                    let prepared = match stack.await {
                        Ok(http) => TcpListener::from_std(listener)
                            .map(|listener| (http, listener))
                            .map_err(ServerError::from),
                        Err(error) => Err(error.into()),
                    };
                    match prepared {
                        Ok((http, listener)) => {
                            let _ = report.send(Ok(()));
                            let serve = serving(http, working);
                            listener::accept(listener, admission, stopped, serve).await;
                        }
                        Err(error) => {
                            let _ = report.send(Err(error));
                        }
                    }
                });
            });
            started.await.map_err(|_| ServerError::Worker)??;
        }
        Ok(Self {
            address,
            admission,
            stop,
            working: all_done,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there are, HTTP and WebSocket together.
    pub fn connections(&self) -> usize {
        self.admission.connections()
    }

    /// Accepts nothing more, lets HTTP requests in flight finish, and returns when they have or
    /// `grace` is over. Says whether all finished. Sessions are not touched.
    pub async fn stop(mut self, grace: Duration) -> bool {
        self.stop.send_replace(true);
        let finished = tokio::time::timeout(grace, self.working.recv()).await;
        finished.is_ok()
    }
}

/// Gives every connection to `http` in a task of its own. `working` is held by each of these tasks,
/// so that its channel closes when the last has ended.
fn serving<S>(
    http: S,
    working: Working,
) -> impl Fn(TcpStream, SocketAddr, Permit, OwnedSemaphorePermit)
where
    S: Service<(Connection, Option<SocketAddr>), Response = ()> + 'static,
    S::Future: 'static,
{
    let http = Rc::new(http);
    move |stream, peer, permit, handshake| {
        let connection = Connection::new(stream, permit, handshake);
        let served = http.call((connection, Some(peer)));
        let working = working.clone();
        actix_rt::spawn(async move {
            // What a client does wrong has been answered; what the network does is no event.
            let _ = served.await;
            drop(working);
        });
    }
}
