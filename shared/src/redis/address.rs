//! What the URL of Redis means.

use std::fmt;

use crate::settings::Secret;

/// Where Redis is and how to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// What stands there.
    pub topology: Topology,
    /// Whether links are TLS.
    pub tls: bool,
    /// The user of an ACL; none: `default`.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The logical database; a Cluster has only 0.
    pub database: i64,
}

/// What stands at the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single(RedisHost),
    /// A master that Sentinels know by name.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<RedisHost>,
        /// The master's name.
        master: String,
    },
    /// A Cluster.
    Cluster(Vec<RedisHost>),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RedisHost {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is no address of Redis. Says nothing of what stands in it: that may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisAddressError {
    /// Not one of ours.
    #[error(
        "begins with redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://"
    )]
    Scheme,
    /// A host is missing or cannot be read.
    #[error("host {0} is not HOST or HOST:PORT")]
    Host(usize),
    /// More than one host where there is one.
    #[error("redis:// has one host; several are redis+sentinel:// or redis+cluster://")]
    ManyHosts,
    /// No name of a master.
    #[error("redis+sentinel:// ends in /MASTER, the name that the Sentinels know the master by")]
    Master,
    /// The path is no number of a database.
    #[error("what follows the hosts is /N, the number of a database")]
    Database,
    /// A Cluster has one database.
    #[error("a Cluster has no databases: nothing follows the hosts")]
    ClusterDatabase,
    /// `?` or `#`.
    #[error("has no ? or # part (in a password, write %3F or %23)")]
    Options,
    /// A `%` without two hex digits, or bytes that are not UTF-8.
    #[error("a user or password with a malformed %-escape")]
    Escape,
}

impl RedisAddress {
    /// Reads `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/MASTER][/DATABASE]`.
    pub fn parse(text: &str) -> Result<Self, RedisAddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(RedisAddressError::Scheme)?;
        let (protocol, kind) = match scheme.split_once('+') {
            Some((protocol, kind)) => (protocol, Some(kind)),
            None => (scheme, None),
        };
        let tls = match protocol {
            "redis" => false,
            "rediss" => true,
            _ => return Err(RedisAddressError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(RedisAddressError::Options);
        }
        // A password may hold an @ that nobody escaped; a host never does.
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (username, password) = match user {
            None => (None, None),
            Some(user) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let given = |text: &str| -> Result<Option<String>, RedisAddressError> {
                    let text = unescape(text)?;
                    Ok(Some(text).filter(|text| !text.is_empty()))
                };
                (given(name)?, given(password)?.map(Secret::new))
            }
        };
        let (hosts, path) = match place.split_once('/') {
            Some((hosts, path)) => (hosts, path.trim_end_matches('/')),
            None => (place, ""),
        };
        let (topology, database) = match kind {
            None => {
                let mut hosts = parse_hosts(hosts, 6379)?;
                if hosts.len() > 1 {
                    return Err(RedisAddressError::ManyHosts);
                }
                let host = hosts.pop().ok_or(RedisAddressError::Host(1))?;
                (Topology::Single(host), database(path)?)
            }
            Some("sentinel") => {
                let (master, rest) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(RedisAddressError::Master);
                }
                let topology = Topology::Sentinel {
                    sentinels: parse_hosts(hosts, 26379)?,
                    master: unescape(master)?,
                };
                (topology, database(rest)?)
            }
            Some("cluster") if path.is_empty() => (Topology::Cluster(parse_hosts(hosts, 6379)?), 0),
            Some("cluster") => return Err(RedisAddressError::ClusterDatabase),
            Some(_) => return Err(RedisAddressError::Scheme),
        };
        Ok(Self {
            topology,
            tls,
            username,
            password,
            database,
        })
    }

    /// Whether it is a Cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self.topology, Topology::Cluster(_))
    }
}

/// Hosts and names only, for logs.
impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { " (TLS)" } else { "" };
        let list = |hosts: &[RedisHost]| {
            let hosts: Vec<String> = hosts.iter().map(RedisHost::to_string).collect();
            hosts.join(", ")
        };
        match &self.topology {
            Topology::Single(host) => write!(f, "{host}{tls}"),
            Topology::Sentinel { sentinels, master } => {
                write!(f, "{master} of the Sentinels {}{tls}", list(sentinels))
            }
            Topology::Cluster(hosts) => write!(f, "the Cluster of {}{tls}", list(hosts)),
        }
    }
}

impl fmt::Display for RedisHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn database(path: &str) -> Result<i64, RedisAddressError> {
    if path.is_empty() {
        return Ok(0);
    }
    let number: u16 = path.parse().map_err(|_| RedisAddressError::Database)?;
    Ok(i64::from(number))
}

fn parse_hosts(text: &str, port: u16) -> Result<Vec<RedisHost>, RedisAddressError> {
    text.split(',')
        .enumerate()
        .map(|(n, host)| parse_host(host.trim(), port).ok_or(RedisAddressError::Host(n + 1)))
        .collect()
}

fn parse_host(text: &str, default_port: u16) -> Option<RedisHost> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (
                host,
                rest.strip_prefix(':').or(rest.is_empty().then_some("")),
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) if !port.is_empty() => (host, Some(port)),
            Some(_) => return None,
            None => (text, Some("")),
        },
    };
    let port = match port? {
        "" => default_port,
        port => port.parse().ok().filter(|port| *port > 0)?,
    };
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    (!host.is_empty() && host.chars().all(letters)).then(|| RedisHost {
        host: host.to_owned(),
        port,
    })
}

fn unescape(text: &str) -> Result<String, RedisAddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |c: u8| char::from(c).to_digit(16);
                let (high, low) = digit(*high)
                    .zip(digit(*low))
                    .ok_or(RedisAddressError::Escape)?;
                ((high * 16 + low) as u8, tail)
            }
            (b'%', _) => return Err(RedisAddressError::Escape),
            (byte, tail) => (*byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| RedisAddressError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str, port: u16) -> RedisHost {
        RedisHost {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn reads_all_three_kinds() {
        let one = RedisAddress::parse("redis://localhost").unwrap();
        assert_eq!(one.topology, Topology::Single(host("localhost", 6379)));
        assert!(!one.tls && one.username.is_none() && one.password.is_none());
        let one = RedisAddress::parse("rediss://us%3Aer:p@ss%2fword@[::1]:7000/3").unwrap();
        assert_eq!(one.topology, Topology::Single(host("::1", 7000)));
        assert_eq!((one.tls, one.database), (true, 3));
        assert_eq!(one.username.as_deref(), Some("us:er"));
        assert_eq!(one.password, Some(Secret::new("p@ss/word".to_owned())));
        let sentinel = RedisAddress::parse("redis+sentinel://:pw@a:1,b/mine/2").unwrap();
        let expected = Topology::Sentinel {
            sentinels: vec![host("a", 1), host("b", 26379)],
            master: "mine".to_owned(),
        };
        assert_eq!((sentinel.topology, sentinel.database), (expected, 2));
        assert_eq!(sentinel.username, None);
        let cluster = RedisAddress::parse("rediss+cluster://a:1, b:2/").unwrap();
        let hosts = vec![host("a", 1), host("b", 2)];
        assert_eq!(cluster.topology, Topology::Cluster(hosts));
        assert!(cluster.tls && cluster.is_cluster());
    }

    #[test]
    fn says_what_is_wrong() {
        use RedisAddressError as E;
        for (text, error) in [
            ("", E::Scheme),
            ("localhost:6379", E::Scheme),
            ("http://a", E::Scheme),
            ("unix:///run/redis.sock", E::Scheme),
            ("redis+swarm://a", E::Scheme),
            ("redis://", E::Host(1)),
            ("redis://a:b:c", E::Host(1)),
            ("redis://a:", E::Host(1)),
            ("redis://a:0", E::Host(1)),
            ("redis://a:70000", E::Host(1)),
            ("redis://[nonsense]:1", E::Host(1)),
            ("redis://a,b", E::ManyHosts),
            ("redis+cluster://a:1,,b:1", E::Host(2)),
            ("redis+cluster://a:1/2", E::ClusterDatabase),
            ("redis+sentinel://a:1", E::Master),
            ("redis+sentinel://a:1/mine/x", E::Database),
            ("redis://a/x", E::Database),
            ("redis://a?protocol=3", E::Options),
            ("redis://u:%4@a", E::Escape),
            ("redis://u:%FF@a", E::Escape),
        ] {
            assert_eq!(RedisAddress::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn prints_no_password() {
        let address = RedisAddress::parse("rediss+sentinel://who:hunter2@a:1,[::1]/mine").unwrap();
        assert_eq!(
            address.to_string(),
            "mine of the Sentinels a:1, [::1]:26379 (TLS)"
        );
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
