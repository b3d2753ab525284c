//! The port to providers who say who somebody is.

use async_trait::async_trait;

/// Who somebody is, as a provider says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ProvedPerson {
    /// The provider's name for them, which never becomes somebody else's.
    pub(crate) subject: String,
    /// An address whose mail they read, if the provider says that it has seen so.
    pub(crate) email: Option<String>,
    /// What they are called there.
    pub(crate) name: Option<String>,
}

/// Why a provider says nothing of somebody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "http-client"), allow(dead_code))] // made by those who ask over HTTP
pub(crate) enum ProviderError {
    /// It takes the code for none of its own, for used, or for asked for by somebody else.
    #[error("the provider refuses the code: {0}")]
    Refused(String),
    /// It does not answer, or not as agreed.
    #[error("{0}")]
    Away(String),
}

/// What a provider is told of an attempt at its door.
pub(crate) struct Request<'a> {
    /// Names the attempt; comes back.
    pub(crate) state: &'a str,
    /// The hash of what is shown with the code.
    pub(crate) challenge: &'a str,
    /// Where it sends the browser back to.
    pub(crate) redirect: &'a str,
}

/// What is shown to a provider for a person.
pub(crate) struct Grant<'a> {
    /// What it gave the browser.
    pub(crate) code: &'a str,
    /// What the challenge is the hash of.
    pub(crate) verifier: &'a str,
    /// As before.
    pub(crate) redirect: &'a str,
}

/// Somebody who says who people are.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// What people know it as.
    fn label(&self) -> &str;

    /// The page at which a browser logs in there.
    fn page(&self, request: &Request<'_>) -> String;

    /// Whom it gave a code to.
    async fn who(&self, grant: &Grant<'_>) -> Result<ProvedPerson, ProviderError>;
}
