//! Logging in by other providers.
//!
//! A log-in takes three steps, and what is known of it between them is an attempt (`attempts`), found by a
//! name that is used once:
//!
//! 1. A browser begins: it gets the provider's page to go to, with a *state* in it, and a *secret* that it
//!    keeps for itself.
//! 2. The provider sends the browser back with the state and a code. Nothing is done with the code
//!    yet; the browser is sent on to the page of the client with a *ticket*, which proves nothing.
//! 3. The client shows ticket and secret. Only now the code goes to the provider, with the verifier of
//!    PKCE, which never left the stores; the provider says who it is.
//!
//! Whoever gets hold of an address out of somebody's history has no secret; whoever sends somebody back with a
//! code of their own finds that their victim's browser did not begin.
//!
//! Accounts are found by provider and subject and by nothing else. An e-mail address that a provider
//! tells links nothing: `link` says how accounts and identities come together.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use shared::id::UserId;

use attempt::{Attempt, Stage, hashed, unguessed};
#[cfg(feature = "redis")]
pub(crate) use attempts::RedisAttempts;
use attempts::{Attempts, LocalAttempts};
pub use link::Identity;
use provider::{Grant, ProvedPerson, Provider, ProviderError, Request};
pub use settings::LoginSettings;

use crate::{
    accounts::{Confirmation, LoggedIn},
    error::{StoreError, Violation},
    store::Store,
};

mod attempt;
mod attempts;
mod link;
#[cfg(feature = "http-client")]
mod oauth;
mod provider;
mod settings;

/// The longest code that a provider may send, in bytes.
const LONGEST_CODE: usize = 2048;

/// One answer to every ticket that does not hold, whatever the reason: another browser's, used, too late.
const WRONG: StoreError =
    StoreError::Forbidden("the log-in is over, or another browser began it; begin again");

/// A provider that people may log in by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginProvider {
    /// Its name in addresses.
    pub name: String,
    /// What people know it as.
    pub label: String,
}

/// A log-in just begun.
#[derive(Debug)]
pub struct BegunLogin {
    /// The provider's page, to which the browser goes.
    pub url: String,
    /// What the browser shows when it is back, and nobody else is to know.
    pub secret: String,
    /// Until when it has to be back.
    pub expires_in: Duration,
}

/// What a log-in by a provider came to.
pub enum FinishedLogin {
    /// The account is found.
    LoggedIn(Box<LoggedIn>),
    /// Nobody here is that person yet.
    New(NewPerson),
}

/// Somebody who has no account and may make one.
#[derive(Debug)]
pub struct NewPerson {
    /// For [`Store::register_by_provider`], with the same secret as before.
    pub ticket: String,
    /// What they are called at the provider.
    pub name: Option<String>,
    /// Until when the ticket holds.
    pub expires_in: Duration,
}

/// Log-ins by providers.
pub(crate) struct Identities {
    providers: BTreeMap<String, Arc<dyn Provider>>,
    public_url: String,
    page: String,
    lifetime: Duration,
    shared: OnceLock<Arc<dyn Attempts>>,
    local: LocalAttempts,
}

impl Identities {
    fn new(
        providers: BTreeMap<String, Arc<dyn Provider>>,
        public_url: &str,
        page: &str,
        lifetime: Duration,
    ) -> Self {
        Self {
            providers,
            public_url: public_url.to_owned(),
            page: page.to_owned(),
            lifetime,
            shared: OnceLock::new(),
            local: LocalAttempts::default(),
        }
    }

    /// Shares attempts with other stores.
    #[cfg(feature = "redis")]
    pub(crate) fn share(&self, attempts: Arc<dyn Attempts>) {
        let _ = self.shared.set(attempts);
    }

    fn attempts(&self) -> &dyn Attempts {
        match self.shared.get() {
            Some(shared) => &**shared,
            None => &self.local,
        }
    }

    /// What people know a provider as; its name, once it is not set up any more.
    pub(crate) fn label<'a>(&'a self, name: &'a str) -> &'a str {
        let provider = self.providers.get(name);
        provider.map_or(name, |provider| provider.label())
    }

    fn provider(&self, name: &str) -> Result<&dyn Provider, StoreError> {
        let provider = self.providers.get(name).ok_or(StoreError::NotFound)?;
        Ok(&**provider)
    }

    /// Where a provider sends browsers back to: an address of its own each, so that no provider passes for
    /// another.
    fn redirect(&self, provider: &str) -> String {
        format!("{}/v1/auth/providers/{provider}/return", self.public_url)
    }

    /// The client's page, which is never anybody's to choose.
    fn page(&self, ticket: &str) -> String {
        let mark = if self.page.contains('?') { '&' } else { '?' };
        format!("{}{mark}login={ticket}", self.page)
    }
}

impl Store {
    /// The providers that people may log in by.
    pub fn login_providers(&self) -> Vec<LoginProvider> {
        let providers = self.by_providers().providers.iter();
        providers
            .map(|(name, provider)| LoginProvider {
                name: name.clone(),
                label: provider.label().to_owned(),
            })
            .collect()
    }

    /// Begins a log-in.
    pub async fn begin_login(&self, provider: &str) -> Result<BegunLogin, StoreError> {
        self.begin(provider, None).await
    }

    /// Begins to link an identity to the account of `me`, who shows once more that it is theirs: whoever
    /// links one may log in for good.
    pub async fn begin_link(
        &self,
        me: &UserId,
        provider: &str,
        confirmation: Confirmation<'_>,
    ) -> Result<BegunLogin, StoreError> {
        self.by_providers().provider(provider)?;
        self.confirmed(me, confirmation).await?;
        self.begin(provider, Some(me)).await
    }

    async fn begin(&self, name: &str, me: Option<&UserId>) -> Result<BegunLogin, StoreError> {
        let identities = self.by_providers();
        let provider = identities.provider(name)?;
        let (secret, verifier) = (unguessed()?, unguessed()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let lifetime = identities.lifetime.as_millis() as i64;
        let attempt = Attempt {
            provider: name.to_owned(),
            secret: hashed(&secret),
            user: me.map(ToString::to_string),
            expires_at: self.now().as_millis() + lifetime,
            stage: Stage::Gone { verifier },
        };
        let state = self.put_attempt(&attempt).await?;
        let url = provider.page(&Request {
            state: &state,
            challenge: &challenge,
            redirect: &identities.redirect(name),
        });
        Ok(BegunLogin {
            url,
            secret,
            expires_in: identities.lifetime,
        })
    }

    /// A browser is back from a provider, with a code if it gave one; answers where the browser goes on. A state
    /// that holds no more leads there too, with a ticket that is good for nothing.
    pub async fn back_from_provider(
        &self,
        provider: &str,
        state: &str,
        code: Option<&str>,
    ) -> Result<String, StoreError> {
        let identities = self.by_providers();
        identities.provider(provider)?;
        let attempt = self.take_attempt("gone", state).await?;
        let Some(mut attempt) = attempt.filter(|attempt| attempt.provider == provider) else {
            return Ok(identities.page("over"));
        };
        let Stage::Gone { verifier } = attempt.stage else {
            return Ok(identities.page("over"));
        };
        let code = code.filter(|code| !code.is_empty() && code.len() <= LONGEST_CODE);
        let code = code.map(str::to_owned);
        attempt.stage = Stage::Back { verifier, code };
        let ticket = self.put_attempt(&attempt).await?;
        Ok(identities.page(&ticket))
    }

    /// Logs in whoever the provider says it is, or says that there is no such account yet.
    pub async fn finish_login(
        &self,
        ticket: &str,
        secret: &str,
    ) -> Result<FinishedLogin, StoreError> {
        let mut attempt = self.open_attempt("back", ticket, secret).await?;
        if attempt.user.is_some() {
            return Err(WRONG);
        }
        let person = self.proved(&attempt).await?;
        if let Some(logged_in) = self.log_in_by(&attempt.provider, &person.subject).await? {
            return Ok(FinishedLogin::LoggedIn(Box::new(logged_in)));
        }
        self.address_is_free(&person).await?;
        let name = person.name.clone();
        attempt.stage = Stage::Known(person);
        let ticket = self.put_attempt(&attempt).await?;
        Ok(FinishedLogin::New(NewPerson {
            ticket,
            name,
            expires_in: self.left(&attempt),
        }))
    }

    /// Makes an account for somebody whom a provider knows, and logs it in. If the name is taken, the ticket
    /// holds for another.
    pub async fn register_by_provider(
        &self,
        ticket: &str,
        secret: &str,
        name: &str,
    ) -> Result<LoggedIn, StoreError> {
        let attempt = self.open_attempt("known", ticket, secret).await?;
        let Stage::Known(person) = &attempt.stage else {
            return Err(WRONG);
        };
        let registered = self.register_as(&attempt.provider, person, name).await;
        if registered.is_err() {
            self.keep_attempt(&attempt, ticket).await?;
        }
        registered
    }

    /// Links whoever the provider says it is to the account of `me`.
    pub async fn finish_link(
        &self,
        me: &UserId,
        ticket: &str,
        secret: &str,
    ) -> Result<Identity, StoreError> {
        let attempt = self.open_attempt("back", ticket, secret).await?;
        if attempt.user.as_deref() != Some(me.as_str()) {
            return Err(WRONG);
        }
        let person = self.proved(&attempt).await?;
        self.link(me, &attempt.provider, &person.subject).await
    }

    /// Whom the provider gave the code of an attempt to.
    async fn proved(&self, attempt: &Attempt) -> Result<ProvedPerson, StoreError> {
        let Stage::Back { verifier, code } = &attempt.stage else {
            return Err(WRONG);
        };
        let Some(code) = code else {
            return Err(StoreError::Conflict {
                message: "the provider did not log you in",
                violations: vec![Violation::new(
                    "provider",
                    "declined",
                    "it was declined there, or went wrong",
                )],
            });
        };
        let identities = self.by_providers();
        let provider = identities.provider(&attempt.provider)?;
        let grant = Grant {
            code,
            verifier,
            redirect: &identities.redirect(&attempt.provider),
        };
        provider.who(&grant).await.map_err(|error| match error {
            ProviderError::Refused(_) => StoreError::Forbidden(
                "the provider takes the log-in for none of its own; begin again",
            ),
            ProviderError::Away(_) => StoreError::Away(error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_added_to_the_page() {
        let page =
            |page: &str| Identities::new(BTreeMap::new(), "", page, Duration::ZERO).page("T");
        assert_eq!(page("/#/login"), "/#/login?login=T");
        assert_eq!(page("/?a=b"), "/?a=b&login=T");
    }
}
