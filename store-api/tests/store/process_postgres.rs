//! What was answered survives the database, too.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use sea_orm::{ConnectionTrait as _, Database, DbBackend, Statement};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{
    app::{PASSWORD, SERVICE_TOKEN, client, game},
    postgres::PostgresServer,
    process::{Program, command},
};

/// How long a store may take to find its database again.
const PATIENCE: Duration = Duration::from_secs(30);
const ORDERS: usize = 6;

struct Shop {
    program: Program,
    access: String,
}

impl Shop {
    async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        name: &str,
        body: &Value,
    ) -> Value {
        let (status, answer) = self.try_send(method, path, token, name, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    async fn try_send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        name: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let request = client().request(method, format!("{}{path}", self.program.url));
        let request = request.bearer_auth(token).header("idempotency-key", name);
        let answer = request.json(body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// Buys a game, however often it has to be tried.
    async fn buy(&self, game: &Value) {
        let name = format!("order-of-{}", game.as_str().unwrap());
        let body = json!({"games": [game]});
        let began = Instant::now();
        loop {
            let (status, answer) = self
                .try_send(Method::POST, "/v1/orders", &self.access, &name, &body)
                .await;
            if status == 201 {
                return;
            }
            assert!(
                status.is_server_error() && began.elapsed() < PATIENCE,
                "{status} {answer}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn a_purchase_that_was_answered_survives_the_death_of_the_database() {
    let mut server = spawn_blocking(PostgresServer::start).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = server.url().to_owned();
    let settings = [
        ("FIRESIDE_DATABASE_URL", url.as_str()),
        ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN),
        ("FIRESIDE_STORE_USER_RATE", "1000/s burst 1000"),
    ];
    let program = Program::start(dir.path(), &settings);
    let account = json!({"email": "ann@example.org", "name": "Ann", "password": PASSWORD});
    let account: Value = program
        .post("/v1/auth/register", account)
        .await
        .json()
        .await
        .unwrap();
    let access = account["access_token"].as_str().unwrap().to_owned();
    let shop = Shop { program, access };
    let oak = json!({"name": "Oak"});
    let oak = shop
        .send(
            Method::POST,
            "/v1/publishers",
            SERVICE_TOKEN,
            "the-publisher",
            &oak,
        )
        .await;
    let cards = json!({"amount": 1_000_000, "currency": "USD", "cards": 1});
    let cards = shop
        .send(
            Method::POST,
            "/v1/gift-cards",
            SERVICE_TOKEN,
            "the-gift-card",
            &cards,
        )
        .await;
    let redeem = json!({"code": cards["codes"][0]});
    shop.send(
        Method::POST,
        "/v1/gift-cards/redeem",
        &shop.access,
        "redeemed-once",
        &redeem,
    )
    .await;
    let mut bought = 0;
    for round in 0..4 {
        let mut games = Vec::new();
        for number in 0..ORDERS {
            let slug = format!("game-{round}-{number}");
            let path = format!(
                "/v1/publishers/{}/games/{slug}",
                oak["id"].as_str().unwrap()
            );
            let put = shop
                .send(
                    Method::PUT,
                    &path,
                    SERVICE_TOKEN,
                    "whatever-it-is",
                    &game(|_| ()),
                )
                .await;
            games.push(put["id"].clone());
        }
        if round % 2 == 0 {
            join_all(games.iter().map(|game| shop.buy(game))).await;
        } else {
            // The last of them leaves nobody who would write the log for it.
            for game in &games {
                shop.buy(game).await;
            }
        }
        bought += ORDERS as i64;
        server.kill().await;
        server.restart();
        let database = Database::connect(&url).await.unwrap();
        let statement = "SELECT COUNT(*) FROM library JOIN orders ON orders.id = library.order_id";
        let statement = Statement::from_string(DbBackend::Postgres, statement);
        let row = database.query_one_raw(statement).await.unwrap().unwrap();
        assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), bought);
        database.close().await.unwrap();
        let (said, well) = command(dir.path(), &["ledger", "check"], &settings);
        assert!(well, "{said}");
        // The store finds it again.
        let began = Instant::now();
        let wallet = async || {
            let asked = shop.try_send(
                Method::GET,
                "/v1/wallet",
                &shop.access,
                "none",
                &Value::Null,
            );
            asked.await.0
        };
        while wallet().await != 200 {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A store that is started before its database waits, and one that is told to end meanwhile does.
#[tokio::test]
async fn a_store_that_starts_before_its_database_waits_for_it() {
    let mut server = spawn_blocking(PostgresServer::start).await.unwrap();
    let url = server.url().to_owned();
    server.kill().await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];

    let mut told = Command::new(env!("CARGO_BIN_EXE_store-api"))
        .env("FIRESIDE_LISTEN", "127.0.0.1:0")
        .env("FIRESIDE_DATA_DIR", dirs[0].path())
        .env("FIRESIDE_DATABASE_URL", &url)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(told.stderr.take().unwrap()).lines();
    let ended = spawn_blocking(move || {
        let mut log = log.map(Result::unwrap);
        log.find(|line| line.contains("waits for its database"))
            .expect("it does not wait");
        std::thread::spawn(move || log.for_each(drop));
        let pid = told.id().to_string();
        Command::new("kill").arg(&pid).status().unwrap();
        told.wait().unwrap()
    });
    assert!(ended.await.unwrap().success());

    let program = spawn_blocking({
        let (dir, url) = (dirs[1].path().to_owned(), url.clone());
        move || Program::start(&dir, &[("FIRESIDE_DATABASE_URL", url.as_str())])
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!program.is_finished(), "it serves without a database");
    server.restart();
    let program = program.await.unwrap();
    let account = json!({"email": "ann@example.org", "name": "Ann", "password": PASSWORD});
    let made = program.post("/v1/auth/register", account).await;
    assert_eq!(made.status(), 201);
    // What is wrong stays wrong.
    let nowhere = url.replace("/postgres?", "/nowhere?");
    let settings = [("FIRESIDE_DATABASE_URL", nowhere.as_str())];
    let (said, well) = command(dirs[0].path(), &[], &settings);
    assert!(
        !well && said.contains("\"nowhere\" does not exist"),
        "{said}"
    );
}
