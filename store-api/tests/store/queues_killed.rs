//! A queue while the store and Redis are killed again and again under those who come: whoever was told a number keeps it,
//! nobody has two, and in the end everybody stands where their number says.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use loadtest::cluster::RedisServer;
use parking_lot::Mutex;
use sea_orm::Database;
use serde_json::{Value, json};
use shared::id::Timestamp;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    app::client,
    crowd::{self, Person},
    postgres,
    process::Program,
};

const PEOPLE: usize = 1200;
/// How many come at the same time.
const AT_ONCE: usize = 24;
/// How often the store is killed, and Redis with it every other time, which then comes back empty.
const KILLS: usize = 4;
/// How long some hundreds may take to be answered, whoever else uses the machine.
const PATIENCE: Duration = Duration::from_mins(2);

type Told = Mutex<BTreeMap<usize, i64>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_change_nobodys_place_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("store.db").display());
    survive(dir.path(), &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_change_nobodys_place_on_postgres() {
    let dir = tempfile::tempdir().unwrap();
    let url = postgres::database().await;
    survive(dir.path(), &url).await;
    postgres::drop(&url).await;
}

async fn survive(dir: &Path, url: &str) {
    let mut redis = RedisServer::start().await.unwrap();
    let address = redis.url().to_owned();
    let mut settings = crowd::settings(url, &address);
    settings.push(("FIRESIDE_QUEUE_TIMEOUT", "10m"));
    let mut program = Program::start(dir, &settings);
    let database = Database::connect(url).await.unwrap();
    let people = Arc::new(crowd::gather(&database, PEOPLE).await);
    database.close().await.unwrap();
    let drop = crowd::make_drop(&program.url, |body| {
        body["quantity"] = json!(10);
        body["queue_rate"] = json!(60);
        body["opens_at"] = json!(Timestamp::now().as_millis() + 3_600_000);
    })
    .await;
    let told = Arc::new(Told::default());
    let (says, said) = watch::channel(program.url.clone());
    let mut comers = JoinSet::new();
    for first in 0..AT_ONCE {
        let (people, told, said) = (people.clone(), told.clone(), said.clone());
        comers.spawn(come(first, drop.clone(), people, told, said));
    }
    for kill in 0..KILLS {
        // With some hundreds answered, and some under way.
        let enough = (kill + 1) * PEOPLE / (KILLS + 1);
        let deadline = Instant::now() + PATIENCE;
        while told.lock().len() < enough {
            assert!(Instant::now() < deadline, "nobody is answered");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        program.child.kill().unwrap();
        if kill % 2 == 1 {
            redis.kill().unwrap();
        }
        program = Program::start(dir, &settings);
        says.send_replace(program.url.clone());
        if kill % 2 == 1 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            redis.restart_empty().await.unwrap();
        }
    }
    while let Some(ended) = comers.join_next().await {
        ended.unwrap();
    }
    redis.kill().unwrap();
    program.child.kill().unwrap();
    redis.restart_empty().await.unwrap();
    program = Program::start(dir, &settings);

    // By number; nobody has that of another.
    let told = told.lock().clone();
    let places: BTreeMap<i64, usize> = told.iter().map(|(who, number)| (*number, *who)).collect();
    assert_eq!((told.len(), places.len()), (PEOPLE, PEOPLE));
    let client = client();
    let address = format!("{}/v1/drops/{drop}/queue", program.url);
    for (before, (number, who)) in places.iter().enumerate() {
        let answer = client.get(&address).bearer_auth(&people[*who].token).send();
        let place: Value = answer.await.unwrap().json().await.unwrap();
        let seen = (place["number"].as_i64(), place["ahead"].as_u64());
        assert_eq!(seen, (Some(*number), Some(before as u64)), "{place}");
    }
}

/// Every so many-th of them comes, and asks until there is an answer, wherever the store is by then; and then once
/// more, for it has to be the same.
async fn come(
    first: usize,
    drop: String,
    people: Arc<Vec<Person>>,
    told: Arc<Told>,
    said: watch::Receiver<String>,
) {
    let client = client();
    for person in (first..PEOPLE).step_by(AT_ONCE) {
        for again in [false, true] {
            let number = loop {
                let base = said.borrow().clone();
                let request = client.put(format!("{base}/v1/drops/{drop}/queue"));
                let request = request.bearer_auth(&people[person].token);
                let answer = request.timeout(Duration::from_secs(10)).send().await;
                if let Ok(answer) = answer
                    && answer.status() == 200
                    && let Ok(place) = answer.json::<Value>().await
                {
                    break place["number"].as_i64().unwrap();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            let before = told.lock().insert(person, number);
            assert_eq!(before.is_some(), again);
            assert!(before.is_none_or(|before| before == number), "{person}");
        }
    }
}
