//! The other end of the event delivery: what a chat node would be told, as it comes over the wire.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::StatusCode, web};
use serde_json::Value;
use tokio::sync::Notify;

use crate::app::SERVICE_TOKEN;

/// What `answer` says to let deliveries wait for ever.
const HANG: u16 = 0;

/// Listens where the store delivers, and notes what comes.
#[derive(Clone)]
pub struct Node {
    url: String,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    events: Mutex<Vec<Value>>,
    refused: AtomicU16,
    answer: AtomicU16,
    begun: AtomicU16,
    news: Notify,
}

impl Node {
    pub fn start() -> Self {
        let heard = Arc::new(Heard::default());
        heard.answer.store(204, Ordering::Relaxed);
        let data = web::Data::from(heard.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/v1/server/events", web::post().to(take))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, heard }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers every delivery so from now on.
    pub fn answer(&self, status: u16) {
        self.heard.answer.store(status, Ordering::Relaxed);
    }

    /// Answers no delivery any more.
    pub fn hang(&self) {
        self.answer(HANG);
    }

    /// Waits until a delivery has begun.
    pub async fn wait_for_delivery(&self) {
        while self.heard.begun.load(Ordering::Relaxed) == 0 {
            self.heard.news.notified().await;
        }
    }

    /// How many deliveries were answered with an error.
    pub fn refused(&self) -> u16 {
        self.heard.refused.load(Ordering::Relaxed)
    }

    /// What has come so far.
    pub fn events(&self) -> Vec<Value> {
        self.heard.events.lock().unwrap().clone()
    }

    /// Waits for an event, and says how long that took.
    pub async fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> (Value, Duration) {
        let begun = Instant::now();
        let found = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                let news = self.heard.news.notified();
                if let Some(event) = self.events().into_iter().find(&wanted) {
                    return event;
                }
                news.await;
            }
        });
        let event = found
            .await
            .unwrap_or_else(|_| panic!("not among {:#?}", self.events()));
        (event, begun.elapsed())
    }

    /// Waits for so many events of a kind, each of them counted once, however long they take.
    pub async fn wait_for_all(
        &self,
        how_many: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let mut events = self.events();
            let mut seen = HashSet::new();
            events.retain(|event| wanted(event) && seen.insert(event["id"].to_string()));
            if events.len() >= how_many {
                return events;
            }
            assert!(Instant::now() < deadline, "{} of {how_many}", events.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a delivery was answered with an error.
    pub async fn wait_for_refusal(&self) {
        while self.refused() == 0 {
            self.heard.news.notified().await;
        }
    }
}

async fn take(
    request: HttpRequest,
    heard: web::Data<Heard>,
    body: web::Json<Value>,
) -> HttpResponse {
    let authorization = request
        .headers()
        .get("authorization")
        .unwrap()
        .to_str()
        .unwrap();
    assert_eq!(authorization, format!("Bearer {SERVICE_TOKEN}"));
    heard.begun.fetch_add(1, Ordering::Relaxed);
    if heard.answer.load(Ordering::Relaxed) == HANG {
        heard.news.notify_one();
        std::future::pending::<()>().await;
    }
    let status = StatusCode::from_u16(heard.answer.load(Ordering::Relaxed)).unwrap();
    if status.is_success() {
        let events = body["events"].as_array().unwrap().clone();
        assert!((1..=100).contains(&events.len()));
        heard.events.lock().unwrap().extend(events);
    } else {
        heard.refused.fetch_add(1, Ordering::Relaxed);
    }
    // One waiter at most, and one permit kept for it if it is not yet waiting.
    heard.news.notify_one();
    HttpResponse::new(status)
}
