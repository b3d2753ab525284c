//! A provider by OAuth 2 (RFC 6749 with PKCE, RFC 7636) that says who somebody is at a `userinfo` address, as
//! OpenID Connect has it.
//!
//! The ID token is not looked at: it would say what `userinfo` says, to whom the token goes over the same
//! encrypted connection, and would have to be verified besides.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{StatusCode, header, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;
use shared::settings::Secret;
use url::Url;

use super::{
    provider::{Grant, ProvedPerson, Provider, ProviderError, Request},
    settings::ProviderText,
};
use crate::error::StoreError;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How much a provider may answer, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;
/// The longest subject, by OpenID Connect.
const LONGEST_SUBJECT: usize = 255;
/// The longest name that is passed on, in bytes.
const LONGEST_NAME: usize = 256;

/// One provider.
pub(super) struct OAuthProvider {
    name: String,
    label: String,
    client_id: String,
    client_secret: Option<Secret>,
    scopes: String,
    authorize: Url,
    token: Url,
    user: Url,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl OAuthProvider {
    pub(super) fn new(text: &ProviderText<'_>, timeout: Duration) -> Result<Self, StoreError> {
        // Only the first in a process counts; with it already there all is well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |error: &dyn std::fmt::Display| {
            StoreError::Internal(format!("the provider {}: {error}", text.name))
        };
        let address = |url: &str| Url::parse(url).map_err(|error| failed(&error));
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            // A redirect would take the secret elsewhere.
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Self {
            name: text.name.to_owned(),
            label: text.label.to_owned(),
            client_id: text.client_id.to_owned(),
            client_secret: text.client_secret.cloned(),
            scopes: text.scopes.to_owned(),
            authorize: address(text.authorize_url)?,
            token: address(text.token_url)?,
            user: address(text.user_url)?,
            http,
        })
    }

    async fn ask(&self, grant: &Grant<'_>) -> Result<ProvedPerson, ProviderError> {
        let token = self.token(grant).await?;
        let request = self.http.get(self.user.clone()).bearer_auth(&token);
        let (status, body) = self.answer(request).await?;
        if !status.is_success() {
            return Err(self.away(&format!("answered {status} about somebody")));
        }
        let body = serde_json::from_slice(&body);
        let person = body.ok().as_ref().and_then(person);
        person.ok_or_else(|| self.away("said nobody's name"))
    }

    async fn token(&self, grant: &Grant<'_>) -> Result<String, ProviderError> {
        let request = self
            .http
            .post(self.token.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(self.form(grant));
        let (status, body) = self.answer(request).await?;
        if status.is_success() {
            let answer: Result<TokenAnswer, _> = serde_json::from_slice(&body);
            return answer
                .map(|answer| answer.access_token)
                .map_err(|_| self.away("gave no token"));
        }
        match serde_json::from_slice(&body) {
            // The one word that is about the code; all others are about us.
            Ok(Refusal { error }) if error == "invalid_grant" => Err(ProviderError::Refused(error)),
            Ok(Refusal { error }) => {
                tracing::warn!(provider = self.name, %status, error, "a provider refuses our log-ins");
                Err(self.away(&format!("answered {status}")))
            }
            Err(_) => Err(self.away(&format!("answered {status}"))),
        }
    }

    fn form(&self, grant: &Grant<'_>) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", grant.code)
            .append_pair("redirect_uri", grant.redirect)
            .append_pair("client_id", &self.client_id)
            .append_pair("code_verifier", grant.verifier);
        if let Some(secret) = &self.client_secret {
            form.append_pair("client_secret", secret.expose());
        }
        form.finish()
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, Vec<u8>), ProviderError> {
        // Not the address: what is said of a failure is ours.
        let failed = |error: reqwest::Error| self.away(&error.without_url().to_string());
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                return Err(self.away("answers without end"));
            }
        }
        Ok((response.status(), body))
    }

    fn away(&self, what: &str) -> ProviderError {
        ProviderError::Away(format!("{}: {what}", self.name))
    }
}

#[async_trait]
impl Provider for OAuthProvider {
    fn label(&self) -> &str {
        &self.label
    }

    fn page(&self, request: &Request<'_>) -> String {
        let mut page = self.authorize.clone();
        page.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", request.redirect)
            .append_pair("scope", &self.scopes)
            .append_pair("state", request.state)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        page.into()
    }

    async fn who(&self, grant: &Grant<'_>) -> Result<ProvedPerson, ProviderError> {
        let answer = self.ask(grant).await;
        let result = match &answer {
            Ok(_) => "ok",
            Err(ProviderError::Refused(_)) => "refused",
            Err(ProviderError::Away(_)) => "away",
        };
        metrics::counter!(
            "fireside_store_provider_calls_total", "provider" => self.name.clone(), "result" => result
        )
        .increment(1);
        answer
    }
}

/// Whom claims are about; none if they are about nobody.
fn person(claims: &Value) -> Option<ProvedPerson> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let subject = text("sub")?;
    let fits = (1..=LONGEST_SUBJECT).contains(&subject.len());
    if !fits || !subject.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let name = ["nickname", "preferred_username", "name"]
        .into_iter()
        .find_map(text)
        .filter(|name| name.len() <= LONGEST_NAME);
    Some(ProvedPerson {
        subject: subject.to_owned(),
        email: text("email").filter(|_| verified).map(str::to_owned),
        name: name.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_has_a_subject_and_an_address_only_if_it_is_proved() {
        let claims = json!({"sub": "17", "email": "ann@example.org", "email_verified": true, "nickname": "Ann"});
        let ann = person(&claims).unwrap();
        assert_eq!(ann.subject, "17");
        assert_eq!(ann.email.as_deref(), Some("ann@example.org"));
        assert_eq!(ann.name.as_deref(), Some("Ann"));
        for verified in [json!(false), json!("true"), json!(1), Value::Null] {
            let claims =
                json!({"sub": "17", "email": "ann@example.org", "email_verified": verified});
            assert_eq!(person(&claims).unwrap().email, None);
        }
        for subject in [
            json!(""),
            json!(17),
            json!("a b"),
            json!("é"),
            json!("x".repeat(256)),
        ] {
            assert_eq!(person(&json!({"sub": subject})), None, "{subject}");
        }
        assert_eq!(person(&json!([])), None);
    }

    #[test]
    fn the_page_of_a_provider_says_what_is_asked_for() {
        let text = ProviderText {
            name: "kakao",
            label: "Kakao",
            client_id: "our key",
            client_secret: None,
            scopes: "openid",
            authorize_url: "https://kauth.example.org/oauth/authorize?prompt=login",
            token_url: "https://kauth.example.org/oauth/token",
            user_url: "https://kapi.example.org/userinfo",
        };
        let provider = OAuthProvider::new(&text, Duration::from_secs(1)).unwrap();
        let page = provider.page(&Request {
            state: "s",
            challenge: "c",
            redirect: "https://play.example.org/back",
        });
        assert_eq!(
            page,
            "https://kauth.example.org/oauth/authorize?prompt=login&response_type=code&client_id=our+key\
             &redirect_uri=https%3A%2F%2Fplay.example.org%2Fback&scope=openid&state=s&code_challenge=c\
             &code_challenge_method=S256"
        );
    }
}
