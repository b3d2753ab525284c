//! A PostgreSQL for the tests: the one that `DATABASE_URL` names, or one of their own; and ones that a test
//! kills.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use sea_orm::{ConnectionTrait as _, Database};
use ulid::Ulid;

/// The server of those tests that kill none: the one `DATABASE_URL` names, or one started for this run.
enum Shared {
    Theirs(String),
    Ours(PostgresServer),
}

static SERVER: LazyLock<Shared> = LazyLock::new(|| {
    // Tests are told by the environment, as any program is by its user.
    #[allow(clippy::disallowed_methods)]
    match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => Shared::Theirs(url),
        _ => Shared::Ours(PostgresServer::start()),
    }
});

impl Shared {
    fn url(&self) -> &str {
        match self {
            Self::Theirs(url) => url,
            Self::Ours(server) => server.url(),
        }
    }
}

/// The URL of a new, empty database.
pub async fn database() -> String {
    let name = format!("fireside_test_{}", Ulid::new().to_string().to_lowercase());
    execute(&format!("CREATE DATABASE {name}")).await;
    with_database(SERVER.url(), &name)
}

/// Drops a database that [`database`] made.
pub async fn drop(url: &str) {
    let name = url::Url::parse(url)
        .unwrap()
        .path()
        .trim_start_matches('/')
        .to_owned();
    execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

async fn execute(statement: &str) {
    let connection = Database::connect(SERVER.url()).await.unwrap();
    connection.execute_unprepared(statement).await.unwrap();
    connection.close().await.unwrap();
}

fn with_database(url: &str, name: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_path(name);
    url.into()
}

/// A server of one's own. It ends with the process, however that ends: the shell around it waits for its
/// input to close.
pub struct PostgresServer {
    url: String,
    dir: PathBuf,
    _shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// PostgreSQL will not run as root, and Debian makes a user for it. Nobody outside connects: it listens on a
/// socket in a directory of its own. What it was told to keep survives its processes, not the machine: nothing is
/// synced. What nobody waits for is written to its log late, so that a kill loses it. With each line it is started again.
const SCRIPT: &str = r#"
    set -e
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    "$0/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N >/dev/null 2>"$dir/log"
    start() {
        "$0/pg_ctl" -D "$dir/data" -l "$dir/log" -w \
            -o "-c listen_addresses= -c fsync=off -c wal_writer_delay=10s -c max_connections=300 -k $dir" start >/dev/null
    }
    start
    echo "$dir"
    while read -r _; do
        start
        echo started
    done
    "$0/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null
"#;

impl PostgresServer {
    pub fn start() -> Self {
        let Some(programs) = programs() else {
            panic!("no PostgreSQL: apt-get install postgresql-15, or set DATABASE_URL");
        };
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let mut shell = command
            .args(["-c", SCRIPT])
            .arg(&programs)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = shell.stdin.take().unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let mut dir = String::new();
        output.read_line(&mut dir).unwrap();
        let dir = dir.trim();
        assert!(!dir.is_empty(), "PostgreSQL did not start");
        Self {
            url: format!("postgres://postgres@localhost/postgres?host={dir}"),
            dir: dir.into(),
            _shell: shell,
            input,
            output,
        }
    }

    /// Of the database `postgres`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// kill -9 of all its processes.
    pub async fn kill(&mut self) {
        let lock = self.dir.join("data/postmaster.pid");
        let text = fs::read_to_string(&lock).unwrap();
        let first = text.lines().next().unwrap().to_owned();
        // Stopped first, so that it makes no others.
        signal("-STOP", std::slice::from_ref(&first));
        let mut processes = children(&first);
        processes.push(first);
        signal("-KILL", &processes);
        while processes.iter().any(|process| is_alive(process)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A dead process that nobody has waited for counts as a server that runs.
        for lock in [lock, self.dir.join(".s.PGSQL.5432.lock")] {
            let _ = fs::remove_file(lock);
        }
    }

    /// Starts it again, and waits until it answers.
    pub fn restart(&mut self) {
        writeln!(self.input).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        if line.trim() != "started" {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            panic!("PostgreSQL did not start again: {log}");
        }
    }
}

fn signal(signal: &str, processes: &[String]) {
    // One that is gone by now is fine.
    let _ = Command::new("kill")
        .arg(signal)
        .args(processes)
        .stderr(Stdio::null())
        .status();
}

/// The processes that a process has made.
fn children(parent: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let is_child = |name: &String| status(name).is_some_and(|(_, of)| of == parent);
    names.filter(is_child).collect()
}

fn is_alive(process: &str) -> bool {
    status(process).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// The state of a process, and who made it.
fn status(process: &str) -> Option<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name stands in parentheses, and may hold some.
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

/// Where `initdb` is: Debian keeps it out of the path.
fn programs() -> Option<PathBuf> {
    let debian = Path::new("/usr/lib/postgresql");
    let mut places: Vec<PathBuf> = fs::read_dir(debian)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    places.sort();
    places.push(PathBuf::from("/usr/bin"));
    places.push(PathBuf::from("/usr/local/bin"));
    places
        .into_iter()
        .find(|place| place.join("initdb").exists())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
