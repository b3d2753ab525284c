//! Events of the program itself: told at least once, in order, however often it is killed.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{PASSWORD, SERVICE_TOKEN, client, game},
    postgres,
    process::{Program, command},
    receiver::{How, Letter, Receiver},
};

/// Rounds, each of which ends with a kill, and purchases in one.
const ROUNDS: usize = 6;
const PURCHASES: usize = 10;

#[tokio::test]
async fn nothing_is_lost_when_it_is_killed() {
    killed_again_and_again(None, 1).await;
}

#[tokio::test]
async fn nothing_is_lost_when_one_of_two_is_killed() {
    let url = postgres::database().await;
    killed_again_and_again(Some(&url), 2).await;
    postgres::drop(&url).await;
}

/// Somebody who talks to a program.
struct Caller {
    url: String,
    token: String,
}

impl Caller {
    async fn send(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Option<(u16, Value)> {
        let request = client().request(method, format!("{}{path}", self.url));
        let request = request
            .bearer_auth(&self.token)
            .header("idempotency-key", key);
        let request = if body.is_null() {
            request
        } else {
            request.json(body)
        };
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    async fn done(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(method, path, "a-request", &body).await.unwrap();
        assert!((200..300).contains(&status), "{path}: {answer}");
        answer
    }
}

fn start(dir: &Path, database: Option<&str>) -> Program {
    let mut settings = vec![
        ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN),
        ("FIRESIDE_WEBHOOK_NETWORKS", "127.0.0.0/8"),
        ("FIRESIDE_WEBHOOK_TIMEOUT", "1s"),
        ("FIRESIDE_STORE_USER_RATE", "10000/s burst 10000"),
    ];
    settings.extend(database.map(|url| ("FIRESIDE_DATABASE_URL", url)));
    Program::start(dir, &settings)
}

async fn killed_again_and_again(database: Option<&str>, processes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut programs: Vec<_> = (0..processes)
        .map(|_| start(dir.path(), database))
        .collect();
    let account = json!({"email": "ann@example.org", "name": "Ann", "password": PASSWORD});
    let tokens = programs[0].post("/v1/auth/register", account).await;
    let tokens: Value = tokens.json().await.unwrap();
    let token = tokens["access_token"].as_str().unwrap();
    let role = ["role", "ann@example.org", "operator"];
    let settings: Vec<_> = database
        .map(|url| ("FIRESIDE_DATABASE_URL", url))
        .into_iter()
        .collect();
    let (said, well) = command(dir.path(), &role, &settings);
    assert!(well, "{said}");
    let caller = |program: &Program, token: &str| Caller {
        url: program.url.clone(),
        token: token.to_owned(),
    };
    let ann = caller(&programs[0], token);
    let receiver = Receiver::start().await;
    let seen: Mutex<HashMap<String, usize>> = Mutex::default();
    receiver.answer_by(move |letter| {
        let mut seen = seen.lock().unwrap();
        let attempts = seen.entry(letter.id().to_owned()).or_default();
        *attempts += 1;
        trouble(letter.id(), *attempts)
    });
    let kinds = ["order.paid", "order.refunded"];
    let hook = json!({"url": receiver.url(), "kinds": kinds});
    let hook = ann.done(Method::POST, "/v1/webhooks", hook).await;
    let service = caller(&programs[0], SERVICE_TOKEN);
    let house = json!({"name": "Oak"});
    let house = service.done(Method::POST, "/v1/publishers", house).await;
    let games: Vec<Value> = (0..ROUNDS * PURCHASES)
        .map(|number| {
            game(|game| {
                game["slug"] = json!(format!("game-{number}"));
                game["prices"] = json!({"US": 0});
            })
        })
        .collect();
    let path = format!("/v1/publishers/{}/games", house["id"].as_str().unwrap());
    let games = service.done(Method::POST, &path, json!(games)).await;
    let games = games["items"].as_array().unwrap();

    let mut answered = 0;
    for (round, games) in games.chunks(PURCHASES).enumerate() {
        let victim = round % processes;
        let ann = caller(&programs[victim], token);
        let mut trades: FuturesUnordered<_> = games
            .iter()
            .map(|game| trade(&ann, game["id"].as_str().unwrap()))
            .collect();
        // Killed while some of them are answered and others are not.
        for _ in 0..=round % PURCHASES {
            answered += trades.next().await.unwrap();
        }
        programs[victim].child.kill().unwrap();
        while let Some(more) = trades.next().await {
            answered += more;
        }
        drop(trades);
        programs[victim] = start(dir.path(), database);
    }

    // Whatever is in the books now has to be told.
    let ann = caller(&programs[0], token);
    let path = format!(
        "/v1/webhooks/{}/deliveries?state=",
        hook["id"].as_str().unwrap()
    );
    let since = Instant::now();
    loop {
        let body = Value::Null;
        let waiting = ann.done(Method::GET, &format!("{path}waiting"), body).await;
        if waiting["items"] == json!([]) {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(90), "{waiting:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let dead = ann
        .done(Method::GET, &format!("{path}dead"), Value::Null)
        .await;
    assert_eq!(dead["items"], json!([]));
    let orders = ann
        .done(Method::GET, "/v1/orders?limit=500", Value::Null)
        .await;
    let orders = orders["items"].as_array().unwrap();
    let secret = hook["secret"].as_str().unwrap();
    let told = told(&receiver, secret);
    let mut happened = 0;
    for order in orders {
        let id = order["id"].as_str().unwrap();
        let refunded = order["lines"][0]["refunded_at"].is_i64();
        let expected = kinds[..=usize::from(refunded)].to_vec();
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(told.get(id).map(Vec::as_slice), Some(&expected[..]), "{id}");
        happened += expected.len();
    }
    assert_eq!(
        told.len(),
        orders.len(),
        "nothing is told that did not happen"
    );
    assert!(answered > 0 && happened >= answered);
}

/// What becomes of an attempt: for two of three events the first one or two fail, each in its way.
fn trouble(id: &str, attempt: usize) -> How {
    let sum: usize = id.bytes().map(usize::from).sum();
    if attempt > sum % 3 {
        return How::Status(200);
    }
    match (sum / 3 + attempt) % 3 {
        0 => How::Drop,
        1 => How::Status(500),
        _ => How::Status(503),
    }
}

/// Buys a game and gives it back; how much of that was answered.
async fn trade(ann: &Caller, game: &str) -> usize {
    let key = format!("buys-{game}");
    let body = json!({"games": [game]});
    let bought = ann.send(Method::POST, "/v1/orders", &key, &body).await;
    let Some((201, order)) = bought else {
        return 0;
    };
    let path = format!("/v1/orders/{}/refund", order["id"].as_str().unwrap());
    let key = format!("returns-{game}");
    let refunded = ann.send(Method::POST, &path, &key, &json!({})).await;
    1 + usize::from(matches!(refunded, Some((200, _))))
}

/// What was taken of each order, each event once, in the order in which it was.
fn told(receiver: &Receiver, secret: &str) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for letter in receiver.letters() {
        letter.check(secret);
        let kinds = told.entry(letter.order().to_owned()).or_default();
        let before: &[&str] = match letter.kind() {
            "order.paid" => &[],
            _ => &["order.paid"],
        };
        let in_order = before.iter().all(|kind| kinds.iter().any(|k| k == kind));
        assert!(in_order, "the first was not taken yet: {letter:?}");
        // One event has one name, however often it comes.
        let what = format!("{} {}", letter.kind(), letter.order());
        let id = ids.entry(what).or_insert_with(|| letter.id().to_owned());
        assert_eq!(*id, letter.id());
        if letter.taken && !kinds.iter().any(|kind| kind == letter.kind()) {
            kinds.push(Letter::kind(&letter).to_owned());
        }
    }
    told
}
