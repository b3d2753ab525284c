//! Addresses: networks of proxies, and who a request really comes from.

use std::{fmt, net::IpAddr, str::FromStr};

use actix_web::http::header::HeaderMap;

/// A network in CIDR notation, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address nor a network such as 10.0.0.0/8")]
pub struct InvalidNetwork(String);

impl Network {
    /// Whether `address` belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix);
                shift == 32 || (own.to_bits() ^ other.to_bits()) >> shift == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                shift == 128 || (own.to_bits() ^ other.to_bits()) >> shift == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| invalid())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => prefix.trim().parse().map_err(|_| invalid())?,
        };
        if prefix > longest {
            return Err(invalid());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Who a request comes from: the peer, or, when that is a trusted proxy, the last address of
/// `X-Forwarded-For` that is not one. What stands further left, the client may have written itself.
/// `None` when all of them are proxies: nobody that a limit by address should bind.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> Option<IpAddr> {
    let lines: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok())
        .collect();
    forwarded_client(peer, &lines, proxies)
}

/// The same from the lines of `X-Forwarded-For`.
pub fn forwarded_client(peer: IpAddr, lines: &[&str], proxies: &[Network]) -> Option<IpAddr> {
    let trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    if !trusted(peer) {
        return Some(peer.to_canonical());
    }
    lines
        .iter()
        .rev()
        .flat_map(|line| line.rsplit(','))
        .map_while(|hop| hop.trim().parse::<IpAddr>().ok())
        .map(|address| address.to_canonical())
        .find(|address| !trusted(*address))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn forwarded(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                HeaderName::from_static("x-forwarded-for"),
                HeaderValue::from_str(line).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn networks_contain_their_addresses() {
        assert!(network("10.0.0.0/8").contains(ip("10.255.0.1")));
        assert!(!network("10.0.0.0/8").contains(ip("11.0.0.1")));
        assert!(network("0.0.0.0/0").contains(ip("203.0.113.9")));
        assert!(network("127.0.0.1").contains(ip("::ffff:127.0.0.1")));
        assert!(network("fd00::/8").contains(ip("fd12::1")));
        assert!(!network("::1").contains(ip("127.0.0.1")));
        for bad in ["", "10.0.0.0/33", "fd00::/129", "host", "10.0.0.0/x"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let proxies = [network("10.0.0.0/8")];
        let headers = forwarded(&["1.1.1.1, 203.0.113.9, 10.0.0.2"]);
        assert_eq!(
            client_address(ip("192.0.2.1"), &headers, &proxies),
            Some(ip("192.0.2.1"))
        );
        assert_eq!(
            client_address(ip("10.0.0.1"), &headers, &proxies),
            Some(ip("203.0.113.9"))
        );
        let two_lines = forwarded(&["203.0.113.9", "203.0.113.10"]);
        assert_eq!(
            client_address(ip("10.0.0.1"), &two_lines, &proxies),
            Some(ip("203.0.113.10"))
        );
        let nobody = forwarded(&[]);
        assert_eq!(client_address(ip("10.0.0.1"), &nobody, &proxies), None);
        let garbled = forwarded(&["203.0.113.9, what"]);
        assert_eq!(client_address(ip("10.0.0.1"), &garbled, &proxies), None);
    }
}
