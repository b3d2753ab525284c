//! A mail server for the tests: aiosmtpd as a process, which writes down what it takes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use shared::settings::Secret;
use tempfile::TempDir;

use crate::app::TestApp;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store/smtp_server.py");

/// A running server, or one that is away for the time being.
pub struct MailServer {
    directory: TempDir,
    port: u16,
    tls: Option<(PathBuf, PathBuf)>,
    process: Option<(Child, ChildStdin)>,
}

/// A mail that was taken.
#[derive(Debug, Clone, Deserialize)]
pub struct Mail {
    pub sender: String,
    pub recipients: Vec<String>,
    headers: Vec<(String, String)>,
    pub text: String,
    pub html: String,
    pub encrypted: bool,
}

impl Mail {
    /// The headers of this name.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The code in it.
    #[track_caller]
    pub fn code(&self) -> String {
        let mut lines = self.text.lines().map(str::trim);
        let code = lines.find(|line| line.len() == 9 && line.as_bytes()[4] == b'-');
        code.unwrap_or_else(|| panic!("no code in {}", self.text))
            .to_owned()
    }
}

impl MailServer {
    pub fn start() -> Self {
        Self::start_as(None)
    }

    /// One that wants to be spoken to under encryption, by somebody it knows.
    pub fn start_encrypted(certificate: &Path, key: &Path) -> Self {
        Self::start_as(Some((certificate.to_owned(), key.to_owned())))
    }

    fn start_as(tls: Option<(PathBuf, PathBuf)>) -> Self {
        let mut server = Self {
            directory: tempfile::tempdir().unwrap(),
            port: 0,
            tls,
            process: None,
        };
        server.up();
        server
    }

    /// Starts it again on its port.
    pub fn up(&mut self) {
        let mut command = Command::new(python());
        command
            .arg(SCRIPT)
            .arg(self.port.to_string())
            .arg(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some((certificate, key)) = &self.tls {
            command.arg(certificate).arg(key);
        }
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        self.port = port.trim().parse().expect("the mail server did not start");
        self.process = Some((child, stdin));
    }

    /// Kills it.
    pub fn down(&mut self) {
        if let Some((mut child, _)) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Whether it puts off mail for those whose address begins with `busy`.
    pub fn set_busy(&self, busy: bool) {
        let file = self.directory.path().join("busy");
        if busy {
            fs::write(file, "").unwrap();
        } else {
            fs::remove_file(file).unwrap();
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}?tls=none", self.port)
    }

    /// Has a store send its mail here.
    pub async fn serve(&self, app: &mut TestApp) {
        app.settings.mail.mail_url = Some(Secret::new(self.url()));
        app.settings.mail.mail_from = Some("Oak Games <no-reply@oak.example>".into());
        app.restart().await;
    }

    /// What it has taken, in order.
    pub fn mails(&self) -> Vec<Mail> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
            .collect();
        files.sort();
        let read = |path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        files.iter().map(read).collect()
    }

    /// The mails to an address, once there are so many.
    pub async fn mails_to(&self, address: &str, how_many: usize) -> Vec<Mail> {
        let since = Instant::now();
        loop {
            let mut mails = self.mails();
            mails.retain(|mail| mail.recipients == [address]);
            assert!(mails.len() <= how_many, "{mails:?}");
            if mails.len() == how_many {
                return mails;
            }
            let late = since.elapsed() > Duration::from_secs(45);
            assert!(!late, "{} of {how_many} mails to {address}", mails.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The code in the last mail to an address, once there are so many.
    pub async fn code(&self, address: &str, how_many: usize) -> String {
        self.mails_to(address, how_many).await[how_many - 1].code()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.down();
    }
}

fn python() -> PathBuf {
    // Tests are told by the environment, as any program is by its user.
    #[allow(clippy::disallowed_methods)]
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("FIRESIDE_TEST_CACHE").map_or_else(
        || PathBuf::from(variable("HOME").unwrap_or_default()).join(".cache/fireside"),
        PathBuf::from,
    );
    let python = cache.join("smtp/bin/python");
    assert!(python.is_file(), "no mail server: run `./test tools`");
    python
}
