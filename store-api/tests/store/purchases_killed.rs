//! A crowd that buys without pause while PostgreSQL is killed again and again, and is back before anybody who waits gives up:
//! whoever was told of an order has it, and nobody has a game twice. What a purchase lets go of before the disk has it is lost
//! with the server, so a store may take the word of no server but the one that did it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rand::Rng as _;
use sea_orm::{ConnectionTrait as _, Database, Statement};
use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    app::{SERVICE_TOKEN, client, game},
    crowd::{self, Person},
    postgres::PostgresServer,
    process::Program,
};

const PEOPLE: usize = 48;
const KILLS: usize = 12;
/// More than anybody comes to buy.
const GAMES: usize = 400;

/// What is sold where, and what people were told.
struct Shop {
    url: String,
    games: Vec<String>,
    is_open: AtomicBool,
    /// The order of a person and a game.
    told: Mutex<BTreeMap<[String; 2], String>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_told_of_an_order_has_it_however_often_the_database_is_killed() {
    let mut server = spawn_blocking(PostgresServer::start).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let database_url = server.url().to_owned();
    let settings = [
        ("FIRESIDE_DATABASE_URL", database_url.as_str()),
        ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN),
        ("FIRESIDE_JWT_SECRET", crowd::SECRET),
        ("FIRESIDE_STORE_USER_RATE", "1000/s"),
    ];
    let program = Program::start(dir.path(), &settings);
    let database = Database::connect(&database_url).await.unwrap();
    let people = crowd::gather(&database, PEOPLE).await;
    database.close().await.unwrap();
    let shop = Arc::new(Shop {
        games: games(&program.url).await,
        url: program.url.clone(),
        is_open: AtomicBool::new(true),
        told: Mutex::default(),
    });
    let mut buyers = JoinSet::new();
    for person in people {
        buyers.spawn(shop.clone().buy_all(person));
    }
    for _ in 0..KILLS {
        let pause = rand::rng().random_range(100..400);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill().await;
        let started = spawn_blocking(move || {
            server.restart();
            server
        });
        server = started.await.unwrap();
    }
    shop.is_open.store(false, Ordering::Relaxed);
    buyers.join_all().await;

    let database = Database::connect(&database_url).await.unwrap();
    let text = "SELECT user_id, game, order_id FROM library";
    let statement = Statement::from_string(database.get_database_backend(), text);
    let rows = database.query_all_raw(statement).await.unwrap();
    database.close().await.unwrap();
    let mut owned = BTreeMap::new();
    for row in &rows {
        let text = |column: &str| -> String { row.try_get("", column).unwrap() };
        let before = owned.insert([text("user_id"), text("game")], text("order_id"));
        assert_eq!(before, None, "somebody has a game twice");
    }
    let told = shop.told.lock();
    let lost: Vec<_> = told
        .iter()
        .filter(|(what, order)| owned.get(*what) != Some(*order))
        .collect();
    println!("{} told, {} owned, {KILLS} kills", told.len(), owned.len());
    assert!(told.len() > PEOPLE, "too little happened");
    assert_eq!(lost, [], "of {} told", told.len());
}

impl Shop {
    /// Buys one game after the other for as long as the shop is open, each until there is an answer.
    async fn buy_all(self: Arc<Self>, person: Person) {
        let client = client();
        for (number, game) in self.games.iter().enumerate() {
            let order = loop {
                if !self.is_open.load(Ordering::Relaxed) {
                    return;
                }
                let request = client
                    .post(format!("{}/v1/orders", self.url))
                    .bearer_auth(&person.token)
                    .header("Idempotency-Key", format!("order-number-{number}"))
                    .json(&json!({"games": [game]}));
                let answer = request.send().await.unwrap();
                match answer.status().as_u16() {
                    201 => break answer.json::<Value>().await.unwrap(),
                    503 => tokio::time::sleep(Duration::from_millis(20)).await,
                    status => panic!("{status}: {}", answer.text().await.unwrap()),
                }
            };
            let order = order["id"].as_str().unwrap().to_owned();
            let what = [person.id.clone(), game.clone()];
            self.told.lock().insert(what, order);
        }
    }
}

/// Games that cost nothing, so that nobody has to be rich.
async fn games(store: &str) -> Vec<String> {
    let client = client();
    let publishers = client.post(format!("{store}/v1/publishers"));
    let request = publishers.bearer_auth(SERVICE_TOKEN);
    let oak = request.json(&json!({"name": "Oak"})).send().await.unwrap();
    let oak: Value = oak.json().await.unwrap();
    let house = format!("{store}/v1/publishers/{}", oak["id"].as_str().unwrap());
    let mut games = Vec::new();
    for number in 0..GAMES {
        let put = client.put(format!("{house}/games/game-{number}"));
        let free = game(|game| game["prices"] = json!({"US": 0}));
        let request = put.bearer_auth(SERVICE_TOKEN).json(&free);
        let made: Value = request.send().await.unwrap().json().await.unwrap();
        games.push(made["id"].as_str().unwrap().to_owned());
    }
    games
}
