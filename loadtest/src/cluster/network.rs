//! Places with addresses of their own: network namespaces on a bridge, as pods have them.
//!
//! Everything here is of the thread that lays the network and of threads and processes that it starts:
//! nobody else on the machine sees a bridge or an address, and all of it is gone when they are.

use std::{
    ffi::OsStr,
    io,
    net::{IpAddr, Ipv4Addr},
    process::{Command, Output},
    sync::{Arc, Mutex, PoisonError},
};

use nix::sched::{CloneFlags, unshare};

use super::{Failure, ServerProcess, free_port, process::find};

/// What it takes.
const RIGHT: &str = "a network namespace, which takes root with CAP_SYS_ADMIN and CAP_NET_ADMIN, and \
                     `apt-get install iproute2 util-linux`";
/// The addresses, of which the bridge has the first.
const NETWORK: [u8; 3] = [10, 77, 0];

/// Where a process runs.
#[derive(Debug, Clone)]
pub struct Place {
    host: IpAddr,
    /// None on 127.0.0.1 among everybody else.
    pod: Option<Arc<Pod>>,
}

/// A namespace, which lasts as long as the process that does nothing in it.
#[derive(Debug)]
struct Pod {
    /// The end of its cable that is on the bridge.
    cable: String,
    keeper: ServerProcess,
}

/// A bridge that places are on. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Network(Arc<Mutex<u8>>);

impl Network {
    /// Gives this thread, and what it starts from now on, a network of its own with a bridge. To be called before
    /// there is a runtime.
    ///
    /// # Errors
    /// It may not: says what it takes.
    pub fn lay() -> Result<Self, Failure> {
        let refused = |error: nix::Error| Failure::system(RIGHT)(error.into());
        unshare(CloneFlags::CLONE_NEWNET).map_err(refused)?;
        let [a, b, c] = NETWORK;
        ip("link set lo up")?;
        ip("link add street type bridge")?;
        ip(&format!("address add {a}.{b}.{c}.1/24 dev street"))?;
        ip("link set street up")?;
        Ok(Self(Arc::new(Mutex::new(1))))
    }

    /// One more place on the bridge; the name is for messages.
    pub async fn place(&self, name: &str) -> Result<Place, Failure> {
        let number = {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last += 1;
            *last
        };
        let [a, b, c] = NETWORK;
        let host = Ipv4Addr::new(a, b, c, number);
        let mut keeper = ServerProcess::new(format!("the place of {name}"))?;
        let mut command = Command::new(find("unshare", "apt-get install util-linux")?);
        // It says so when it is in there.
        command.args(["--net", "/bin/sh", "-c", "echo there; exec sleep infinity"]);
        keeper.spawn(&mut command)?;
        let since = std::time::Instant::now();
        while !keeper.log().contains("there") {
            keeper.keep_waiting(since).await?;
        }
        let (cable, pid) = (format!("cable{number}"), keeper.pid().unwrap_or_default());
        ip(&format!(
            "link add {cable} type veth peer name eth0 netns {pid}"
        ))?;
        ip(&format!("link set {cable} master street"))?;
        ip(&format!("link set {cable} up"))?;
        let place = Place {
            host: host.into(),
            pod: Some(Arc::new(Pod { cable, keeper })),
        };
        for change in [
            "link set lo up".to_owned(),
            format!("address add {host}/24 dev eth0"),
            "link set eth0 up".to_owned(),
        ] {
            let mut command = place.command("ip");
            command.args(change.split(' '));
            done(&mut command, &change)?;
        }
        Ok(place)
    }
}

impl Place {
    /// On 127.0.0.1, among everybody else.
    pub fn here() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            pod: None,
        }
    }

    /// Its address.
    pub fn host(&self) -> IpAddr {
        self.host
    }

    /// `host:port` that nobody there listens on.
    pub(super) fn free_address(&self) -> Result<String, Failure> {
        let port = free_port().map_err(Failure::system("a port"))?;
        Ok(format!("{}:{port}", self.host))
    }

    /// Pulls the cable out: whoever is there hears nobody and is heard by nobody.
    pub fn cut(&self) -> Result<(), Failure> {
        self.link("down")
    }

    /// Puts it in again.
    pub fn heal(&self) -> Result<(), Failure> {
        self.link("up")
    }

    fn link(&self, state: &str) -> Result<(), Failure> {
        match &self.pod {
            Some(pod) => ip(&format!("link set {} {state}", pod.cable)),
            None => Err(Failure::NotOurs("the network of this machine".to_owned())),
        }
    }

    /// Starts this program there. The process is the program's own.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let Some(pid) = self.pod.as_ref().and_then(|pod| pod.keeper.pid()) else {
            return Command::new(program);
        };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{pid}/ns/net"));
        command.arg("--").arg(program);
        command
    }
}

fn ip(change: &str) -> Result<(), Failure> {
    done(Command::new("ip").args(change.split(' ')), change)
}

fn done(command: &mut Command, change: &str) -> Result<(), Failure> {
    let what = format!("{RIGHT}: ip {change}");
    let Output { status, stderr, .. } = command.output().map_err(Failure::system(&*what))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(Failure::system(what)(io::Error::other(said)))
}
