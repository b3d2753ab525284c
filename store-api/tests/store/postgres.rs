//! A PostgreSQL for the tests: the one that `DATABASE_URL` names, or one of their own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::LazyLock,
};

use sea_orm::{ConnectionTrait as _, Database};
use ulid::Ulid;

/// A server started for this run. It ends with the process, however that ends: the shell around it
/// waits for its input to close.
struct Server {
    url: String,
    _process: Option<(Child, ChildStdin)>,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    // Tests are told by the environment, as any program is by its user.
    #[allow(clippy::disallowed_methods)]
    match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => Server {
            url,
            _process: None,
        },
        _ => start(),
    }
});

/// The URL of a new, empty database.
pub async fn database() -> String {
    let name = format!("fireside_test_{}", Ulid::new().to_string().to_lowercase());
    execute(&format!("CREATE DATABASE {name}")).await;
    with_database(&SERVER.url, &name)
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
    let connection = Database::connect(&SERVER.url).await.unwrap();
    connection.execute_unprepared(statement).await.unwrap();
    connection.close().await.unwrap();
}

fn with_database(url: &str, name: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_path(name);
    url.into()
}

fn start() -> Server {
    let Some(programs) = programs() else {
        panic!("no PostgreSQL: apt-get install postgresql-15, or set DATABASE_URL");
    };
    // PostgreSQL will not run as root, and Debian makes a user for it. Nobody outside connects: it
    // listens on a socket in a directory of its own.
    let script = r#"
        set -e
        dir=$(mktemp -d)
        trap 'rm -rf "$dir"' EXIT
        "$0/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N >/dev/null 2>"$dir/log"
        "$0/pg_ctl" -D "$dir/data" -l "$dir/log" -w -o "-c listen_addresses= -c fsync=off -c max_connections=300 -k $dir" start >/dev/null
        echo "$dir"
        read -r _ || true
        "$0/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null
    "#;
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    let mut child = command
        .args(["-c", script])
        .arg(&programs)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    let mut dir = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut dir)
        .unwrap();
    let dir = dir.trim();
    assert!(!dir.is_empty(), "PostgreSQL did not start");
    let url = format!("postgres://postgres@localhost/postgres?host={dir}");
    Server {
        url,
        _process: Some((child, stdin)),
    }
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
