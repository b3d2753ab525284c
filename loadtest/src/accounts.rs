//! Accounts and friendships over REST, as any client would make them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::id::UserId;

/// An answer of REST that was not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No answer.
    #[error("no answer: {0}")]
    Broken(#[from] reqwest::Error),
    /// Another status.
    #[error("{method} {path}: HTTP {status}: {body}")]
    Refused {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
        /// The body.
        body: String,
    },
}

/// An account with what it takes to be it.
#[derive(Debug, Clone)]
pub struct Account {
    /// The id.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// The address it logs in with.
    pub email: String,
    /// The password.
    pub password: String,
    /// The newest access token.
    pub access_token: String,
    /// The newest refresh token.
    pub refresh_token: String,
}

/// An answer of REST.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, `null` when it is not JSON.
    pub body: Value,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What a chat node answers; everything else is for the store. One server answers both.
const CHAT: [&str; 6] = [
    "/v1/rooms",
    "/v1/search",
    "/v1/presence",
    "/v1/server",
    "/v1/openapi.json",
    "/v1/reference",
];

/// REST of one server, or of one chat that is several.
#[derive(Debug, Clone)]
pub struct Rest {
    base: String,
    http: Client,
    nodes: Arc<Nodes>,
}

/// Chat nodes that are no part of the server at `base`.
#[derive(Debug, Default)]
struct Nodes {
    origins: Vec<String>,
    next: AtomicUsize,
}

#[derive(Deserialize)]
struct Grant {
    user: GrantUser,
    access_token: String,
    refresh_token: String,
}

#[derive(Deserialize)]
struct GrantUser {
    id: UserId,
    name: String,
}

impl Rest {
    /// At `base`, an `http://host:port` origin.
    pub fn new(base: &str) -> Result<Self, RestError> {
        // A second call finds the provider set, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            http,
            nodes: Arc::default(),
        })
    }

    /// With chat answered by these nodes, in turns; the server itself is store-api.
    #[must_use]
    pub fn with_chat(mut self, origins: &[&str]) -> Self {
        let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
        self.nodes = Arc::new(Nodes {
            origins,
            next: AtomicUsize::new(0),
        });
        self
    }

    /// Where a request goes.
    pub fn url(&self, path: &str) -> String {
        let Nodes { origins, next } = &*self.nodes;
        let chat = CHAT.iter().any(|prefix| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        });
        let base = if origins.is_empty() || !chat {
            &self.base
        } else {
            &origins[next.fetch_add(1, Ordering::Relaxed) % origins.len()]
        };
        format!("{base}{path}")
    }

    /// The origin.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Registers an account.
    pub async fn register(&self, name: &str, email: &str) -> Result<Account, RestError> {
        let password = format!("correct horse {name}");
        let body = json!({"email": email, "name": name, "password": password});
        let answer = self.post("/v1/auth/register", &body, None).await?;
        let grant: Grant = answer.json().await?;
        Ok(Account {
            id: grant.user.id,
            name: grant.user.name,
            email: email.to_owned(),
            password,
            access_token: grant.access_token,
            refresh_token: grant.refresh_token,
        })
    }

    /// Logs in afresh: another refresh family.
    pub async fn login(&self, account: &Account) -> Result<Account, RestError> {
        let body = json!({"email": account.email, "password": account.password});
        let answer = self.post("/v1/auth/login", &body, None).await?;
        let grant: Grant = answer.json().await?;
        Ok(Account {
            access_token: grant.access_token,
            refresh_token: grant.refresh_token,
            ..account.clone()
        })
    }

    /// Trades the refresh token for new tokens.
    pub async fn refresh(&self, account: &Account) -> Result<Account, RestError> {
        let body = json!({"refresh_token": account.refresh_token});
        let answer = self.post("/v1/auth/refresh", &body, None).await?;
        let grant: Grant = answer.json().await?;
        Ok(Account {
            access_token: grant.access_token,
            refresh_token: grant.refresh_token,
            ..account.clone()
        })
    }

    /// Makes two accounts friends: one asks, the other accepts.
    pub async fn befriend(&self, a: &Account, b: &Account) -> Result<(), RestError> {
        for (who, other) in [(a, b), (b, a)] {
            let path = format!("/v1/friends/{}", other.id);
            self.ok(Method::PUT, &path, None, Some(&who.access_token))
                .await?;
        }
        Ok(())
    }

    /// A request whose answer is looked at, whatever it is.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Result<Answer, RestError> {
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Self::answer(request.send().await?).await
    }

    /// A request with further headers whose answer is looked at, whatever it is.
    pub async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, RestError> {
        let mut request = self.http.request(method, self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Self::answer(request.send().await?).await
    }

    async fn answer(response: Response) -> Result<Answer, RestError> {
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into()))
            .collect();
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// A request that must be answered with success.
    pub async fn ok(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Result<Value, RestError> {
        let answer = self.call(method.clone(), path, body, token).await?;
        let status = StatusCode::from_u16(answer.status).unwrap_or_default();
        if status.is_success() {
            return Ok(answer.body);
        }
        Err(RestError::Refused {
            method,
            path: path.to_owned(),
            status,
            body: answer.body.to_string(),
        })
    }

    /// A POST under a name, as what moves money wants it.
    pub async fn named(
        &self,
        path: &str,
        name: &str,
        body: &Value,
        token: &str,
    ) -> Result<Value, RestError> {
        let request = self.http.post(self.url(path)).json(body);
        let request = request.bearer_auth(token).header("idempotency-key", name);
        let response = request.send().await?.error_for_status()?;
        Ok(response.json().await?)
    }

    async fn post(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
        token: Option<&str>,
    ) -> Result<Response, RestError> {
        let mut request = self.http.post(self.url(path)).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(RestError::Refused {
            method: Method::POST,
            path: path.to_owned(),
            status: response.status(),
            body: response.text().await.unwrap_or_default(),
        })
    }
}
