//! Which back ends there are, made of answers that may leave some out.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

/// For how long a back end that is named no more is kept. DNS answers some of many, and a Redis that
/// lost everything knows of the nodes again one by one: neither is a reason to move people. What has
/// really gone fails its probes before.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// A back end and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name, by which users are pinned to it.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Its share in proportion to the others'.
    pub weight: u16,
}

/// Why a text names no back end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no back end: write HOST:PORT, with NAME= before and *WEIGHT (1 to 1000) behind it if you like"
)]
pub struct InvalidPlace(String);

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPlace(text.to_owned());
        let (rest, weight) = match text.rsplit_once('*') {
            Some((rest, weight)) => (rest, weight.parse().map_err(|_| invalid())?),
            None => (text, 1),
        };
        let (name, address) = match rest.split_once('=') {
            Some((name, address)) => (Some(name), address),
            None => (None, rest),
        };
        // The other programs write origins.
        let address = address.strip_prefix("http://").unwrap_or(address);
        let address = address.strip_suffix('/').unwrap_or(address);
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        let fits = !host.is_empty()
            && !host.contains(['/', '@', '?', '#', ' '])
            && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'))
            && port.parse::<u16>().is_ok_and(|port| port > 0)
            && name.is_none_or(|name| !name.is_empty())
            && (1..=1000).contains(&weight);
        if !fits {
            return Err(invalid());
        }
        Ok(Self {
            name: name.unwrap_or(address).to_owned(),
            address: address.to_owned(),
            weight,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name != self.address {
            write!(f, "{}=", self.name)?;
        }
        f.write_str(&self.address)?;
        if self.weight != 1 {
            write!(f, "*{}", self.weight)?;
        }
        Ok(())
    }
}

/// Everybody who was named lately.
#[derive(Debug, Default)]
pub struct Roll {
    named: BTreeMap<String, (Place, Instant)>,
}

impl Roll {
    /// Takes in an answer; who there is, in the order of their names. An answer without anybody is
    /// none: it changes nothing.
    pub fn update(&mut self, found: Vec<Place>, now: Instant) -> Vec<Place> {
        if !found.is_empty() {
            for place in found {
                self.named.insert(place.name.clone(), (place, now));
            }
            self.named
                .retain(|_, (_, seen)| now.duration_since(*seen) < KEPT_FOR);
        }
        self.named
            .values()
            .map(|(place, _)| place.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    fn names(places: &[Place]) -> Vec<&str> {
        places.iter().map(|place| place.name.as_str()).collect()
    }

    #[test]
    fn a_place_is_written_in_short() {
        let full = place("a=10.0.0.1:8110*3");
        assert_eq!(
            (full.name.as_str(), full.address.as_str(), full.weight),
            ("a", "10.0.0.1:8110", 3)
        );
        for (text, shown) in [
            ("10.0.0.1:8110", "10.0.0.1:8110"),
            ("http://node-1.chat:8110/", "node-1.chat:8110"),
            ("[::1]:8110*1", "[::1]:8110"),
            ("a=b:1*2", "a=b:1*2"),
        ] {
            assert_eq!(place(text).to_string(), shown);
        }
        for bad in [
            "",
            ":8110",
            "host",
            "host:x",
            "host:0",
            "=h:1",
            "h:1*0",
            "h:1*x",
            "::1:1",
            "h/x:1",
            "https://h:1",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn who_is_left_out_stays_for_a_while() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut roll = Roll::default();
        let (a, b) = (place("a=h:1"), place("b=h:2"));
        roll.update(vec![b.clone(), a.clone()], start);
        assert_eq!(names(&roll.update(vec![b.clone()], after(5))), ["a", "b"]);
        assert_eq!(names(&roll.update(Vec::new(), after(60))), ["a", "b"]);
        assert_eq!(names(&roll.update(vec![b], after(61))), ["b"]);
        // Who comes back elsewhere is there at once.
        let moved = roll.update(vec![place("b=h:9")], after(62));
        assert_eq!(moved, [place("b=h:9")]);
    }
}
