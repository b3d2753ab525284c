//! Objects out of objects alone. serde's derived code also takes an array for a struct, field by
//! field, and a MessagePack map that names fields by their number; the protocol has neither.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error, IntoDeserializer as _, MapAccess, Visitor,
        value::MapAccessDeserializer,
    },
};

/// Reads a struct.
pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(Object(PhantomData))
}

/// Reads a field that may be absent, `null` or a struct.
pub(crate) fn optional_object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_option(Optional(PhantomData))
}

struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(Named(map)))
    }
}

struct Optional<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Optional<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        object(deserializer).map(Some)
    }
}

/// A map whose keys are strings.
struct Named<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Named<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(Name(seed))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

struct Name<K>(K);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Name<K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<K::Value, E> {
        self.0.deserialize(name.into_deserializer())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Encoding, RawBody, RawCommand, decode_commands};
    use crate::protocol::command::Command;

    fn parse(op: &str, json: &str) -> [Result<Command, String>; 2] {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let packed = Encoding::MsgPack.encode(&value).unwrap();
        [RawBody::Json(json), RawBody::MsgPack(&packed)]
            .map(|body| Command::parse(op, &body).map_err(|error| error.to_string()))
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        for (op, bad) in [
            ("ping", "[]"),
            ("ping", "7"),
            ("typing", r#"["r", true]"#),
            (
                "presence.set",
                r#"{"status": "busy", "activity": ["game", "chess"]}"#,
            ),
            ("session.start", r#"{"presence": ["busy"]}"#),
            (
                "presence.set",
                r#"{"status": "busy", "activity": {"kind": "game", "game": "chess", "party": ["p", 1, 2]}}"#,
            ),
        ] {
            for error in parse(op, bad).map(|parsed| parsed.unwrap_err()) {
                assert!(error.contains("expected an object"), "{bad}: {error}");
            }
        }
        for (op, good) in [
            ("ping", "{}"),
            ("session.start", r#"{"presence": null}"#),
            (
                "presence.set",
                r#"{"status": "busy", "activity": {"kind": "game", "game": "chess", "party": {"id": "p", "size": 1, "max": 2}}}"#,
            ),
        ] {
            let [json, packed] = parse(op, good);
            assert_eq!(json.unwrap(), packed.unwrap());
        }
    }

    #[test]
    fn fields_have_names_and_no_numbers() {
        // {0: "r", 1: true}
        let numbered = RawBody::MsgPack(b"\x82\x00\xa1r\x01\xc3");
        let error = Command::parse("typing", &numbered).unwrap_err().to_string();
        assert!(error.contains("the name of a field"), "{error}");
    }

    #[test]
    fn only_what_can_be_set_is_named_when_a_status_cannot() {
        for status in ["dnd", "offline", "unknown"] {
            let set = format!(r#"{{"status": "{status}"}}"#);
            for error in parse("presence.set", &set).map(|parsed| parsed.unwrap_err()) {
                let all = "`online`, `away`, `busy`, `invisible`";
                assert!(
                    error.ends_with(&format!("expected one of {all}")),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_id_is_refused_and_none_is_none() {
        let read = |id: &str| {
            let frame = format!(r#"{{"id":{id},"op":"ping"}}"#);
            let value: serde_json::Value = serde_json::from_str(&frame).unwrap();
            let packed = Encoding::MsgPack.encode(&value).unwrap();
            let ids = |raw: &RawCommand<'_>| (raw.id, raw.parse().map_err(|e| e.to_string()));
            let [json, packed] = [
                (Encoding::Json, frame.as_bytes()),
                (Encoding::MsgPack, &packed),
            ]
            .map(|(encoding, frame)| ids(&decode_commands(encoding, frame).unwrap()[0]));
            assert_eq!(json, packed, "{id}");
            json
        };
        for bad in [
            "1.0",
            "-1",
            "1e2",
            "9007199254740992",
            "\"7\"",
            "true",
            "[1]",
            "{}",
        ] {
            let (id, parsed) = read(bad);
            assert_eq!(id, None);
            assert!(parsed.unwrap_err().contains("2^53"), "{bad}");
        }
        for (good, id) in [
            ("null", None),
            ("0", Some(0)),
            ("9007199254740991", Some(9_007_199_254_740_991)),
        ] {
            let read = read(good);
            assert_eq!(read.0, id);
            assert!(read.1.is_ok(), "{read:?}");
        }
    }
}
