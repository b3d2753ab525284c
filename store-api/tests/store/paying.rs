//! Whatever providers do and whenever the store is killed, its books and theirs are the same in the
//! end: people charge their wallets, buy, and have it paid back, by a simulator that fails, breaks off,
//! acts late, acts twice and tells things late and out of order, while the store is killed and started.
//!
//! What they do follows from a seed, which a failure names. FIRESIDE_PAYMENT_SECONDS makes it longer,
//! FIRESIDE_PAYMENT_SEED another.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, FromQueryResult, Statement};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    app::{Backend, PASSWORD, SERVICE_TOKEN, client, game},
    campaigns::text,
    postgres,
    process::{Program, command},
    simulator::Simulator,
};

const PEOPLE: usize = 6;
const GAMES: usize = 40;
/// How many everybody has; all but the first go together.
const COUPONS: usize = 3;

/// How long the books may take to become the same once nothing goes wrong any more.
const SETTLES: Duration = Duration::from_mins(1);

/// The store, for as long as it is killed and started.
struct Shop {
    url: String,
    client: reqwest::Client,
    until: Instant,
}

#[derive(Debug, FromQueryResult)]
struct Row {
    id: String,
    user_id: String,
    state: String,
    purpose: String,
    failure: Option<String>,
    amount: i64,
    cancelled: i64,
    cancelling: i64,
    order_id: Option<String>,
    /// What of the order was not given back.
    kept: i64,
    /// The games of it that are in the payer's library.
    owned: i64,
    /// And those that should be.
    unreturned: i64,
}

#[derive(FromQueryResult)]
struct Used {
    order_id: String,
}

#[derive(FromQueryResult)]
struct Wallet {
    owner: String,
    balance: i64,
}

#[tokio::test]
async fn books_agree_on_sqlite() {
    books_agree(Backend::Sqlite).await;
}

#[tokio::test]
async fn books_agree_on_postgres() {
    books_agree(Backend::Postgres).await;
}

async fn books_agree(backend: Backend) {
    let seed = number("FIRESIDE_PAYMENT_SEED").unwrap_or_else(|| rand::rng().random());
    let seconds = number("FIRESIDE_PAYMENT_SECONDS").unwrap_or(8);
    println!("FIRESIDE_PAYMENT_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let database_url = match backend {
        Backend::Postgres => postgres::database().await,
        Backend::Sqlite => format!("sqlite:{}", dir.path().join("store.db").display()),
    };
    let address = free_address();
    let url = format!("http://{address}");
    let messages = format!("{url}/v1/payments/webhooks/toss");
    let simulator = Simulator::start(&[
        "--seed",
        &seed.to_string(),
        "--trouble",
        "40",
        "--late",
        "900",
        "--messages-to",
        &messages,
    ]);
    let settings: &[(&str, &str)] = &[
        ("FIRESIDE_LISTEN", &address),
        ("FIRESIDE_DATABASE_URL", &database_url),
        ("FIRESIDE_ACCESS_TOKEN_LIFETIME", "24h"),
        ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN),
        ("FIRESIDE_VISITOR_RATE", "10000/s"),
        ("FIRESIDE_STORE_USER_RATE", "10000/s"),
        ("FIRESIDE_PAYMENT_PUBLIC_URL", &url),
        ("FIRESIDE_PAYMENT_LIFETIME", "5s"),
        ("FIRESIDE_PAYMENT_TIMEOUT", "400ms"),
        ("FIRESIDE_PAYMENT_RETRY_FIRST", "20ms"),
        ("FIRESIDE_PAYMENT_RETRY_LAST", "300ms"),
        ("FIRESIDE_KAKAO_PAY_URL", &simulator.url),
        ("FIRESIDE_KAKAO_PAY_CID", "TC0ONETIME"),
        ("FIRESIDE_KAKAO_PAY_SECRET", "kakao-secret"),
        ("FIRESIDE_TOSS_URL", &simulator.url),
        ("FIRESIDE_TOSS_CLIENT_KEY", "client"),
        ("FIRESIDE_TOSS_SECRET_KEY", "toss-secret"),
        ("FIRESIDE_TOSS_SECURITY_KEY", "toss-security"),
    ];
    let mut program = Program::start(dir.path(), settings);
    let shop = Shop {
        url: url.clone(),
        client: client(),
        until: Instant::now() + Duration::from_secs(seconds),
    };
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(shop.register(number).await);
    }
    let games = shop.games().await;
    shop.give_coupons(&people).await;
    let people: Vec<String> = people.into_iter().map(|(_, token)| token).collect();
    let kills = Cell::new(0);
    let players = join_all(people.iter().enumerate().map(|(number, token)| {
        let dice = StdRng::seed_from_u64(seed.wrapping_add(number as u64 + 1));
        shop.play(&simulator, token, &games, dice)
    }));
    let killer = async {
        while Instant::now() < shop.until {
            sleep(Duration::from_millis(dice.random_range(100..1000))).await;
            program.child.kill().unwrap();
            program.child.wait().unwrap();
            program = Program::start(dir.path(), settings);
            kills.set(kills.get() + 1);
        }
    };
    tokio::join!(players, killer);

    let database = Database::connect(&database_url).await.unwrap();
    let rows = settle(&database, &simulator, seed).await;
    let (said, well) = command(dir.path(), &["ledger", "check"], settings);
    assert!(well, "seed {seed}: {said}");
    hold_wallets(&database, &rows).await;
    hold_libraries(&rows);
    let paid = rows.iter().filter(|row| is_credited(row)).count();
    let cancelled: i64 = rows.iter().map(|row| row.cancelled).sum();
    let bought = rows.iter().filter(|row| row.order_id.is_some()).count();
    let used: Vec<Used> = read(&database, "SELECT order_id FROM order_coupons").await;
    let cheaper: BTreeSet<&str> = used.iter().map(|used| used.order_id.as_str()).collect();
    println!(
        "{} payments, {paid} paid, {bought} of them for orders, {} of those with coupons, {} kills: {said}",
        rows.len(),
        cheaper.len(),
        kills.get()
    );
    assert!(
        paid > 5 && bought > 2 && !cheaper.is_empty() && cancelled > 0 && kills.get() > 1,
        "too little happened"
    );
    database.close().await.unwrap();
    drop(program);
    if backend == Backend::Postgres {
        postgres::drop(&database_url).await;
    }
}

/// Waits until the store's books are the provider's: payment by payment, taken and paid back.
async fn settle(database: &DatabaseConnection, simulator: &Simulator, seed: u64) -> Vec<Row> {
    let began = Instant::now();
    loop {
        let books = simulator.books().await;
        let rows = rows(database).await;
        let differences = differences(&books, &rows);
        if differences.is_empty() && books["under_way"] == 0 {
            return rows;
        }
        assert!(began.elapsed() < SETTLES, "seed {seed}: {differences:#?}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn differences(books: &Value, rows: &[Row]) -> Vec<String> {
    // One order may be several payments at the provider, if it had to be prepared again.
    let mut theirs: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for payment in books["payments"].as_array().unwrap() {
        let sums = theirs
            .entry(payment["order"].as_str().unwrap())
            .or_default();
        sums.0 += payment["taken"].as_i64().unwrap();
        sums.1 += payment["cancelled"].as_i64().unwrap();
    }
    let mut differences = Vec::new();
    for row in rows {
        let theirs = theirs.remove(row.id.as_str()).unwrap_or_default();
        let credited = if is_credited(row) { row.amount } else { 0 };
        let open = row.state == "approving" || row.cancelling > 0;
        if open || (credited, row.cancelled) != theirs {
            differences.push(format!("{row:?} is {theirs:?} there"));
        }
    }
    let unknown = theirs.into_iter().filter(|(_, sums)| sums.0 > 0);
    differences.extend(unknown.map(|(order, sums)| format!("{order} is {sums:?} there alone")));
    differences
}

fn is_credited(row: &Row) -> bool {
    ["paid", "partly_cancelled", "cancelled"].contains(&row.state.as_str())
}

async fn rows(database: &DatabaseConnection) -> Vec<Row> {
    read(
        database,
        "SELECT p.id, p.user_id, p.state, p.purpose, p.failure, p.amount, p.cancelled, p.cancelling, p.order_id, \
         CAST(COALESCE(SUM(CASE WHEN l.refunded_at IS NULL THEN l.price END), 0) AS BIGINT) AS kept, \
         COUNT(b.game) AS owned, \
         COUNT(l.game) - COUNT(l.refunded_at) AS unreturned \
         FROM payments p LEFT JOIN order_lines l ON l.order_id = p.order_id \
         LEFT JOIN library b ON b.order_id = l.order_id AND b.game = l.game AND b.user_id = p.user_id \
         GROUP BY p.id, p.user_id, p.state, p.purpose, p.failure, p.amount, p.cancelled, p.cancelling, p.order_id",
    )
    .await
}

async fn read<T: FromQueryResult>(database: &DatabaseConnection, text: &str) -> Vec<T> {
    let statement = Statement::from_string(database.get_database_backend(), text);
    let rows = database.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| T::from_query_result(row, "").unwrap())
        .collect()
}

/// In every wallet is what was paid into it, and neither paid back nor spent.
async fn hold_wallets(database: &DatabaseConnection, rows: &[Row]) {
    let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_credited(row)) {
        *expected.entry(&row.user_id).or_default() += row.amount - row.cancelled - row.kept;
    }
    let text = "SELECT owner, balance FROM ledger_accounts WHERE kind = 'wallet'";
    let wallets: Vec<Wallet> = read(database, text).await;
    let found = wallets.iter().map(|one| (one.owner.as_str(), one.balance));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}

/// What was paid for is owned, once, or paid back.
fn hold_libraries(rows: &[Row]) {
    for row in rows {
        assert_eq!(row.owned, row.unreturned, "{row:?}");
        if row.purpose == "order" && is_credited(row) && row.order_id.is_none() {
            assert!(
                row.cancelled == row.amount && row.failure.is_some(),
                "{row:?}"
            );
        }
    }
}

impl Shop {
    /// A request, again until it is answered: none while the store is down for good.
    async fn insist(
        &self,
        request: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Option<(u16, Value)> {
        for _ in 0..400 {
            let request = request(&self.client).timeout(Duration::from_secs(5));
            if let Ok(answer) = request.send().await {
                let status = answer.status().as_u16();
                if status < 500
                    && let Ok(bytes) = answer.bytes().await
                {
                    return Some((status, serde_json::from_slice(&bytes).unwrap_or_default()));
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }

    /// Id and token of somebody new.
    async fn register(&self, number: usize) -> (String, String) {
        let body = json!({
            "email": format!("{number}@example.org"), "name": format!("Player {number}"), "password": PASSWORD,
        });
        let url = format!("{}/v1/auth/register", self.url);
        let (_, answer) = self
            .insist(|client| client.post(&url).json(&body))
            .await
            .unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let url = format!("{}/v1/wallet/country", self.url);
        let body = json!({"country": "KR"});
        self.insist(|client| client.put(&url).bearer_auth(&token).json(&body))
            .await
            .unwrap();
        let id = answer["user"]["id"].as_str().unwrap().to_owned();
        (id, token)
    }

    async fn give_coupons(&self, people: &[(String, String)]) {
        let users: Vec<&str> = people.iter().map(|(id, _)| id.as_str()).collect();
        for number in 0..COUPONS {
            let url = format!("{}/v1/campaigns", self.url);
            let campaign = text(|body| {
                body["percent"] = json!(10 + 30 * number);
                body["stackable"] = json!(number > 0);
            });
            let ask = |client: &reqwest::Client| {
                client.post(&url).bearer_auth(SERVICE_TOKEN).json(&campaign)
            };
            let (_, campaign) = self.insist(ask).await.unwrap();
            let url = format!("{url}/{}/coupons", campaign["id"].as_str().unwrap());
            let body = json!({"users": users});
            let ask =
                |client: &reqwest::Client| client.post(&url).bearer_auth(SERVICE_TOKEN).json(&body);
            let (_, granted) = self.insist(ask).await.unwrap();
            assert_eq!(granted["issued"], users.len());
        }
    }

    /// Ids of coupons that somebody may use now, as far as they know.
    async fn coupons(&self, token: &str) -> Vec<String> {
        let url = format!("{}/v1/coupons?state=good", self.url);
        let ask = |client: &reqwest::Client| client.get(&url).bearer_auth(token);
        let page = self.insist(ask).await.unwrap_or_default().1;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let id = |coupon: &Value| coupon["id"].as_str().unwrap().to_owned();
        items.iter().map(id).collect()
    }

    /// Games to buy.
    async fn games(&self) -> Vec<String> {
        let url = format!("{}/v1/publishers", self.url);
        let house = json!({"name": "Oak"});
        let ask =
            |client: &reqwest::Client| client.post(&url).bearer_auth(SERVICE_TOKEN).json(&house);
        let (_, house) = self.insist(ask).await.unwrap();
        let house = house["id"].as_str().unwrap();
        let mut games = Vec::new();
        for number in 0..GAMES {
            let url = format!("{}/v1/publishers/{house}/games/game-{number}", self.url);
            let body = game(|game| {
                game["title"] = format!("Game {number}").into();
                game["prices"] = json!({"KR": 1000 + 100 * number});
            });
            let ask =
                |client: &reqwest::Client| client.put(&url).bearer_auth(SERVICE_TOKEN).json(&body);
            let (_, game) = self.insist(ask).await.unwrap();
            games.push(game["id"].as_str().unwrap().to_owned());
        }
        games
    }

    /// Charges, buys and has it paid back until the time is over.
    async fn play(&self, simulator: &Simulator, token: &str, games: &[String], mut dice: StdRng) {
        let mut number = 0;
        while Instant::now() < self.until {
            number += 1;
            let provider = ["kakao_pay", "toss"][dice.random_range(0..2)];
            let body = if dice.random_bool(0.5) {
                json!({"provider": provider, "amount": dice.random_range(100..100_000)})
            } else {
                let first = dice.random_range(0..games.len() - 2);
                let wanted = &games[first..first + dice.random_range(1..3)];
                let mut coupons = self.coupons(token).await;
                coupons.truncate(dice.random_range(0..3));
                json!({"provider": provider, "order": {"games": wanted, "coupons": coupons}})
            };
            let key = format!("payment-{number}");
            let Some(payment) = self.post(token, "/v1/payments", &key, &body).await else {
                continue;
            };
            let Some(id) = payment["id"].as_str() else {
                // Too many that nobody paid, or a game that is owned.
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Some(next) = self.ready(token, id).await else {
                continue;
            };
            if dice.random_bool(0.1) {
                continue;
            }
            let back = simulator.pay(&next, dice.random_bool(0.85)).await;
            let url = format!("{}{back}", self.url);
            let visit = || self.client.get(&url).timeout(Duration::from_secs(5)).send();
            // A browser that comes back once, whatever comes of it, or twice at once, or until it is heard.
            match dice.random_range(0..3) {
                0 => drop(visit().await),
                1 => drop(tokio::join!(visit(), visit())),
                _ => drop(self.insist(|client| client.get(&url)).await),
            }
            if body.get("order").is_some() {
                self.give_back(token, id, number, &mut dice).await;
                continue;
            }
            let path = format!("/v1/payments/{id}/cancel");
            for part in 0..dice.random_range(0..4) {
                let body = if dice.random_bool(0.3) {
                    json!({})
                } else {
                    json!({"amount": dice.random_range(1..30_000)})
                };
                let key = format!("cancel-{number}-{part}");
                if dice.random_bool(0.3) {
                    let other = format!("other-{number}-{part}");
                    tokio::join!(
                        self.post(token, &path, &key, &body),
                        self.post(token, &path, &other, &body)
                    );
                } else {
                    self.post(token, &path, &key, &body).await;
                }
            }
        }
    }

    /// Gives some of an order back that was paid for, or all of it, if it was bought by now.
    async fn give_back(&self, token: &str, id: &str, number: usize, dice: &mut StdRng) {
        let url = format!("{}/v1/payments/{id}", self.url);
        let ask = |client: &reqwest::Client| client.get(&url).bearer_auth(token);
        let Some((_, payment)) = self.insist(ask).await else {
            return;
        };
        let Some(order) = payment["order"].as_str().filter(|_| dice.random_bool(0.6)) else {
            return;
        };
        let path = format!("/v1/orders/{order}/refund");
        let key = format!("refund-{number}");
        let body = json!({});
        if dice.random_bool(0.3) {
            let other = format!("other-refund-{number}");
            tokio::join!(
                self.post(token, &path, &key, &body),
                self.post(token, &path, &other, &body)
            );
        } else {
            self.post(token, &path, &key, &body).await;
        }
    }

    /// What the payer does next, once the payment is ready.
    async fn ready(&self, token: &str, id: &str) -> Option<Value> {
        let url = format!("{}/v1/payments/{id}", self.url);
        for _ in 0..200 {
            let (_, payment) = self
                .insist(|client| client.get(&url).bearer_auth(token))
                .await?;
            match payment["state"].as_str()? {
                "created" => sleep(Duration::from_millis(20)).await,
                "ready" => return Some(payment["next"].clone()),
                _ => return None,
            }
        }
        None
    }

    async fn post(&self, token: &str, path: &str, key: &str, body: &Value) -> Option<Value> {
        let url = format!("{}{path}", self.url);
        let answer = self.insist(|client| {
            let request = client.post(&url).bearer_auth(token).json(body);
            request.header("idempotency-key", key)
        });
        Some(answer.await?.1)
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A test is told by the environment, as any program is by its user.
#[allow(clippy::disallowed_methods)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
