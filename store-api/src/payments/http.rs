//! Calls to providers over HTTP, and what their failures mean.

use std::time::Duration;

use reqwest::{Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use shared::settings::Secret;

use super::provider::CallError;
use crate::error::StoreError;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Calls one provider.
pub(super) struct Caller {
    provider: &'static str,
    client: reqwest::Client,
    base: String,
    authorization: Secret,
    /// The provider's word in the body of a refusal, and whether it says that nothing was done.
    word: fn(&Value) -> Option<(String, Finality)>,
}

/// What a provider's word for a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finality {
    /// It was not done.
    Refused,
    /// It may be done, or have been done before.
    Open,
}

impl Caller {
    pub(super) fn new(
        provider: &'static str,
        base: &str,
        authorization: Secret,
        timeout: Duration,
        word: fn(&Value) -> Option<(String, Finality)>,
    ) -> Result<Self, StoreError> {
        // Only the first in a process counts; with it already there all is well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            // A redirect would take the key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| StoreError::Internal(format!("{provider}: {error}")))?;
        Ok(Self {
            provider,
            client,
            base: base.trim_end_matches('/').to_owned(),
            authorization,
            word,
        })
    }

    /// Posts `body` to `path`, under a name by which the provider knows a second call of the same if
    /// `name` is given.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        name: Option<&str>,
    ) -> Result<T, CallError> {
        let mut request = self.request(Method::POST, path).json(body);
        if let Some(name) = name {
            request = request.header("idempotency-key", name);
        }
        self.send(request).await
    }

    /// Gets `path`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.send(self.request(Method::GET, path)).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        request.header(header::AUTHORIZATION, self.authorization.expose())
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, CallError> {
        let answer = self.answer(request).await;
        let result = match &answer {
            Ok(_) => "ok",
            Err(CallError::Refused(_)) => "refused",
            Err(CallError::Unknown(_)) => "unknown",
        };
        metrics::counter!(
            "fireside_store_payment_calls_total", "provider" => self.provider, "result" => result
        )
        .increment(1);
        answer
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, CallError> {
        let unknown = |error: reqwest::Error| {
            // Not the address: it may hold what a payer brought back.
            CallError::Unknown(format!("{}: {}", self.provider, error.without_url()))
        };
        let response = request.send().await.map_err(unknown)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unknown)?;
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|error| CallError::Unknown(format!("{}: {error}", self.provider)));
        }
        let word = serde_json::from_slice(&bytes)
            .ok()
            .as_ref()
            .and_then(self.word);
        if status == StatusCode::UNAUTHORIZED {
            let word = word.as_ref().map_or("", |(word, _)| word);
            tracing::warn!(provider = self.provider, %status, word, "a payment provider refuses our key");
        }
        Err(meaning(status, word)
            .unwrap_or_else(|| CallError::Unknown(format!("{} answered {status}", self.provider))))
    }
}

/// What a failure means: only a refusal in the provider's words, of a request that was understood, says
/// that nothing was done.
fn meaning(status: StatusCode, word: Option<(String, Finality)>) -> Option<CallError> {
    let (word, finality) = word?;
    let about_us = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_MANY_REQUESTS
    );
    let refused = status.is_client_error() && !about_us && finality == Finality::Refused;
    refused.then_some(CallError::Refused(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_of_the_provider_says_that_nothing_was_done() {
        let word = |finality| Some(("NO".to_owned(), finality));
        let said = meaning(StatusCode::BAD_REQUEST, word(Finality::Refused));
        assert_eq!(said, Some(CallError::Refused("NO".to_owned())));
        assert_eq!(meaning(StatusCode::BAD_REQUEST, word(Finality::Open)), None);
        assert_eq!(meaning(StatusCode::BAD_REQUEST, None), None);
        for status in [401, 408, 409, 429, 500, 502, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(meaning(status, word(Finality::Refused)), None, "{status}");
        }
    }
}
