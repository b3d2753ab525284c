//! The shop as its people reach it: asked again until it answers, and what it was heard to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand::{Rng as _, rngs::StdRng};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    app::{PASSWORD, SERVICE_TOKEN, client, game},
    campaigns::text,
};

/// How many games people choose from: the newest.
const CHOICE: usize = 40;
/// How many coupons everybody gets at first; all but the first go together.
const COUPONS: usize = 3;
/// Longer than any answer takes, also that the database is away.
const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who buys.
pub struct Somebody {
    pub id: String,
    pub token: String,
}

/// The store, for as long as it is killed and started.
pub struct Shop {
    pub url: String,
    client: Client,
    /// Until when people come.
    pub until: Instant,
    games: Mutex<Vec<String>>,
    house: Mutex<String>,
    pub told: Mutex<Told>,
    pub answers: Mutex<Answers>,
}

/// What people were told, and so has to be true in the end.
#[derive(Default)]
pub struct Told {
    pub orders: BTreeSet<String>,
    /// The state of gifts that were answered.
    pub gifts: BTreeMap<String, String>,
}

/// How the store answered.
#[derive(Default)]
pub struct Answers {
    /// How often it said that its database is away.
    pub unavailable: u32,
    pub slowest: Duration,
    /// Answers that are none: a fault of its own, or nothing for too long.
    pub faults: Vec<String>,
}

impl Shop {
    pub fn new(url: String) -> Self {
        Self {
            url,
            client: client(),
            until: Instant::now(),
            games: Mutex::default(),
            house: Mutex::default(),
            told: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    pub fn is_open(&self) -> bool {
        Instant::now() < self.until
    }

    pub fn request(&self, method: Method, token: &str, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.url);
        self.client.request(method, url).bearer_auth(token)
    }

    /// What a browser asks.
    pub fn visit(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    /// What a request is answered; none where nobody answers, or only that the database is away.
    pub async fn ask(&self, request: RequestBuilder) -> Option<(u16, Value)> {
        let began = Instant::now();
        let answer = request.timeout(PATIENCE).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if error.is_timeout() {
                    let fault = format!("no answer: {error}");
                    self.answers.lock().faults.push(fault);
                }
                return None;
            }
        };
        let (status, path) = (answer.status().as_u16(), answer.url().path().to_owned());
        // Cut off where the store is killed.
        let bytes = answer.bytes().await.ok()?;
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let mut answers = self.answers.lock();
        answers.slowest = answers.slowest.max(began.elapsed());
        if status < 500 {
            return Some((status, body));
        }
        let is_passing = ["unavailable", "busy"].contains(&body["code"].as_str().unwrap_or(""));
        if status == 503 && is_passing {
            answers.unavailable += 1;
        } else {
            answers.faults.push(format!("{status} {path}: {body}"));
        }
        None
    }

    /// The same, again until it is answered: none while the store is down for good.
    pub async fn insist(&self, request: RequestBuilder) -> Option<(u16, Value)> {
        for _ in 0..400 {
            if let Some(answer) = self.ask(request.try_clone().unwrap()).await {
                return Some(answer);
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }

    pub async fn get(&self, token: &str, path: &str) -> Value {
        let answer = self.insist(self.request(Method::GET, token, path)).await;
        answer.unwrap_or_default().1
    }

    /// Sends a request under a name, and the same again until it is answered.
    pub async fn named(
        &self,
        token: &str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Option<(u16, Value)> {
        let request = self.request(Method::POST, token, path).json(body);
        self.insist(request.header("idempotency-key", key)).await
    }

    /// Some of the newest games.
    pub fn choose(&self, dice: &mut StdRng, how_many: usize) -> Vec<String> {
        let games = self.games.lock();
        let newest = games.len().saturating_sub(CHOICE);
        let first = dice.random_range(newest..games.len() - how_many);
        games[first..first + how_many].to_vec()
    }

    /// Ids of coupons that somebody may use now, as far as they know.
    pub async fn coupons(&self, token: &str) -> Vec<String> {
        let page = self.get(token, "/v1/coupons?state=good").await;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let id = |coupon: &Value| coupon["id"].as_str().unwrap().to_owned();
        items.iter().map(id).collect()
    }

    /// People who are friends, games to buy, and coupons.
    pub async fn open(&self, people: usize) -> Vec<Somebody> {
        let mut somebody = Vec::new();
        for number in 0..people {
            somebody.push(self.register(number).await);
        }
        for one in &somebody {
            for other in somebody.iter().filter(|other| other.id != one.id) {
                let path = format!("/v1/friends/{}", other.id);
                let request = self.request(Method::PUT, &one.token, &path);
                self.insist(request).await.unwrap();
            }
        }
        let request = self.request(Method::POST, SERVICE_TOKEN, "/v1/publishers");
        let house = self.insist(request.json(&json!({"name": "Oak"}))).await;
        let house = house.unwrap().1;
        let id = house["id"].as_str().unwrap();
        id.clone_into(&mut self.house.lock());
        for number in 0..CHOICE {
            self.put_game(number, 1000 + 100 * number).await;
        }
        for number in 0..COUPONS {
            self.give_coupons(&somebody, number).await;
        }
        somebody
    }

    /// Brings out games, changes prices and gives coupons away, for as long as people come.
    pub async fn trade(&self, people: &[Somebody], mut dice: StdRng) {
        let mut made = CHOICE;
        while self.is_open() {
            sleep(Duration::from_millis(500)).await;
            match dice.random_range(0..8) {
                0 => self.give_coupons(people, dice.random_range(0..5)).await,
                1..4 => {
                    let which = dice.random_range(0..made);
                    self.put_game(which, dice.random_range(1..100) * 100).await;
                }
                _ => {
                    self.put_game(made, dice.random_range(1..100) * 100).await;
                    made += 1;
                }
            }
        }
    }

    async fn register(&self, number: usize) -> Somebody {
        let body = json!({
            "email": format!("{number}@example.org"), "name": format!("Player {number}"), "password": PASSWORD,
        });
        let request = self.request(Method::POST, "", "/v1/auth/register");
        let (_, answer) = self.insist(request.json(&body)).await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let token = text(&answer["access_token"]);
        let request = self.request(Method::PUT, &token, "/v1/wallet/country");
        let request = request.json(&json!({"country": "KR"}));
        self.insist(request).await.unwrap();
        Somebody {
            id: text(&answer["user"]["id"]),
            token,
        }
    }

    async fn put_game(&self, number: usize, price: usize) {
        let path = format!(
            "/v1/publishers/{}/games/game-{number}",
            self.house.lock().as_str()
        );
        let body = game(|game| {
            game["title"] = format!("Game {number}").into();
            game["prices"] = json!({"KR": price});
        });
        let request = self.request(Method::PUT, SERVICE_TOKEN, &path).json(&body);
        let Some((_, game)) = self.insist(request).await else {
            return;
        };
        let id = game["id"].as_str().unwrap().to_owned();
        let mut games = self.games.lock();
        if !games.contains(&id) {
            games.push(id);
        }
    }

    async fn give_coupons(&self, people: &[Somebody], number: usize) {
        let users: Vec<&str> = people.iter().map(|one| one.id.as_str()).collect();
        let campaign = text(|body| {
            body["percent"] = json!(10 + 20 * number);
            body["stackable"] = json!(number > 0);
        });
        let request = self.request(Method::POST, SERVICE_TOKEN, "/v1/campaigns");
        let Some((201, campaign)) = self.insist(request.json(&campaign)).await else {
            return;
        };
        let path = format!("/v1/campaigns/{}/coupons", campaign["id"].as_str().unwrap());
        let request = self.request(Method::POST, SERVICE_TOKEN, &path);
        self.insist(request.json(&json!({"users": users}))).await;
    }
}
