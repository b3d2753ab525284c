//! A store of a test's own, on a free port, and a client of it.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{App, HttpServer, dev::ServerHandle, middleware::from_fn, web};
use reqwest::{Method, StatusCode, header::HeaderMap};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use serde_json::{Value, json};
use shared::{
    auth::{Claims, SigningKey, TokenIssuer, TokenVerifier},
    id::{Timestamp, UserId},
    network::Network,
    problem,
    redis::RedisLink,
    settings::{Loader, Secret, Settings, Sources},
    telemetry,
};
use store_api::{Background, HttpOptions, NodeSink, Role, Routes, Store, StoreSettings};
use tempfile::TempDir;

use crate::{node::Node, postgres};

/// What services show each other in these tests.
pub const SERVICE_TOKEN: &str = "a service token of more than 32 characters";
const ISSUER: &str = "fireside";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

#[derive(Debug, clap::Args)]
struct Only {
    #[command(flatten)]
    store: StoreSettings,
}

impl Settings for Only {}

/// How long a store may take over what it does after a start.
const REST: Duration = Duration::from_secs(30);

/// A running store.
pub struct TestApp {
    pub settings: StoreSettings,
    pub trusted_proxies: Vec<Network>,
    pub nodes: Vec<Node>,
    /// Where the gate before drops is shared; none: not at all.
    pub redis: Option<RedisLink>,
    backend: Backend,
    pub data_dir: TempDir,
    clock: Arc<AtomicI64>,
    client: reqwest::Client,
    running: Option<Running>,
    made: AtomicU32,
}

struct Running {
    base: String,
    server: ServerHandle,
    background: Background,
    store: Store,
}

/// What the store answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The body, if the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The word of the problem, if the status is this one.
    #[track_caller]
    pub fn problem(self, status: u16) -> String {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{}",
            self.body
        );
        self.expect(status)["code"].as_str().unwrap().to_owned()
    }
}

/// Somebody who is registered and logged in.
#[derive(Debug, Clone)]
pub struct User {
    pub id: String,
    pub name: String,
    pub email: String,
    pub access: String,
    pub refresh: String,
}

pub const PASSWORD: &str = "correct horse battery";

/// The settings of a store, but for hashes that cost nothing.
pub fn settings() -> StoreSettings {
    let sources = Sources {
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    let mut settings = Loader::new("test", "0", "")
        .load::<Only>(sources)
        .unwrap()
        .settings
        .store;
    settings.password_hash_memory_kib = 8;
    settings.password_hash_passes = 1;
    // `kept` is about what is given again; everything else is about what stands in the database.
    settings.catalogue_kept = Duration::ZERO;
    settings
}

fn key() -> SigningKey {
    SigningKey::from_secret(&[7; 32]).unwrap()
}

/// An HTTP client. It keeps no connections: what is sent as one ends fails, and is not sent again if it is a `POST`.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy();
    builder.pool_max_idle_per_host(0).build().unwrap()
}

/// Runs a test on a store of its own.
pub fn run<T, F>(backend: Backend, test: T)
where
    T: FnOnce(TestApp) -> F,
    F: Future<Output = TestApp>,
{
    actix_web::rt::System::new().block_on(async {
        let app = TestApp::start(backend).await;
        // Far above what any test takes: only a hang gets here.
        let app = tokio::time::timeout(Duration::from_mins(2), test(app))
            .await
            .unwrap();
        app.end().await;
    });
}

impl TestApp {
    async fn start(backend: Backend) -> Self {
        let mut settings = settings();
        if backend == Backend::Postgres {
            settings.database_url = Some(Secret::new(postgres::database().await));
            settings.database_connections = 4;
        }
        let mut app = Self {
            settings,
            trusted_proxies: Vec::new(),
            nodes: vec![Node::start()],
            redis: None,
            backend,
            data_dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(AtomicI64::new(0)),
            client: client(),
            running: None,
            made: AtomicU32::new(0),
        };
        app.up().await;
        app
    }

    async fn up(&mut self) {
        let key = key();
        let clock = self.clock.clone();
        let store = Store::open_with_clock(
            &self.settings,
            self.data_dir.path(),
            &key,
            ISSUER,
            Arc::new(move || Timestamp::now().plus_millis(clock.load(Ordering::Relaxed))),
        )
        .await
        .unwrap();
        if let Some(link) = &self.redis {
            store.share(link.clone());
        }
        let targets = self
            .nodes
            .iter()
            .map(|node| NodeSink::target(node.url(), Secret::new(SERVICE_TOKEN.into())).unwrap())
            .collect();
        let background = store.start(targets);
        let routes = Routes::new(
            store.clone(),
            HttpOptions {
                rate_limits: self.settings.rate_limits(),
                service_token: Some(Secret::new(SERVICE_TOKEN.into())),
                trusted_proxies: self.trusted_proxies.clone(),
                catalogue_kept: self.settings.catalogue_kept,
            },
        );
        let server = HttpServer::new(move || {
            let routes = routes.clone();
            App::new()
                .configure(problem::extractors(1 << 20))
                .configure(move |config| routes.configure(config))
                .default_service(web::to(problem::not_found))
                .wrap(from_fn(problem::fill))
                .wrap(from_fn(telemetry::observe))
        })
        .workers(2)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let base = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        self.running = Some(Running {
            base,
            server: handle,
            background,
            store,
        });
    }

    /// Another process on the same database, which PostgreSQL allows.
    pub async fn twin(&self) -> Self {
        assert_eq!(self.backend, Backend::Postgres);
        let mut twin = Self {
            settings: self.settings.clone(),
            trusted_proxies: Vec::new(),
            nodes: self.nodes.clone(),
            redis: self.redis.clone(),
            backend: Backend::Sqlite, // whose database nobody drops
            data_dir: tempfile::tempdir().unwrap(),
            clock: self.clock.clone(),
            client: self.client.clone(),
            running: None,
            made: AtomicU32::new(1000),
        };
        twin.up().await;
        twin
    }

    async fn down(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.server.stop(false).await;
        running.background.stop().await;
        running.store.close().await;
    }

    /// Stops the store and starts it again with what the settings say now.
    pub async fn restart(&mut self) {
        self.down().await;
        self.up().await;
    }

    pub async fn end(mut self) {
        self.down().await;
        if let (Backend::Postgres, Some(url)) = (self.backend, &self.settings.database_url) {
            postgres::drop(url.expose()).await;
        }
    }

    /// A token as an issuer gives it to services.
    pub fn service_jwt() -> String {
        let issuer = TokenIssuer::new(&key(), ISSUER, Duration::from_mins(1));
        let name = UserId::parse("chat-node").unwrap();
        issuer
            .issue_service(&name, Duration::from_mins(1))
            .unwrap()
            .token
    }

    /// What a token of somebody says.
    pub fn claims(id: &str) -> Claims {
        let issuer = TokenIssuer::new(&key(), ISSUER, Duration::from_mins(10));
        let token = issuer
            .issue(&UserId::parse(id).unwrap(), "Claimer")
            .unwrap();
        TokenVerifier::of_key(&key(), ISSUER)
            .verify(&token.token)
            .unwrap()
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        self.clock
            .fetch_add(span.as_millis() as i64, Ordering::Relaxed);
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.as_ref().unwrap().base)
    }

    pub fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
    ) -> reqwest::RequestBuilder {
        let request = self.client.request(method, self.url(path));
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap()
        };
        Answer {
            status,
            headers,
            body,
        }
    }

    pub async fn get(&self, path: &str, user: &User) -> Answer {
        self.send(self.request(Method::GET, path, Some(&user.access)))
            .await
    }

    pub async fn put(&self, path: &str, user: &User) -> Answer {
        self.send(self.request(Method::PUT, path, Some(&user.access)))
            .await
    }

    pub async fn delete(&self, path: &str, user: &User) -> Answer {
        self.send(self.request(Method::DELETE, path, Some(&user.access)))
            .await
    }

    /// The store itself, for what nobody asks over HTTP.
    pub fn store(&self) -> &Store {
        &self.running.as_ref().unwrap().store
    }

    /// Waits until the store has done what it does after a start: for a moment nobody reads its database.
    pub async fn quiet(&self) {
        let began = Instant::now();
        let mut before = None;
        while before != Some(self.store().reads()) {
            assert!(began.elapsed() < REST, "the store never rests");
            before = Some(self.store().reads());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn database(&self) -> DatabaseConnection {
        let url = match &self.settings.database_url {
            Some(url) => url.expose().clone(),
            None => format!("sqlite:{}", self.data_dir.path().join("store.db").display()),
        };
        Database::connect(url).await.unwrap()
    }

    /// The names of the tables, but for those that a database keeps for itself.
    pub async fn tables(&self) -> BTreeSet<String> {
        let database = self.database().await;
        let text = match self.backend {
            Backend::Postgres => {
                "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables WHERE table_schema = 'public'"
            }
            Backend::Sqlite => {
                "SELECT name FROM sqlite_master WHERE type = 'table' \
                 AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'game_texts!_%' ESCAPE '!'"
            }
        };
        let statement = Statement::from_string(database.get_database_backend(), text);
        let rows = database.query_all_raw(statement).await.unwrap();
        database.close().await.unwrap();
        rows.iter()
            .map(|row| row.try_get("", "name").unwrap())
            .collect()
    }

    /// How many rows a table has.
    pub async fn count(&self, table: &str) -> i64 {
        let database = self.database().await;
        let text = format!("SELECT COUNT(*) AS count FROM {table}");
        let statement = Statement::from_string(database.get_database_backend(), text);
        let row = database.query_one_raw(statement).await.unwrap().unwrap();
        database.close().await.unwrap();
        row.try_get("", "count").unwrap()
    }

    /// The numbers that a statement gives, a column of them.
    pub async fn numbers(&self, text: &str) -> Vec<i64> {
        let database = self.database().await;
        let statement = Statement::from_string(database.get_database_backend(), text);
        let rows = database.query_all_raw(statement).await.unwrap();
        database.close().await.unwrap();
        rows.iter()
            .map(|row| row.try_get_by_index(0).unwrap())
            .collect()
    }

    /// Waits until so many mails are left to be sent, and sees that they stay.
    pub async fn mails_left(&self, expected: i64) {
        let since = Instant::now();
        loop {
            let left = self.count("mails").await;
            if left == expected {
                break;
            }
            assert!(since.elapsed() < Duration::from_mins(2), "{left} are left");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(self.count("mails").await, expected);
    }

    /// Does things in the database itself: what would be thousands of requests, or comes from
    /// another version of the store.
    pub async fn write(&self, statements: &[&str]) {
        let database = self.database().await;
        for statement in statements {
            database.execute_unprepared(statement).await.unwrap();
        }
        database.close().await.unwrap();
    }

    /// So many people who wish for a game.
    pub async fn wishers(&self, game: &str, how_many: usize) {
        let [people, wishes] = crowd(game, how_many);
        self.write(&[&people, &wishes]).await;
    }

    /// Somebody of this role.
    pub async fn user_as(&self, name: &str, role: Role) -> User {
        let user = self.user(name).await;
        self.store().set_role_of(&user.email, role).await.unwrap();
        user
    }

    /// Sends a request under a name of its own.
    pub async fn named(&self, path: &str, token: &str, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path, Some(token)).json(body);
        self.send(request.header("idempotency-key", key)).await
    }

    /// Codes of so many gift cards.
    pub async fn gift_cards(&self, amount: i64, currency: &str, cards: usize) -> Vec<String> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let body = json!({"amount": amount, "currency": currency, "cards": cards});
        let key = format!("gift-cards-{number}");
        let answer = self.named("/v1/gift-cards", SERVICE_TOKEN, &key, &body);
        let body = answer.await.expect(201);
        serde_json::from_value(body["codes"].clone()).unwrap()
    }

    pub async fn redeem(&self, user: &User, code: &str) -> Answer {
        let body = json!({"code": code});
        self.with_body(Method::POST, "/v1/gift-cards/redeem", user, body)
            .await
    }

    /// What is in somebody's wallet.
    pub async fn balance(&self, user: &User) -> i64 {
        let wallet = self.get("/v1/wallet", user).await.expect(200);
        wallet["balance"]["minor"].as_i64().unwrap()
    }

    /// A publisher that nobody owns.
    pub async fn publisher(&self, name: &str) -> String {
        let request = self.request(Method::POST, "/v1/publishers", Some(SERVICE_TOKEN));
        let answer = self.send(request.json(&json!({"name": name}))).await;
        answer.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// A game that is published, or what `change` makes of it.
    pub async fn game(
        &self,
        publisher: &str,
        slug: &str,
        change: impl FnOnce(&mut Value),
    ) -> String {
        let body = game(change);
        let path = format!("/v1/publishers/{publisher}/games/{slug}");
        let request = self.request(Method::PUT, &path, Some(SERVICE_TOKEN));
        let answer = self.send(request.json(&body)).await;
        assert!(
            [200, 201].contains(&answer.status.as_u16()),
            "{}",
            answer.body
        );
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// Buys games under a name.
    pub async fn buy(&self, user: &User, key: &str, games: &[&str]) -> Answer {
        let body = json!({"games": games});
        self.named("/v1/orders", &user.access, key, &body).await
    }

    /// Somebody with so much money.
    pub async fn rich_user(&self, name: &str, dollars: i64) -> User {
        let user = self.user(name).await;
        let codes = self.gift_cards(dollars * 100, "USD", 1).await;
        self.redeem(&user, &codes[0]).await.expect(200);
        user
    }

    /// Holds the books to their rules.
    #[track_caller]
    pub fn check_ledger(&self) -> impl Future<Output = ()> + '_ {
        let store = self.store().clone();
        async move {
            let report = store.check_ledger().await.unwrap();
            assert_eq!(report.faults, [], "{report:?}");
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path, None).json(&body))
            .await
    }

    pub async fn with_body(&self, method: Method, path: &str, user: &User, body: Value) -> Answer {
        self.send(self.request(method, path, Some(&user.access)).json(&body))
            .await
    }

    pub async fn service(&self, method: Method, path: &str) -> Answer {
        self.send(self.request(method, path, Some(SERVICE_TOKEN)))
            .await
    }

    pub async fn login(&self, email: &str, password: &str) -> Answer {
        self.post(
            "/v1/auth/login",
            json!({"email": email, "password": password}),
        )
        .await
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/v1/auth/refresh", json!({"refresh_token": token}))
            .await
    }

    pub async fn register(&self, email: &str, name: &str) -> Answer {
        let body = json!({"email": email, "name": name, "password": PASSWORD});
        self.post("/v1/auth/register", body).await
    }

    /// Registers somebody whose name nobody has yet.
    pub async fn user(&self, name: &str) -> User {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let email = format!("{number}@example.org");
        let body = self
            .register(&email, &format!("{name}{number}"))
            .await
            .expect(201);
        User::of(&body, email)
    }

    /// The status of `GET /v1/me` with this token.
    pub async fn me_status(&self, access: &str) -> u16 {
        self.send(self.request(Method::GET, "/v1/me", Some(access)))
            .await
            .status
            .as_u16()
    }

    pub async fn befriend(&self, a: &User, b: &User) {
        self.put(&format!("/v1/friends/{}", b.id), a)
            .await
            .expect(200);
        let body = self
            .put(&format!("/v1/friends/{}", a.id), b)
            .await
            .expect(200);
        assert_eq!(body["state"], "friend");
    }

    /// What `a` sees of `b` in the list of friends.
    pub async fn sees(&self, a: &User, b: &User) -> Option<String> {
        let body = self.get("/v1/friends?limit=500", a).await.expect(200);
        let items = body["items"].as_array().unwrap();
        let item = items
            .iter()
            .find(|item| item["user"]["id"] == b.id.as_str())?;
        Some(item["state"].as_str().unwrap().to_owned())
    }
}

/// Statements that make so many people, each of whom wishes for a game.
pub fn crowd(game: &str, how_many: usize) -> [String; 2] {
    [
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {how_many}) \
             INSERT INTO users (id, name, name_key, created_at) \
             SELECT 'wisher-' || i, 'Wisher ' || i, 'wisher ' || i, 0 FROM n"
        ),
        format!(
            "INSERT INTO marks (user_id, list, game, since) \
             SELECT id, 'wishlist', '{game}', 0 FROM users WHERE id LIKE 'wisher-%'"
        ),
    ]
}

/// A game as its publisher says it.
pub fn game(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({
        "title": "Star of Dawn", "summary": "A star.", "state": "published", "released_at": 1000,
        "categories": ["action"], "tags": ["co-op"], "prices": {"US": 1000, "KR": 12000},
    });
    change(&mut body);
    body
}

impl User {
    pub fn of(body: &Value, email: String) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            id: text(&body["user"]["id"]),
            name: text(&body["user"]["name"]),
            email,
            access: text(&body["access_token"]),
            refresh: text(&body["refresh_token"]),
        }
    }
}
