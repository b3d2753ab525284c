//! Many nodes that are one chat: store-api, nodes, Redis and the MongoDB stand-in, joined by links
//! that can be made to misbehave.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    path::PathBuf,
};

use shared::id::UserId;

use super::{Failure, MongoServer, Network, Place, Program, Proxy, RedisServer, built};
use crate::accounts::Rest;

/// The secrets of clusters that are started here; they listen on 127.0.0.1 alone.
const JWT_SECRET: &str = "a secret of clusters that tests start, longer than 32 bytes";
const SERVICE_TOKEN: &str = "a service token of clusters that tests start";

/// How to start a cluster.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// How many nodes.
    pub nodes: usize,
    /// Settings of every program, as variables of the environment.
    pub settings: Vec<(String, String)>,
    /// Where `chat-node`, `store-api` and `chat-lb` are; beside the caller when not given.
    pub programs: Option<PathBuf>,
    /// Puts a [`Proxy`] on every link from a node to what it needs.
    pub links: bool,
    /// The Redis of all tests and the MongoDB of all tests, by a prefix and a database of its own,
    /// instead of servers that may be killed.
    pub shares: bool,
    /// A Redis URL that the nodes are given instead of that of a server started here.
    pub redis_url: Option<String>,
    /// Gives every server and every program a place of its own there. It goes with neither `links` nor
    /// `shares`.
    pub network: Option<Network>,
}

impl Default for ClusterPlan {
    fn default() -> Self {
        Self {
            nodes: 3,
            settings: Vec::new(),
            programs: None,
            links: true,
            shares: false,
            redis_url: None,
            network: None,
        }
    }
}

impl ClusterPlan {
    /// With further settings.
    #[must_use]
    pub fn set(mut self, settings: &[(&str, &str)]) -> Self {
        let settings = settings
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        self.settings.extend(settings);
        self
    }
}

/// A server of a cluster's own, or everybody's.
#[derive(Debug)]
enum Lent<T: 'static> {
    Own(T),
    Shared(&'static T),
}

impl<T> Lent<T> {
    fn get(&self) -> &T {
        match self {
            Self::Own(server) => server,
            Self::Shared(server) => server,
        }
    }

    fn own(&mut self) -> Result<&mut T, Failure> {
        match self {
            Self::Own(server) => Ok(server),
            Self::Shared(_) => Err(Failure::NotOurs("a server that tests share".to_owned())),
        }
    }
}

/// The links of one node.
#[derive(Debug)]
pub struct Links {
    /// To Redis; none where the nodes were given a URL.
    pub redis: Option<Proxy>,
    /// To the MongoDB stand-in.
    pub mongo: Proxy,
    /// To store-api.
    pub store: Proxy,
}

/// A chat node of a cluster.
#[derive(Debug)]
pub struct ClusterNode {
    /// The process.
    pub program: Program,
    links: Option<Links>,
}

impl ClusterNode {
    /// Its links, if the cluster was planned with them.
    ///
    /// # Errors
    /// It was not.
    pub fn links(&self) -> Result<&Links, Failure> {
        let none = || self.program.process().failure("was started without links");
        self.links.as_ref().ok_or_else(none)
    }
}

/// A running cluster; everything of it ends when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<ClusterNode>,
    store: Program,
    redis: Option<Lent<RedisServer>>,
    mongo: Lent<MongoServer>,
    rest: Rest,
    /// What a balancer is told.
    balancers: Vec<(String, String)>,
    programs: Option<PathBuf>,
    network: Option<Network>,
}

impl Cluster {
    /// Starts everything and waits until every node is ready.
    ///
    /// # Errors
    /// Something is not installed, or does not start: with the end of its log.
    pub async fn start(plan: &ClusterPlan) -> Result<Self, Failure> {
        let mut cluster = Self::prepare(plan).await?;
        cluster.start_programs().await?;
        Ok(cluster)
    }

    /// Starts store-api and the nodes and waits until every one is ready.
    pub async fn start_programs(&mut self) -> Result<(), Failure> {
        // First: nodes ask it what was revoked.
        self.store.start().await?;
        for node in &mut self.nodes {
            node.program.spawn()?;
        }
        for node in &mut self.nodes {
            node.program.until_ready().await?;
        }
        Ok(())
    }

    /// Starts Redis and the stand-in, and no program yet.
    pub async fn prepare(plan: &ClusterPlan) -> Result<Self, Failure> {
        let redis = match (&plan.redis_url, plan.shares) {
            (Some(_), _) => None,
            (None, true) => Some(Lent::Shared(RedisServer::shared().await?)),
            (None, false) => {
                let place = place(plan.network.as_ref(), "Redis").await?;
                Some(Lent::Own(RedisServer::start_in(place, &[]).await?))
            }
        };
        let mongo = if plan.shares {
            Lent::Shared(MongoServer::shared().await?)
        } else {
            let place = place(plan.network.as_ref(), "MongoDB").await?;
            Lent::Own(MongoServer::start_in(place).await?)
        };
        let program = async |name: &str| {
            let place = place(plan.network.as_ref(), name).await?;
            Program::in_place(file(plan.programs.as_ref(), name)?, name, place)
        };
        // What several clusters on the same servers are told apart by.
        let own = ulid::Ulid::new().to_string().to_lowercase();
        let mut store = program("store-api").await?;
        store.set([
            ("FIRESIDE_JWT_SECRET", JWT_SECRET),
            ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN),
        ]);
        store.set(plan.settings.iter().cloned());
        let mut nodes = Vec::new();
        for n in 0..plan.nodes {
            let mut program = program("chat-node").await?;
            let links = if plan.links {
                Some(Links {
                    redis: match &redis {
                        Some(redis) => Some(Proxy::to(redis.get().port()?).await?),
                        None => None,
                    },
                    mongo: Proxy::to(mongo.get().port()?).await?,
                    store: Proxy::to(port_of(store.address())).await?,
                })
            } else {
                None
            };
            let redis_url = match (&plan.redis_url, &links, &redis) {
                (Some(url), ..) => url.clone(),
                (None, Some(links), _) if links.redis.is_some() => {
                    let port = links.redis.as_ref().map_or(0, Proxy::port);
                    format!("redis://127.0.0.1:{port}")
                }
                (None, _, Some(redis)) => redis.get().url().to_owned(),
                (None, _, None) => String::new(),
            };
            let database = format!("fireside_{own}");
            let mongodb_uri = match &links {
                Some(links) => MongoServer::uri_through(links.mongo.port(), ""),
                None => mongo.get().uri_of(""),
            };
            let store_url = match &links {
                Some(links) => format!("http://127.0.0.1:{}", links.store.port()),
                None => store.origin().to_owned(),
            };
            program.set([
                ("FIRESIDE_JWT_SECRET", JWT_SECRET.to_owned()),
                ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN.to_owned()),
                ("FIRESIDE_NODE_ID", format!("node-{n}")),
                ("FIRESIDE_ADVERTISE", program.address().to_owned()),
                ("FIRESIDE_STORE_URL", store_url),
                ("FIRESIDE_REDIS_URL", redis_url),
                ("FIRESIDE_REDIS_PREFIX", format!("fireside-{own}:")),
                ("FIRESIDE_MONGODB_URI", mongodb_uri),
                ("FIRESIDE_MONGODB_DATABASE", database),
            ]);
            program.set(plan.settings.iter().cloned());
            nodes.push(ClusterNode { program, links });
        }
        let origins: Vec<&str> = nodes.iter().map(|node| node.program.origin()).collect();
        store.set([("FIRESIDE_NODES", origins.join(","))]);
        let redis_url = match (&plan.redis_url, &redis) {
            (Some(url), _) => url.clone(),
            (None, Some(redis)) => redis.get().url().to_owned(),
            (None, None) => String::new(),
        };
        let balancers = [
            ("FIRESIDE_JWT_SECRET", JWT_SECRET.to_owned()),
            ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN.to_owned()),
            ("FIRESIDE_STORES", store.address().to_owned()),
            ("FIRESIDE_REDIS_URL", redis_url),
            ("FIRESIDE_REDIS_PREFIX", format!("fireside-{own}:")),
            ("FIRESIDE_NODES_FROM_REDIS", "true".to_owned()),
        ];
        let balancers = balancers.map(|(name, value)| (name.to_owned(), value));
        let balancers = balancers.into_iter().chain(plan.settings.iter().cloned());
        let rest = store.rest().clone().with_chat(&origins);
        Ok(Self {
            nodes,
            store,
            redis,
            mongo,
            rest,
            balancers: balancers.collect(),
            programs: plan.programs.clone(),
            network: plan.network.clone(),
        })
    }

    /// A balancer before everything here, which finds the nodes in Redis. Not started yet.
    pub fn balancer(&self) -> Result<Program, Failure> {
        self.balancer_at(Place::here())
    }

    /// The same in a place of its own on the cluster's network.
    pub async fn balancer_in_place(&self) -> Result<Program, Failure> {
        self.balancer_at(place(self.network.as_ref(), "chat-lb").await?)
    }

    fn balancer_at(&self, place: Place) -> Result<Program, Failure> {
        let file = file(self.programs.as_ref(), "chat-lb")?;
        let mut program = Program::in_place(file, "chat-lb", place)?;
        program.set(self.balancers.iter().cloned());
        Ok(program)
    }

    /// The nodes.
    pub fn nodes(&self) -> &[ClusterNode] {
        &self.nodes
    }

    /// One of them, to be killed and started.
    pub fn node_mut(&mut self, n: usize) -> &mut ClusterNode {
        &mut self.nodes[n]
    }

    /// Which node a user is pinned to while it is there: by a hash, as a balancer would.
    pub fn node_of(&self, user: &UserId) -> usize {
        let mut hasher = DefaultHasher::new();
        user.as_str().hash(&mut hasher);
        hasher.finish() as usize % self.nodes.len()
    }

    /// store-api.
    pub fn store(&self) -> &Program {
        &self.store
    }

    /// store-api, to be killed and started.
    pub fn store_mut(&mut self) -> &mut Program {
        &mut self.store
    }

    /// REST of the whole: each request goes to the service it is for, those to chat to the nodes in
    /// turns.
    pub fn rest(&self) -> &Rest {
        &self.rest
    }

    /// Redis, if it was started here.
    pub fn redis(&self) -> Option<&RedisServer> {
        self.redis.as_ref().map(Lent::get)
    }

    /// Redis, to be killed and started.
    pub fn redis_mut(&mut self) -> Result<&mut RedisServer, Failure> {
        let none = || Failure::NotOurs("the Redis of a URL".to_owned());
        self.redis.as_mut().ok_or_else(none)?.own()
    }

    /// The MongoDB stand-in.
    pub fn mongo(&self) -> &MongoServer {
        self.mongo.get()
    }

    /// The stand-in, to be killed and started.
    pub fn mongo_mut(&mut self) -> Result<&mut MongoServer, Failure> {
        self.mongo.own()
    }

    /// The secret that tokens are signed with, unless the settings said another.
    pub fn jwt_secret() -> &'static str {
        JWT_SECRET
    }

    /// What services show each other, unless the settings said otherwise.
    pub fn service_token() -> &'static str {
        SERVICE_TOKEN
    }
}

/// A place of its own on the network, or among everybody else where there is none.
async fn place(network: Option<&Network>, name: &str) -> Result<Place, Failure> {
    match network {
        Some(network) => network.place(name).await,
        None => Ok(Place::here()),
    }
}

/// The program of that name, in the folder or beside the caller.
fn file(folder: Option<&PathBuf>, name: &str) -> Result<PathBuf, Failure> {
    match folder {
        Some(folder) => Ok(folder.join(name)),
        None => built(name),
    }
}

fn port_of(address: &str) -> u16 {
    let port = address.rsplit(':').next();
    port.and_then(|port| port.parse().ok()).unwrap_or_default()
}
