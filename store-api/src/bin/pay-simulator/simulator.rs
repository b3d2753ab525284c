//! What the routes share: the books, the dice, and how a call is answered.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpResponse,
    body::{BodySize, MessageBody},
    http::StatusCode,
    rt,
    web::{Bytes, Data},
};
use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{Settings, books::Books, trouble::Trouble};

pub struct Simulator {
    pub settings: Settings,
    pub base: String,
    pub books: Mutex<Books>,
    pub client: reqwest::Client,
    dice: Mutex<StdRng>,
    under_way: AtomicUsize,
    /// Answers under the names of requests; none while one is at work.
    named: Mutex<HashMap<String, Option<Reply>>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Reply {
    pub fn ok(body: Value) -> Self {
        Self { status: 200, body }
    }
}

/// A body that breaks off.
struct BrokenOff;

impl Simulator {
    pub fn new(settings: Settings, base: String) -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .no_proxy()
            .build()?;
        Ok(Self {
            dice: Mutex::new(StdRng::seed_from_u64(settings.seed)),
            settings,
            base,
            books: Mutex::new(Books::new()),
            client,
            under_way: AtomicUsize::new(0),
            named: Mutex::default(),
        })
    }

    /// The books, for whoever compares.
    pub fn shown(&self) -> Value {
        // First: what is done after it was counted is in the books.
        let under_way = self.under_way.load(Ordering::SeqCst);
        json!({"under_way": under_way, "payments": self.books.lock().shown()})
    }

    /// A pause of anything up to what is late.
    pub fn pause(&self) -> Duration {
        let late = self.settings.late.max(1);
        Duration::from_millis(self.dice.lock().random_range(0..late))
    }

    /// A number below `bound`.
    pub fn below(&self, bound: u32) -> u32 {
        self.dice.lock().random_range(0..bound)
    }

    /// Counts a call as under way until [`Simulator::end`].
    fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// Does what a request of this name asks for, once; answers the same again.
    pub fn once(&self, name: Option<&str>, act: impl FnOnce() -> Reply) -> Reply {
        let Some(name) = name else { return act() };
        match self.named.lock().entry(name.to_owned()) {
            Entry::Vacant(unknown) => {
                unknown.insert(None);
            }
            Entry::Occupied(known) => {
                return known.get().clone().unwrap_or_else(|| Reply {
                    status: 409,
                    body: json!({
                        "code": "IDEMPOTENT_REQUEST_PROCESSING", "message": "the first is still at work",
                    }),
                });
            }
        }
        let reply = act();
        self.named
            .lock()
            .insert(name.to_owned(), Some(reply.clone()));
        reply
    }
}

/// Answers a call by `act`, or as trouble has it. What is done is done whether or not somebody
/// still waits.
pub async fn answer(
    simulator: &Data<Simulator>,
    act: impl Fn(&Data<Simulator>) -> Reply + 'static,
) -> HttpResponse {
    let trouble = Trouble::drawn(&mut *simulator.dice.lock(), simulator.settings.trouble);
    let this = simulator.clone();
    this.begin();
    let done = rt::spawn(async move {
        if trouble == Trouble::DoneLate {
            rt::time::sleep(this.pause()).await;
        }
        let fails = matches!(trouble, Trouble::FailedBefore | Trouble::BrokenBefore);
        let reply = (!fails).then(|| act(&this));
        let reply = match (trouble, reply) {
            (Trouble::DoneTwice, Some(_)) => Some(act(&this)),
            (_, reply) => reply,
        };
        this.end();
        if trouble == Trouble::AnsweredLate {
            rt::time::sleep(this.pause()).await;
        }
        reply
    });
    let reply = done.await.ok().flatten();
    match (trouble, reply) {
        (Trouble::BrokenBefore | Trouble::BrokenAfter, _) => HttpResponse::Ok().body(BrokenOff),
        (Trouble::FailedAfter, _) | (_, None) => HttpResponse::InternalServerError().finish(),
        (_, Some(reply)) => {
            let status = StatusCode::from_u16(reply.status);
            HttpResponse::build(status.unwrap_or(StatusCode::OK)).json(reply.body)
        }
    }
}

impl MessageBody for BrokenOff {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(1000)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into())))
    }
}
