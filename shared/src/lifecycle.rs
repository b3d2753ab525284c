//! The life of a service: Starting → Ready → Draining → Stopped, forward only, and watchable.
//!
//! Readiness and the way down are the same story told from two ends. Going up, a service is ready
//! when it says so and every named [`Check`] agrees. Going down, readiness fails first (so the
//! balancer looks elsewhere), then listeners stop, then what is in flight finishes, and then a
//! deadline, or a second signal, cuts: [`Lifecycle::drain_within`]. Why it ended is an
//! [`ExitReason`], not a log line.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

/// Where a service stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Opening stores, reading keys.
    Starting,
    /// Serving.
    Ready,
    /// Takes nothing new and finishes what it has.
    Draining,
    /// Done.
    Stopped,
}

/// Why a service ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// Something inside asked for it (a test, an admin call).
    Requested,
    /// The operator did.
    Signal(Signal),
    /// A second signal, or a second request, did not wait for the drain.
    Cut,
    /// The drain took longer than it was given.
    Deadline,
    /// A part that the service cannot live without failed.
    Failed(String),
}

impl ExitReason {
    /// The code to exit with: an orderly end is a success, whoever asked for it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Requested | Self::Signal(_) => ExitCode::SUCCESS,
            Self::Cut | Self::Deadline | Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("requested"),
            Self::Signal(signal) => write!(f, "{signal}"),
            Self::Cut => f.write_str("cut by a second signal"),
            Self::Deadline => f.write_str("the drain reached its deadline"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

/// The signals that end a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What process managers send.
    Terminate,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// One check of readiness, as `/readyz` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckState {
    /// Whether this part is fit to serve.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether traffic should be sent here.
    pub ready: bool,
    /// Where the service stands.
    pub phase: Phase,
    /// Each part that was asked to answer for itself.
    pub checks: BTreeMap<&'static str, CheckState>,
}

/// The life of one service. Clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    phase: watch::Sender<Phase>,
    cut: watch::Sender<bool>,
    reason: Mutex<Option<ExitReason>>,
    checks: Mutex<BTreeMap<&'static str, CheckState>>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A service that starts.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                phase: watch::Sender::new(Phase::Starting),
                cut: watch::Sender::new(false),
                reason: Mutex::new(None),
                checks: Mutex::new(BTreeMap::new()),
            }),
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        *self.shared.phase.borrow()
    }

    /// A receiver that sees every later phase.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.shared.phase.subscribe()
    }

    /// Starting is over. Says whether that took effect: a service that already drains stays so.
    pub fn ready(&self) -> bool {
        self.advance(Phase::Ready)
    }

    /// Begins the way down. The first reason is kept; a second call does not cut,
    /// [`Self::interrupt`] does.
    pub fn drain(&self, reason: ExitReason) -> bool {
        self.shared.reason.lock().get_or_insert(reason);
        self.advance(Phase::Draining)
    }

    /// Everything is down.
    pub fn stop(&self) -> bool {
        self.advance(Phase::Stopped)
    }

    /// A signal: the first drains, the second cuts the drain short.
    pub fn interrupt(&self, signal: Signal) {
        if !self.drain(ExitReason::Signal(signal)) {
            self.shared.cut.send_replace(true);
        }
    }

    /// Why it goes down, once it does.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.shared.reason.lock().clone()
    }

    /// Returns when the service is at least as far as `phase`.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = self.watch().wait_for(|now| *now >= phase).await;
    }

    /// Listens for Ctrl-C and SIGTERM until the service is down; SIGHUP does not end it.
    ///
    /// Run it beside the service; `Err` says that the process cannot listen for signals.
    pub async fn follow_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Whoever has files to read again follows it too; where nobody has, it is not to end us.
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            let caught = tokio::select! {
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: what is kept in files of its own is read again");
                    continue;
                }
                () = self.reached(Phase::Stopped) => return Ok(()),
            };
            tracing::info!(signal = %caught, phase = ?self.phase(), "signal caught");
            self.interrupt(caught);
        }
    }

    /// Performs the way down: waits until it begins, runs `work` under a deadline, and stops.
    ///
    /// `work` is started when draining begins and dropped at the deadline or at a second signal.
    /// The answer is why the service ended: the reason it went down for, unless the drain itself
    /// was cut.
    pub async fn drain_within<F, W>(&self, grace: Duration, work: F) -> ExitReason
    where
        F: FnOnce() -> W,
        W: Future<Output = ()>,
    {
        self.reached(Phase::Draining).await;
        let mut cut = self.shared.cut.subscribe();
        let reason = tokio::select! {
            () = work() => self.exit_reason().unwrap_or(ExitReason::Requested),
            _ = cut.wait_for(|cut| *cut) => ExitReason::Cut,
            () = tokio::time::sleep(grace) => ExitReason::Deadline,
        };
        self.stop();
        reason
    }

    /// Adds a part that readiness depends on. It counts as unfit until it reports.
    pub fn check(&self, name: &'static str) -> Check {
        let check = Check {
            name,
            lifecycle: self.clone(),
        };
        check.fail("not reported yet");
        check
    }

    /// Whether traffic should come here, and if not, why.
    pub fn readiness(&self) -> Readiness {
        let phase = self.phase();
        let checks = self.shared.checks.lock().clone();
        let ready = phase == Phase::Ready && checks.values().all(|check| check.ok);
        Readiness {
            ready,
            phase,
            checks,
        }
    }

    fn advance(&self, to: Phase) -> bool {
        self.shared.phase.send_if_modified(|now| {
            let forward = to > *now;
            if forward {
                *now = to;
            }
            forward
        })
    }
}

/// A part's own word on whether it is fit to serve. Dropping it leaves the last word standing.
#[derive(Debug, Clone)]
pub struct Check {
    name: &'static str,
    lifecycle: Lifecycle,
}

impl Check {
    /// This part is fit.
    pub fn pass(&self) {
        self.report(CheckState {
            ok: true,
            reason: None,
        });
    }

    /// This part is not, and why.
    pub fn fail(&self, reason: impl Into<String>) {
        self.report(CheckState {
            ok: false,
            reason: Some(reason.into()),
        });
    }

    fn report(&self, state: CheckState) {
        self.lifecycle.shared.checks.lock().insert(self.name, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(25);

    #[test]
    fn phases_only_go_forward() {
        let life = Lifecycle::new();
        assert_eq!(life.phase(), Phase::Starting);
        assert!(life.ready());
        assert!(life.drain(ExitReason::Requested));
        assert!(
            !life.ready(),
            "a drain that overtakes the start must not be undone by it"
        );
        assert_eq!(life.phase(), Phase::Draining);
        assert!(!life.drain(ExitReason::Failed("later".into())));
        assert_eq!(life.exit_reason(), Some(ExitReason::Requested));
    }

    #[test]
    fn readiness_needs_the_phase_and_every_check() {
        let life = Lifecycle::new();
        let history = life.check("history");
        life.ready();
        let state = life.readiness();
        assert!(!state.ready);
        assert_eq!(
            state.checks["history"].reason.as_deref(),
            Some("not reported yet")
        );
        history.pass();
        assert!(life.readiness().ready);
        history.fail("disk full");
        assert!(!life.readiness().ready);
        history.pass();
        life.drain(ExitReason::Requested);
        assert!(!life.readiness().ready);
    }

    #[tokio::test]
    async fn a_drain_that_finishes_keeps_its_reason() {
        let life = Lifecycle::new();
        life.ready();
        life.interrupt(Signal::Terminate);
        let reason = life.drain_within(GRACE, tokio::task::yield_now).await;
        assert_eq!(reason, ExitReason::Signal(Signal::Terminate));
        assert_eq!(life.phase(), Phase::Stopped);
    }

    #[tokio::test]
    async fn the_deadline_cuts_a_drain_that_hangs() {
        let life = Lifecycle::new();
        life.drain(ExitReason::Requested);
        let reason = life
            .drain_within(Duration::ZERO, std::future::pending)
            .await;
        assert_eq!(reason, ExitReason::Deadline);
    }

    #[tokio::test]
    async fn the_second_signal_cuts() {
        let life = Lifecycle::new();
        let drained = tokio::spawn({
            let life = life.clone();
            async move { life.drain_within(GRACE, std::future::pending).await }
        });
        life.interrupt(Signal::Interrupt);
        life.reached(Phase::Draining).await;
        tokio::task::yield_now().await;
        life.interrupt(Signal::Interrupt);
        assert_eq!(drained.await.unwrap(), ExitReason::Cut);
    }
}
