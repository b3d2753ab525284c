//! Real signals, in a test binary of their own, because they go to the whole process.

use std::process::Command;
use std::time::Duration;

use shared::lifecycle::{ExitReason, Lifecycle, Phase, Signal};

fn send(signal: &str) {
    let me = std::process::id().to_string();
    let status = Command::new("kill").args([signal, &me]).status();
    assert!(status.is_ok_and(|status| status.success()));
}

#[tokio::test]
async fn sigterm_drains_and_the_next_signal_cuts() {
    let life = Lifecycle::new();
    let follower = tokio::spawn({
        let life = life.clone();
        async move { life.follow_signals().await }
    });
    // The handlers are in place once the follower has been polled to its first wait.
    tokio::task::yield_now().await;
    life.ready();
    let ending = tokio::spawn({
        let life = life.clone();
        async move {
            life.drain_within(Duration::from_mins(1), std::future::pending)
                .await
        }
    });
    send("-TERM");
    life.reached(Phase::Draining).await;
    assert_eq!(
        life.exit_reason(),
        Some(ExitReason::Signal(Signal::Terminate))
    );
    send("-INT");
    assert_eq!(ending.await.ok(), Some(ExitReason::Cut));
    assert!(
        follower.await.is_ok_and(|followed| followed.is_ok()),
        "it ends with the service"
    );
}
