//! A server under load.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use shared::{
    auth::{SigningKey, TokenIssuer},
    id::UserId,
};
use tempfile::TempDir;

use super::{Process, Processes, pinned, roam};
use crate::{
    cluster::{Cluster, ClusterNode, ClusterPlan, Failure, Guarded},
    swarm::Fault,
};

/// The secrets of servers that are started here; they listen on 127.0.0.1 alone.
const JWT_SECRET: &str = "the load generator's own secret, for servers it starts";
const SERVICE_TOKEN: &str = "the load generator's own service token";
/// How long a server may take to get ready.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How long a server may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// A rate that nothing here reaches.
const UNLIMITED: &str = "1000000/s";
/// Limits that protect a server from single users or addresses would measure themselves: here one
/// address has all the users.
pub(crate) const LIMITS_OFF: &[(&str, &str)] = &[
    ("FIRESIDE_LOG", "warn"),
    ("FIRESIDE_MAX_CONNECTIONS_PER_ADDRESS", "0"),
    ("FIRESIDE_UPGRADES_PER_ADDRESS", UNLIMITED),
    ("FIRESIDE_UPGRADES_PER_USER", UNLIMITED),
    ("FIRESIDE_REST_RATE", UNLIMITED),
    ("FIRESIDE_SERVER_API_RATE", UNLIMITED),
    ("FIRESIDE_LIMIT_SENDS", UNLIMITED),
    ("FIRESIDE_LIMIT_TYPING", UNLIMITED),
    ("FIRESIDE_LIMIT_PRESENCE", UNLIMITED),
    ("FIRESIDE_LIMIT_STARTS", UNLIMITED),
    ("FIRESIDE_LIMIT_COMMANDS", UNLIMITED),
    ("FIRESIDE_LIMIT_ROOM_SENDS", UNLIMITED),
    ("FIRESIDE_REGISTRATION_RATE", UNLIMITED),
    ("FIRESIDE_STORE_USER_RATE", UNLIMITED),
    ("FIRESIDE_PASSWORD_HASH_MEMORY_KIB", "1024"),
];

/// How to be anybody at a server.
#[derive(Debug, Clone)]
pub struct Access {
    issuer: TokenIssuer,
    service: String,
}

impl Access {
    /// With the secret that signs the server's tokens, and its service token.
    pub fn new(jwt_secret: &str, service_token: &str) -> Result<Self, Fault> {
        let target = |error: &dyn std::fmt::Display| Fault::Target(error.to_string());
        let key = SigningKey::from_secret(jwt_secret.as_bytes()).map_err(|e| target(&e))?;
        let issuer = TokenIssuer::new(&key, "fireside", Duration::from_hours(12));
        Ok(Self {
            issuer,
            service: service_token.to_owned(),
        })
    }

    /// A token of this user.
    pub fn token(&self, user: &str) -> Result<String, Fault> {
        let id = UserId::parse(user).map_err(|error| Fault::Target(error.to_string()))?;
        let issued = self.issuer.issue(&id, user);
        issued
            .map(|issued| issued.token)
            .map_err(|error| Fault::Target(error.to_string()))
    }

    /// A token for each of these users, signed beforehand: signing is not what is measured.
    pub fn tokens(&self, users: &[String]) -> Result<Vec<String>, Fault> {
        users.iter().map(|user| self.token(user)).collect()
    }

    /// The service token.
    pub fn service(&self) -> &str {
        &self.service
    }
}

/// A server under load, or several that are one chat; stopped when dropped, if started here.
#[derive(Debug)]
pub struct Server {
    /// At least one.
    addresses: Vec<SocketAddr>,
    access: Access,
    processes: Option<Processes>,
    beside: Vec<(String, Process)>,
    running: Option<Running>,
    /// With the CPU that its programs keep to.
    cluster: Option<(Box<Cluster>, Option<usize>)>,
}

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// What runs the program, such as a profiler, with its arguments.
    pub under: Vec<String>,
    /// Settings, as variables of its environment.
    pub settings: Vec<(String, String)>,
    /// What its data directory is copied from; empty when there is none.
    pub data: Option<PathBuf>,
    /// The CPU it keeps to.
    pub cpu: Option<usize>,
}

impl Launch {
    fn command(&self) -> Command {
        match self.under.split_first() {
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        }
    }
}

#[derive(Debug)]
struct Running {
    launch: Launch,
    child: Guarded,
    address: SocketAddr,
    admin: SocketAddr,
    data: TempDir,
}

impl Launch {
    fn spawn(
        &self,
        address: SocketAddr,
        admin: SocketAddr,
        dir: &Path,
    ) -> std::io::Result<Guarded> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))?;
        let mut command = self.command();
        command
            .args(["--listen", &address.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .arg("--data-dir")
            .arg(dir.join("data"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("FIRESIDE_JWT_SECRET", JWT_SECRET)
            .env("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN)
            .envs(LIMITS_OFF.iter().copied())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Guarded::new(pinned(&mut command, self.cpu)?, Some(dir))
    }
}

impl Server {
    /// Starts a server on free ports, in a data directory of its own.
    ///
    /// # Errors
    /// It did not start, with the end of its log.
    pub fn start(launch: &Launch) -> Result<Self, Fault> {
        let program = launch.program.display();
        let io = |error: std::io::Error| Fault::Target(format!("{program}: {error}"));
        let dir = tempfile::tempdir().map_err(io)?;
        let (address, admin) = (free_address().map_err(io)?, free_address().map_err(io)?);
        if let Some(data) = &launch.data {
            copy(data, &dir.path().join("data")).map_err(io)?;
        }
        let child = launch.spawn(address, admin, dir.path()).map_err(io)?;
        let mut server = Self {
            addresses: vec![address],
            access: Access::new(JWT_SECRET, SERVICE_TOKEN)?,
            processes: Some(Processes::of(vec![Process::of(child.id())])),
            beside: Vec::new(),
            running: Some(Running {
                launch: launch.clone(),
                child,
                address,
                admin,
                data: dir,
            }),
            cluster: None,
        };
        server.await_ready()?;
        Ok(server)
    }

    /// Starts several nodes that are one chat, with a store-api, a Redis and a MongoDB of their
    /// own; the program of the launch is `chat-node`, and `store-api` is beside it.
    ///
    /// # Errors
    /// Something is not installed, or did not start.
    pub fn start_nodes(launch: &Launch, nodes: usize) -> Result<Self, Fault> {
        if !launch.under.is_empty() {
            let only = "--under is for a single server";
            return Err(Fault::Target(only.into()));
        }
        let limits = LIMITS_OFF.iter().copied();
        let limits = limits.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let plan = ClusterPlan {
            nodes,
            settings: limits.chain(launch.settings.iter().cloned()).collect(),
            programs: launch.program.parent().map(Path::to_owned),
            links: false,
            ..ClusterPlan::default()
        };
        let cpu = launch.cpu;
        let cluster = apart(cpu, async || Cluster::start(&plan).await)?;
        let address = |node: &ClusterNode| node.program.address().parse();
        let addresses = cluster
            .nodes()
            .iter()
            .map(address)
            .collect::<Result<_, _>>();
        let usages = cluster.nodes().iter();
        let processes = usages.filter_map(|node| node.program.process().usage());
        let redis = cluster.redis().and_then(|redis| redis.process().ok());
        let beside = [
            ("redis", redis),
            ("mongodb", cluster.mongo().process().ok()),
            ("store-api", Some(cluster.store().process())),
        ];
        let beside = beside
            .into_iter()
            .filter_map(|(name, process)| Some((name.to_owned(), process?.usage()?)));
        Ok(Self {
            addresses: addresses.map_err(|_| Fault::Target("a node without an address".into()))?,
            access: Access::new(Cluster::jwt_secret(), Cluster::service_token())?,
            processes: Some(Processes::of(processes.collect())),
            beside: beside.collect(),
            running: None,
            cluster: Some((Box::new(cluster), cpu)),
        })
    }

    /// Servers that run already and are one chat, and what runs beside them, by name; without
    /// pids nothing is known of their costs.
    ///
    /// # Errors
    /// There is no address.
    pub fn running(
        addresses: &[SocketAddr],
        access: Access,
        pids: &[u32],
        beside: &[(String, u32)],
    ) -> Result<Self, Fault> {
        if addresses.is_empty() {
            return Err(Fault::Target("there is no address of a server".into()));
        }
        let processes = pids.iter().map(|&pid| Process::of(pid)).collect();
        let beside = beside.iter();
        Ok(Self {
            addresses: addresses.to_vec(),
            access,
            processes: (!pids.is_empty()).then(|| Processes::of(processes)),
            beside: beside
                .map(|(name, pid)| (name.clone(), Process::of(*pid)))
                .collect(),
            running: None,
            cluster: None,
        })
    }

    /// Where the first of them listens: for whatever any of them answers.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where they listen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How to be anybody there.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// What serves.
    pub fn processes(&self) -> Option<Processes> {
        self.processes.clone()
    }

    /// What works for it and is counted apart: Redis, MongoDB.
    pub fn beside(&self) -> &[(String, Process)] {
        &self.beside
    }

    /// Where its data is, if it was started here.
    pub fn directory(&self) -> Option<&Path> {
        self.running.as_ref().map(|running| running.data.path())
    }

    /// Its metrics as they read now; empty when its admin address is not known.
    pub fn metrics(&self) -> String {
        let Some(running) = &self.running else {
            return String::new();
        };
        get(running.admin, "/metrics").unwrap_or_default()
    }

    /// kill -9 of the server, or of the first of several.
    ///
    /// # Errors
    /// It was not started here, or had ended before.
    pub fn kill(&mut self) -> Result<(), Fault> {
        if let Some(running) = &mut self.running {
            running.child.kill();
            return Ok(());
        }
        let (cluster, _) = self.cluster.as_mut().ok_or_else(foreign)?;
        let killed = cluster.node_mut(0).program.process_mut().kill();
        killed.map_err(|error| Fault::Target(error.to_string()))
    }

    /// Starts what was killed, on the same address and data, and waits until it is ready.
    ///
    /// # Errors
    /// It was not started here, or does not start.
    pub fn start_again(&mut self) -> Result<(), Fault> {
        if let Some(running) = &mut self.running {
            let (launch, dir) = (&running.launch, running.data.path());
            let child = launch.spawn(running.address, running.admin, dir);
            running.child = child.map_err(|error| Fault::Target(error.to_string()))?;
            self.processes = Some(Processes::of(vec![Process::of(running.child.id())]));
            return self.await_ready();
        }
        let (cluster, cpu) = self.cluster.as_mut().ok_or_else(foreign)?;
        let cpu = *cpu;
        apart(cpu, async || cluster.node_mut(0).program.start().await)?;
        let usages = cluster.nodes().iter();
        let usages = usages.filter_map(|node| node.program.process().usage());
        self.processes = Some(Processes::of(usages.collect()));
        Ok(())
    }

    /// Stops it in an orderly manner and keeps its data.
    pub fn stop(mut self) -> Result<Option<TempDir>, Fault> {
        let Some(mut running) = self.running.take() else {
            return Ok(None);
        };
        terminate(&running.child);
        let since = Instant::now();
        while running.child.ended().is_none() {
            if since.elapsed() > STOP_WITHIN {
                running.child.kill();
                return Err(Fault::Target("the server did not stop".into()));
            }
            pause(Duration::from_millis(20));
        }
        Ok(Some(running.data))
    }

    /// Where a stopped server's data is, within what [`Self::stop`] returned.
    pub fn data_of(dir: &TempDir) -> PathBuf {
        dir.path().join("data")
    }

    fn await_ready(&mut self) -> Result<(), Fault> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let since = Instant::now();
        loop {
            let ended = running.child.ended().is_some();
            if ended || since.elapsed() > READY_WITHIN {
                let log = fs::read_to_string(running.data.path().join("log"));
                let log = log.unwrap_or_default();
                return Err(Fault::Target(format!("the server did not start:\n{log}")));
            }
            let answer = get(running.admin, "/readyz").unwrap_or_default();
            if answer.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            pause(Duration::from_millis(5));
        }
    }
}

/// Does it on a thread of its own: what it starts runs where it runs, and the load runs elsewhere.
fn apart<T: Send>(
    cpu: Option<usize>,
    start: impl AsyncFnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Fault> {
    let fault = |error: &dyn std::fmt::Display| Fault::Target(error.to_string());
    let started = std::thread::scope(|scope| {
        let start = move || {
            roam(cpu).map_err(|error| fault(&error))?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| fault(&error))?;
            runtime.block_on(start()).map_err(|error| fault(&error))
        };
        scope.spawn(start).join()
    });
    started.map_err(|_| Fault::Target("the nodes did not start".into()))?
}

fn foreign() -> Fault {
    Fault::Target("only a server that is started here can be killed: give --server".into())
}

#[allow(
    clippy::disallowed_methods,
    reason = "no worker thread here, and nothing to wait on"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn terminate(child: &Guarded) {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    // Fails only for a process that has ended.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// One HTTP answer, head and body.
fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
