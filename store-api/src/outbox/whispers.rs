//! Events that are not worth a row: delivered to whoever takes them now, and forgotten.
//!
//! Bound: one batch waits while another is delivered; who finds no place says it later, as it is then.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;
use shared::events::StoreEvent;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::EventSink;

/// Events in one delivery.
const BATCH: usize = 100;
/// How long a target may take over a delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The writing end.
pub(crate) struct Whispers {
    sender: mpsc::Sender<Vec<StoreEvent>>,
    receiver: Mutex<Option<mpsc::Receiver<Vec<StoreEvent>>>>,
}

impl Default for Whispers {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl Whispers {
    /// A place for a batch, unless one waits.
    pub(crate) fn place(&self) -> Option<mpsc::Permit<'_, Vec<StoreEvent>>> {
        self.sender.try_reserve().ok()
    }

    /// For whoever delivers them; once.
    pub(crate) fn open(&self) -> Option<mpsc::Receiver<Vec<StoreEvent>>> {
        self.receiver.lock().take()
    }
}

/// Delivers to all of these at once, until `stop` turns true. Whoever does not take a batch goes without.
pub(crate) async fn deliver_whispers(
    mut whispers: mpsc::Receiver<Vec<StoreEvent>>,
    sinks: Vec<Arc<dyn EventSink>>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let events = tokio::select! {
            events = whispers.recv() => events,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Some(events) = events else { return };
        let deliver = async |sink: &Arc<dyn EventSink>| {
            for events in events.chunks(BATCH) {
                let delivered = timeout(DELIVERY_TIMEOUT, sink.deliver(events)).await;
                if !matches!(delivered, Ok(Ok(()))) {
                    return;
                }
            }
        };
        join_all(sinks.iter().map(deliver)).await;
    }
}
