//! The start and the end of a program, which all of ours have in common.
//!
//! [`run`] reads the settings, starts the log, and hands the program's own work a [`Program`]: the
//! data directory is there, metrics are installed, signals are followed, and the admin listener
//! answers (not ready yet). The work puts its parts together, and waits in [`Program::serve`] until
//! the program is to end. A `main` is then one line, and what it wires is all that differs.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::{self, System};

use crate::lifecycle::{ExitReason, Lifecycle};
use crate::settings::{Loader, ServerSettings, Settings, Sources};
use crate::telemetry::{AdminServer, LiveView, LogSettings, Metric, Metrics, TelemetryError};
use crate::trace;

/// The settings of a program: those of its parts, and two sections that every program has.
pub trait ProgramSettings: Settings {
    /// Where it listens and keeps its things.
    fn server(&self) -> &ServerSettings;

    /// What it logs.
    fn log(&self) -> &LogSettings;
}

/// A program that has been started, and is not ready yet.
pub struct Program {
    lifecycle: Lifecycle,
    live: LiveView,
    admin: Option<ServerHandle>,
    grace: Duration,
}

/// Why a program does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be made.
    #[error("cannot use {} as the data directory (--data-dir): {source}", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The admin address cannot be listened on.
    #[error("cannot listen on {address} (--admin-listen): {source}")]
    AdminListen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

/// Runs a program of `loader`'s name, from its settings to its exit code. `tables` are the metrics
/// of all its parts; `work` starts the parts and ends in [`Program::serve`].
pub fn run<T, E, F, W>(loader: &Loader, tables: &[&'static [Metric]], work: F) -> ExitCode
where
    T: ProgramSettings,
    E: fmt::Display,
    F: FnOnce(T, Program) -> W,
    W: Future<Output = Result<ExitReason, E>>,
{
    let sources = Sources::process();
    if let Some(code) = trace::command::run(&sources.arguments) {
        return code;
    }
    let loaded = match loader.load::<T>(sources) {
        Ok(loaded) => loaded,
        Err(error) => return error.report(),
    };
    if let Err(error) = loaded.settings.log().start() {
        eprintln!("{}: {error}", loader.name());
        return ExitCode::FAILURE;
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let ended = System::new().block_on(async {
        let listen = loaded.settings.server().listen;
        trace::start(
            &loaded.settings.log().trace,
            format!("{} {listen}", loader.name()),
        );
        let program = Program::start(loader, loaded.settings.server(), tables);
        let program = program.map_err(|error| error.to_string())?;
        let ended = work(loaded.settings, program).await;
        // With its causes, where the error has them.
        ended.map_err(|error| format!("{error:#}"))
    });
    match ended {
        Ok(reason) => {
            tracing::info!(%reason, "stopped");
            reason.exit_code()
        }
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl Program {
    fn start(
        loader: &Loader,
        server: &ServerSettings,
        tables: &[&'static [Metric]],
    ) -> Result<Self, StartError> {
        server
            .prepare_data_dir()
            .map_err(|source| StartError::DataDir {
                path: server.data_dir.clone(),
                source,
            })?;
        let metrics = Metrics::install(tables)?;
        Metrics::build_info(loader.name(), loader.version());
        let lifecycle = Lifecycle::new();
        rt::spawn({
            let lifecycle = lifecycle.clone();
            async move {
                if let Err(error) = lifecycle.follow_signals().await {
                    let reason = format!("cannot listen for signals: {error}");
                    lifecycle.drain(ExitReason::Failed(reason));
                }
            }
        });
        let live = LiveView::default();
        let admin = match server.admin_listen {
            None => None,
            Some(address) => {
                let bound = AdminServer::bind(address, lifecycle.clone(), metrics, live.clone());
                let bound = bound.map_err(|source| StartError::AdminListen { address, source })?;
                tracing::info!(address = %bound.address(), "serving operators");
                Some(bound.start())
            }
        };
        Ok(Self {
            lifecycle,
            live,
            admin,
            grace: server.shutdown_grace,
        })
    }

    /// The program's life, for parts that report to it or look at it.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// What operators see of the program at `/live`, for the part that has something to show.
    pub fn live_view(&self) -> &LiveView {
        &self.live
    }

    /// Everything is up: ready from here on. When a signal or a part ends the program, `drain` is
    /// performed under the deadline of the settings, and then operators lose their listener too.
    pub async fn serve<F, W>(self, drain: F) -> ExitReason
    where
        F: FnOnce() -> W,
        W: Future<Output = ()>,
    {
        self.lifecycle.ready();
        let reason = self.lifecycle.drain_within(self.grace, drain).await;
        if let Some(admin) = self.admin {
            admin.stop(false).await;
        }
        reason
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("lifecycle", &self.lifecycle)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(admin: Option<SocketAddr>, data_dir: PathBuf) -> ServerSettings {
        ServerSettings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_listen: admin,
            data_dir,
            shutdown_grace: Duration::from_secs(5),
        }
    }

    #[actix_web::test]
    async fn it_is_ready_while_it_serves_and_drains_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(None, dir.path().join("data"));
        let program = Program::start(&Loader::new("test", "0", ""), &settings, &[]).unwrap();
        assert!(settings.data_dir.is_dir());
        let life = program.lifecycle().clone();
        assert!(!life.readiness().ready);
        let served = rt::spawn(program.serve({
            let life = life.clone();
            move || async move { assert!(!life.readiness().ready) }
        }));
        life.reached(crate::lifecycle::Phase::Ready).await;
        assert!(life.readiness().ready);
        life.drain(ExitReason::Requested);
        assert_eq!(served.await.unwrap(), ExitReason::Requested);
    }

    #[actix_web::test]
    async fn what_is_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let loader = Loader::new("test", "0", "");
        let busy = settings(Some(address), dir.path().to_owned());
        let error = Program::start(&loader, &busy, &[]).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.contains("--admin-listen"), "{error}");
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Program::start(&loader, &settings(None, file.join("data")), &[]).unwrap_err();
        assert!(error.to_string().contains("file/data"), "{error}");
    }
}
