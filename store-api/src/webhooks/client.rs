//! Handing an event over by HTTP, and what the answers mean.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
    redirect::Policy,
};
use url::Url;

use super::address::Reach;
use crate::error::StoreError;

/// How much of an answer is read, so that its connection can be used again.
const READ_OF_ANSWER: usize = 16 << 10;
/// How long a connection waits for the next event.
const IDLE: Duration = Duration::from_secs(15);
/// The longest pause that somebody may ask for.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Hands events over.
pub(super) struct Courier {
    /// For `https:` and `http:`: they may reach different addresses.
    encrypted: Client,
    plain: Client,
    reach: Arc<Reach>,
}

/// What is sent.
pub(super) struct Letter<'a> {
    pub(super) id: &'a str,
    /// Seconds since the epoch.
    pub(super) second: i64,
    /// Signatures with a space between them.
    pub(super) signatures: String,
    pub(super) body: String,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken.
    Delivered(String),
    /// Not taken, by somebody who is there: others may be.
    Refused(String),
    /// Nobody is there, or somebody who takes nothing for the time being.
    Away {
        outcome: String,
        pause: Option<Duration>,
    },
    /// The address says that it is no more.
    Gone(String),
}

/// An address that may not be reached.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to no address that webhooks may reach")]
struct OutOfReach;

/// Looks names up, and gives nothing but addresses that may be reached: what is connected to is what
/// was looked at.
struct Resolver {
    reach: Arc<Reach>,
    encrypted: bool,
}

impl Courier {
    pub(super) fn new(reach: &Arc<Reach>, timeout: Duration) -> Result<Self, StoreError> {
        // Only the first in a process counts; with it already there all is well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |encrypted| {
            Client::builder()
                .timeout(timeout)
                .pool_idle_timeout(IDLE)
                .dns_resolver(Resolver {
                    reach: reach.clone(),
                    encrypted,
                })
                // A redirect leads where nobody looked, and is for whoever registered the address.
                .redirect(Policy::none())
                .no_proxy()
                .build()
                .map_err(|error| StoreError::Internal(format!("webhooks: {error}")))
        };
        Ok(Self {
            encrypted: client(true)?,
            plain: client(false)?,
            reach: reach.clone(),
        })
    }

    /// Makes one attempt.
    pub(super) async fn hand_over(&self, url: &Url, letter: Letter<'_>) -> Verdict {
        let encrypted = url.scheme() == "https";
        // No resolver is asked for an address that is a number.
        if self.reach.refuses(url, encrypted) {
            return away("address");
        }
        let client = if encrypted {
            &self.encrypted
        } else {
            &self.plain
        };
        let request = client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "Fireside-Webhooks")
            .header("webhook-id", letter.id)
            .header("webhook-timestamp", letter.second)
            .header("webhook-signature", letter.signatures)
            .body(letter.body);
        match request.send().await {
            Ok(mut answer) => {
                let pause = answer.headers().get(RETRY_AFTER);
                let pause = pause.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                let verdict = judge(answer.status(), pause.map(Duration::from_secs));
                let mut read = 0;
                while let Ok(Some(chunk)) = answer.chunk().await {
                    read += chunk.len();
                    if read > READ_OF_ANSWER {
                        break;
                    }
                }
                verdict
            }
            Err(error) if is_out_of_reach(&error) => away("address"),
            Err(error) if error.is_timeout() => away("timeout"),
            Err(_) => away("connection"),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, encrypted) = (self.reach.clone(), self.encrypted);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = |address: &SocketAddr| reach.allows(address.ip(), encrypted);
            let allowed: Vec<SocketAddr> = found.filter(allowed).collect();
            if allowed.is_empty() {
                return Err(OutOfReach.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// What an answer means.
fn judge(status: StatusCode, pause: Option<Duration>) -> Verdict {
    let outcome = status.as_str().to_owned();
    match status {
        status if status.is_success() => Verdict::Delivered(outcome),
        StatusCode::GONE => Verdict::Gone(outcome),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Verdict::Away {
            outcome,
            pause: pause.map(|pause| pause.min(LONGEST_PAUSE)),
        },
        _ => Verdict::Refused(outcome),
    }
}

fn away(outcome: &str) -> Verdict {
    Verdict::Away {
        outcome: outcome.to_owned(),
        pause: None,
    }
}

fn is_out_of_reach(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<OutOfReach>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_about_the_event_or_about_who_answers() {
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), None);
        for status in [200, 202, 204] {
            assert_eq!(judged(status), Verdict::Delivered(status.to_string()));
        }
        for status in [301, 307, 400, 401, 404, 500, 501] {
            assert_eq!(judged(status), Verdict::Refused(status.to_string()));
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(judged(status), away(&status.to_string()));
        }
        assert_eq!(judged(410), Verdict::Gone("410".into()));
        let long = judge(
            StatusCode::SERVICE_UNAVAILABLE,
            Some(Duration::from_hours(24)),
        );
        let Verdict::Away { pause, .. } = long else {
            panic!("{long:?}");
        };
        assert_eq!(pause, Some(LONGEST_PAUSE));
    }
    #[tokio::test]
    async fn a_name_leads_only_where_it_may() {
        let found = async |networks: &[&str]| {
            let networks = networks.iter().map(|text| text.parse().unwrap());
            let reach = Arc::new(Reach::new(networks.collect()));
            let courier = Courier::new(&reach, Duration::from_secs(5)).unwrap();
            // Past the look at the name itself: nobody listens there.
            let error = courier.encrypted.post("https://localhost:1/").send().await;
            is_out_of_reach(&error.unwrap_err())
        };
        assert!(found(&[]).await);
        assert!(found(&["10.0.0.0/8"]).await);
        assert!(!found(&["127.0.0.0/8", "::1"]).await);
    }
}
