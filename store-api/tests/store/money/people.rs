//! What people do with their money.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::shop::{Shop, Somebody};
use crate::{app::SERVICE_TOKEN, simulator::Simulator};

/// Somebody at it.
pub struct Player<'a> {
    shop: &'a Shop,
    simulator: &'a Simulator,
    token: &'a str,
    friends: Vec<&'a str>,
    dice: StdRng,
    /// How many things were done; names the requests of each.
    number: u32,
    me: usize,
}

impl<'a> Player<'a> {
    pub fn new(
        shop: &'a Shop,
        simulator: &'a Simulator,
        people: &'a [Somebody],
        me: usize,
        dice: StdRng,
    ) -> Self {
        let friends = people
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != me);
        Self {
            shop,
            simulator,
            token: &people[me].token,
            friends: friends.map(|(_, one)| one.id.as_str()).collect(),
            dice,
            number: 0,
            me,
        }
    }

    /// Does one thing after the other until the time is over.
    pub async fn play(mut self) {
        while self.shop.is_open() {
            self.number += 1;
            match self.dice.random_range(0..12) {
                0..3 => self.charge().await,
                3..5 => self.order_by_provider(false).await,
                5 => self.order_by_provider(true).await,
                6..8 => self.buy().await,
                8 => self.give().await,
                9..11 => self.answer_gifts().await,
                _ => self.redeem_card().await,
            }
        }
    }

    /// Charges the wallet by a provider, and has some of it paid back.
    async fn charge(&mut self) {
        let body = json!({"amount": self.dice.random_range(100..100_000)});
        let Some(id) = self.pay(body).await else {
            return;
        };
        let path = format!("/v1/payments/{id}/cancel");
        for part in 0..self.dice.random_range(0..4) {
            let body = if self.dice.random_bool(0.3) {
                json!({})
            } else {
                json!({"amount": self.dice.random_range(1..30_000)})
            };
            self.once_or_twice(&path, &format!("cancel-{part}"), &body)
                .await;
        }
    }

    /// Has a provider be paid for games, and gives some of them back.
    async fn order_by_provider(&mut self, for_friend: bool) {
        let mut order = self.wanted().await;
        if for_friend {
            order["recipient"] = json!(self.friend());
        }
        let Some(id) = self.pay(json!({"order": order})).await else {
            return;
        };
        let payment = self
            .shop
            .get(self.token, &format!("/v1/payments/{id}"))
            .await;
        if let Some(order) = payment["order"].as_str() {
            self.give_back(order).await;
        }
    }

    /// Buys from the wallet.
    async fn buy(&mut self) {
        let body = self.wanted().await;
        let key = self.key("order");
        let answer = self.shop.named(self.token, "/v1/orders", &key, &body).await;
        let Some((201, order)) = answer else {
            return self.breathe().await;
        };
        let order = order["id"].as_str().unwrap().to_owned();
        self.shop.told.lock().orders.insert(order.clone());
        self.give_back(&order).await;
    }

    /// Gives games to a friend.
    async fn give(&mut self) {
        let mut body = self.wanted().await;
        body["recipient"] = json!(self.friend());
        let key = self.key("gift");
        let answer = self.shop.named(self.token, "/v1/gifts", &key, &body).await;
        let Some((201, gift)) = answer else {
            return self.breathe().await;
        };
        let gift = gift["id"].as_str().unwrap().to_owned();
        self.shop.told.lock().orders.insert(gift);
    }

    /// Takes gifts, or does not, and takes back some of one's own.
    async fn answer_gifts(&mut self) {
        for side in ["received", "sent"] {
            let path = format!("/v1/gifts?side={side}&limit=20");
            let page = self.shop.get(self.token, &path).await;
            let gifts = page["items"].as_array().cloned().unwrap_or_default();
            let waiting = gifts.iter().filter(|gift| gift["state"] == "waiting");
            for gift in waiting {
                let id = gift["id"].as_str().unwrap();
                let request = |method: Method, path: &str| {
                    let path = format!("/v1/gifts/{id}{path}");
                    self.shop.request(method, self.token, &path)
                };
                let request = match self.dice.random_range(0..4) {
                    // Some other time.
                    0 => continue,
                    _ if side == "sent" => request(Method::DELETE, ""),
                    1 => request(Method::PUT, "/decline"),
                    _ => request(Method::PUT, "/accept"),
                };
                if let Some((200, answered)) = self.shop.insist(request).await {
                    let state = answered["state"].as_str().unwrap().to_owned();
                    self.shop.told.lock().gifts.insert(id.to_owned(), state);
                }
            }
        }
        self.breathe().await;
    }

    /// Redeems gift cards, one of which somebody takes back at the same time now and then.
    async fn redeem_card(&mut self) {
        let cards = json!({
            "amount": self.dice.random_range(1000..50_000), "currency": "KRW", "cards": 2,
        });
        let key = format!("{}-{}", self.key("cards"), self.me);
        let answer = self
            .shop
            .named(SERVICE_TOKEN, "/v1/gift-cards", &key, &cards)
            .await;
        let Some((201, issued)) = answer else {
            return;
        };
        let redeem = |place: usize| {
            let path = "/v1/gift-cards/redeem";
            let request = self.shop.request(Method::POST, self.token, path);
            let body = json!({"code": issued["codes"][place]});
            self.shop.insist(request.json(&body))
        };
        redeem(0).await;
        if self.dice.random_bool(0.5) {
            let path = format!("/v1/gift-cards/{}", issued["batch"].as_str().unwrap());
            let void = self.shop.request(Method::DELETE, SERVICE_TOKEN, &path);
            tokio::join!(redeem(1), self.shop.insist(void));
        }
    }

    /// A few games, and coupons that may go with them.
    async fn wanted(&mut self) -> Value {
        let how_many = self.dice.random_range(1..3);
        let games = self.shop.choose(&mut self.dice, how_many);
        let mut coupons = self.shop.coupons(self.token).await;
        coupons.truncate(self.dice.random_range(0..3));
        json!({"games": games, "coupons": coupons})
    }

    /// Pays by a provider, or gives up there, or never goes; the payment, if it may be paid.
    async fn pay(&mut self, mut body: Value) -> Option<String> {
        let provider = ["kakao_pay", "toss"][self.dice.random_range(0..2)];
        body["provider"] = provider.into();
        let key = self.key("payment");
        let payment = self.shop.named(self.token, "/v1/payments", &key, &body);
        let (_, payment) = payment.await?;
        let Some(id) = payment["id"].as_str() else {
            // Too many that nobody paid, or a game that is owned.
            self.breathe().await;
            return None;
        };
        let next = self.ready(id).await?;
        if self.dice.random_bool(0.1) {
            return None;
        }
        let agrees = self.dice.random_bool(0.85);
        let back = self.simulator.pay(&next, agrees).await;
        let visit = || self.shop.visit(&back);
        // A browser that comes back once, whatever comes of it, or twice at once, or until it is heard.
        match self.dice.random_range(0..3) {
            0 => drop(self.shop.ask(visit()).await),
            1 => drop(tokio::join!(self.shop.ask(visit()), self.shop.ask(visit()))),
            _ => drop(self.shop.insist(visit()).await),
        }
        Some(id.to_owned())
    }

    /// What the payer does next, once the payment is ready.
    async fn ready(&self, id: &str) -> Option<Value> {
        for _ in 0..200 {
            let path = format!("/v1/payments/{id}");
            let payment = self.shop.get(self.token, &path).await;
            match payment["state"].as_str()? {
                "created" => sleep(Duration::from_millis(20)).await,
                "ready" => return Some(payment["next"].clone()),
                _ => return None,
            }
        }
        None
    }

    /// Gives some of what was bought back, or all of it.
    async fn give_back(&mut self, order: &str) {
        if self.dice.random_bool(0.4) {
            return;
        }
        let mut body = json!({});
        if self.dice.random_bool(0.3) {
            let order = self
                .shop
                .get(self.token, &format!("/v1/orders/{order}"))
                .await;
            body = json!({"games": [order["lines"][0]["game"]]});
        }
        let path = format!("/v1/orders/{order}/refund");
        self.once_or_twice(&path, "refund", &body).await;
    }

    /// Asks for something, or for the same under two names at once.
    async fn once_or_twice(&mut self, path: &str, word: &str, body: &Value) {
        let key = self.key(word);
        let once = self.shop.named(self.token, path, &key, body);
        if self.dice.random_bool(0.3) {
            let other = format!("other-{key}");
            tokio::join!(once, self.shop.named(self.token, path, &other, body));
        } else {
            once.await;
        }
    }

    fn friend(&mut self) -> &'a str {
        self.friends[self.dice.random_range(0..self.friends.len())]
    }

    fn key(&self, word: &str) -> String {
        format!("{word}-number-{}", self.number)
    }

    /// What cannot be done is not tried again at once.
    async fn breathe(&self) {
        sleep(Duration::from_millis(50)).await;
    }
}
