//! The doors that are compared, each a process with one thread that serves, before the same back ends.

use std::{
    fmt::{self, Write as _},
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    cluster::{Failure, ServerProcess, find, free_port},
    target::{Process, pinned},
};

/// How long one try to get through a door that opens may take.
const TRY: Duration = Duration::from_secs(2);
/// A rate that nothing here reaches.
const UNLIMITED: &str = "1000000/s";

/// Who stands before the back ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody.
    Direct,
    /// Ours, the n-th of its builds: verifies the token, pins by its subject.
    ChatLb(usize),
    /// Verifies the token, hashes its subject.
    HaProxy,
    /// Hashes the token, which it cannot read.
    Nginx,
}

impl Kind {
    /// All of them, with so many builds of ours.
    pub(super) fn all(builds: usize) -> Vec<Self> {
        let ours = (0..builds).map(Self::ChatLb);
        let mut kinds = vec![Self::Direct];
        kinds.extend(ours.chain([Self::HaProxy, Self::Nginx]));
        kinds
    }

    /// The same in the order of a run: another first each time, and the other way round in every second. Memory that the
    /// kernel has to find for sockets is paid by whoever comes after somebody who needed less.
    pub(super) fn in_turn(builds: usize, run: usize) -> Vec<Self> {
        let mut kinds = Self::all(builds);
        let first = run / 2 % kinds.len();
        kinds.rotate_left(first);
        if run % 2 == 1 {
            kinds.reverse();
        }
        kinds
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::ChatLb(0) => "chat-lb",
            Self::ChatLb(n) => return write!(f, "chat-lb ({})", n + 1),
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
        })
    }
}

/// How to open a door.
pub(super) struct Plan<'a> {
    pub(super) kind: Kind,
    /// The builds of ours.
    pub(super) builds: &'a [PathBuf],
    /// The back ends.
    pub(super) places: &'a [SocketAddr],
    /// The secret that signs tokens: letters and digits, as it stands in a file of HAProxy's.
    pub(super) secret: &'a str,
    /// A token to try the door with.
    pub(super) token: &'a str,
    /// How many tunnels there are to be.
    pub(super) tunnels: usize,
    pub(super) cpu: Option<usize>,
}

/// An open door; it is shut when it is dropped.
pub(super) struct Balancer {
    address: SocketAddr,
    process: Option<ServerProcess>,
}

impl Balancer {
    /// Starts it and waits until it lets somebody through.
    pub(super) async fn open(plan: &Plan<'_>) -> Result<Self, Failure> {
        let address = free_address()?;
        let mut process = ServerProcess::new(format!("{} on {address}", plan.kind))?;
        let mut command = match plan.kind {
            Kind::Direct => {
                return Ok(Self {
                    address: plan.places[0],
                    process: None,
                });
            }
            Kind::HaProxy => haproxy(plan, address, &process)?,
            Kind::Nginx => nginx(plan, address, &process)?,
            Kind::ChatLb(build) => chat_lb(plan, build, address, &process)?,
        };
        process.spawn_by(&mut command, |command| pinned(command, plan.cpu))?;
        let since = Instant::now();
        while !lets_through(address, plan.token).await {
            process.keep_waiting(since).await?;
        }
        Ok(Self {
            address,
            process: Some(process),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process; none where there is no door.
    pub(super) fn process(&self) -> Option<Process> {
        self.process.as_ref()?.usage()
    }
}

fn chat_lb(
    plan: &Plan<'_>,
    build: usize,
    address: SocketAddr,
    process: &ServerProcess,
) -> Result<Command, Failure> {
    let mut command = Command::new(&plan.builds[build]);
    let places: Vec<String> = plan.places.iter().map(ToString::to_string).collect();
    command
        .args(["--listen", &address.to_string()])
        .args(["--admin-listen", &free_address()?.to_string()])
        .arg("--data-dir")
        .arg(process.data().join("data"))
        .env_clear()
        .env("FIRESIDE_LOG", "warn")
        .env("FIRESIDE_WORKERS", "1")
        .env("FIRESIDE_JWT_SECRET", plan.secret)
        .env("FIRESIDE_NODES", places.join(","))
        .env("FIRESIDE_STORES", &places[0])
        // One address has all the users here.
        .env("FIRESIDE_MAX_CONNECTIONS_PER_ADDRESS", "0")
        .env("FIRESIDE_UPGRADES_PER_ADDRESS", UNLIMITED)
        .env("FIRESIDE_ADMISSIONS", UNLIMITED)
        // As those before us would be at work.
        .env("FIRESIDE_SLOW_START", "0s");
    Ok(command)
}

fn haproxy(
    plan: &Plan<'_>,
    address: SocketAddr,
    process: &ServerProcess,
) -> Result<Command, Failure> {
    let secret = plan.secret;
    // And whoever asks whether it is there. It asks for the descriptors of all of them when it starts.
    let most = plan.tunnels + 64;
    let mut text = format!(
        "global
    nbthread 1
    maxconn {most}
defaults
    mode http
    option forwardfor
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 1h
frontend door
    bind {address}
    http-request deny deny_status 401 unless {{ http_auth_bearer,jwt_verify(\"HS256\",\"{secret}\") 1 }}
    http-request set-header X-User %[http_auth_bearer,jwt_payload_query('$.sub')]
    default_backend nodes
backend nodes
    balance hdr(X-User)
    hash-type consistent
    option httpchk GET /readyz
"
    );
    for (n, place) in plan.places.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    server n{n} {place} check inter 500ms");
    }
    let file = written(process, "haproxy.cfg", &text)?;
    let mut command = Command::new(find("haproxy", "apt-get install haproxy")?);
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn nginx(
    plan: &Plan<'_>,
    address: SocketAddr,
    process: &ServerProcess,
) -> Result<Command, Failure> {
    let folder = process.data();
    // Each has two ends, and those of the tunnels before may not be gone yet.
    let most = plan.tunnels * 4 + 128;
    let here = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("  {what}_temp_path {here}/{what};\n"))
        .concat();
    let mut servers = String::new();
    for place in plan.places {
        // Writing to a string cannot fail.
        let _ = writeln!(servers, "    server {place};");
    }
    let text = format!(
        "daemon off;
master_process off;
pid {here}/pid;
error_log stderr;
events {{ worker_connections {most}; }}
http {{
  access_log off;
{temporary}  upstream nodes {{
    hash $http_authorization consistent;
{servers}  }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
    }}
  }}
}}
"
    );
    let file = written(process, "nginx.conf", &text)?;
    let mut command = Command::new(find("nginx", "apt-get install nginx-light")?);
    command.arg("-e").arg("stderr").arg("-p").arg(folder);
    command.arg("-c").arg(file);
    Ok(command)
}

fn written(process: &ServerProcess, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let file = process.data().join(name);
    fs::write(&file, text).map_err(Failure::system(name))?;
    Ok(file)
}

fn free_address() -> Result<SocketAddr, Failure> {
    let port = free_port().map_err(Failure::system("a port"))?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Whether a WebSocket can be opened there.
async fn lets_through(address: SocketAddr, token: &str) -> bool {
    let tried = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await?;
        io::Result::Ok(&begin == b"HTTP/1.1 101")
    };
    matches!(timeout(TRY, tried).await, Ok(Ok(true)))
}
