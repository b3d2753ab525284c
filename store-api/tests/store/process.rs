//! The program itself: it starts, tells where it serves, survives being killed, and leaves when
//! asked to.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, FromQueryResult, Statement};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::app::{PASSWORD, SERVICE_TOKEN, client, crowd, game};

/// The program, until it is dropped.
pub struct Program {
    pub child: Child,
    pub url: String,
}

impl Program {
    pub fn start(data_dir: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_store-api"))
            .env("FIRESIDE_LISTEN", "127.0.0.1:0")
            .env("FIRESIDE_DATA_DIR", data_dir)
            .env("FIRESIDE_LOG_FORMAT", "json")
            .env("FIRESIDE_PASSWORD_HASH_MEMORY_KIB", "8")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let line: Value = serde_json::from_str(&line).unwrap();
            (line["message"] == "serving").then(|| line["address"].as_str().unwrap().to_owned())
        });
        // Read to the end, or the program would wait for somebody to read its log.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            url: format!("http://{}", address.unwrap()),
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> reqwest::Response {
        client()
            .post(format!("{}{path}", self.url))
            .json(&body)
            .send()
            .await
            .unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn an_account_that_was_answered_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let account = json!({"email": "ann@example.org", "name": "Ann", "password": PASSWORD});
    let program = Program::start(dir.path(), &[]);
    let answer = program.post("/v1/auth/register", account.clone()).await;
    assert_eq!(answer.status(), 201);
    let tokens: Value = answer.json().await.unwrap();
    drop(program);
    let program = Program::start(dir.path(), &[]);
    assert_eq!(program.post("/v1/auth/login", account).await.status(), 200);
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    assert_eq!(
        program.post("/v1/auth/refresh", refresh).await.status(),
        200
    );
}

/// Runs a command of the program, and gives what it says and whether all was well.
pub fn command(data_dir: &Path, words: &[&str], settings: &[(&str, &str)]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_store-api"))
        .args(words)
        .env("FIRESIDE_DATA_DIR", data_dir)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let failed = String::from_utf8(output.stderr).unwrap();
    (format!("{said}{failed}"), output.status.success())
}

#[tokio::test]
async fn money_that_was_answered_survives_a_kill_and_no_other_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let token = [("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN)];
    let mut program = Program::start(dir.path(), &token);
    let account = json!({"email": "ann@example.org", "name": "Ann", "password": PASSWORD});
    let answer = program.post("/v1/auth/register", account).await;
    let tokens: Value = answer.json().await.unwrap();
    let access = tokens["access_token"].as_str().unwrap().to_owned();
    let mut answered = 0;
    for round in 0..3 {
        let cards = json!({"amount": 100, "currency": "USD", "cards": 20});
        let request = client()
            .post(format!("{}/v1/gift-cards", program.url))
            .bearer_auth(SERVICE_TOKEN)
            .header("idempotency-key", format!("round-number-{round}"));
        let cards: Value = request
            .json(&cards)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let redeem = |url: String, code: Value| {
            let request = client().post(format!("{url}/v1/gift-cards/redeem"));
            request
                .bearer_auth(&access)
                .json(&json!({"code": code}))
                .send()
        };
        let requests = cards["codes"].as_array().unwrap().iter().map(|code| {
            let answer = redeem(program.url.clone(), code.clone());
            async { answer.await.is_ok_and(|answer| answer.status() == 200) }
        });
        // Killed with some answered and some under way.
        let mut requests: futures_util::stream::FuturesUnordered<_> = requests.collect();
        for _ in 0..5 {
            let one = futures_util::StreamExt::next(&mut requests).await;
            answered += i64::from(one.unwrap());
        }
        program.child.kill().unwrap();
        while let Some(one) = futures_util::StreamExt::next(&mut requests).await {
            answered += i64::from(one);
        }
        let (said, well) = command(dir.path(), &["ledger", "check"], &[]);
        assert!(well, "{said}");
        program = Program::start(dir.path(), &token);
    }
    let wallet = client().get(format!("{}/v1/wallet", program.url));
    let wallet: Value = wallet
        .bearer_auth(&access)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let balance = wallet["balance"]["minor"].as_i64().unwrap();
    assert!(
        (answered * 100..=6000).contains(&balance),
        "{answered}: {balance}"
    );
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

/// The number that a statement gives.
async fn count(database: &DatabaseConnection, text: &str) -> i64 {
    let statement = Statement::from_string(database.get_database_backend(), text);
    let row = database.query_one_raw(statement).await.unwrap().unwrap();
    Count::from_query_result(&row, "").unwrap().count
}

#[tokio::test]
async fn many_are_told_once_however_often_it_is_killed() {
    const WISHERS: i64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let token = [("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN)];
    let mut program = Program::start(dir.path(), &token);
    let send = async |request: reqwest::RequestBuilder, body: Value| -> Value {
        let answer = request.bearer_auth(SERVICE_TOKEN).json(&body).send();
        answer.await.unwrap().json().await.unwrap()
    };
    let house = client().post(format!("{}/v1/publishers", program.url));
    let house = send(house, json!({"name": "Oak"})).await;
    let path = format!(
        "/v1/publishers/{}/games/star",
        house["id"].as_str().unwrap()
    );
    let put = client().put(format!("{}{path}", program.url));
    let star = send(put, game(|_| ())).await;
    let url = format!("sqlite:{}", dir.path().join("store.db").display());
    let database = Database::connect(&url).await.unwrap();
    for statement in crowd(star["id"].as_str().unwrap(), WISHERS as usize) {
        database.execute_unprepared(&statement).await.unwrap();
    }
    let put = client().put(format!("{}{path}", program.url));
    send(put, game(|game| game["prices"] = json!({"US": 1}))).await;
    let mut told = 0;
    while told < WISHERS {
        // Killed whenever some more were told, until all are.
        let before = told;
        while told == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
            told = count(&database, "SELECT COUNT(*) AS count FROM notices").await;
        }
        program.child.kill().unwrap();
        program = Program::start(dir.path(), &token);
    }
    let left = "SELECT COUNT(*) AS count FROM announcements";
    while count(&database, left).await > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for text in [
        "SELECT COUNT(*) AS count FROM notices WHERE topic = 'price_dropped'",
        "SELECT COUNT(DISTINCT user_id) AS count FROM notices",
    ] {
        assert_eq!(count(&database, text).await, WISHERS, "{text}");
    }
    database.close().await.unwrap();
}

#[tokio::test]
async fn commands_look_at_the_books_and_make_operators() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &[]);
    let account = json!({"email": "ann@example.org", "name": "Ann", "password": PASSWORD});
    let answer = program.post("/v1/auth/register", account).await;
    let tokens: Value = answer.json().await.unwrap();
    // Beside the running program.
    let (said, well) = command(dir.path(), &["role", "Ann@example.org", "operator"], &[]);
    assert!(well && said.contains("is operator now"), "{said}");
    let me = client().get(format!("{}/v1/me", program.url));
    let me = me.bearer_auth(tokens["access_token"].as_str().unwrap());
    let me: Value = me.send().await.unwrap().json().await.unwrap();
    assert_eq!(me["role"], "operator");
    let (said, well) = command(dir.path(), &["role", "bob@example.org", "operator"], &[]);
    assert!(!well, "{said}");
    let (said, well) = command(dir.path(), &["role", "ann@example.org", "king"], &[]);
    assert!(!well, "{said}");
    let (said, well) = command(dir.path(), &["ledger", "check"], &[]);
    assert!(well && said.contains("0 faults"), "{said}");
    // What somebody writes by hand is found.
    let url = format!("sqlite:{}", dir.path().join("store.db").display());
    let db = Database::connect(url).await.unwrap();
    let forged = "INSERT INTO ledger_accounts VALUES ('wallet:x:USD', 'wallet', 'x', 'USD', 5)";
    db.execute_unprepared(forged).await.unwrap();
    db.close().await.unwrap();
    let (said, well) = command(dir.path(), &["ledger", "check"], &[]);
    let fault = "a balance is the sum of its postings: wallet:x:USD";
    assert!(!well && said.contains(fault), "{said}");
}

#[tokio::test]
async fn a_signal_ends_it_in_an_orderly_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), &[]);
    let id = program.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    let ended = tokio::task::spawn_blocking(move || program.child.wait().unwrap());
    let status = tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .unwrap()
        .unwrap();
    assert!(status.success(), "{status}");
    let files: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !files.contains(&"store.db-wal".to_owned()),
        "the log is folded back: {files:?}"
    );
}

#[tokio::test]
async fn keys_and_accounts_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::start(&data, &[("FIRESIDE_JWT_ALGORITHM", "EdDSA")]);
    for entry in std::fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    let keys: Value = client()
        .get(format!("{}/.well-known/jwks.json", program.url))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(keys["keys"][0]["alg"], "EdDSA");
}

#[tokio::test]
async fn a_database_elsewhere_is_for_its_owner_only_too() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (dir.path().join("data"), dir.path().join("people.db"));
    let url = format!("sqlite:{}", elsewhere.display());
    let secret = "a secret of more than thirty-two bytes";
    let settings = [
        ("FIRESIDE_DATABASE_URL", url.as_str()),
        ("FIRESIDE_JWT_SECRET", secret),
    ];
    let _program = Program::start(&data, &settings);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&elsewhere), 0o600);
    assert_eq!(mode(&data), 0o700);
}

#[test]
fn settings_that_make_no_sense_are_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |settings: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_store-api"))
            .env("FIRESIDE_DATA_DIR", dir.path())
            .env("FIRESIDE_LISTEN", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&[("FIRESIDE_DATABASE_URL", "mysql://x")]).contains("database_url"));
    assert!(refused(&[("FIRESIDE_DATABASE_URL", "sqlite::memory:")]).contains("database_url"));
    assert!(refused(&[("FIRESIDE_LOG", "info,access=loud")]).contains("log"));
    let too_long = refused(&[("FIRESIDE_ACCESS_TOKEN_LIFETIME", "25h")]);
    assert!(too_long.contains("access_token_lifetime"), "{too_long}");
    assert!(refused(&[("FIRESIDE_PASSWORD_HASHES_WAITING", "0")]).contains("hashes_waiting"));
    assert!(refused(&[("FIRESIDE_NODES", "http://127.0.0.1:1")]).contains("service_token"));
    assert!(refused(&[("FIRESIDE_SERVICE_TOKEN", "short")]).contains("service_token"));
    assert!(refused(&[("FIRESIDE_MAIL_URL", "http://x")]).contains("mail_url"));
    assert!(refused(&[("FIRESIDE_MAIL_URL", "smtp://x")]).contains("mail_from"));
    assert!(refused(&[("FIRESIDE_MAIL_FROM", "nobody")]).contains("mail_from"));
    let elsewhere = [
        ("FIRESIDE_MAIL_URL", "smtp://x"),
        ("FIRESIDE_MAIL_FROM", "oak@oak.example"),
        ("FIRESIDE_MAIL_TEMPLATES", "/nowhere"),
    ];
    assert!(refused(&elsewhere).contains("mail_templates"));
    let node = [
        ("FIRESIDE_NODES", "ftp://x"),
        ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN),
    ];
    assert!(refused(&node).contains("nodes"));
}

/// Sends a request over a connection that is there, and reads the first line of the answer; none when the connection
/// has ended.
async fn ask_over(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let ask = b"GET /v1/games/categories HTTP/1.1\r\nHost: store\r\n\r\n";
    stream.write_all(ask).await.ok()?;
    let mut answer = [0; 4096];
    let read = stream
        .read(&mut answer)
        .await
        .ok()
        .filter(|read| *read > 0)?;
    let answer = String::from_utf8_lossy(&answer[..read]);
    answer.lines().next().map(str::to_owned)
}

#[tokio::test]
async fn a_connection_may_be_idle_as_long_as_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let connect = async |program: &Program| {
        let address = program.url.strip_prefix("http://").unwrap();
        tokio::net::TcpStream::connect(address).await.unwrap()
    };
    let hasty = Program::start(dir.path(), &[("FIRESIDE_HTTP_KEEP_ALIVE", "1s")]);
    let mut stream = connect(&hasty).await;
    assert_eq!(ask_over(&mut stream).await.unwrap(), "HTTP/1.1 200 OK");
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest));
    assert_eq!(end.await.expect("it ends").unwrap(), 0);
    drop(hasty);
    // By itself it outlasts what chat-lb keeps.
    let program = Program::start(dir.path(), &[]);
    let mut stream = connect(&program).await;
    for _ in 0..2 {
        assert_eq!(ask_over(&mut stream).await.unwrap(), "HTTP/1.1 200 OK");
        tokio::time::sleep(Duration::from_secs(16)).await;
    }
    assert_eq!(ask_over(&mut stream).await.unwrap(), "HTTP/1.1 200 OK");
}

/// A file that is none of SQLite's is no server that might come: the program ends and says so.
#[tokio::test]
async fn a_store_does_not_wait_for_a_file_to_mend() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.db");
    std::fs::create_dir(&file).unwrap();
    let url = format!("sqlite://{}", file.display());
    let (said, well) = command(dir.path(), &[], &[("FIRESIDE_DATABASE_URL", &url)]);
    assert!(!well && said.contains("store.db"), "{said}");
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, "no database at all".repeat(1000)).unwrap();
    let (said, well) = command(dir.path(), &[], &[("FIRESIDE_DATABASE_URL", &url)]);
    assert!(!well && said.contains("not a database"), "{said}");
}
