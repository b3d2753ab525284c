//! What stands in Redis, read and written. The other side of it is `hold.lua`.

use ::redis::Value;
use shared::id::{NodeId, Timestamp, UserId};

use crate::presence::{Availability, DeviceState, Holding, Incarnation, Seen, Standing};

/// What a holding is to the user's visibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Visible,
    Invisible,
    /// Given up by the node.
    Gone,
    /// Taken away from a dead node.
    Reaped,
}

impl Mark {
    pub(super) fn letter(self) -> &'static str {
        match self {
            Self::Visible => "v",
            Self::Invisible => "i",
            Self::Gone => "-",
            Self::Reaped => "r",
        }
    }
}

/// A state as it stands in a holding.
pub(super) fn encode(state: &DeviceState) -> (Mark, Vec<u8>) {
    let mark = if state.availability == Availability::Invisible {
        Mark::Invisible
    } else {
        Mark::Visible
    };
    // A struct of plain fields does not fail to encode; were it to, there would be no state.
    (mark, rmp_serde::to_vec_named(state).unwrap_or_default())
}

fn decode(state: &[u8]) -> Option<DeviceState> {
    rmp_serde::from_slice(state).ok()
}

/// What a change did to the user's visibility, or that it came too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    Nothing,
    Came,
    Went,
    Expired,
}

/// What `hold.lua` answers.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) happened: Happened,
    pub(super) lost: Option<DeviceState>,
    /// The number of the last change by this life that others may see.
    pub(super) shown: u64,
    pub(super) standing: Standing,
}

impl Held {
    pub(super) fn parse(answer: Value) -> Option<Self> {
        let Value::Array(parts) = answer else {
            return None;
        };
        let [happened, lost, shown, all] = <[Value; 4]>::try_from(parts).ok()?;
        let happened = match text(&happened)? {
            "nothing" => Happened::Nothing,
            "came" => Happened::Came,
            "went" => Happened::Went,
            "expired" => Happened::Expired,
            _ => return None,
        };
        Some(Self {
            happened,
            lost: bytes(&lost).and_then(decode),
            shown: number(&shown).unwrap_or_default(),
            standing: standing(all),
        })
    }

    /// What is to be noted for when Redis no longer knows.
    pub(super) fn noted(&self, user: &UserId) -> Option<Seen> {
        let at = match self.happened {
            Happened::Came => None,
            Happened::Went => Some(self.standing.last_seen?),
            Happened::Nothing | Happened::Expired => return None,
        };
        let user = user.clone();
        Some(Seen { user, at })
    }
}

/// A user's hash. What cannot be read, of a later version of ours, is as if it were not there.
pub(super) fn standing(all: Value) -> Standing {
    let pairs: Vec<(Value, Value)> = match all {
        Value::Map(pairs) => pairs,
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
        _ => Vec::new(),
    };
    let mut standing = Standing::default();
    for (field, value) in &pairs {
        let time = || number(value).map(Timestamp::from_millis);
        match text(field) {
            Some("v") => standing.version = number(value).unwrap_or_default(),
            Some("c") => standing.changed = time(),
            Some("s") => standing.last_seen = time(),
            Some(field) => standing.held.extend(
                field
                    .strip_prefix("h:")
                    .zip(bytes(value))
                    .and_then(|(life, value)| holding(life, value)),
            ),
            None => {}
        }
    }
    // By the life, not by chance: two nodes that read the same answer the same.
    standing
        .held
        .sort_by(|a, b| (&a.node, a.incarnation).cmp(&(&b.node, b.incarnation)));
    standing
}

fn holding(life: &str, value: &[u8]) -> Option<Holding> {
    let (mark, rest) = value.split_first()?;
    if !matches!(mark, b'v' | b'i') {
        return None;
    }
    let (node, incarnation) = life.rsplit_once('/')?;
    let state = rest.splitn(4, |byte| *byte == b':').nth(3)?;
    Some(Holding {
        node: NodeId::parse(node).ok()?,
        incarnation: Incarnation::new(incarnation.parse().ok()?),
        state: decode(state)?,
    })
}

/// What `lease.lua` answers.
pub(super) fn lease(answer: Value) -> Option<(u64, String, bool)> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let [incarnation, born, forgot] = parts.as_slice() else {
        return None;
    };
    let born = text(born)?.to_owned();
    Some((number(incarnation)?, born, number(forgot) == Some(1)))
}

/// A cursor and the members of a sorted set, as ZSCAN answers.
pub(super) fn scanned(answer: Value) -> Option<(u64, Vec<UserId>)> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let [cursor, members] = <[Value; 2]>::try_from(parts).ok()?;
    let cursor = number(&cursor)?;
    let Value::Array(members) = members else {
        return None;
    };
    // Members alternate with their scores.
    let members = members.iter().step_by(2).filter_map(text);
    let users = members.filter_map(|user| UserId::parse(user).ok());
    Some((cursor, users.collect()))
}

pub(super) fn texts(answer: Value) -> Vec<String> {
    let Value::Array(values) = answer else {
        return Vec::new();
    };
    let texts = values.iter().filter_map(text);
    texts.map(ToOwned::to_owned).collect()
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::SimpleString(text) => Some(text),
        value => std::str::from_utf8(bytes(value)?).ok(),
    }
}

pub(super) fn number<T: std::str::FromStr + TryFrom<i64>>(value: &Value) -> Option<T> {
    match value {
        Value::Int(number) => T::try_from(*number).ok(),
        value => text(value)?.parse().ok(),
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::presence::merge::tests::state;

    fn bulk(text: impl AsRef<[u8]>) -> Value {
        Value::BulkString(text.as_ref().to_vec())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(state in state()) {
            let (mark, bytes) = encode(&state);
            let value = [mark.letter().as_bytes(), b"12:1795267563731148:7:", &bytes].concat();
            let all = vec![bulk("h:node-1/7"), bulk(value), bulk("v"), bulk("9")];
            let read = standing(Value::Array(all));
            let held = Holding {
                node: NodeId::parse("node-1").unwrap(),
                incarnation: Incarnation::new(7),
                state,
            };
            prop_assert_eq!(read, Standing { held: vec![held], version: 9, ..Standing::default() });
        }
    }

    #[test]
    fn traces_and_what_a_later_version_writes_hold_nothing() {
        let all = [
            ("h:a/1", "-3:5:2:"),
            ("h:a/2", "r3:5:2:\u{1}"),
            ("h:a/3", "x3:5:2:\u{1}"),
            ("h:nobody", "v3:5:2:\u{1}"),
            ("h:a/4", "v3"),
            ("z", "1"),
            ("s", "70"),
        ];
        let all = all.map(|(field, value)| (bulk(field), bulk(value)));
        let read = standing(Value::Map(all.to_vec()));
        let expected = Standing {
            last_seen: Some(Timestamp::from_millis(70)),
            ..Standing::default()
        };
        assert_eq!(read, expected);
        assert_eq!(standing(Value::Nil), Standing::default());
        assert!(Held::parse(Value::Array(vec![bulk("came"), Value::Nil])).is_none());
    }
}
