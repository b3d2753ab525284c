//! Opens connections: finds the master or the masters, speaks RESP3, bounds every wait.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};

use crate::settings::Secret;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates,
    Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use rand::seq::SliceRandom as _;

use super::{RedisAddress, RedisHost, RedisSettings, RedisSetupError, Topology};

/// Every slot of a Cluster.
const ALL_SLOTS: RangeInclusive<u16> = 0..=16_383;
/// How long what was written may stay unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT: Duration = Duration::from_secs(10);
/// After how much silence the kernel asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Hears what Redis says unasked on a connection, and last of all that it is closed. Called on the
/// connection's own task, so it must not wait.
pub type Push = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Slots and the master that has them.
pub type Shards = BTreeMap<RedisHost, Vec<RangeInclusive<u16>>>;

/// Opens connections to the Redis of the settings.
#[derive(Clone)]
pub struct Dialer {
    inner: Arc<Inner>,
}

struct Inner {
    address: RedisAddress,
    certificates: Option<Vec<u8>>,
    sentinel_password: Option<Secret>,
    connect_timeout: Duration,
    timeout: Duration,
}

impl Dialer {
    /// Reads the settings; opens nothing yet.
    pub fn new(settings: &RedisSettings) -> Result<Self, RedisSetupError> {
        let address = settings.address()?;
        let certificates = match &settings.redis_tls_ca {
            None => None,
            Some(path) => {
                let read = std::fs::read(path);
                let read = read.map_err(|error| {
                    RedisSetupError::Certificates(format!("{}: {error}", path.display()))
                })?;
                Some(read)
            }
        };
        if address.tls {
            // A second call finds a provider installed, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let dialer = Self {
            inner: Arc::new(Inner {
                address,
                certificates,
                sentinel_password: settings.redis_sentinel_password.clone(),
                connect_timeout: settings.redis_connect_timeout,
                timeout: settings.redis_timeout,
            }),
        };
        if dialer.inner.certificates.is_some() {
            // Unusable certificates are found before anything starts.
            let probe = RedisHost {
                host: "localhost".to_owned(),
                port: 1,
            };
            dialer
                .client(&probe, RedisConnectionInfo::default())
                .map_err(|error| RedisSetupError::Certificates(error.to_string()))?;
        }
        Ok(dialer)
    }

    /// Where it dials.
    pub fn address(&self) -> &RedisAddress {
        &self.inner.address
    }

    /// How long Redis may take to answer.
    pub fn timeout(&self) -> Duration {
        self.inner.timeout
    }

    /// The master of a single server or of Sentinel, as whom one asks says just now.
    pub async fn master(&self) -> RedisResult<RedisHost> {
        match &self.inner.address.topology {
            Topology::Single(host) => Ok(host.clone()),
            Topology::Sentinel { sentinels, master } => {
                let mut error = no_answer("no Sentinel answers");
                for sentinel in shuffled(sentinels) {
                    match self.ask_sentinel(&sentinel, master).await {
                        Ok(host) => return Ok(host),
                        Err(why) => error = why,
                    }
                }
                Err(error)
            }
            Topology::Cluster(_) => Err(RedisError::from((
                ErrorKind::InvalidClientConfig,
                "a Cluster has no one master",
            ))),
        }
    }

    /// A connection to the master of [`Dialer::master`], which really is one.
    pub async fn open_master(
        &self,
        push: Option<Push>,
    ) -> RedisResult<(RedisHost, MultiplexedConnection)> {
        let host = self.master().await?;
        let connection = self.open_at(&host, push).await?;
        Ok((host, connection))
    }

    /// A connection to `host`, which behind Sentinel really is a master.
    pub async fn open_at(
        &self,
        host: &RedisHost,
        push: Option<Push>,
    ) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.open(host, push).await?;
        if matches!(self.inner.address.topology, Topology::Sentinel { .. }) {
            // Sentinels may name the old master for a while after it was demoted.
            let role = ::redis::cmd("ROLE").query_async(&mut connection).await?;
            let master = match role {
                Value::Array(parts) => match parts.first() {
                    Some(Value::BulkString(name)) => name == b"master",
                    Some(Value::SimpleString(name)) => name == "master",
                    _ => false,
                },
                _ => false,
            };
            if !master {
                return Err(no_answer("the master that the Sentinels name is none"));
            }
        }
        Ok(connection)
    }

    /// Who has which slots of the Cluster; asks the hosts of the URL and `known`. On what is no
    /// Cluster, the master has all.
    pub async fn shards(&self, known: &[RedisHost]) -> RedisResult<Shards> {
        let Topology::Cluster(seeds) = &self.inner.address.topology else {
            return Ok(BTreeMap::from([(self.master().await?, vec![ALL_SLOTS])]));
        };
        let mut hosts = shuffled(known);
        for seed in shuffled(seeds) {
            if !hosts.contains(&seed) {
                hosts.push(seed);
            }
        }
        let mut error = no_answer("no node of the Cluster answers");
        for host in hosts {
            match self.ask_slots(&host).await {
                Ok(shards) if !shards.is_empty() => return Ok(shards),
                Ok(_) => error = no_answer("the Cluster has no slots yet"),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    /// A connection of its own to `host`, over RESP3.
    pub async fn open(
        &self,
        host: &RedisHost,
        push: Option<Push>,
    ) -> RedisResult<MultiplexedConnection> {
        let client = self.client(host, self.credentials())?;
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.inner.connect_timeout))
            .set_response_timeout(Some(self.inner.timeout));
        if let Some(push) = push {
            config = config.set_push_sender(move |info| {
                push(info);
                Ok::<(), std::convert::Infallible>(())
            });
        }
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// A connection to all masters of the Cluster.
    pub(super) async fn open_cluster(&self) -> RedisResult<ClusterConnection> {
        let inner = &self.inner;
        let Topology::Cluster(seeds) = &inner.address.topology else {
            return Err(no_answer("this is no Cluster"));
        };
        let nodes = seeds
            .iter()
            .map(|host| self.info(host, self.credentials()))
            .collect::<RedisResult<Vec<ConnectionInfo>>>()?;
        let mut builder = ClusterClient::builder(nodes)
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(tcp_settings())
            .connection_timeout(inner.connect_timeout)
            .response_timeout(inner.timeout)
            .overall_response_timeout(Some(inner.timeout))
            .retries(6)
            .min_retry_wait(20)
            .max_retry_wait(300);
        if let Some(root_cert) = inner.certificates.clone() {
            builder = builder.certs(TlsCertificates {
                client_tls: None,
                root_cert: Some(root_cert),
            });
        }
        let client = builder.build()?;
        let wait = inner.connect_timeout + inner.timeout;
        match tokio::time::timeout(wait, client.get_async_connection()).await {
            Ok(connection) => connection,
            Err(_) => Err(no_answer("the Cluster does not answer")),
        }
    }

    async fn ask_sentinel(&self, sentinel: &RedisHost, master: &str) -> RedisResult<RedisHost> {
        let mut credentials = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &self.inner.sentinel_password {
            credentials = credentials.set_password(password.expose());
        }
        let client = self.client(sentinel, credentials)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.inner.connect_timeout))
            .set_response_timeout(Some(self.inner.timeout));
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let answer: Option<(String, u16)> = ::redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(master)
            .query_async(&mut connection)
            .await?;
        let (host, port) = answer.ok_or_else(|| {
            RedisError::from((
                ErrorKind::MasterNameNotFoundBySentinel,
                "a Sentinel does not know the master",
                master.to_owned(),
            ))
        })?;
        Ok(RedisHost { host, port })
    }

    async fn ask_slots(&self, host: &RedisHost) -> RedisResult<Shards> {
        let mut connection = self.open(host, None).await?;
        let answer: Vec<Vec<Value>> = ::redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(&mut connection)
            .await?;
        let mut shards = Shards::new();
        for range in answer {
            let [first, last, master, ..] = &range[..] else {
                return Err(no_answer("CLUSTER SLOTS answers what nobody understands"));
            };
            let first: u16 = ::redis::from_redis_value(first.clone())?;
            let last: u16 = ::redis::from_redis_value(last.clone())?;
            let Value::Array(parts) = master else {
                return Err(no_answer("CLUSTER SLOTS answers what nobody understands"));
            };
            let mut parts = parts.iter().cloned();
            let name: Option<String> =
                ::redis::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
            let port: u16 = ::redis::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
            // A node that does not know its own address means the one it was asked at.
            let name = name.filter(|name| !name.is_empty() && name != "?");
            let master = RedisHost {
                host: name.unwrap_or_else(|| host.host.clone()),
                port,
            };
            shards.entry(master).or_default().push(first..=last);
        }
        Ok(shards)
    }

    fn credentials(&self) -> RedisConnectionInfo {
        let address = &self.inner.address;
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(address.database);
        if let Some(username) = &address.username {
            info = info.set_username(username);
        }
        if let Some(password) = &address.password {
            info = info.set_password(password.expose());
        }
        info
    }

    fn client(&self, host: &RedisHost, credentials: RedisConnectionInfo) -> RedisResult<Client> {
        let info = self.info(host, credentials)?;
        match self.inner.certificates.clone() {
            Some(root_cert) => Client::build_with_tls(
                info,
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(root_cert),
                },
            ),
            None => Client::open(info),
        }
    }

    fn info(
        &self,
        host: &RedisHost,
        credentials: RedisConnectionInfo,
    ) -> RedisResult<ConnectionInfo> {
        let (name, port) = (host.host.clone(), host.port);
        let address = if self.inner.address.tls {
            ConnectionAddr::TcpTls {
                host: name,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(name, port)
        };
        let info = address.into_connection_info()?;
        Ok(info
            .set_tcp_settings(tcp_settings())
            .set_redis_settings(credentials))
    }
}

fn tcp_settings() -> TcpSettings {
    TcpSettings::default()
        .set_nodelay(true)
        .set_user_timeout(USER_TIMEOUT)
        .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE))
}

fn shuffled(hosts: &[RedisHost]) -> Vec<RedisHost> {
    let mut hosts = hosts.to_vec();
    hosts.shuffle(&mut rand::rng());
    hosts
}

/// An error as a broken connection makes it.
pub(super) fn no_answer(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Io, what))
}
