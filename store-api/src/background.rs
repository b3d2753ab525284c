//! What runs beside the requests: the relays of the outbox, and the sweep of what has ended.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{error::StoreError, outbox::EventTarget, store::Store};

/// How often what has ended is swept away.
const SWEEP: Duration = Duration::from_mins(1);

/// Tasks at work. Dropping this stops them where they stand; [`Background::stop`] lets them
/// deliver what they have.
pub struct Background {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Store {
    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.database().reader().ping().await?)
    }

    /// Starts the delivery of events to `targets`, and the sweep. To be called once, and before
    /// the store is used: what happens earlier, nobody is told.
    pub fn start(&self, targets: Vec<EventTarget>) -> Background {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for relay in self.outbox().open(targets, self.database()) {
            tasks.spawn(relay.run(stopped.clone()));
        }
        tasks.spawn(sweep(self.clone(), stopped));
        Background { stop, tasks }
    }
}

impl Background {
    /// Stops, once everything is delivered that finds a taker.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the store failed");
            }
        }
    }
}

async fn sweep(store: Store, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if let Err(error) = store.sweep().await {
            tracing::warn!(%error, "sweeping");
        }
    }
}
