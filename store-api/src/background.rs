//! What runs beside the requests: the giving out of what is claimed, the queues before that, the relays of the outbox, the telling of
//! what many are told, the sending of mails and webhooks, payments that wait, and the sweep of what has ended.

use std::time::Duration;

use shared::lifecycle::Check;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    announcements,
    coupons::{enlist_all, go_round, serve},
    error::StoreError,
    mail::send_mails,
    outbox::{EventTarget, deliver_whispers},
    payments,
    store::Store,
};

/// How often what has ended is swept away.
const SWEEP: Duration = Duration::from_mins(1);
/// How often readiness asks whether the database is there.
const CHECK: Duration = Duration::from_secs(1);

/// Tasks at work. Dropping this stops them where they stand; [`Background::stop`] lets them
/// deliver what they have.
pub struct Background {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Store {
    /// Whether the database answers and takes what is written. What the last writes came to is part
    /// of the answer; while the disk refuses them, asking tries whether it takes them again.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.database().ready().await
    }

    /// Tells readiness so, for as long as the process lives.
    pub async fn watch(self, check: Check) {
        let mut ticks = interval(CHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.ready().await {
                Ok(()) => check.pass(),
                Err(error) => check.fail(error.to_string()),
            }
        }
    }

    /// Starts the delivery of events to `targets`, and all that runs besides. To be called once, and before
    /// the store is used: what happens earlier, nobody is told.
    pub fn start(&self, targets: Vec<EventTarget>) -> Background {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let sinks = targets.iter().map(|target| target.sink.clone()).collect();
        if let Some(whispers) = self.outbox().whispers().open() {
            tasks.spawn(deliver_whispers(whispers, sinks, stopped.clone()));
        }
        for relay in self.outbox().open(targets, self.database()) {
            tasks.spawn(relay.run(stopped.clone()));
        }
        tasks.spawn(announcements::tell(self.clone(), stopped.clone()));
        tasks.spawn(send_mails(self.clone(), stopped.clone()));
        if let Some(claims) = self.claims().open() {
            tasks.spawn(serve(self.clone(), claims, stopped.clone()));
        }
        if let Some(joins) = self.joins().open() {
            tasks.spawn(enlist_all(self.clone(), joins, stopped.clone()));
        }
        tasks.spawn(go_round(self.clone(), stopped.clone()));
        tasks.spawn(payments::settle(self.clone(), stopped.clone()));
        #[cfg(feature = "http-client")]
        tasks.spawn(crate::webhooks::send_webhooks(
            self.clone(),
            stopped.clone(),
        ));
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
