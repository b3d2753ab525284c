//! The MongoDB stand-in as a process: SecantusDB speaks MongoDB's wire protocol over WiredTiger.

use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OnceCell,
    time::timeout,
};

use super::{Failure, Place, ServerProcess, free_port};

/// What to do where the stand-in is not installed.
const INSTALL: &str = "run `./test tools`";
/// How long a server may take to answer when it is asked whether it is there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// `{hello: 1, $db: "admin"}` as an `OP_MSG`.
const HELLO: &[u8] = b"\x34\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\
    \x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";

/// A MongoDB stand-in of one's own, or the server that `MONGODB_URI` names.
///
/// It syncs at every commit, as a write concern with a journal asks for, so [`Self::kill`] loses
/// nothing that was acknowledged.
#[derive(Debug)]
pub struct MongoServer {
    uri: String,
    ours: Option<Ours>,
}

#[derive(Debug)]
struct Ours {
    process: ServerProcess,
    place: Place,
    port: u16,
}

impl MongoServer {
    /// Starts one on a free port and waits until it answers.
    ///
    /// # Errors
    /// The stand-in is not installed, or did not start.
    pub async fn start() -> Result<Self, Failure> {
        Self::start_in(Place::here()).await
    }

    /// The same in another place.
    pub async fn start_in(place: Place) -> Result<Self, Failure> {
        let port = free_port().map_err(Failure::system("a port"))?;
        let mut server = Self {
            uri: uri_at(place.host(), port),
            ours: Some(Ours {
                process: ServerProcess::new(format!("the MongoDB stand-in on port {port}"))?,
                place,
                port,
            }),
        };
        server.restart().await?;
        Ok(server)
    }

    /// One for all tests of this process that leave it alone: the one `MONGODB_URI` names, or one
    /// that is started at the first call. Each test uses a database of its own:
    /// [`Self::uri_of`].
    pub async fn shared() -> Result<&'static Self, Failure> {
        static SHARED: OnceCell<MongoServer> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| async {
                match std::env::var_os("MONGODB_URI") {
                    Some(uri) if !uri.is_empty() => Ok(Self {
                        uri: uri.to_string_lossy().into_owned(),
                        ours: None,
                    }),
                    _ => Self::start().await,
                }
            })
            .await
    }

    /// `mongodb://…`, without a database. One that was started here is connected to directly: the
    /// stand-in calls itself the only member of a replica set, by an address that a proxy is not.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The same with a database.
    pub fn uri_of(&self, database: &str) -> String {
        with_database(&self.uri, database)
    }

    /// The stand-in as it is reached by way of another port, such as a proxy's.
    pub fn uri_through(port: u16, database: &str) -> String {
        with_database(&uri_at(Place::here().host(), port), database)
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

    /// Starts it again on the same port, with its data, and waits until it answers.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        let ours = self.ours_mut()?;
        let mut command = ours.place.command(program()?);
        command
            .args(["--host", &ours.place.host().to_string()])
            .args(["--port", &ours.port.to_string()])
            .args(["--sync-on-commit", "--log-level", "WARNING"])
            .args(["--cache-size", "256M", "--storage-path"])
            .arg(ours.process.data())
            .args(options())
            // Where it would look for a configuration.
            .current_dir(ours.process.data());
        ours.process.spawn(&mut command)?;
        let since = Instant::now();
        while !answers((ours.place.host(), ours.port)).await {
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
        let foreign = || Failure::NotOurs("the MongoDB of MONGODB_URI".to_owned());
        self.ours.as_ref().ok_or_else(foreign)
    }

    fn ours_mut(&mut self) -> Result<&mut Ours, Failure> {
        let foreign = || Failure::NotOurs("the MongoDB of MONGODB_URI".to_owned());
        self.ours.as_mut().ok_or_else(foreign)
    }
}

fn uri_at(host: IpAddr, port: u16) -> String {
    format!("mongodb://{host}:{port}/?directConnection=true")
}

/// A URI with its database replaced: `mongodb://hosts/database?options`.
fn with_database(uri: &str, database: &str) -> String {
    let (address, options) = match uri.split_once('?') {
        Some((address, options)) => (address, format!("?{options}")),
        None => (uri, String::new()),
    };
    let hosts = address.find("://").map_or(0, |at| at + 3);
    let hosts = address[hosts..]
        .find('/')
        .map_or(address.len(), |at| hosts + at);
    format!("{}/{database}{options}", &address[..hosts])
}

/// The stand-in: another build of it that `FIRESIDE_STAND_IN` names, or what `./test tools` installs.
fn program() -> Result<PathBuf, Failure> {
    if let Some(program) = std::env::var_os("FIRESIDE_STAND_IN").filter(|p| !p.is_empty()) {
        return Ok(PathBuf::from(program));
    }
    let cache = match std::env::var_os("FIRESIDE_TEST_CACHE") {
        Some(cache) if !cache.is_empty() => PathBuf::from(cache),
        _ => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/fireside"),
    };
    let program = cache.join("secantus/bin/secantusd-py");
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure::Missing {
        program: format!("the MongoDB stand-in, {},", program.display()),
        install: INSTALL,
    })
}

/// What `FIRESIDE_STAND_IN_OPTIONS` gives it besides; of an option that is given twice the last one counts.
fn options() -> Vec<String> {
    let options = std::env::var_os("FIRESIDE_STAND_IN_OPTIONS").unwrap_or_default();
    let options = options.to_string_lossy();
    options.split_whitespace().map(str::to_owned).collect()
}

/// Whether a server there answers MongoDB's greeting.
async fn answers(address: (IpAddr, u16)) -> bool {
    let ask = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(HELLO).await?;
        let mut header = [0; 16];
        socket.read_exact(&mut header).await?;
        // The reply names our request, and is an OP_MSG.
        std::io::Result::Ok(header[8..] == [1, 0, 0, 0, 0xdd, 0x07, 0, 0])
    };
    matches!(timeout(ANSWERS_WITHIN, ask).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_stand_in_is_killed_paused_and_comes_back() {
        let mut server = MongoServer::start().await.unwrap();
        let port = (Place::here().host(), server.port().unwrap());
        server.pause().unwrap();
        assert!(!answers(port).await);
        server.resume().unwrap();
        assert!(answers(port).await);
        server.kill().unwrap();
        assert!(!answers(port).await);
        server.restart().await.unwrap();
        server.kill().unwrap();
        server.restart_empty().await.unwrap();
        assert!(answers(port).await);
    }

    #[test]
    fn a_database_goes_into_the_path() {
        for (uri, with) in [
            (
                "mongodb://a:1/?directConnection=true",
                "mongodb://a:1/x?directConnection=true",
            ),
            ("mongodb://a:1,b:2", "mongodb://a:1,b:2/x"),
            ("mongodb://u:p@a/old?w=1", "mongodb://u:p@a/x?w=1"),
        ] {
            assert_eq!(with_database(uri, "x"), with);
        }
    }
}
