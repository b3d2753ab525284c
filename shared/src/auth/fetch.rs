//! Reading the published keys, from an address or a file: when needed and no more often than decent.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use metrics::counter;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Jwks, KeyError, KeyRing, RefreshKeys};

/// Anyone can send tokens with invented key names; this is how often that may cost the publisher a
/// request.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// The same after a request that brought nothing: services start in any order, and whoever logs in
/// first should not wait long for the keys.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A key set is a few hundred bytes a key.
const MAX_BYTES: usize = 64 * 1024;

/// Keeps a [`KeyRing`] up to date from a JWKS address or file.
///
/// While the address is out of reach, or the file is none, the keys at hand stay in force: a store that
/// is down must not log everybody out.
#[derive(Debug)]
pub struct JwksFetcher {
    source: Source,
    ring: KeyRing,
    min_interval: Duration,
    /// Held while a fetch runs, so that callers who need the same news wait for one request.
    last: Mutex<Option<Attempt>>,
}

/// Where a key set is published.
#[derive(Debug)]
enum Source {
    Address(reqwest::Client, String),
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(_, url) => f.write_str(url),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    finished: Instant,
    succeeded: bool,
}

impl Attempt {
    /// Whether it is too early for another at `now`.
    fn is_fresh(&self, now: Instant, min_interval: Duration) -> bool {
        let rest = if self.succeeded {
            min_interval
        } else {
            min_interval.min(RETRY_INTERVAL)
        };
        self.finished + rest > now
    }
}

/// Why a fetch brought nothing.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("not a key set: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl JwksFetcher {
    /// Fetches from `url` into `ring`. Nothing is asked before the first [`RefreshKeys::refresh`].
    pub fn new(url: impl Into<String>, ring: KeyRing) -> Result<Self, KeyError> {
        // A second call finds a provider installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(5))
            // A key set that moves is a change of configuration, not something to follow.
            .redirect(reqwest::redirect::Policy::none())
            // Settings are read in one place, and who believes whom is one of them.
            .no_proxy()
            .build()
            .map_err(|error| KeyError::Client(error.to_string()))?;
        Ok(Self::of(Source::Address(client, url.into()), ring))
    }

    /// Reads a file into `ring`, at once and again with every [`RefreshKeys::refresh`].
    pub fn of_file(path: &Path, ring: KeyRing) -> Result<Self, KeyError> {
        let keys = Self::of(Source::File(path.to_owned()), ring);
        keys.read_file(path).map_err(|error| KeyError::KeySet {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(keys)
    }

    fn of(source: Source, ring: KeyRing) -> Self {
        Self {
            source,
            ring,
            min_interval: MIN_INTERVAL,
            last: Mutex::new(None),
        }
    }

    /// Another least time between two requests.
    #[must_use]
    pub fn with_min_interval(mut self, min_interval: Duration) -> Self {
        self.min_interval = min_interval;
        self
    }

    async fn fetch(&self, client: &reqwest::Client, url: &str) -> Result<(), FetchError> {
        let mut response = client.get(url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        self.put_in_force(&body)
    }

    fn read_file(&self, path: &Path) -> Result<(), FetchError> {
        if std::fs::metadata(path)?.len() > MAX_BYTES as u64 {
            return Err(FetchError::TooLong);
        }
        self.put_in_force(&std::fs::read(path)?)
    }

    fn put_in_force(&self, document: &[u8]) -> Result<(), FetchError> {
        let jwks: Jwks = serde_json::from_slice(document)?;
        Ok(self.ring.replace(&jwks)?)
    }

    async fn refresh_if_due(&self) -> bool {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(attempt) = *last {
            if attempt.finished >= asked {
                // Somebody else's request ended while this call waited for it.
                return attempt.succeeded;
            }
            if attempt.is_fresh(asked, self.min_interval) {
                return false;
            }
        }
        self.attempt(&mut last).await
    }

    async fn attempt(&self, last: &mut Option<Attempt>) -> bool {
        let outcome = match &self.source {
            Source::Address(client, url) => self.fetch(client, url).await,
            Source::File(path) => self.read_file(path),
        };
        let source = &self.source;
        let word = match &outcome {
            Ok(()) => {
                tracing::debug!(%source, keys = ?self.ring, "keys read");
                "read"
            }
            Err(error) => {
                tracing::warn!(%source, %error, "cannot read keys; those at hand stay");
                "refused"
            }
        };
        counter!("fireside_key_reads_total", "outcome" => word).increment(1);
        *last = Some(Attempt {
            finished: Instant::now(),
            succeeded: outcome.is_ok(),
        });
        outcome.is_ok()
    }
}

impl RefreshKeys for JwksFetcher {
    fn refresh(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.refresh_if_due())
    }

    fn refresh_now(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async {
            let mut last = self.last.lock().await;
            self.attempt(&mut last).await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix_web::dev::ServerHandle;
    use actix_web::{App, HttpServer, web};
    use parking_lot::Mutex as SyncMutex;

    use super::*;
    use crate::auth::{SigningKey, TokenError, TokenIssuer, TokenVerifier};
    use crate::id::UserId;

    #[derive(Default)]
    struct Publisher {
        body: SyncMutex<String>,
        asked: AtomicUsize,
    }

    fn publish(publisher: Arc<Publisher>) -> (String, ServerHandle) {
        let server = HttpServer::new(move || {
            let publisher = publisher.clone();
            App::new().default_service(web::to(move || {
                publisher.asked.fetch_add(1, Ordering::SeqCst);
                std::future::ready(publisher.body.lock().clone())
            }))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let url = format!("http://{}/.well-known/jwks.json", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        (url, handle)
    }

    fn key() -> SigningKey {
        SigningKey::load_or_generate_ed25519(tempfile::tempdir().unwrap().path()).unwrap()
    }

    fn document(keys: &[&SigningKey]) -> String {
        serde_json::to_string(&Jwks::publish(keys.iter().copied())).unwrap()
    }

    fn token(key: &SigningKey) -> String {
        let issuer = TokenIssuer::new(key, "i", Duration::from_mins(1));
        issuer
            .issue(&UserId::parse("u1").unwrap(), "Ann")
            .unwrap()
            .token
    }

    #[actix_web::test]
    async fn a_new_key_is_fetched_when_it_is_first_used() {
        let (old, new) = (key(), key());
        let publisher = Arc::new(Publisher::default());
        *publisher.body.lock() = document(&[&old]);
        let (url, _handle) = publish(publisher.clone());
        let ring = KeyRing::default();
        let fetcher = JwksFetcher::new(url, ring.clone()).unwrap();
        let fetcher = Arc::new(fetcher.with_min_interval(Duration::ZERO));
        let verifier = TokenVerifier::eddsa_refreshed(ring, "i", fetcher);

        assert!(verifier.verify_fresh(&token(&old)).await.is_ok());
        assert!(verifier.verify_fresh(&token(&old)).await.is_ok());
        assert_eq!(
            publisher.asked.load(Ordering::SeqCst),
            1,
            "a known key asks nobody"
        );
        assert_eq!(
            verifier.verify_fresh(&token(&new)).await,
            Err(TokenError::UnknownKey)
        );
        *publisher.body.lock() = document(&[&new]);
        assert!(verifier.verify_fresh(&token(&new)).await.is_ok());
        let withdrawn = verifier.verify_fresh(&token(&old)).await;
        assert_eq!(withdrawn, Err(TokenError::UnknownKey));
    }

    #[actix_web::test]
    async fn invented_key_names_cost_the_publisher_little() {
        let published = key();
        let publisher = Arc::new(Publisher::default());
        *publisher.body.lock() = document(&[&published]);
        let (url, _handle) = publish(publisher.clone());
        let ring = KeyRing::default();
        let fetcher = Arc::new(JwksFetcher::new(url, ring.clone()).unwrap());
        let verifier = TokenVerifier::eddsa_refreshed(ring, "i", fetcher);
        let stranger = token(&key());
        for _ in 0..50 {
            assert_eq!(
                verifier.verify_fresh(&stranger).await,
                Err(TokenError::UnknownKey)
            );
        }
        assert_eq!(publisher.asked.load(Ordering::SeqCst), 1);
        assert!(verifier.verify(&token(&published)).is_ok());
    }

    #[actix_web::test]
    async fn an_operator_need_not_wait() {
        let (old, new) = (key(), key());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        let none = JwksFetcher::of_file(&file, KeyRing::default()).unwrap_err();
        assert!(none.to_string().contains("jwks.json"), "{none}");
        std::fs::write(&file, document(&[&old])).unwrap();
        let ring = KeyRing::default();
        let keys = JwksFetcher::of_file(&file, ring.clone()).unwrap();
        let verifier = TokenVerifier::eddsa(ring, "i");
        assert!(verifier.verify(&token(&old)).is_ok());
        assert!(keys.refresh().await);
        std::fs::write(&file, document(&[&new])).unwrap();
        assert!(!keys.refresh().await, "too soon for anybody who asks");
        assert!(verifier.verify(&token(&new)).is_err());
        assert!(keys.refresh_now().await);
        assert!(verifier.verify(&token(&new)).is_ok());
        std::fs::write(&file, "nothing").unwrap();
        assert!(!keys.refresh_now().await);
        assert!(verifier.verify(&token(&new)).is_ok());
    }

    #[test]
    fn what_brought_nothing_is_tried_again_sooner() {
        let finished = Instant::now();
        let attempt = |succeeded| Attempt {
            finished,
            succeeded,
        };
        let after = |millis| finished + Duration::from_millis(millis);
        assert!(attempt(true).is_fresh(after(9_999), MIN_INTERVAL));
        assert!(!attempt(true).is_fresh(after(10_000), MIN_INTERVAL));
        assert!(attempt(false).is_fresh(after(999), MIN_INTERVAL));
        assert!(!attempt(false).is_fresh(after(1_000), MIN_INTERVAL));
    }

    #[actix_web::test]
    async fn keys_at_hand_outlive_their_publisher() {
        let key = key();
        let publisher = Arc::new(Publisher::default());
        *publisher.body.lock() = document(&[&key]);
        let (url, handle) = publish(publisher.clone());
        let ring = KeyRing::default();
        let fetcher = JwksFetcher::new(url, ring.clone()).unwrap();
        let fetcher = fetcher.with_min_interval(Duration::ZERO);
        assert!(fetcher.refresh().await);
        for nonsense in ["", "{}", "{\"keys\":[]}", &"x".repeat(MAX_BYTES + 1)] {
            *publisher.body.lock() = nonsense.to_owned();
            assert!(!fetcher.refresh().await);
        }
        handle.stop(false).await;
        assert!(!fetcher.refresh().await);
        assert!(TokenVerifier::eddsa(ring, "i").verify(&token(&key)).is_ok());
    }
}
