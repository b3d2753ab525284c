//! Redis behind Sentinels, as processes.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    Failure, RedisServer, ServerProcess, free_port,
    process::find,
    redis::{answers, ask},
};

/// What to do where there is no Sentinel.
const INSTALL: &str = "apt-get install redis-sentinel";
/// The name that the Sentinels know the master by.
const MASTER: &str = "mine";
/// How many Sentinels, of which two have to agree.
const SENTINELS: usize = 3;
/// How long they may take to know each other.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Two Redis servers, master and replica, and three Sentinels that promote the replica about two
/// seconds after the master fell silent.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: [RedisServer; 2],
    sentinels: Vec<(ServerProcess, u16)>,
}

impl RedisSentinel {
    /// Starts everything and waits until all know each other.
    ///
    /// # Errors
    /// Redis or Sentinel is not installed, or did not start.
    pub async fn start() -> Result<Self, Failure> {
        let options = ["--repl-diskless-sync-delay", "0"];
        let master = RedisServer::start_with(&options).await?;
        let replica = RedisServer::start_with(&options).await?;
        let port = master.port()?;
        let command = format!("REPLICAOF 127.0.0.1 {port}");
        ask(replica.port()?, &command).await?;
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(start_sentinel(port).await?);
        }
        let started = Self {
            servers: [master, replica],
            sentinels,
        };
        started.until_ready().await?;
        Ok(started)
    }

    /// `redis+sentinel://…`.
    pub fn url(&self) -> String {
        let hosts = self.sentinels.iter();
        let hosts: Vec<String> = hosts.map(|(_, p)| format!("127.0.0.1:{p}")).collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// The port of the master, as the Sentinels say.
    pub async fn master_port(&self) -> Result<u16, Failure> {
        let (process, port) = &self.sentinels[0];
        let command = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {MASTER}");
        let said = ask(*port, &command).await?;
        let master = said
            .lines()
            .last()
            .and_then(|line| line.trim().parse().ok());
        master.ok_or_else(|| process.failure("knows no master"))
    }

    /// The server that is the master by now, to kill or to pause it, or to start it again.
    pub async fn master_mut(&mut self) -> Result<&mut RedisServer, Failure> {
        let port = self.master_port().await?;
        self.server_mut(port)
    }

    /// The server at a port.
    pub fn server_mut(&mut self, port: u16) -> Result<&mut RedisServer, Failure> {
        let at = |server: &&mut RedisServer| server.port().is_ok_and(|p| p == port);
        let found = self.servers.iter_mut().find(at);
        found.ok_or_else(|| Failure::NotOurs(format!("the Redis on port {port}")))
    }

    /// Waits until the Sentinels name another master than the one at `port`; returns its port.
    pub async fn until_promoted(&self, port: u16) -> Result<u16, Failure> {
        let since = Instant::now();
        loop {
            let now = self.master_port().await?;
            if now != port {
                return Ok(now);
            }
            if since.elapsed() > READY_WITHIN {
                return Err(self.sentinels[0].0.failure("promotes nobody"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_ready(&self) -> Result<(), Failure> {
        let since = Instant::now();
        for (process, port) in &self.sentinels {
            loop {
                let said = ask(*port, &format!("SENTINEL MASTER {MASTER}")).await?;
                let lines: Vec<&str> = said.lines().map(str::trim).collect();
                let number = |name: &str| {
                    let at = lines.iter().position(|line| *line == name)?;
                    // Behind the name comes the length of the value.
                    lines.get(at + 2)?.parse::<usize>().ok()
                };
                let others = number("num-other-sentinels");
                if others == Some(SENTINELS - 1) && number("num-slaves") == Some(1) {
                    break;
                }
                if since.elapsed() > READY_WITHIN {
                    return Err(process.failure("does not find the others"));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let replica = self.servers[1].port()?;
        while !ask(replica, "INFO replication")
            .await?
            .contains("master_link_status:up")
        {
            if since.elapsed() > READY_WITHIN {
                return Err(self.servers[1].process()?.failure("does not replicate"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

async fn start_sentinel(master: u16) -> Result<(ServerProcess, u16), Failure> {
    let port = free_port().map_err(Failure::system("a port"))?;
    // It syncs its settings as often as they change, and whoever it does not hear meanwhile is dead to it.
    let mut process = ServerProcess::in_memory(format!("redis-sentinel on port {port}"))?;
    let file = process.data().join("sentinel.conf");
    let settings = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 4000\n\
         dir {}\n",
        process.data().display()
    );
    fs::write(&file, settings).map_err(Failure::system("the settings of a Sentinel"))?;
    let mut command = Command::new(find("redis-sentinel", INSTALL)?);
    process.spawn(command.arg(file))?;
    let since = Instant::now();
    while !answers(port).await {
        process.keep_waiting(since).await?;
    }
    Ok((process, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sentinels ask a server for its role every 10 s, and turn it back once it has been there and said the wrong one for 8 s. One
    /// that was held up itself does nothing for 30 s (`TILT`), and again for as long when it happens again: `sentinel.c` of Redis 7.0.
    const AGREED_WITHIN: Duration = Duration::from_mins(3);

    async fn role(port: u16) -> String {
        ask(port, "ROLE").await.unwrap()
    }

    #[tokio::test]
    async fn the_replica_is_promoted_when_the_master_is_killed() {
        let mut redis = RedisSentinel::start().await.unwrap();
        let old = redis.master_port().await.unwrap();
        redis.master_mut().await.unwrap().kill().unwrap();
        let new = redis.until_promoted(old).await.unwrap();
        assert_ne!(new, old);
        assert!(role(new).await.contains("master"));
        redis.server_mut(old).unwrap().restart().await.unwrap();
        // On a machine that is held up the Sentinels may turn to the old one again, which is as good.
        let since = Instant::now();
        loop {
            let master = redis.master_port().await.unwrap();
            let other = if master == old { new } else { old };
            if role(master).await.contains("master") && role(other).await.contains("slave") {
                break;
            }
            assert!(
                since.elapsed() < AGREED_WITHIN,
                "{master} is not the only master"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
