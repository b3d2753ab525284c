//! A disk that takes nothing any more: sends are refused, readiness says why, and when there is
//! room again it comes back by itself. What was acknowledged is there.
//!
//! Twice: on a file system of its own that is really full, where this may be mounted (by root), and
//! everywhere by a limit on the process, under which every write fails.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use loadtest::WsClient;
use reqwest::Method;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    id::RoomId,
    protocol::{codec::Encoding, reply::Appended},
};

use crate::{
    app::{SETTINGS, account, make_room, session},
    server::Server,
};

/// How soon readiness has to follow; it is looked at once a second.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// More than any disk of these tests takes.
const MANY: usize = 20_000;

/// A disk that can be taken away and given back.
enum Disk {
    Mounted(Mount),
    Limited,
}

struct Mount(PathBuf);

impl Mount {
    fn at(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
            .arg(path)
            .output();
        mounted
            .is_ok_and(|done| done.status.success())
            .then(|| Self(path.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the process may not have ended yet.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Disk {
    fn fill(&self, server: &Server) {
        match self {
            Self::Mounted(mount) => {
                let mut ballast = File::create(mount.ballast()).unwrap();
                for piece in [1 << 16, 1 << 12] {
                    while ballast.write_all(&vec![b'0'; piece]).is_ok() {}
                }
            }
            Self::Limited => limit(server, Some(0)),
        }
    }

    fn free(&self, server: &Server) {
        match self {
            Self::Mounted(mount) => fs::remove_file(mount.ballast()).unwrap(),
            Self::Limited => limit(server, None),
        }
    }
}

/// How large a file the process may write, from now on.
fn limit(server: &Server, bytes: Option<u64>) {
    let pid = Pid::from_raw(server.pid().cast_signed());
    let (current, maximum) = (bytes, None);
    prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

struct Talk {
    socket: WsClient,
    room: RoomId,
    /// By nonce.
    acknowledged: Vec<(String, u64)>,
    said: usize,
}

impl Talk {
    /// Says something new; `false` when it was refused as it should be.
    async fn says(&mut self, text: &str) -> bool {
        self.said += 1;
        let nonce = format!("n{}", self.said);
        self.says_as(&nonce, text).await
    }

    async fn says_as(&mut self, nonce: &str, text: &str) -> bool {
        let body = json!({"room": self.room, "nonce": nonce, "text": text});
        let said: Result<Appended, _> = self.socket.command("message.send", &body).await;
        match said {
            Ok(stands) => {
                self.acknowledged.push((nonce.to_owned(), stands.seq.get()));
                true
            }
            Err(error) => {
                assert_eq!(error.code(), Some(ErrorCode::Unavailable), "{error}");
                false
            }
        }
    }

    /// Says things until one is refused.
    async fn until_refused(&mut self) {
        let text = "x".repeat(3_000);
        for _ in 0..MANY {
            if !self.says(&text).await {
                return;
            }
        }
        panic!("the disk never filled");
    }
}

/// Waits until readiness is so, without any traffic.
async fn readiness(server: &Server, ready: bool) -> Value {
    let began = Instant::now();
    loop {
        let (status, body) = server.readiness().await;
        if (status == 200) == ready {
            assert_eq!(body["ready"], ready);
            return body;
        }
        assert!(began.elapsed() < TOLD_WITHIN, "still {status}: {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn log_of(talk: &mut Talk) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    loop {
        let after = entries.len();
        let body = json!({"room": talk.room, "after": after, "limit": 500});
        let page: Value = talk.socket.command("room.sync", &body).await.unwrap();
        entries.extend(page["entries"].as_array().unwrap().iter().cloned());
        if page["more"] == false {
            return entries;
        }
    }
}

async fn is_survived(server: &mut Server, disk: &Disk) {
    server.boot().await;
    let anna = account(server, "anna").await;
    let (mut socket, _) = session(server, &anna.access_token, Encoding::Json).await;
    let room = make_room(&mut socket, "group", &[]).await.id;
    let mut talk = Talk {
        socket,
        room,
        acknowledged: Vec::new(),
        said: 0,
    };
    for _ in 0..20 {
        assert!(talk.says("before").await);
    }
    readiness(server, true).await;

    disk.fill(server);
    talk.until_refused().await;
    let full_since = Instant::now();
    let body = readiness(server, false).await;
    let reason = body["checks"]["history"]["reason"].as_str().unwrap();
    assert!(reason.contains("cannot be written"), "{body}");
    // Accounts, too.
    let refused = async {
        for n in 0..MANY {
            let name = format!("newcomer{n}");
            let email = format!("{name}@example.org");
            let body = json!({"name": name, "email": email, "password": "long enough"});
            let answer = server
                .rest
                .call(Method::POST, "/v1/auth/register", Some(&body), None);
            let answer = answer.await.unwrap();
            if answer.status != 201 {
                return answer;
            }
        }
        panic!("the disk never filled");
    };
    let refused = refused.await;
    assert_eq!(refused.status, 503, "{:?}", refused.body);
    assert_eq!(refused.body["code"], "unavailable");
    let began = Instant::now();
    loop {
        let (_, body) = server.readiness().await;
        if body["checks"]["database"]["ok"] == false {
            break;
        }
        assert!(began.elapsed() < TOLD_WITHIN, "{body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A storm of sends is not a storm of lines; and what is there can still be read.
    let waits = ["first", "second"];
    for _ in 0..300 {
        let text = "x".repeat(4_000);
        assert!(!talk.says(&text).await);
    }
    for nonce in waits {
        assert!(!talk.says_as(nonce, "wait for me").await);
    }
    let lines = server.log().matches("history could not be written").count();
    let seconds = full_since.elapsed().as_secs() as usize;
    assert!(lines <= seconds + 3, "{lines} lines in {seconds} s");
    assert!(log_of(&mut talk).await.len() > 20);

    disk.free(server);
    readiness(server, true).await;
    for nonce in waits {
        assert!(talk.says_as(nonce, "wait for me").await);
    }
    for _ in 0..20 {
        assert!(talk.says("after").await);
    }
    assert!(server.rest.refresh(&anna).await.is_ok());

    server.kill();
    server.boot().await;
    talk.socket = session(server, &anna.access_token, Encoding::Json).await.0;
    let entries = log_of(&mut talk).await;
    for (at, entry) in entries.iter().enumerate() {
        assert_eq!(entry["seq"], at + 1, "the log has a hole");
    }
    for (nonce, seq) in &talk.acknowledged {
        let stands = &entries[usize::try_from(*seq).unwrap() - 1];
        assert_eq!(&stands["nonce"], nonce, "acknowledged and lost");
    }
    let messages = entries.iter().filter(|e| e["kind"] == "message").count();
    assert_eq!(messages, talk.acknowledged.len(), "refused, and there");
    let log = server.log();
    assert!(!log.contains("panicked at"), "{log}");
}

fn server() -> Server {
    let mut server = Server::new("fireside");
    server.set(SETTINGS);
    server.set(&[
        ("FIRESIDE_LIMIT_SENDS", "100000/s"),
        ("FIRESIDE_LIMIT_COMMANDS", "100000/s"),
        ("FIRESIDE_LIMIT_ROOM_SENDS", "100000/s"),
        ("FIRESIDE_PASSWORD_HASH_MEMORY_KIB", "8"),
        ("FIRESIDE_PASSWORD_HASH_PASSES", "1"),
    ]);
    server
}

#[tokio::test]
async fn a_disk_on_which_every_write_fails_is_told_and_survived() {
    let mut server = server();
    server.outlives_size_limits();
    is_survived(&mut server, &Disk::Limited).await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let mut server = server();
    let Some(mount) = Mount::at(&server.data_dir()) else {
        // The other test shows the same by other means, and needs no leave for it.
        eprintln!("nothing may be mounted here: only failing writes are tested, not a full disk");
        return;
    };
    is_survived(&mut server, &Disk::Mounted(mount)).await;
}
