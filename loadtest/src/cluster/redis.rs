//! Redis as a process.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OnceCell,
    time::timeout,
};

use super::{Failure, Place, ServerProcess, free_port, process::find};

/// What to do where there is no Redis.
const INSTALL: &str = "apt-get install redis-server";
/// How long a server may take to answer when it is asked whether it is there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A Redis server of one's own, or the one that `REDIS_URL` names.
///
/// It keeps its data over [`Self::kill`], so that coming back empty is a choice:
/// [`Self::restart_empty`]. It writes to an append-only file before it answers and leaves the syncing to
/// the kernel: one that syncs every second writes up to two seconds later while a sync takes long.
#[derive(Debug)]
pub struct RedisServer {
    url: String,
    ours: Option<Ours>,
}

#[derive(Debug)]
struct Ours {
    process: ServerProcess,
    place: Place,
    port: u16,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts one on a free port and waits until it answers.
    ///
    /// # Errors
    /// Redis is not installed, or did not start.
    pub async fn start() -> Result<Self, Failure> {
        Self::start_with(&[]).await
    }

    /// The same with further options, such as `["--cluster-enabled", "yes"]`; they win.
    pub async fn start_with(options: &[&str]) -> Result<Self, Failure> {
        Self::start_in(Place::here(), options).await
    }

    /// The same in another place.
    pub async fn start_in(place: Place, options: &[&str]) -> Result<Self, Failure> {
        let port = free_port().map_err(Failure::system("a port"))?;
        let mut server = Self {
            url: format!("redis://{}:{port}", place.host()),
            ours: Some(Ours {
                process: ServerProcess::in_memory(format!("redis-server on port {port}"))?,
                place,
                port,
                options: options.iter().map(|&option| option.to_owned()).collect(),
            }),
        };
        server.restart().await?;
        Ok(server)
    }

    /// One for all tests of this process that leave it alone: the one `REDIS_URL` names, or one that
    /// is started at the first call. Tests tell their keys apart themselves.
    pub async fn shared() -> Result<&'static Self, Failure> {
        static SHARED: OnceCell<RedisServer> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| async {
                match std::env::var_os("REDIS_URL") {
                    Some(url) if !url.is_empty() => Ok(Self {
                        url: url.to_string_lossy().into_owned(),
                        ours: None,
                    }),
                    _ => Self::start().await,
                }
            })
            .await
    }

    /// `redis://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its port on 127.0.0.1, if it was started here.
    pub fn port(&self) -> Result<u16, Failure> {
        self.ours().map(|ours| ours.port)
    }

    /// Its process, if it was started here.
    pub fn process(&self) -> Result<&ServerProcess, Failure> {
        self.ours().map(|ours| &ours.process)
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.ours_mut()?.process.kill()
    }

    /// Starts it again on the same port, with what it had written, and waits until it answers.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        let ours = self.ours_mut()?;
        let mut command = ours.place.command(find("redis-server", INSTALL)?);
        command
            .args(["--port", &ours.port.to_string()])
            .args(["--bind", &ours.place.host().to_string()])
            // Who can reach it there was let in there.
            .args(["--daemonize", "no", "--protected-mode", "no"])
            .args(["--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "no", "--dir"])
            .arg(ours.process.data())
            .args(&ours.options);
        ours.process.spawn(&mut command)?;
        let since = Instant::now();
        while !answers_at((ours.place.host(), ours.port)).await {
            ours.process.keep_waiting(since).await?;
        }
        Ok(())
    }

    /// The same without its data.
    pub async fn restart_empty(&mut self) -> Result<(), Failure> {
        self.ours()?.process.wipe()?;
        self.restart().await
    }

    /// SIGSTOP: connections stay, nothing answers.
    pub fn pause(&self) -> Result<(), Failure> {
        self.ours()?.process.pause()
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), Failure> {
        self.ours()?.process.resume()
    }

    fn ours(&self) -> Result<&Ours, Failure> {
        let foreign = || Failure::NotOurs("the Redis of REDIS_URL".to_owned());
        self.ours.as_ref().ok_or_else(foreign)
    }

    fn ours_mut(&mut self) -> Result<&mut Ours, Failure> {
        let foreign = || Failure::NotOurs("the Redis of REDIS_URL".to_owned());
        self.ours.as_mut().ok_or_else(foreign)
    }
}

/// Whether Redis answers there, and has loaded its data.
pub(super) async fn answers(port: u16) -> bool {
    answers_at((Place::here().host(), port)).await
}

async fn answers_at(address: (IpAddr, u16)) -> bool {
    let ask = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        socket.read_exact(&mut answer).await?;
        // While it loads it says -LOADING.
        std::io::Result::Ok(&answer == b"+PONG")
    };
    matches!(timeout(ANSWERS_WITHIN, ask).await, Ok(Ok(true)))
}

/// The answer to one command of plain words, as it stands on the wire, without its first line where
/// that is a length.
///
/// # Errors
/// There is none, or it is an error.
pub(super) async fn ask(port: u16, command: &str) -> Result<String, Failure> {
    let talk = async {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
        // A Sentinel knows no QUIT; both end at the end of what is sent.
        socket
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        socket.shutdown().await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let what = format!("{command} of the Redis on port {port}");
    let answer = match timeout(ANSWERS_WITHIN, talk).await {
        Ok(answer) => answer.map_err(Failure::system(&*what))?,
        Err(_) => return Err(Failure::system(what)(std::io::ErrorKind::TimedOut.into())),
    };
    if answer.starts_with('-') || answer.is_empty() {
        return Err(Failure::system(what)(std::io::Error::other(answer)));
    }
    Ok(match answer.split_once("\r\n") {
        Some((length, rest)) if length.starts_with('$') => rest.to_owned(),
        _ => answer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to one inline command.
    async fn says(server: &RedisServer, command: &str) -> String {
        let port = server.port().unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let lines = format!("{command}\r\nQUIT\r\n");
        socket.write_all(lines.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn redis_is_killed_and_comes_back_with_or_without_its_data() {
        let mut server = RedisServer::start().await.unwrap();
        let url = server.url().to_owned();
        assert!(says(&server, "SET k v").await.starts_with("+OK"));
        server.kill().unwrap();
        assert!(!answers(server.port().unwrap()).await);
        assert!(server.kill().is_err());
        server.restart().await.unwrap();
        assert!(says(&server, "GET k").await.starts_with("$1\r\nv"));
        server.kill().unwrap();
        server.restart_empty().await.unwrap();
        assert!(says(&server, "GET k").await.starts_with("$-1"));
        assert_eq!(server.url(), url);
        server.pause().unwrap();
        assert!(!answers(server.port().unwrap()).await);
        server.resume().unwrap();
        assert!(answers(server.port().unwrap()).await);
    }

    #[tokio::test]
    async fn a_start_that_fails_shows_what_redis_said() {
        let failure = RedisServer::start_with(&["--no-such-option", "1"]).await;
        let said = failure.unwrap_err().to_string();
        assert!(said.contains("no-such-option"), "{said}");
    }
}
