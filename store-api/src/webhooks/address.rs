//! Where webhooks may go: to public addresses, and to those that the settings name. Whoever registers
//! an address must not reach through us what only we can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shared::network::Network;
use url::{Host, Url};

use crate::error::Violation;

/// The longest address.
const MAX_LENGTH: usize = 2048;

/// What may be reached.
#[derive(Debug)]
pub(super) struct Reach {
    networks: Vec<Network>,
}

impl Reach {
    /// Public addresses, and besides them those of `networks`.
    pub(super) fn new(networks: Vec<Network>) -> Self {
        Self { networks }
    }

    /// Whether `address` may be reached; in the clear only what the settings name.
    pub(super) fn allows(&self, address: IpAddr, encrypted: bool) -> bool {
        let named = || self.networks.iter().any(|net| net.contains(address));
        (encrypted && is_public(address)) || named()
    }

    /// Reads an address that somebody wants events sent to. Whom its name leads to is looked at when
    /// something is sent.
    pub(super) fn parse(&self, text: &str) -> Result<Url, Violation> {
        let malformed = |message| Violation::new("url", "malformed", message);
        if text.len() > MAX_LENGTH {
            return Err(malformed("at most 2048 characters"));
        }
        let url = Url::parse(text).map_err(|_| malformed("an address such as https://…"))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(malformed("without user, password and fragment"));
        }
        let encrypted = match url.scheme() {
            "https" => true,
            "http" if !self.networks.is_empty() => false,
            _ => return Err(Violation::new("url", "scheme", "begins with https:")),
        };
        if self.refuses(&url, encrypted) {
            let message = "leads to a network that webhooks may not reach";
            return Err(Violation::new("url", "address", message));
        }
        Ok(url)
    }

    /// Whether an address says by itself, without a look-up of its name, that it may not be reached.
    pub(super) fn refuses(&self, url: &Url, encrypted: bool) -> bool {
        let address: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                if name != "localhost" && !name.ends_with(".localhost") {
                    return false;
                }
                Ipv4Addr::LOCALHOST.into()
            }
            None => return true,
        };
        !self.allows(address, encrypted)
    }
}

/// Whether an address is one of the Internet at large.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // NAT64 and 6to4 lead to an address of version 4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments (Teredo among them), documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(networks: &[&str]) -> Reach {
        Reach::new(networks.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn what_only_we_can_reach_is_not_public() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_is_held_to_the_settings() {
        let strict = reach(&[]);
        assert!(strict.parse("https://hooks.example/a?b=c").is_ok());
        assert!(strict.parse("https://1.1.1.1:8443/").is_ok());
        let rule = |reach: &Reach, url: &str| reach.parse(url).unwrap_err().rule;
        for url in [
            "hooks.example",
            "https://",
            "https://user@hooks.example",
            "https://:password@hooks.example",
            "https://hooks.example/#here",
        ] {
            assert_eq!(rule(&strict, url), "malformed", "{url}");
        }
        let long = format!("https://hooks.example/{}", "a".repeat(MAX_LENGTH));
        assert_eq!(rule(&strict, &long), "malformed");
        assert_eq!(rule(&strict, "http://hooks.example"), "scheme");
        assert_eq!(rule(&strict, "file:///etc/passwd"), "scheme");
        for url in [
            "https://127.0.0.1",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]:8443",
            "https://[::ffff:169.254.169.254]/",
            "https://localhost",
            "https://LOCALHOST./",
            "https://any.localhost/",
        ] {
            assert_eq!(rule(&strict, url), "address", "{url}");
        }
        let inside = reach(&["10.0.0.0/8"]);
        assert!(inside.parse("http://10.1.1.1:8080/hook").is_ok());
        assert!(inside.parse("http://inside.example/hook").is_ok());
        assert_eq!(rule(&inside, "http://1.1.1.1/"), "address");
        assert_eq!(rule(&inside, "https://127.0.0.1/"), "address");
        assert!(!inside.allows("1.1.1.1".parse().unwrap(), false));
        assert!(inside.allows("1.1.1.1".parse().unwrap(), true));
    }
}
