//! The provider simulator, as a process of its own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use reqwest::{StatusCode, header::LOCATION, redirect::Policy};
use serde_json::{Value, json};
use shared::settings::Secret;
use store_api::PaymentSettings;

/// What the simulator's Toss signs with.
pub const SECURITY_KEY: &str = "toss-security";

pub struct Simulator {
    child: Child,
    pub url: String,
    /// The payer's browser, which is told where it is sent.
    browser: reqwest::Client,
}

impl Simulator {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pay-simulator"));
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("serving ").unwrap().to_owned();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let browser = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none());
        Self {
            child,
            url,
            browser: browser.build().unwrap(),
        }
    }

    /// Has a store take payments by it.
    pub fn set_up(&self, payments: &mut PaymentSettings) {
        payments.payment_public_url = Some("http://play.example.org".to_owned());
        payments.kakao_pay_url.clone_from(&self.url);
        payments.kakao_pay_cid = Some("TC0ONETIME".to_owned());
        payments.kakao_pay_secret = Some(Secret::new("kakao-secret".to_owned()));
        payments.toss_url.clone_from(&self.url);
        payments.toss_sdk_url = format!("{}/v2/standard", self.url);
        payments.toss_client_key = Some("client".to_owned());
        payments.toss_secret_key = Some(Secret::new("toss-secret".to_owned()));
        payments.toss_security_key = Some(Secret::new(SECURITY_KEY.to_owned()));
    }

    /// What `GET` answers, and where it sends.
    pub async fn visit(&self, url: &str) -> (StatusCode, Option<String>) {
        let answer = self.browser.get(url).send().await.unwrap();
        let to = answer.headers().get(LOCATION);
        let to = to.map(|to| to.to_str().unwrap().to_owned());
        (answer.status(), to)
    }

    /// The payer goes where `next` of a payment sends them, and agrees or not: the path at the store
    /// that the provider sends them back to.
    pub async fn pay(&self, next: &Value, agree: bool) -> String {
        let choice = if agree { "agree" } else { "quit" };
        let text = |name: &str| next[name].as_str().unwrap_or_default().to_owned();
        let url = if next["kind"] == "redirect" {
            format!("{}?choice={choice}", text("url"))
        } else {
            let mut window = url::Url::parse(&format!("{}/toss/window", self.url)).unwrap();
            window
                .query_pairs_mut()
                .append_pair("orderId", &text("order_id"))
                .append_pair("customerKey", &text("customer_key"))
                .append_pair("amount", &next["amount"].to_string())
                .append_pair("successUrl", &text("success_url"))
                .append_pair("failUrl", &text("fail_url"))
                .append_pair("choice", choice);
            window.into()
        };
        let (status, to) = self.visit(&url).await;
        assert_eq!(status, 302, "{next}");
        let to = url::Url::parse(&to.unwrap()).unwrap();
        format!("{}?{}", to.path(), to.query().unwrap())
    }

    /// Has Toss take the money, as the store asks it to.
    pub async fn confirm(&self, key: &str, order: &str, amount: i64) {
        let body = json!({"paymentKey": key, "orderId": order, "amount": amount});
        let asked = self
            .browser
            .post(format!("{}/v1/payments/confirm", self.url))
            .basic_auth("toss-secret", Some(""));
        let answer = asked.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    /// What was taken and paid back.
    pub async fn books(&self) -> Value {
        let books = self.browser.get(format!("{}/books", self.url)).send();
        books.await.unwrap().json().await.unwrap()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
