//! What arrives on a socket, taken apart.

use serde::Deserialize;
use serde_json::{Value, json};
use shared::protocol::{
    codec::Encoding,
    event::{Event, RoomEntry},
    reply::ErrorBody,
};

/// One thing a client sees.
#[derive(Debug, Clone)]
pub enum Seen {
    /// The answer to a command.
    Reply {
        /// The command's id; none when the command had none.
        id: Option<u64>,
        /// `ok` or `err`.
        result: Result<Value, ErrorBody>,
    },
    /// An event.
    Event(SeenEvent),
    /// The socket closed.
    Closed(Closed),
}

/// An event as it stood on the wire.
#[derive(Debug, Clone)]
pub struct SeenEvent {
    /// Its position in the session's replayable stream.
    pub s: Option<u64>,
    /// Its name.
    pub name: String,
    /// Its content.
    pub d: Value,
}

impl SeenEvent {
    /// The event, when the contract knows it.
    pub fn typed(&self) -> Option<Event> {
        serde_json::from_value(json!({"ev": self.name, "d": self.d})).ok()
    }

    /// The room entry it tells of, when it tells of one.
    pub fn entry(&self) -> Option<RoomEntry> {
        self.typed()?.entry().cloned()
    }
}

/// How a socket closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closed {
    /// The code of the close frame; none when the connection just broke.
    pub code: Option<u16>,
    /// The reason of the close frame.
    pub reason: String,
}

/// Cuts a frame of the server's into what it says.
///
/// # Errors
/// Says what breaks the contract.
pub fn decode_frame(encoding: Encoding, frame: &[u8]) -> Result<Vec<Seen>, String> {
    let objects: Vec<Envelope> = match encoding {
        Encoding::Json => serde_json::Deserializer::from_slice(frame)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string())?,
        Encoding::MsgPack => {
            let mut rest = frame;
            let mut objects = Vec::new();
            while !rest.is_empty() {
                objects.push(rmp_serde::decode::from_read(&mut rest).map_err(|e| e.to_string())?);
            }
            objects
        }
    };
    if objects.is_empty() {
        return Err("an empty frame".into());
    }
    objects.into_iter().map(Envelope::seen).collect()
}

#[derive(Debug, Deserialize)]
struct Envelope {
    id: Option<u64>,
    ok: Option<Value>,
    err: Option<ErrorBody>,
    s: Option<u64>,
    ev: Option<String>,
    d: Option<Value>,
}

impl Envelope {
    fn seen(self) -> Result<Seen, String> {
        match self {
            Self {
                ev: Some(name),
                d: Some(d),
                s,
                id: None,
                ok: None,
                err: None,
            } => Ok(Seen::Event(SeenEvent { s, name, d })),
            Self {
                id,
                ok: Some(ok),
                err: None,
                s: None,
                ev: None,
                ..
            } => Ok(Seen::Reply { id, result: Ok(ok) }),
            Self {
                id,
                ok: None,
                err: Some(err),
                s: None,
                ev: None,
                ..
            } => Ok(Seen::Reply {
                id,
                result: Err(err),
            }),
            other => Err(format!("neither a reply nor an event: {other:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_may_carry_several_objects_in_both_encodings() {
        let values = [
            json!({"id": 1, "ok": {"ts": 5}}),
            json!({"s": 3, "ev": "room.removed", "d": {"room": "r"}}),
            json!({"err": {"code": "invalid", "retry": false, "message": "m"}}),
        ];
        let text = values.iter().map(Value::to_string).collect::<Vec<_>>();
        let json = decode_frame(Encoding::Json, text.join("\n").as_bytes()).unwrap();
        let packed: Vec<u8> = values
            .iter()
            .flat_map(|v| rmp_serde::to_vec_named(v).unwrap())
            .collect();
        let msgpack = decode_frame(Encoding::MsgPack, &packed).unwrap();
        assert_eq!(format!("{json:?}"), format!("{msgpack:?}"));
        assert!(matches!(&json[1], Seen::Event(e) if e.s == Some(3)));
        assert!(decode_frame(Encoding::Json, b"{\"x\":1}").is_err());
        assert!(decode_frame(Encoding::Json, b"").is_err());
    }
}
