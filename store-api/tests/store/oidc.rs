//! A provider of identities for the tests: oidc-provider as a process, and a browser that logs in there.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
};

use reqwest::{StatusCode, header, redirect::Policy};
use serde_json::{Value, json};
use shared::settings::Secret;
use url::Url;

use crate::app::{Answer, TestApp, User};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store/oidc_provider.mjs");
/// Where browsers reach the store, as the provider knows it. Nobody goes there: the test does, to wherever the
/// store listens.
const PUBLIC: &str = "https://play.example.org";

/// A running provider, or one that is away for the time being.
pub struct IdentityProvider {
    port: u16,
    process: Option<(Child, ChildStdin)>,
}

/// A log-in that was begun in a browser.
#[derive(Debug, Clone)]
pub struct Begun {
    pub url: String,
    pub secret: String,
}

impl Begun {
    fn of(body: &Value) -> Self {
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Self {
            url: text("url"),
            secret: text("secret"),
        }
    }
}

impl IdentityProvider {
    pub fn start() -> Self {
        let mut server = Self {
            port: 0,
            process: None,
        };
        server.up();
        server
    }

    /// Starts it again on its port.
    pub fn up(&mut self) {
        let redirect = |name| format!("{PUBLIC}/v1/auth/providers/{name}/return");
        let mut child = Command::new("node")
            .arg(SCRIPT)
            .arg(directory())
            .arg(self.port.to_string())
            .args(["kakao", "oak"].map(redirect))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        self.port = port.trim().parse().expect("the provider did not start");
        self.process = Some((child, stdin));
    }

    /// Kills it.
    pub fn down(&mut self) {
        if let Some((mut child, _)) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Has people log in to a store here, as by Kakao and as by another provider.
    pub async fn serve(&self, app: &mut TestApp) {
        let secret = || Some(Secret::new("the secret of fireside".into()));
        let login = &mut app.settings.login;
        login.login_public_url = Some(PUBLIC.into());
        login.kakao_login_id = Some("fireside".into());
        login.kakao_login_secret = secret();
        login.kakao_login_scopes = "openid profile email".into();
        login.kakao_login_authorize_url = self.url("/auth");
        login.kakao_login_token_url = self.url("/token");
        login.kakao_login_user_url = self.url("/me");
        login.oidc_login_name = "oak".into();
        login.oidc_login_label = "Oak".into();
        login.oidc_login_id = Some("fireside".into());
        login.oidc_login_secret = secret();
        login.oidc_login_authorize_url = Some(self.url("/auth"));
        login.oidc_login_token_url = Some(self.url("/token"));
        login.oidc_login_user_url = Some(self.url("/me"));
        app.restart().await;
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        self.down();
    }
}

/// Begins a log-in.
pub async fn begin(app: &TestApp, provider: &str) -> Begun {
    let path = format!("/v1/auth/providers/{provider}");
    let answer = app.post(&path, Value::Null).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    Begun::of(&answer.expect(201))
}

/// Begins to link an identity.
pub async fn begin_link(app: &TestApp, user: &User, provider: &str, body: Value) -> Answer {
    let path = format!("/v1/me/identities/{provider}");
    app.with_body(reqwest::Method::POST, &path, user, body)
        .await
}

/// The same, and that it may be.
pub async fn begun_link(app: &TestApp, user: &User, provider: &str, body: Value) -> Begun {
    Begun::of(&begin_link(app, user, provider, body).await.expect(201))
}

/// Logs in at the provider as `who`, and gives the address that the provider sends the browser back to. Nobody
/// turns back at the door.
pub async fn visit(begun: &Begun, who: &str) -> Url {
    let client = browser();
    let mut url = Url::parse(&begun.url).unwrap();
    if !who.is_empty() {
        url.query_pairs_mut().append_pair("login_hint", who);
    }
    let mut cookies = BTreeMap::new();
    for _ in 0..10 {
        if url.as_str().starts_with(PUBLIC) {
            return url;
        }
        let jar: Vec<String> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = client
            .get(url.clone())
            .header(header::COOKIE, jar.join("; "));
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let Some(next) = response.headers().get(header::LOCATION) else {
            let status = response.status();
            panic!("{status} at {url}: {}", response.text().await.unwrap());
        };
        url = url.join(next.to_str().unwrap()).unwrap();
    }
    panic!("the provider sends nobody back");
}

/// Brings to the store what a provider sent a browser back with, and gives the ticket it answers.
pub async fn bring_back(app: &TestApp, back: &Url) -> String {
    let answer = came_back(app, back).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let page = answer.headers[header::LOCATION].to_str().unwrap();
    // To our page and nowhere else, with nothing in it that lets anybody in.
    let ticket = page.strip_prefix("/#/login?login=").unwrap();
    assert!(!ticket.contains(['&', '.']), "{page}");
    ticket.to_owned()
}

/// The same, whatever it answers.
pub async fn came_back(app: &TestApp, back: &Url) -> Answer {
    let path = format!("{}?{}", back.path(), back.query().unwrap_or_default());
    app.send(browser().get(app.url(&path))).await
}

/// Goes to the provider as `who` and back, and gives the ticket.
pub async fn walk(app: &TestApp, begun: &Begun, who: &str) -> String {
    bring_back(app, &visit(begun, who).await).await
}

pub async fn finish(app: &TestApp, ticket: &str, secret: &str) -> Answer {
    let body = json!({"ticket": ticket, "secret": secret});
    app.post("/v1/auth/finish", body).await
}

pub async fn register(app: &TestApp, ticket: &str, secret: &str, name: &str) -> Answer {
    let body = json!({"ticket": ticket, "secret": secret, "name": name});
    app.post("/v1/auth/finish/register", body).await
}

pub async fn link(app: &TestApp, user: &User, ticket: &str, secret: &str) -> Answer {
    let body = json!({"ticket": ticket, "secret": secret});
    app.with_body(reqwest::Method::POST, "/v1/me/identities", user, body)
        .await
}

/// Logs in as somebody whom the store knows or not.
pub async fn log_in(app: &TestApp, provider: &str, who: &str) -> Answer {
    let begun = begin(app, provider).await;
    let ticket = walk(app, &begun, who).await;
    finish(app, &ticket, &begun.secret).await
}

/// Makes an account by a provider.
pub async fn newcomer(app: &TestApp, provider: &str, who: &str, name: &str) -> User {
    let begun = begin(app, provider).await;
    let ticket = walk(app, &begun, who).await;
    let body = finish(app, &ticket, &begun.secret).await.expect(202);
    let ticket = body["ticket"].as_str().unwrap();
    let body = register(app, ticket, &begun.secret, name).await.expect(201);
    User::of(&body, format!("{who}@example.org"))
}

/// Goes on only where it is told to.
fn browser() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().redirect(Policy::none());
    builder.no_proxy().build().unwrap()
}

fn directory() -> PathBuf {
    // Tests are told by the environment, as any program is by its user.
    #[allow(clippy::disallowed_methods)]
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("FIRESIDE_TEST_CACHE").map_or_else(
        || PathBuf::from(variable("HOME").unwrap_or_default()).join(".cache/fireside"),
        PathBuf::from,
    );
    let directory = cache.join("oidc");
    let installed = directory.join("node_modules/oidc-provider").is_dir();
    assert!(installed, "no provider of identities: run `./test tools`");
    directory
}
