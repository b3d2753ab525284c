//! Friends asked of a remote store-api, over its internal routes with the service token.
//!
//! A question has [`DEADLINE`] in all, retries included: sessions wait for the answer, and the cache
//! asks again later anyway. After a failure, questions fail at once for [`REST`], so that a store-api that
//! does not answer holds up nobody but the one who asks first.
//!
//! Graphs are asked for several at a time; a store-api of before that was possible, as there may be during a
//! deployment, is asked for one after the other.
//!
//! Bound: [`AT_ONCE`] requests under way; further ones wait their turn within their deadline.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shared::{
    id::{Timestamp, UserId},
    settings::Secret,
};
use tokio::{sync::Semaphore, time::Instant};

use super::{Friends, FriendsError, Graph, Revocation};

/// How long a question may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long after a failure nothing is asked.
const REST: Duration = Duration::from_millis(500);
/// How long before the second attempt, and before the third.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];
/// How many requests may be under way.
const AT_ONCE: usize = 64;
/// The longest answer.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A remote store-api.
#[derive(Debug)]
pub struct HttpFriends {
    client: Client,
    base: String,
    token: Secret,
    turns: Semaphore,
    rests_until: Mutex<Option<Instant>>,
}

/// The client cannot be made from what it was given.
#[derive(Debug, thiserror::Error)]
#[error("the client for store-api: {0}")]
pub struct HttpFriendsError(String);

/// Why one attempt failed.
enum Failure {
    /// Another may succeed.
    Passing(String),
    /// None will.
    Lasting(String),
    /// There is no such route: an older store-api.
    Unknown,
}

#[derive(Deserialize)]
struct NamedBody {
    id: UserId,
    name: String,
}

#[derive(Deserialize)]
struct GraphBody {
    friends: Vec<NamedBody>,
    blocked: Vec<UserId>,
    blocked_by: Vec<UserId>,
}

impl From<GraphBody> for Graph {
    fn from(body: GraphBody) -> Self {
        let friends = body.friends.into_iter();
        Self {
            friends: friends.map(|friend| (friend.id, friend.name)).collect(),
            blocked: body.blocked.into_iter().collect(),
            blocked_by: body.blocked_by.into_iter().collect(),
        }
    }
}

/// Asks for graphs, or for names.
#[derive(Serialize)]
struct OfUsers<'a> {
    ids: &'a [UserId],
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum RevocationBody {
    Token {
        jti: String,
        expires: Timestamp,
    },
    User {
        user: UserId,
        issued_at_or_before: Timestamp,
    },
}

impl HttpFriends {
    /// A client of the store-api at `url`, such as `http://store:8120`. Nothing is asked yet.
    pub fn new(url: &str, token: Secret) -> Result<Self, HttpFriendsError> {
        let parsed = reqwest::Url::parse(url).map_err(|e| HttpFriendsError(e.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(HttpFriendsError(format!("{url} is not an http address")));
        }
        // A second call finds a provider installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(1))
            .timeout(DEADLINE)
            .pool_max_idle_per_host(AT_ONCE)
            .tcp_nodelay(true)
            // The token goes to store-api and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|e| HttpFriendsError(e.to_string()))?;
        Ok(Self {
            client,
            base: url.trim_end_matches('/').to_owned(),
            token,
            turns: Semaphore::new(AT_ONCE),
            rests_until: Mutex::new(None),
        })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, FriendsError> {
        let answer = self.ask_if_known(method, path, body).await?;
        answer.ok_or_else(|| {
            tracing::error!(path, "store-api does not know a question of this node");
            FriendsError::Unavailable("it does not know the question".to_owned())
        })
    }

    /// As [`Self::ask`]; `None` when store-api does not know the question.
    async fn ask_if_known<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Option<T>, FriendsError> {
        if self
            .rests_until
            .lock()
            .is_some_and(|until| Instant::now() < until)
        {
            let reason = "it did not answer a moment ago";
            return Err(FriendsError::Unavailable(reason.to_owned()));
        }
        let request = || {
            let url = format!("{}{path}", self.base);
            let request = self.client.request(method.clone(), url);
            let request = request.bearer_auth(self.token.expose());
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        };
        let answer = tokio::time::timeout(DEADLINE, self.attempts(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(Failure::Passing("no answer in time".into())));
        *self.rests_until.lock() = match &answer {
            Err(Failure::Passing(_)) => Some(Instant::now() + REST),
            _ => None,
        };
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Failure::Unknown) => Ok(None),
            Err(Failure::Passing(reason) | Failure::Lasting(reason)) => {
                Err(FriendsError::Unavailable(reason))
            }
        }
    }

    async fn graph(&self, user: &UserId) -> Result<Graph, FriendsError> {
        // In a path these would lead elsewhere, and no account is called so.
        if matches!(user.as_str(), "." | "..") {
            return Ok(Graph::default());
        }
        let path = format!("/v1/internal/users/{user}/friends");
        let body: GraphBody = self.ask(Method::GET, &path, None::<&()>).await?;
        Ok(body.into())
    }

    async fn attempts<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<T, Failure> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        for pause in PAUSES {
            match attempt(request()).await {
                Err(Failure::Passing(reason)) => {
                    tracing::debug!(reason, "store-api is asked again");
                }
                answer => return answer,
            }
            // Spread out: the nodes fail together and should not come back together.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
        }
        attempt(request()).await
    }
}

/// Every question only reads, so any of them may be asked twice.
async fn attempt<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Failure> {
    let mut response = request
        .send()
        .await
        .map_err(|e| Failure::Passing(e.to_string()))?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Failure::Passing(format!("it answered {status}")));
    }
    if status == StatusCode::NOT_FOUND {
        return Err(Failure::Unknown);
    }
    if !status.is_success() {
        // Ours is wrong: a token, an address. Worth a look, not a retry.
        tracing::error!(%status, "store-api refuses the questions of this node");
        return Err(Failure::Lasting(format!("it answered {status}")));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|e| Failure::Passing(e.to_string()))?
    {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(Failure::Lasting(format!(
                "its answer is over {MAX_BYTES} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|e| Failure::Lasting(format!("its answer: {e}")))
}

#[async_trait]
impl Friends for HttpFriends {
    async fn graphs(&self, users: &[UserId]) -> Result<Vec<Graph>, FriendsError> {
        let body = OfUsers { ids: users };
        let answer: Option<Items<GraphBody>> = self
            .ask_if_known(Method::POST, "/v1/internal/graphs", Some(&body))
            .await?;
        let Some(graphs) = answer else {
            return try_join_all(users.iter().map(|user| self.graph(user))).await;
        };
        if graphs.items.len() != users.len() {
            let (found, asked) = (graphs.items.len(), users.len());
            let reason = format!("it answered {found} graphs to a question for {asked}");
            return Err(FriendsError::Unavailable(reason));
        }
        Ok(graphs.items.into_iter().map(Graph::from).collect())
    }

    async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, FriendsError> {
        if users.is_empty() {
            return Ok(HashMap::new());
        }
        let body = OfUsers { ids: users };
        let names: Items<NamedBody> = self
            .ask(Method::POST, "/v1/internal/names", Some(&body))
            .await?;
        let names = names.items.into_iter();
        Ok(names.map(|person| (person.id, person.name)).collect())
    }

    async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError> {
        let path = "/v1/internal/revocations";
        let revocations: Items<RevocationBody> = self.ask(Method::GET, path, None::<&()>).await?;
        let revocations = revocations.items.into_iter().map(|body| match body {
            RevocationBody::Token { jti, expires } => Revocation::Token { jti, expires },
            RevocationBody::User {
                user,
                issued_at_or_before,
            } => Revocation::User {
                user,
                issued_at_or_before,
            },
        });
        Ok(revocations.collect())
    }
}

#[cfg(test)]
mod tests;
