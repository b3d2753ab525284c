//! A Redis Cluster as processes.

use std::time::{Duration, Instant};

use super::{Failure, RedisServer, free_port, redis::ask};

/// How long the nodes may take to agree.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How many slots there are.
const SLOTS: usize = 16_384;

/// A Redis Cluster of one's own: masters that share the slots, each with one replica or none.
///
/// It fails over after about two seconds, and serves what is left while a master is away.
#[derive(Debug)]
pub struct RedisCluster {
    masters: Vec<RedisServer>,
    replicas: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts one of `masters` masters, with a replica each if `replicated`, and waits until
    /// everybody knows everybody.
    ///
    /// # Errors
    /// Redis is not installed, did not start, or the nodes do not agree.
    pub async fn start(masters: usize, replicated: bool) -> Result<Self, Failure> {
        let mut cluster = Self {
            masters: Vec::new(),
            replicas: Vec::new(),
        };
        for n in 0..masters * if replicated { 2 } else { 1 } {
            let port = free_port().map_err(Failure::system("a port"))?.to_string();
            let options = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &port,
                "--cluster-node-timeout",
                "1500",
                "--cluster-require-full-coverage",
                "no",
                "--cluster-replica-validity-factor",
                "0",
                "--repl-diskless-sync-delay",
                "0",
            ];
            let server = RedisServer::start_with(&options).await?;
            if n < masters {
                cluster.masters.push(server);
            } else {
                cluster.replicas.push(server);
            }
        }
        cluster.meet().await?;
        Ok(cluster)
    }

    /// `redis+cluster://…` with all nodes.
    pub fn url(&self) -> Result<String, Failure> {
        let mut hosts = Vec::new();
        for server in self.masters.iter().chain(&self.replicas) {
            hosts.push(format!("127.0.0.1:{}", server.port()?));
        }
        Ok(format!("redis+cluster://{}", hosts.join(",")))
    }

    /// Those that started as masters, in the order of their slots.
    pub fn masters(&self) -> &[RedisServer] {
        &self.masters
    }

    /// One of them, to kill it or start it again.
    pub fn master_mut(&mut self, n: usize) -> Option<&mut RedisServer> {
        self.masters.get_mut(n)
    }

    /// Moves a slot, which holds no keys, from the master that started with it to another one.
    pub async fn move_slot(&self, slot: u16, to: usize) -> Result<(), Failure> {
        let target = self
            .masters
            .get(to)
            .ok_or_else(|| refused("no such master"))?;
        let id = ask(target.port()?, "CLUSTER MYID").await?;
        // The one that takes it first: it may refuse.
        let first = std::iter::once(target);
        let others = self.masters.iter().enumerate().filter(|(n, _)| *n != to);
        for server in first.chain(others.map(|(_, server)| server)) {
            if !server.process()?.runs() {
                continue;
            }
            let command = format!("CLUSTER SETSLOT {slot} NODE {}", id.trim());
            ask(server.port()?, &command).await?;
        }
        Ok(())
    }

    async fn meet(&self) -> Result<(), Failure> {
        let count = self.masters.len();
        for (n, server) in self.masters.iter().enumerate() {
            let (first, next) = (SLOTS * n / count, SLOTS * (n + 1) / count);
            let command = format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1);
            ask(server.port()?, &command).await?;
            let command = format!("CLUSTER SET-CONFIG-EPOCH {}", n + 1);
            ask(server.port()?, &command).await?;
        }
        let first = self.masters.first().ok_or_else(|| refused("no masters"))?;
        for server in self.masters.iter().chain(&self.replicas).skip(1) {
            let (port, bus) = (server.port()?, bus_port(server).await?);
            let command = format!("CLUSTER MEET 127.0.0.1 {port} {bus}");
            ask(first.port()?, &command).await?;
        }
        self.until("all know each other", async |port| {
            let nodes = ask(port, "CLUSTER NODES").await?;
            let known = nodes.lines().filter(|line| line.contains(" connected"));
            Ok(known.count() == self.masters.len() + self.replicas.len()
                && !nodes.contains("handshake"))
        })
        .await?;
        for (master, replica) in self.masters.iter().zip(&self.replicas) {
            let id = ask(master.port()?, "CLUSTER MYID").await?;
            let command = format!("CLUSTER REPLICATE {}", id.trim());
            ask(replica.port()?, &command).await?;
        }
        self.until("everything is served", async |port| {
            let info = ask(port, "CLUSTER INFO").await?;
            let nodes = ask(port, "CLUSTER NODES").await?;
            let synced = ask(port, "INFO replication").await?;
            let replicas = nodes.lines().filter(|line| line.contains("slave"));
            Ok(info.contains("cluster_state:ok")
                && info.contains("cluster_slots_ok:16384")
                && replicas.count() == self.replicas.len()
                && !synced.contains("master_link_status:down"))
        })
        .await
    }

    /// Waits until every node satisfies `holds`.
    async fn until(
        &self,
        what: &str,
        holds: impl AsyncFn(u16) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let since = Instant::now();
        for server in self.masters.iter().chain(&self.replicas) {
            while !holds(server.port()?).await? {
                if since.elapsed() > READY_WITHIN {
                    return Err(server
                        .process()?
                        .failure(&format!("waited in vain: {what}")));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}

/// The port on which a node talks to the others.
async fn bus_port(server: &RedisServer) -> Result<u16, Failure> {
    let said = ask(server.port()?, "CONFIG GET cluster-port").await?;
    let port = said
        .lines()
        .last()
        .and_then(|port| port.trim().parse().ok());
    port.ok_or_else(|| refused(said))
}

fn refused(said: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::system("a Redis Cluster")(std::io::Error::other(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn owners(port: u16) -> String {
        ask(port, "CLUSTER NODES").await.unwrap_or_default()
    }

    #[tokio::test]
    async fn a_cluster_serves_fails_over_and_lets_slots_be_moved() {
        let mut cluster = RedisCluster::start(3, true).await.unwrap();
        let port = cluster.masters()[1].port().unwrap();
        cluster.move_slot(0, 1).await.unwrap();
        let nodes = owners(port).await;
        let own = nodes.lines().find(|line| line.contains("myself")).unwrap();
        assert!(own.contains(" 0 "), "{nodes}");
        let lost = cluster.master_mut(2).unwrap();
        let gone = lost.port().unwrap();
        lost.kill().unwrap();
        let since = Instant::now();
        loop {
            let nodes = owners(port).await;
            let has_slots = |line: &&str| line.contains("-16383") && line.contains("master");
            let owner = nodes.lines().find(has_slots);
            if owner.is_some_and(|line| !line.contains(&format!(":{gone}@"))) {
                break;
            }
            assert!(since.elapsed() < READY_WITHIN, "nobody took over:\n{nodes}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // It comes back as a replica.
        cluster.master_mut(2).unwrap().restart().await.unwrap();
        while !ask(gone, "ROLE").await.unwrap().contains("slave") {
            assert!(since.elapsed() < READY_WITHIN);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
