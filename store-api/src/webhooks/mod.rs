//! What happens in the store, told to programs of others by HTTP.
//!
//! Somebody registers an address and the kinds of events it is to hear of. An event is written down
//! for each such webhook in the transaction of what it tells (`publish`), and sent after the commit
//! (`sender`, over `client`, paced by `standing`) until it is taken or too old: at least once, under one id, signed
//! by the Standard Webhooks convention (`secret`). What was given up is kept for a while and sent again
//! when somebody asks (`deliveries`).
//!
//! Order: of one subject, an order or a person, a webhook is sent an event only when the one before it
//! was taken or given up. Events of different subjects may overtake each other.
//!
//! Queue: the table of deliveries, bounded by `webhook_lifetime` and `webhook_keep`. Gauge:
//! `fireside_store_webhook_deliveries_pending`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use address::Reach;
use secret::Secrets;

pub use deliveries::{Delivery, DeliveryState, Replayed};
pub use endpoints::{Disabled, NewWebhook, Webhook, WebhookChange};
pub use kind::{EventKind, EventKinds};
pub(crate) use publish::OrderEvent;
#[cfg(feature = "http-client")]
pub(crate) use sender::send_webhooks;
pub use settings::WebhookSettings;

mod address;
#[cfg(feature = "http-client")]
mod client;
mod deliveries;
mod endpoints;
mod kind;
mod publish;
mod secret;
#[cfg(feature = "http-client")]
mod sender;
mod settings;
#[cfg(feature = "http-client")]
mod standing;

/// What the store needs for webhooks.
pub(crate) struct Webhooks {
    secrets: Secrets,
    reach: Arc<Reach>,
    #[cfg(feature = "http-client")]
    courier: client::Courier,
    timings: Timings,
    written: AtomicBool,
    wake: Notify,
}

/// How long things last.
#[derive(Debug, Clone, Copy)]
struct Timings {
    #[cfg_attr(not(feature = "http-client"), allow(dead_code))]
    timeout: Duration,
    lifetime: Duration,
    #[cfg_attr(not(feature = "http-client"), allow(dead_code))]
    disable_after: Duration,
    keep: Duration,
    secret_overlap: Duration,
}

impl Webhooks {
    /// Takes note that a transaction under way wrote something to be sent.
    fn note(&self) {
        self.written.store(true, Ordering::Relaxed);
    }

    /// Wakes whoever sends, if there is something; called after each commit.
    pub(crate) fn wake(&self) {
        if self.written.swap(false, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }
}
