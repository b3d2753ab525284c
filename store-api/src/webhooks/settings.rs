//! How webhooks are sent.

use std::{sync::Arc, sync::atomic::AtomicBool, time::Duration};

use shared::{
    network::Network,
    settings::{Report, Settings, duration},
};
use tokio::sync::Notify;

use super::{Timings, Webhooks, address::Reach, secret::Secrets};
use crate::error::StoreError;

/// What the store is told of webhooks.
#[derive(Debug, Clone, clap::Args)]
pub struct WebhookSettings {
    /// Addresses (or networks, such as 10.0.0.0/8) that webhooks may reach although they are not
    /// public, in the clear too
    #[arg(long, value_delimiter = ',', value_name = "NETWORK")]
    pub webhook_networks: Vec<Network>,
    /// How long whoever is sent an event may take to answer
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub webhook_timeout: Duration,
    /// How long an event is sent again that is not taken; then it is a dead letter
    #[arg(long, value_parser = duration, default_value = "3d")]
    pub webhook_lifetime: Duration,
    /// After how long without an event that was taken a webhook is disabled
    #[arg(long, value_parser = duration, default_value = "5d")]
    pub webhook_disable_after: Duration,
    /// How long events are kept that were taken or given up
    #[arg(long, value_parser = duration, default_value = "14d")]
    pub webhook_keep: Duration,
    /// How long the secret of a webhook holds that was replaced by another
    #[arg(long, value_parser = duration, default_value = "1d")]
    pub webhook_secret_overlap: Duration,
}

impl WebhookSettings {
    /// What the settings describe; `key` is what secrets follow from.
    pub(crate) fn open(&self, key: [u8; 32]) -> Result<Webhooks, StoreError> {
        let reach = Arc::new(Reach::new(self.webhook_networks.clone()));
        Ok(Webhooks {
            secrets: Secrets::new(key),
            #[cfg(feature = "http-client")]
            courier: super::client::Courier::new(&reach, self.webhook_timeout)?,
            reach,
            timings: Timings {
                timeout: self.webhook_timeout,
                lifetime: self.webhook_lifetime,
                disable_after: self.webhook_disable_after,
                keep: self.webhook_keep,
                secret_overlap: self.webhook_secret_overlap,
            },
            written: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }
}

impl Settings for WebhookSettings {
    fn validate(&self, report: &mut Report) {
        for (setting, span) in [
            ("webhook_lifetime", self.webhook_lifetime),
            ("webhook_disable_after", self.webhook_disable_after),
            ("webhook_keep", self.webhook_keep),
        ] {
            report.require(span >= Duration::from_secs(1), setting, "at least 1s");
        }
        let patient =
            (Duration::from_millis(100)..=Duration::from_mins(1)).contains(&self.webhook_timeout);
        report.require(patient, "webhook_timeout", "from 100ms to 1m");
    }
}
