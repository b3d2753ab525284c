//! A cluster where the suite expects a server: users are pinned to nodes, and what is asked of the
//! server is asked of all of them.

use std::process::ExitStatus;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use loadtest::{
    accounts::Rest,
    cluster::{Cluster, ClusterPlan, Program},
};
use serde_json::Value;
use shared::id::UserId;

/// How many nodes.
const NODES: usize = 3;

/// The stand-in does in seconds what takes MongoDB moments: what these tests ask is what is answered,
/// not how soon.
const PATIENT: &[(&str, &str)] = &[("FIRESIDE_MONGODB_TIMEOUT", "30s")];

/// A cluster, running or not.
pub(crate) struct Server {
    /// `http://host:port` of the first node.
    pub(crate) origin: String,
    /// The same without the scheme.
    pub(crate) address: String,
    /// REST of all.
    pub(crate) rest: Rest,
    cluster: Cluster,
}

impl Server {
    /// The whole product with these settings, started.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let plan = ClusterPlan {
            nodes: NODES,
            links: false,
            shares: true,
            ..ClusterPlan::default()
        };
        let cluster = Cluster::start(&plan.set(PATIENT).set(settings))
            .await
            .unwrap();
        let first = &cluster.nodes()[0].program;
        Self {
            origin: first.origin().to_owned(),
            address: first.address().to_owned(),
            rest: cluster.rest().clone(),
            cluster,
        }
    }

    /// Where the user of that token connects: as with a balancer, all devices of one to one node.
    pub(crate) fn address_of(&self, token: &str) -> &str {
        self.node_for(token).address()
    }

    fn node_for(&self, token: &str) -> &Program {
        // Whoever cannot be read is for any node to refuse.
        let node = user_of(token).map_or(0, |user| self.cluster.node_of(&user));
        &self.cluster.nodes()[node].program
    }

    fn nodes(&self) -> impl Iterator<Item = &Program> {
        self.cluster.nodes().iter().map(|node| &node.program)
    }

    /// kill -9 of every node and of the store.
    pub(crate) fn kill(&mut self) {
        for n in 0..NODES {
            let node = &mut self.cluster.node_mut(n).program;
            node.process_mut().kill().unwrap();
        }
        self.cluster.store_mut().process_mut().kill().unwrap();
    }

    /// Starts them again.
    pub(crate) async fn boot(&mut self) {
        self.cluster.start_programs().await.unwrap();
    }

    /// SIGTERM to all, and how the first that failed ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let mut ended = Vec::new();
        for n in 0..NODES {
            ended.push(self.cluster.node_mut(n).program.terminate().await.unwrap());
        }
        ended.push(self.cluster.store_mut().terminate().await.unwrap());
        *ended.iter().find(|s| !s.success()).unwrap_or(&ended[0])
    }

    /// What all of them wrote.
    pub(crate) fn log(&self) -> String {
        let programs = self.nodes().chain([self.cluster.store()]);
        programs.map(|program| program.process().log()).collect()
    }

    /// The value of a metric, added up over its labels and the nodes.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let values = join_all(self.nodes().map(|node| node.metric(name))).await;
        let values: Vec<f64> = values.into_iter().flatten().collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Memory of the nodes that is in RAM, in bytes.
    pub(crate) fn rss(&self) -> u64 {
        self.nodes().map(rss_of).sum()
    }

    /// The same of the node that serves the user of that token alone.
    pub(crate) fn rss_for(&self, token: &str) -> u64 {
        rss_of(self.node_for(token))
    }
}

fn rss_of(program: &Program) -> u64 {
    program.process().usage().unwrap().rss().unwrap()
}

/// Whose token it is, by what it says itself.
fn user_of(token: &str) -> Option<UserId> {
    let claims = token.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    UserId::parse(claims["sub"].as_str()?).ok()
}
