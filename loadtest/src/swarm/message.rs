//! What a message says, as far as a scenario needs it, without copying.

use std::{borrow::Cow, fmt, io};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use shared::protocol::codec::Encoding;

/// An answer or an event.
#[derive(Debug, Default, Deserialize)]
pub struct Told<'a> {
    /// The command that is answered.
    pub id: Option<u64>,
    /// The place in the session's stream.
    pub s: Option<u64>,
    /// The event's name.
    #[serde(borrow, default, deserialize_with = "plain")]
    pub ev: Option<Cow<'a, str>>,
    /// The event's content.
    #[serde(borrow)]
    pub d: Option<Content<'a>>,
    /// The answer's content.
    #[serde(borrow)]
    pub ok: Option<Content<'a>>,
    /// Why there is no `ok`.
    #[serde(borrow)]
    pub err: Option<Content<'a>>,
}

/// The fields of contents and answers that scenarios look at; others are passed over, and so are
/// these where they are no plain values.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Content<'a> {
    /// A room's id.
    #[serde(borrow, deserialize_with = "plain")]
    pub room: Option<Cow<'a, str>>,
    /// A place in the room's log.
    pub seq: Option<u64>,
    /// What was said.
    #[serde(borrow, deserialize_with = "plain")]
    pub text: Option<Cow<'a, str>>,
    /// Of whom it is.
    #[serde(borrow, deserialize_with = "plain")]
    pub user: Option<Cow<'a, str>>,
    /// The session.
    #[serde(borrow, deserialize_with = "plain")]
    pub sid: Option<Cow<'a, str>>,
    /// How many events a resume replays.
    pub replayed: Option<u64>,
    /// A presence.
    #[serde(borrow, deserialize_with = "plain")]
    pub status: Option<Cow<'a, str>>,
    /// What somebody is doing.
    #[serde(borrow)]
    pub activity: Option<Activity<'a>>,
    /// An error's code.
    #[serde(borrow, deserialize_with = "plain")]
    pub code: Option<Cow<'a, str>>,
    /// An error's explanation.
    #[serde(borrow, deserialize_with = "plain")]
    pub message: Option<Cow<'a, str>>,
}

/// The part of an activity that scenarios look at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Activity<'a> {
    /// In the client's words.
    #[serde(borrow, deserialize_with = "plain")]
    pub details: Option<Cow<'a, str>>,
}

impl Content<'_> {
    /// An error in words.
    pub fn explain(&self) -> String {
        let word = |field: &Option<Cow<'_, str>>| field.as_deref().unwrap_or("?").to_owned();
        format!("{}: {}", word(&self.code), word(&self.message))
    }
}

/// Takes a message apart and tells each object.
///
/// # Errors
/// Says what is neither the encoding nor the envelope.
pub fn each<'a>(
    encoding: Encoding,
    message: &'a [u8],
    mut tell: impl FnMut(Told<'a>),
) -> Result<(), String> {
    match encoding {
        Encoding::Json => {
            for told in serde_json::Deserializer::from_slice(message).into_iter() {
                tell(told.map_err(|error| error.to_string())?);
            }
        }
        Encoding::MsgPack => {
            let mut rest = message;
            while !rest.is_empty() {
                // The decoder that borrows does not say where it ended, so look ahead first.
                let mut ahead = rmp_serde::Deserializer::new(io::Cursor::new(rest));
                IgnoredAny::deserialize(&mut ahead).map_err(|error| error.to_string())?;
                let (object, others) = rest.split_at(ahead.position() as usize);
                tell(rmp_serde::from_slice(object).map_err(|error| error.to_string())?);
                rest = others;
            }
        }
    }
    Ok(())
}

/// A string; none when the field is of another kind.
fn plain<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    struct Plain;

    impl<'de> Visitor<'de> for Plain {
        type Value = Option<Cow<'de, str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("anything")
        }

        fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
            Ok(Some(Cow::Borrowed(v)))
        }

        fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
            Ok(Some(Cow::Owned(v.to_owned())))
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    from.deserialize_any(Plain)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn both_encodings_tell_the_same() {
        let values = [
            json!({"id": 7, "ok": {"seq": 4, "ts": 1, "dup": false}}),
            json!({"id": 8, "ok": {"sid": "x", "me": {"id": "u"}, "rooms": [{"room": 1}]}}),
            json!({"s": 3, "ev": "room.added", "d": {"room": {"id": "r", "members": [1]}}}),
            json!({"s": 4, "ev": "message.new", "d": {"room": "r", "seq": 9, "text": "a\"b"}}),
            json!({"ev": "presence", "d": {
                "user": "u", "status": "busy", "activity": {"kind": "game", "details": "7"},
            }}),
            json!({"err": {"code": "busy", "retry": true, "message": "m"}}),
        ];
        let json = values.iter().map(Value::to_string).collect::<Vec<_>>();
        let packed: Vec<u8> = (values.iter())
            .flat_map(|value| rmp_serde::to_vec_named(value).unwrap())
            .collect();
        let seen = |encoding, message: &[u8]| {
            let mut seen = Vec::new();
            each(encoding, message, |told| seen.push(format!("{told:?}"))).unwrap();
            seen
        };
        let of_json = seen(Encoding::Json, json.join("\n").as_bytes());
        assert_eq!(of_json, seen(Encoding::MsgPack, &packed));
        assert_eq!(of_json.len(), values.len());
        assert!(of_json[3].contains("seq: Some(9)") && of_json[3].contains("a\\\"b"));
        assert!(of_json[2].contains("room: None"));
        assert!(of_json[4].contains("details: Some(\"7\")"));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        assert!(each(Encoding::Json, b"{\"id\":", |_| ()).is_err());
        assert!(each(Encoding::MsgPack, &[0xc1], |_| ()).is_err());
    }
}
