//! Frames to commands, and events and replies to frames.
//!
//! Inbound, a frame is cut into commands without building a tree: each body stays a slice of the
//! frame until its op says which struct it is. A body that does not fit is an error reply; only
//! a frame that cannot be cut is undecodable.
//!
//! Outbound, an event is encoded once per encoding, whatever the number of recipients: what
//! differs between them (the position `s`) stands in a short [`Prefix`] of each recipient's own,
//! what they share in one [`Bytes`].

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK,
    command::{Command, CommandError},
    reply::ErrorBody,
};

mod event;
mod msgpack;
mod object;

pub use event::{Prefix, SharedEvent};
pub(super) use object::optional_object;

/// How deep a frame may nest, in either encoding.
pub const MAX_DEPTH: usize = 64;
/// The largest command id: what a double holds exactly.
pub const MAX_COMMAND_ID: u64 = (1 << 53) - 1;
/// The most commands in one frame.
pub const MAX_COMMANDS_PER_FRAME: usize = 256;

/// The two encodings of the one schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Text frames of newline-separated JSON objects.
    Json,
    /// Binary frames of concatenated MessagePack maps with string keys.
    MsgPack,
}

impl Encoding {
    /// The encoding a subprotocol names.
    pub fn of_subprotocol(name: &str) -> Option<Self> {
        match name {
            SUBPROTOCOL_JSON => Some(Self::Json),
            SUBPROTOCOL_MSGPACK => Some(Self::MsgPack),
            _ => None,
        }
    }

    /// The subprotocol that names this encoding.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => SUBPROTOCOL_JSON,
            Self::MsgPack => SUBPROTOCOL_MSGPACK,
        }
    }

    /// What stands between two objects of one frame.
    pub fn separator(self) -> &'static [u8] {
        match self {
            Self::Json => b"\n",
            Self::MsgPack => b"",
        }
    }

    /// Encodes one value, structs as maps with string keys.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Json => serde_json::to_vec(value).map_err(|e| EncodeError(e.to_string())),
            Self::MsgPack => rmp_serde::to_vec_named(value).map_err(|e| EncodeError(e.to_string())),
        }
    }

    /// Decodes one value that fills `bytes`.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, DecodeError> {
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(|e| DecodeError(e.to_string())),
            Self::MsgPack => rmp_serde::from_slice(bytes).map_err(|e| DecodeError(e.to_string())),
        }
    }
}

/// A value of ours that cannot be encoded: a fault in a Serialize implementation.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode: {0}")]
pub struct EncodeError(String);

/// A frame that cannot be decoded; it closes with 4400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode the frame: {0}")]
pub struct DecodeError(pub(crate) String);

/// A command whose body is still a slice of its frame.
#[derive(Debug)]
pub struct RawCommand<'a> {
    /// What the reply will carry; a command without one gets no `ok`.
    pub id: Option<u64>,
    /// It has something in place of an id that is none.
    bad_id: bool,
    /// The op's name; empty when the object had none.
    pub op: Cow<'a, str>,
    /// The body.
    pub body: RawBody<'a>,
}

impl RawCommand<'_> {
    /// Reads the command.
    ///
    /// # Errors
    /// When its id is none, there is no such op, or the body does not fit it.
    pub fn parse(&self) -> Result<Command, CommandError> {
        if self.bad_id {
            return Err(CommandError::BadId);
        }
        Command::parse(&self.op, &self.body)
    }

    /// Takes in what stands in place of the id, if that is one.
    fn identify(&mut self, id: Option<u64>) {
        self.id = id.filter(|id| *id <= MAX_COMMAND_ID);
        self.bad_id = self.id.is_none();
    }
}

/// The undecoded `d` of a command.
#[derive(Debug, Clone, Copy)]
pub enum RawBody<'a> {
    /// There was none; ops without a body accept that.
    Absent,
    /// JSON text.
    Json(&'a str),
    /// One MessagePack value.
    MsgPack(&'a [u8]),
}

impl RawBody<'_> {
    /// Decodes the body as `T`; the error is for a person.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, String> {
        match self {
            Self::Absent => Self::Json("{}").parse(),
            Self::Json(text) => {
                let mut de = serde_json::Deserializer::from_str(text);
                object::object(&mut de)
                    .and_then(|body| de.end().map(|()| body))
                    .map_err(|e| strip_position(&e.to_string()))
            }
            Self::MsgPack(bytes) => {
                let mut de = rmp_serde::Deserializer::from_read_ref(bytes);
                de.set_max_depth(MAX_DEPTH + 2);
                object::object(&mut de).map_err(|e| e.to_string())
            }
        }
    }
}

/// serde_json's " at line 1 column 17" counts inside `d`, which would mislead.
fn strip_position(message: &str) -> String {
    message
        .split(" at line ")
        .next()
        .unwrap_or(message)
        .to_owned()
}

/// Cuts a frame into its commands.
///
/// # Errors
/// When any part of the frame is not an object of the encoding, or holds more than
/// [`MAX_COMMANDS_PER_FRAME`].
pub fn decode_commands(
    encoding: Encoding,
    frame: &[u8],
) -> Result<Vec<RawCommand<'_>>, DecodeError> {
    let commands = match encoding {
        Encoding::Json => json_commands(frame)?,
        Encoding::MsgPack => msgpack::commands(frame)?,
    };
    if commands.is_empty() {
        return Err(DecodeError("the frame is empty".into()));
    }
    Ok(commands)
}

pub(crate) fn too_many() -> DecodeError {
    DecodeError(format!(
        "more than {MAX_COMMANDS_PER_FRAME} commands in one frame"
    ))
}

fn json_commands(frame: &[u8]) -> Result<Vec<RawCommand<'_>>, DecodeError> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, default)]
        id: Option<&'a RawValue>,
        #[serde(borrow, default)]
        op: Option<&'a RawValue>,
        #[serde(borrow, default)]
        d: Option<&'a RawValue>,
    }
    let text = std::str::from_utf8(frame).map_err(|_| DecodeError("not UTF-8".into()))?;
    if deeper_than(MAX_DEPTH, frame) {
        return Err(DecodeError(format!("nested deeper than {MAX_DEPTH}")));
    }
    let mut commands = Vec::with_capacity(1);
    let mut envelopes = serde_json::Deserializer::from_str(text).into_iter::<Envelope<'_>>();
    loop {
        // serde would also take an array for a struct, field by field.
        if text[envelopes.byte_offset()..]
            .trim_ascii_start()
            .starts_with('[')
        {
            return Err(DecodeError("a command is an object".into()));
        }
        let Some(envelope) = envelopes.next() else {
            break;
        };
        let envelope = envelope.map_err(|e| DecodeError(e.to_string()))?;
        if commands.len() == MAX_COMMANDS_PER_FRAME {
            return Err(too_many());
        }
        let mut command = RawCommand {
            id: None,
            bad_id: false,
            op: envelope
                .op
                .map_or(Cow::Borrowed(""), |raw| json_string(raw.get())),
            body: match envelope.d.map(RawValue::get) {
                None | Some("null") => RawBody::Absent,
                Some(text) => RawBody::Json(text),
            },
        };
        if let Some(id) = envelope.id {
            command.identify(serde_json::from_str(id.get()).ok());
        }
        commands.push(command);
    }
    Ok(commands)
}

/// Whether brackets outside strings stand deeper than `depth`.
fn deeper_than(depth: usize, json: &[u8]) -> bool {
    let opens = |byte: &&u8| matches!(byte, b'[' | b'{');
    // Almost no frame has enough of them to be looked at closely.
    if json.iter().filter(opens).count() <= depth {
        return false;
    }
    let (mut open, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => open += 1,
            b']' | b'}' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
        if open > depth {
            return true;
        }
    }
    false
}

/// The string a JSON token stands for; empty when it is no string, which no op is named.
fn json_string(token: &str) -> Cow<'_, str> {
    let inner = token.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        _ => Cow::Owned(serde_json::from_str(token).unwrap_or_default()),
    }
}

/// Encodes `{"id":…,"ok":…}`.
pub fn encode_ok<T: Serialize>(encoding: Encoding, id: u64, ok: &T) -> Result<Bytes, EncodeError> {
    #[derive(Serialize)]
    struct Reply<'a, T> {
        id: u64,
        ok: &'a T,
    }
    encoding.encode(&Reply { id, ok }).map(Bytes::from)
}

/// Encodes `{"id":…,"err":…}`; without an id when the command had none.
pub fn encode_err(
    encoding: Encoding,
    id: Option<u64>,
    err: &ErrorBody,
) -> Result<Bytes, EncodeError> {
    #[derive(Serialize)]
    struct Reply<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        err: &'a ErrorBody,
    }
    encoding.encode(&Reply { id, err }).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{RoomId, UserId},
        protocol::{command::Command, event::Event},
    };

    fn typing() -> SharedEvent {
        SharedEvent::new(Event::Typing {
            room: RoomId::parse("r").unwrap(),
            user: UserId::parse("u").unwrap(),
            on: true,
        })
    }

    #[test]
    fn a_twin_is_made_once_for_each_encoding() {
        let event = typing();
        let mut made = Vec::new();
        for encoding in [Encoding::Json, Encoding::MsgPack, Encoding::Json] {
            let twin = event.twin(encoding, |tail| {
                made.push(encoding);
                (encoding == Encoding::Json).then(|| Bytes::copy_from_slice(tail))
            });
            let expected = (encoding == Encoding::Json).then(|| event.tail(encoding));
            assert_eq!(twin, expected);
            assert!(event.twin(encoding, |_| unreachable!()) == twin);
        }
        assert_eq!(made, [Encoding::Json, Encoding::MsgPack]);
    }

    #[test]
    fn brackets_count_only_where_they_nest() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(!deeper_than(64, nested(64).as_bytes()));
        assert!(deeper_than(64, nested(65).as_bytes()));
        assert!(!deeper_than(64, nested(2).repeat(100).as_bytes()));
        let said = format!("{{\"text\":\"\\\"{}\"}}", nested(200));
        assert!(!deeper_than(64, said.as_bytes()), "{said}");
        let after = format!("{{\"text\":\"\\\\\",\"d\":{}}}", nested(64));
        assert!(deeper_than(64, after.as_bytes()), "{after}");
    }

    #[test]
    fn prefix_and_tail_make_one_object() {
        for encoding in [Encoding::Json, Encoding::MsgPack] {
            for s in [
                None,
                Some(0),
                Some(127),
                Some(128),
                Some(9031),
                Some(u64::MAX),
            ] {
                let mut bytes = Prefix::new(encoding, s).as_bytes().to_vec();
                bytes.extend_from_slice(&typing().tail(encoding));
                let value: serde_json::Value = encoding.decode(&bytes).unwrap();
                assert_eq!(value.get("s").and_then(serde_json::Value::as_u64), s);
                assert_eq!(value["ev"], "typing");
                assert_eq!(value["d"]["room"], "r");
            }
        }
    }

    #[test]
    fn a_frame_may_carry_several_commands() {
        let json = "{\"id\":1,\"op\":\"ping\"}\n{\"op\":\"read\",\"d\":{\"room\":\"r\",\"seq\":3},\"id\":2}";
        let commands = decode_commands(Encoding::Json, json.as_bytes()).unwrap();
        assert_eq!(commands.len(), 2);
        let second = Command::parse(&commands[1].op, &commands[1].body).unwrap();
        assert_eq!(second.op(), "read");

        let one = serde_json::json!({"id": 1, "op": "ping"});
        let mut frame = rmp_serde::to_vec_named(&one).unwrap();
        frame.extend(
            rmp_serde::to_vec_named(&serde_json::json!(
                {"d": {"room": "r", "seq": 3, "new": [1, {"x": null}]}, "op": "read", "id": 2}
            ))
            .unwrap(),
        );
        let commands = decode_commands(Encoding::MsgPack, &frame).unwrap();
        assert_eq!(commands[1].id, Some(2));
        assert!(Command::parse(&commands[1].op, &commands[1].body).is_ok());
    }

    #[test]
    fn only_a_frame_that_cannot_be_cut_is_undecodable() {
        for bad in ["", "[]", "7", "{", "{\"id\":1}{", "{\"op\":\"ping\"} x"] {
            assert!(
                decode_commands(Encoding::Json, bad.as_bytes()).is_err(),
                "{bad}"
            );
        }
        let commands = decode_commands(Encoding::Json, b"{\"id\":\"x\",\"op\":5,\"d\":7}").unwrap();
        assert_eq!((commands[0].id, commands[0].op.as_ref()), (None, ""));
        let deep = format!("{{\"op\":\"ping\",\"d\":{}}}", "[".repeat(100_000));
        assert!(decode_commands(Encoding::Json, deep.as_bytes()).is_err());
        // A length that promises four gigabytes allocates nothing and is refused.
        assert!(decode_commands(Encoding::MsgPack, b"\x81\xa2op\xdb\xff\xff\xff\xff").is_err());
        assert!(decode_commands(Encoding::MsgPack, b"\xdf\xff\xff\xff\xff").is_err());
        assert!(decode_commands(Encoding::MsgPack, &vec![0x91; 100_000]).is_err());
    }

    #[test]
    fn a_body_that_does_not_fit_says_why() {
        let raw = RawBody::Json("{\"room\":\"a b\",\"seq\":1}");
        let error = Command::parse("read", &raw).unwrap_err().to_string();
        assert!(error.contains("A-Z a-z 0-9"), "{error}");
        assert!(Command::parse("room.get", &RawBody::Absent).is_err());
        assert!(Command::parse("ping", &RawBody::Absent).is_ok());
        assert!(Command::parse("no.such", &RawBody::Absent).is_err());
    }
}
