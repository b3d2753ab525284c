//! A stand-in for payment providers: a process of its own that speaks KakaoPay's and Toss Payments'
//! API as their public documents have it, keeps books of its own (`GET /books`), and misbehaves as
//! networks and providers do, by a seed: it answers late, acts late, fails, acts twice, breaks the
//! connection off after it acted, and sends its messages late, several times and out of order.
//!
//! Nobody pays here: it is for tests, and for trying a store out.

#![allow(unreachable_pub)] // a program has no outside

use std::{net::TcpListener, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use clap::Parser;

use simulator::Simulator;

mod books;
mod kakao_pay;
mod messages;
mod simulator;
mod toss;
mod trouble;

/// Plays KakaoPay and Toss Payments.
#[derive(Debug, Clone, Parser)]
#[command(name = "pay-simulator")]
pub struct Settings {
    /// The address to serve on
    #[arg(long, default_value = "127.0.0.1:8199")]
    listen: String,
    /// What its misbehaviour follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of a hundred calls, how many go wrong in some way
    #[arg(long, default_value_t = 0)]
    trouble: u8,
    /// How late what is late may be, in milliseconds
    #[arg(long, default_value_t = 3000)]
    late: u64,
    /// Where Toss's messages go; nowhere without it
    #[arg(long)]
    messages_to: Option<String>,
    /// For how long a payment can be approved, in seconds
    #[arg(long, default_value_t = 900)]
    lifetime: u64,
    /// The merchant code that KakaoPay knows
    #[arg(long, default_value = "TC0ONETIME")]
    kakao_pay_cid: String,
    /// The key that KakaoPay wants to see
    #[arg(long, default_value = "kakao-secret")]
    kakao_pay_secret: String,
    /// The key that Toss wants to see
    #[arg(long, default_value = "toss-secret")]
    toss_secret_key: String,
    /// The key that Toss signs with
    #[arg(long, default_value = "toss-security")]
    toss_security_key: String,
}

impl Settings {
    fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime)
    }
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let listener = TcpListener::bind(&settings.listen)
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let base = format!("http://{}", listener.local_addr()?);
    println!("serving {base}");
    let simulator = web::Data::new(Simulator::new(settings, base)?);
    HttpServer::new(move || {
        App::new()
            .app_data(simulator.clone())
            .route("/books", web::get().to(books))
            .configure(kakao_pay::routes)
            .configure(toss::routes)
    })
    .workers(2)
    .listen(listener)?
    .run()
    .await?;
    Ok(())
}

/// What was taken and paid back, and how many calls are still under way.
async fn books(simulator: web::Data<Simulator>) -> HttpResponse {
    HttpResponse::Ok().json(simulator.shown())
}
