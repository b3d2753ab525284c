//! Whatever providers do, and whenever the store and its database are killed, no money is made or lost, and
//! nothing is paid for without a licence or owned twice.
//!
//! People charge their wallets, buy, give to each other, answer gifts, redeem cards and have it all paid back;
//! by the wallet, and by a simulator of providers that fails, breaks off, acts late, acts twice and tells things
//! late and out of order. Meanwhile the store is killed and started, and so is PostgreSQL, one of the test's own, with
//! all its processes; a store that is left alive then says that its database is away, and goes on by itself
//! when it is back. In the end the books are held to their rules, to the provider's books, and to what people
//! were told.
//!
//! What people do follows from a seed, which a failure names. FIRESIDE_MONEY_SECONDS makes it longer,
//! FIRESIDE_MONEY_SEED another.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sea_orm::Database;

use crate::{
    app::{Backend, SERVICE_TOKEN},
    postgres::PostgresServer,
    process::command,
    simulator::Simulator,
};
use faults::Faults;
use people::Player;
use shop::Shop;
use verdict::Verdict;

mod faults;
mod people;
mod shop;
mod verdict;

const PEOPLE: usize = 6;

#[tokio::test]
async fn money_survives_everything_on_sqlite() {
    survive(Backend::Sqlite).await;
}

#[tokio::test]
async fn money_survives_everything_on_postgres() {
    survive(Backend::Postgres).await;
}

async fn survive(backend: Backend) {
    let seed = number("FIRESIDE_MONEY_SEED").unwrap_or_else(|| rand::rng().random());
    let seconds = number("FIRESIDE_MONEY_SECONDS").unwrap_or(40);
    println!("FIRESIDE_MONEY_SEED={seed} FIRESIDE_MONEY_SECONDS={seconds}");
    let dice = |number: usize| StdRng::seed_from_u64(seed.wrapping_add(number as u64));
    let dir = tempfile::tempdir().unwrap();
    let server = (backend == Backend::Postgres).then(PostgresServer::start);
    let database_url = match &server {
        Some(server) => server.url().to_owned(),
        None => format!("sqlite:{}", dir.path().join("store.db").display()),
    };
    let address = free_address(&mut dice(0));
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
    let settings = settings(&address, &database_url, &url, &simulator.url);
    let mut faults = Faults::new(dir.path(), settings, server, dice(1));
    let mut shop = Shop::new(url);
    let people = shop.open(PEOPLE).await;
    shop.until = Instant::now() + Duration::from_secs(seconds);
    let players = (0..PEOPLE)
        .map(|number| Player::new(&shop, &simulator, &people, number, dice(3 + number)).play());
    tokio::join!(
        join_all(players),
        shop.trade(&people, dice(2)),
        faults.strike(shop.until)
    );

    let database = Database::connect(&database_url).await.unwrap();
    let verdict = Verdict::settled(&database, &simulator, seed).await;
    let (said, well) = command(dir.path(), &["ledger", "check"], &faults.settings());
    assert!(well, "seed {seed}: {said}");
    verdict.hold(&shop);
    database.close().await.unwrap();
    let answers = shop.answers.lock();
    println!(
        "{verdict}; {} kills of the store, {} of its database; {} times unavailable, slowest answer {:?}: {said}",
        faults.kills, faults.database_kills, answers.unavailable, answers.slowest
    );
    assert_eq!(answers.faults, [""; 0], "seed {seed}");
    assert!(
        verdict.is_enough() && faults.kills > 1,
        "too little happened"
    );
    if backend == Backend::Postgres {
        assert!(faults.database_kills > 0 && answers.unavailable > 0);
    }
}

fn settings(
    address: &str,
    database_url: &str,
    url: &str,
    simulator: &str,
) -> Vec<(&'static str, String)> {
    let settings = [
        ("FIRESIDE_LISTEN", address),
        ("FIRESIDE_DATABASE_URL", database_url),
        ("FIRESIDE_ACCESS_TOKEN_LIFETIME", "24h"),
        ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN),
        ("FIRESIDE_VISITOR_RATE", "10000/s"),
        ("FIRESIDE_STORE_USER_RATE", "10000/s"),
        ("FIRESIDE_PAYMENT_PUBLIC_URL", url),
        ("FIRESIDE_PAYMENT_LIFETIME", "5s"),
        ("FIRESIDE_PAYMENT_TIMEOUT", "400ms"),
        ("FIRESIDE_PAYMENT_RETRY_FIRST", "20ms"),
        ("FIRESIDE_PAYMENT_RETRY_LAST", "300ms"),
        ("FIRESIDE_KAKAO_PAY_URL", simulator),
        ("FIRESIDE_KAKAO_PAY_CID", "TC0ONETIME"),
        ("FIRESIDE_KAKAO_PAY_SECRET", "kakao-secret"),
        ("FIRESIDE_TOSS_URL", simulator),
        ("FIRESIDE_TOSS_CLIENT_KEY", "client"),
        ("FIRESIDE_TOSS_SECRET_KEY", "toss-secret"),
        ("FIRESIDE_TOSS_SECURITY_KEY", "toss-security"),
    ];
    settings
        .map(|(name, value)| (name, value.to_owned()))
        .into()
}

/// An address for a program that comes back to it: of a port that the system gives to nobody by itself.
fn free_address(dice: &mut StdRng) -> String {
    loop {
        let address = format!("127.0.0.1:{}", dice.random_range(20_000..30_000));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// A test is told by the environment, as any program is by its user.
#[allow(clippy::disallowed_methods)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
