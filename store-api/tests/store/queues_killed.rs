//! A queue while the store and Redis are killed again and again under those who come: whoever was told a number keeps it,
//! nobody has two, and in the end everybody stands where their number says.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use loadtest::cluster::RedisServer;
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::{Value, json};
use shared::{
    auth::{SigningKey, TokenIssuer},
    id::{Timestamp, UserId},
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    app::{SERVICE_TOKEN, client},
    campaigns, postgres,
    process::Program,
};

const PEOPLE: usize = 1200;
/// How many come at the same time.
const AT_ONCE: usize = 24;
/// How often the store is killed, and Redis with it every other time, which then comes back empty.
const KILLS: usize = 4;

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
    let secret = "a secret for tokens of more than 32 characters";
    let address = redis.url().to_owned();
    let settings = [
        ("FIRESIDE_DATABASE_URL", url),
        ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN),
        ("FIRESIDE_JWT_SECRET", secret),
        ("FIRESIDE_REDIS_URL", address.as_str()),
        ("FIRESIDE_STORE_USER_RATE", "1000/s"),
        ("FIRESIDE_QUEUE_TIMEOUT", "10m"),
    ];
    let mut program = Program::start(dir, &settings);
    let tokens = Arc::new(gather(url, secret).await);
    let drop = make(&program.url).await;
    let told = Arc::new(Told::default());
    let (says, said) = watch::channel(program.url.clone());
    let mut people = JoinSet::new();
    for first in 0..AT_ONCE {
        let (tokens, told, said) = (tokens.clone(), told.clone(), said.clone());
        people.spawn(come(first, drop.clone(), tokens, told, said));
    }
    for kill in 0..KILLS {
        // With some hundreds answered, and some under way.
        let enough = (kill + 1) * PEOPLE / (KILLS + 1);
        while told.lock().len() < enough {
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
    while let Some(ended) = people.join_next().await {
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
        let answer = client.get(&address).bearer_auth(&tokens[*who]).send();
        let place: Value = answer.await.unwrap().json().await.unwrap();
        let seen = (place["number"].as_i64(), place["ahead"].as_u64());
        assert_eq!(seen, (Some(*number), Some(before as u64)), "{place}");
    }
}

/// Tokens of people, who are put into the database by hand.
async fn gather(url: &str, secret: &str) -> Vec<String> {
    let database = Database::connect(url).await.unwrap();
    let insert = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PEOPLE}) \
         INSERT INTO users (id, name, name_key, created_at) \
         SELECT 'waiter-' || i, 'Waiter ' || i, 'waiter ' || i, 0 FROM n"
    );
    database.execute_unprepared(&insert).await.unwrap();
    database.close().await.unwrap();
    let key = SigningKey::from_secret(secret.as_bytes()).unwrap();
    let issuer = TokenIssuer::new(&key, "fireside", Duration::from_mins(15));
    let token = |number| {
        let user = UserId::parse(&format!("waiter-{number}")).unwrap();
        issuer.issue(&user, "Waiter").unwrap().token
    };
    (1..=PEOPLE).map(token).collect()
}

async fn make(url: &str) -> String {
    let body = campaigns::text(|body| {
        body["drop"] = json!(true);
        body["quantity"] = json!(10);
        body["queue_rate"] = json!(60);
        body["opens_at"] = json!(Timestamp::now().as_millis() + 3_600_000);
    });
    let request = client().post(format!("{url}/v1/campaigns"));
    let answer = request.bearer_auth(SERVICE_TOKEN).json(&body).send();
    let made: Value = answer.await.unwrap().json().await.unwrap();
    made["id"].as_str().unwrap().to_owned()
}

/// Every so many-th of them comes, and asks until there is an answer, wherever the store is by then; and then once
/// more, for it has to be the same.
async fn come(
    first: usize,
    drop: String,
    tokens: Arc<Vec<String>>,
    told: Arc<Told>,
    said: watch::Receiver<String>,
) {
    let client = client();
    for person in (first..PEOPLE).step_by(AT_ONCE) {
        for again in [false, true] {
            let number = loop {
                let base = said.borrow().clone();
                let request = client.put(format!("{base}/v1/drops/{drop}/queue"));
                let request = request.bearer_auth(&tokens[person]);
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
