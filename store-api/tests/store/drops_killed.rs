//! A drop while the store and Redis are killed again and again under those who claim: nobody who was told
//! that they have a coupon is without it, nobody has two, there are never more than were to be; and in the end
//! there are as many.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use loadtest::cluster::RedisServer;
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    app::client,
    crowd::{self, Person},
    postgres,
    process::Program,
};

const PEOPLE: usize = 4000;
const COUPONS: usize = 1500;
/// How many claim at the same time.
const AT_ONCE: usize = 64;
/// How often the store is killed, and Redis with it every other time.
const KILLS: usize = 6;
/// Longer than a place is kept for somebody whose store died.
const PATIENCE: Duration = Duration::from_secs(40);

/// What somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Coupon(String),
    SoldOut,
}

/// Everybody who claims, and what they were told.
struct Crowd {
    people: Vec<Person>,
    told: Mutex<HashMap<usize, Told>>,
    answers: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_double_and_overdraw_nothing_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("store.db").display());
    survive(dir.path(), &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_double_and_overdraw_nothing_on_postgres() {
    let dir = tempfile::tempdir().unwrap();
    let url = postgres::database().await;
    survive(dir.path(), &url).await;
    postgres::drop(&url).await;
}

async fn survive(dir: &Path, url: &str) {
    let mut redis = RedisServer::start().await.unwrap();
    let address = redis.url().to_owned();
    let settings = crowd::settings(url, &address);
    let mut program = Program::start(dir, &settings);
    let database = Database::connect(url).await.unwrap();
    let crowd = Arc::new(Crowd {
        people: crowd::gather(&database, PEOPLE).await,
        told: Mutex::default(),
        answers: AtomicUsize::new(0),
    });
    let drop = crowd::make_drop(&program.url, |body| body["quantity"] = json!(COUPONS)).await;

    let (says, said) = watch::channel(program.url.clone());
    let began = Instant::now();
    let mut claimers = JoinSet::new();
    for place in 0..AT_ONCE {
        claimers.spawn(crowd.clone().claim(place, drop.clone(), said.clone()));
    }
    for kill in 0..KILLS {
        // With some thousands answered, and some under way.
        let enough = crowd.answers.load(Ordering::Relaxed) + PEOPLE / (2 * KILLS);
        while crowd.answers.load(Ordering::Relaxed) < enough && !claimers.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            while claimers.try_join_next().is_some() {}
        }
        program.child.kill().unwrap();
        if kill % 2 == 1 {
            redis.kill().unwrap();
        }
        program = Program::start(dir, &settings);
        says.send_replace(program.url.clone());
        if kill % 2 == 1 {
            // The store did without for a moment.
            tokio::time::sleep(Duration::from_millis(100)).await;
            redis.restart().await.unwrap();
        }
        crowd.judge(&database, &drop).await;
    }
    while claimers.join_next().await.is_some() {}
    let answers = crowd.answers.load(Ordering::Relaxed);
    println!("{answers} answers, {KILLS} kills, {:?}", began.elapsed());
    crowd.judge(&database, &drop).await;

    // Places of those whose store died are free again after a while, and go to whoever asks then.
    let deadline = Instant::now() + PATIENCE;
    while crowd.judge(&database, &drop).await < COUPONS {
        assert!(Instant::now() < deadline, "not all were given out");
        tokio::time::sleep(Duration::from_secs(1)).await;
        crowd.forget_who_got_none();
        let mut claimers = JoinSet::new();
        for place in 0..AT_ONCE {
            claimers.spawn(crowd.clone().claim(place, drop.clone(), said.clone()));
        }
        claimers.join_all().await;
    }
    assert_eq!(crowd.judge(&database, &drop).await, COUPONS);
    database.close().await.unwrap();
}

impl Crowd {
    /// Every so many-th of them claims until they are answered, wherever the store is by then.
    async fn claim(self: Arc<Self>, first: usize, drop: String, said: watch::Receiver<String>) {
        let client = client();
        for person in (first..PEOPLE).step_by(AT_ONCE) {
            if self.told.lock().contains_key(&person) {
                continue;
            }
            loop {
                let base = said.borrow().clone();
                let request = client.post(format!("{base}/v1/drops/{drop}/claim"));
                let request = request.bearer_auth(&self.people[person].token);
                let request = request.timeout(Duration::from_secs(10));
                if let Ok(answer) = request.send().await
                    && let Some(told) = told(answer).await
                {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    self.told.lock().insert(person, told);
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    fn forget_who_got_none(&self) {
        self.told.lock().retain(|_, told| *told != Told::SoldOut);
    }

    /// Holds what people were told to what is in the database; says how many coupons there are.
    async fn judge(&self, database: &DatabaseConnection, drop: &str) -> usize {
        // Before the database is read: what was told by now has to be there.
        let told = self.told.lock().clone();
        let text = format!("SELECT user_id, id FROM coupons WHERE campaign = '{drop}'");
        let statement = Statement::from_string(database.get_database_backend(), text);
        let rows = database.query_all_raw(statement).await.unwrap();
        let mut held: BTreeMap<String, String> = BTreeMap::new();
        for row in &rows {
            let person = row.try_get("", "user_id").unwrap();
            let before = held.insert(person, row.try_get("", "id").unwrap());
            assert_eq!(before, None, "nobody has two");
        }
        assert!(held.len() <= COUPONS, "{} coupons", held.len());
        for (person, told) in told {
            if let Told::Coupon(coupon) = told {
                let person = &self.people[person].id;
                assert_eq!(held.get(person), Some(&coupon), "{person}");
            }
        }
        held.len()
    }
}

/// What an answer says; nothing if the store does not know yet.
async fn told(answer: reqwest::Response) -> Option<Told> {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.ok()?;
    match status {
        200 => Some(Told::Coupon(
            body["coupon"]["id"].as_str().unwrap().to_owned(),
        )),
        409 => {
            assert_eq!(body["errors"][0]["rule"], "sold_out", "{body}");
            Some(Told::SoldOut)
        }
        503 => None,
        _ => panic!("{status}: {body}"),
    }
}
