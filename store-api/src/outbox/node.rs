//! Delivery to a chat node over HTTP.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use shared::{events::StoreEvent, settings::Secret};

use super::{DeliveryError, EventSink, EventTarget};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Posts events to one chat node, which takes them with any 2xx.
pub struct NodeSink {
    client: reqwest::Client,
    url: String,
    token: Secret,
}

#[derive(Serialize)]
struct Body<'a> {
    events: &'a [StoreEvent],
}

impl NodeSink {
    /// A sink for the node at `base`, which is let in by `token`.
    pub fn new(base: &str, token: Secret) -> Result<Self, DeliveryError> {
        // Only the first in a process counts; with it already there all is well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A node answers by itself; a redirect would take the service token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| DeliveryError(error.to_string()))?;
        let url = format!("{}/v1/server/events", base.trim_end_matches('/'));
        Ok(Self { client, url, token })
    }

    /// The node as a target of events, named by its address.
    pub fn target(base: &str, token: Secret) -> Result<EventTarget, DeliveryError> {
        Ok(EventTarget::new(
            base.trim_end_matches('/'),
            Self::new(base, token)?,
        ))
    }
}

#[async_trait]
impl EventSink for NodeSink {
    async fn deliver(&self, events: &[StoreEvent]) -> Result<(), DeliveryError> {
        let answer = self
            .client
            .post(&self.url)
            .bearer_auth(self.token.expose())
            .json(&Body { events })
            .send()
            .await
            .map_err(|error| DeliveryError(error.to_string()))?;
        let status = answer.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(DeliveryError(format!("{} answered {status}", self.url)))
        }
    }
}
