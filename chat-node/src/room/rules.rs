//! What is allowed: limits, the permission table, and the checks that need no state.

use serde_json::Value;
use shared::{
    codes::ErrorCode,
    id::UserId,
    protocol::{
        reply::ErrorBody,
        room::{Role, RoomKind},
    },
    text,
};

/// The user the server API acts as when it names none; a member of nothing.
pub const SYSTEM: &str = "system";
/// Longest text of a message, in characters.
pub const MAX_TEXT_CHARS: usize = 4_000;
/// Largest `data` of a message, in bytes of JSON.
pub const MAX_DATA_BYTES: usize = 4 * 1024;
/// How deep the data of a message is nested at most: with the command around it, within what a frame
/// may be.
pub const MAX_DATA_DEPTH: usize = 60;
/// Most people one message mentions.
pub const MAX_MENTIONS: usize = 50;
/// Most different emoji under one message.
pub const MAX_EMOJI: usize = 20;
/// Longest emoji, in bytes.
pub const MAX_EMOJI_BYTES: usize = 32;
/// Longest room name, in characters.
pub const MAX_NAME_CHARS: usize = 100;
/// Longest topic, in characters.
pub const MAX_TOPIC_CHARS: usize = 500;
/// Slowest slow mode, in ms.
pub const MAX_SLOW_MODE_MS: u32 = 6 * 60 * 60 * 1000;
/// Most people named in one `room.create`.
pub const MAX_FIRST_MEMBERS: usize = 499;
/// The largest room whose members see each other type.
pub const MAX_TYPING_MEMBERS: usize = 500;

/// Most members of a room of this kind.
pub const fn max_members(kind: RoomKind) -> usize {
    match kind {
        RoomKind::Dm => 2,
        RoomKind::Group | RoomKind::Lobby => 500,
        RoomKind::Channel => 100_000,
    }
}

/// Whether anybody who knows the room may come in by themselves.
pub const fn open(kind: RoomKind) -> bool {
    matches!(kind, RoomKind::Lobby | RoomKind::Channel)
}

/// Whether members see how far the others have read.
pub const fn shows_reads(kind: RoomKind) -> bool {
    matches!(kind, RoomKind::Dm | RoomKind::Group)
}

/// What takes a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Sending, editing one's own, reacting, typing.
    Speak,
    /// Bringing somebody in.
    Invite,
    /// Removing somebody.
    Kick,
    /// Keeping somebody out, or no longer.
    Ban,
    /// Silencing somebody, or no longer.
    Mute,
    /// Taking back what somebody else said.
    DeleteOthers,
    /// Name, topic, slow mode.
    Update,
    /// Giving roles.
    SetRole,
    /// Going out.
    Leave,
    /// Speaking faster than slow mode lets others.
    SkipSlowMode,
}

/// The least role that may do something in a room of a kind; `None`: nobody may.
///
/// Whoever acts on a person must outrank that person besides.
pub const fn least_role(kind: RoomKind, act: Act) -> Option<Role> {
    match (kind, act) {
        (_, Act::Speak) => Some(Role::Member),
        (RoomKind::Dm, _) => None,
        (_, Act::Invite | Act::Leave) => Some(Role::Member),
        (_, Act::Kick | Act::Ban | Act::Mute | Act::DeleteOthers | Act::SkipSlowMode) => {
            Some(Role::Moderator)
        }
        (_, Act::Update | Act::SetRole) => Some(Role::Owner),
    }
}

/// A refusal because a rule is broken; the message says which.
pub fn invalid(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorCode::Invalid, message)
}

/// A refusal to somebody who may know of the room.
pub fn forbidden(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorCode::Forbidden, message)
}

/// What a stranger is told of any room, there or not.
pub fn no_room() -> ErrorBody {
    ErrorBody::new(ErrorCode::NotFound, "there is no such room")
}

/// A message that is not there, or no longer.
pub fn no_message() -> ErrorBody {
    ErrorBody::new(ErrorCode::NotFound, "there is no such message")
}

/// Something the command needs is out of reach; whether it was done is not known.
pub fn unavailable() -> ErrorBody {
    ErrorBody::new(
        ErrorCode::Unavailable,
        "the room is out of reach for a moment",
    )
    .retry_after(500)
}

/// The node sheds load; nothing was stored.
pub fn busy() -> ErrorBody {
    ErrorBody::new(ErrorCode::Busy, "the server is busy; nothing was stored").retry_after(500)
}

/// What may be said: 1–4,000 characters.
pub fn check_text(text: &str, may_be_empty: bool) -> Result<(), ErrorBody> {
    // A character has up to four bytes: short texts need no counting.
    if text.len() > MAX_TEXT_CHARS && text.chars().count() > MAX_TEXT_CHARS {
        let message = format!("a text has at most {MAX_TEXT_CHARS} characters");
        return Err(ErrorBody::new(ErrorCode::TooLarge, message));
    }
    if !may_be_empty && !text::shows_something(text) {
        return Err(invalid("a message says something"));
    }
    Ok(())
}

/// Up to 4 KiB of JSON.
pub fn check_data(data: &Value) -> Result<(), ErrorBody> {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            if self.0 > MAX_DATA_BYTES {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    // The depth first: what is checked here is read again by many, with a stack each. A text that
    // serde_json takes for raw JSON of its own making may hide more than the frame showed.
    if deeper_than(MAX_DATA_DEPTH, data) {
        let message = format!("data is nested at most {MAX_DATA_DEPTH} deep");
        return Err(invalid(message));
    }
    if has_marker(data) {
        return Err(invalid(format!("no key of data begins with {MARKER}")));
    }
    serde_json::to_writer(Count(0), data).map_err(|_| {
        let message = format!("data has at most {MAX_DATA_BYTES} bytes of JSON");
        ErrorBody::new(ErrorCode::TooLarge, message)
    })
}

/// How the keys begin under which serde_json keeps what is its own.
const MARKER: &str = "$serde_json::private::";

/// Whether such a key stands anywhere in a value. As an object's first key serde_json takes it for
/// its own, and a map is written in the order of its keys: what was read as an object need not be
/// one, nor be readable, when it is read again.
fn has_marker(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_marker),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, inner)| key.starts_with(MARKER) || has_marker(inner)),
        _ => false,
    }
}

/// How many bytes a text takes in JSON, without its quotes. Control characters take six, so a
/// text may fill more of a socket's outbox than its own length says.
pub fn length_in_json(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(of).sum()
}

/// Whether a value is nested deeper than that.
fn deeper_than(depth: usize, value: &Value) -> bool {
    let within = |inner: &Value| depth == 0 || deeper_than(depth - 1, inner);
    match value {
        Value::Array(items) => items.iter().any(within) || depth == 0,
        Value::Object(fields) => fields.values().any(within) || depth == 0,
        _ => false,
    }
}

/// At most 50 people; whether they are members is the room's to say.
pub fn check_mentions(mentions: &[UserId]) -> Result<(), ErrorBody> {
    if mentions.len() > MAX_MENTIONS {
        return Err(invalid(format!(
            "at most {MAX_MENTIONS} people are mentioned"
        )));
    }
    Ok(())
}

/// 1–32 bytes without blanks or control characters.
pub fn check_emoji(emoji: &str) -> Result<(), ErrorBody> {
    let printable = |c: char| !c.is_whitespace() && !c.is_control();
    if emoji.is_empty() || emoji.len() > MAX_EMOJI_BYTES || !emoji.chars().all(printable) {
        return Err(invalid(format!(
            "an emoji has 1 to {MAX_EMOJI_BYTES} bytes and no blanks"
        )));
    }
    Ok(())
}

/// 1–100 characters.
pub fn check_name(name: &str) -> Result<(), ErrorBody> {
    if !text::shows_something(name) || name.chars().count() > MAX_NAME_CHARS {
        return Err(invalid(format!(
            "a room's name has 1 to {MAX_NAME_CHARS} characters"
        )));
    }
    Ok(())
}

/// Up to 500 characters.
pub fn check_topic(topic: &str) -> Result<(), ErrorBody> {
    if topic.chars().count() > MAX_TOPIC_CHARS {
        return Err(invalid(format!(
            "a topic has at most {MAX_TOPIC_CHARS} characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, as a reader would write it down.
    #[test]
    fn the_permission_table() {
        use Act::{
            Ban, DeleteOthers, Invite, Kick, Leave, Mute, SetRole, SkipSlowMode, Speak, Update,
        };
        let table = [
            (Speak, Some(Role::Member)),
            (Invite, Some(Role::Member)),
            (Leave, Some(Role::Member)),
            (Kick, Some(Role::Moderator)),
            (Ban, Some(Role::Moderator)),
            (Mute, Some(Role::Moderator)),
            (DeleteOthers, Some(Role::Moderator)),
            (SkipSlowMode, Some(Role::Moderator)),
            (Update, Some(Role::Owner)),
            (SetRole, Some(Role::Owner)),
        ];
        for (act, role) in table {
            for kind in [RoomKind::Group, RoomKind::Lobby, RoomKind::Channel] {
                assert_eq!(least_role(kind, act), role, "{kind:?} {act:?}");
            }
            let in_dm = (act == Speak).then_some(Role::Member);
            assert_eq!(least_role(RoomKind::Dm, act), in_dm, "dm {act:?}");
        }
    }

    #[test]
    fn texts_are_counted_in_characters() {
        assert!(check_text(&"é".repeat(4_000), false).is_ok());
        let error = check_text(&"é".repeat(4_001), false).unwrap_err();
        assert_eq!(error.code, ErrorCode::TooLarge);
        assert_eq!(
            check_text("  \n", false).unwrap_err().code,
            ErrorCode::Invalid
        );
        assert!(check_text("", true).is_ok());
    }

    #[test]
    fn a_text_shows_something() {
        for blank in [
            "",
            " \n",
            "\u{200b}",
            "\u{2060}\u{feff}",
            "\u{ad}",
            "\u{115f}",
            "\u{3164}",
            "\u{2800} \u{2800}",
            "\u{fe0f}",
            "\u{200d}\u{fe0f}",
            "\u{202e}",
            "\u{e0061}\u{e007f}",
            "\u{a0}",
        ] {
            assert!(check_text(blank, false).is_err(), "{blank:?}");
            assert!(check_name(blank).is_err(), "{blank:?}");
        }
        let family = "\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}";
        let flag = "\u{1f3f4}\u{e0067}\u{e0062}\u{e007f}";
        for seen in [
            "a",
            ".",
            "\u{2764}\u{fe0f}",
            family,
            flag,
            "\u{200f}שלום",
            "\u{2801}",
            "\u{301}",
        ] {
            assert!(check_text(seen, false).is_ok(), "{seen:?}");
            assert!(check_name(seen).is_ok(), "{seen:?}");
        }
    }

    #[test]
    fn data_is_counted_in_bytes_of_json() {
        assert!(check_data(&Value::String("x".repeat(4_094))).is_ok());
        let error = check_data(&Value::String("x".repeat(4_095))).unwrap_err();
        assert_eq!(error.code, ErrorCode::TooLarge);
    }

    #[test]
    fn the_length_in_json_is_what_serde_writes() {
        let every: String = (0..=0x7f_u8)
            .map(char::from)
            .chain(['ä', '界', '🔥'])
            .collect();
        let written = serde_json::to_string(&every).unwrap();
        assert_eq!(length_in_json(&every) + 2, written.len());
    }

    #[test]
    fn data_is_bounded_in_depth_also_where_it_hides() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert!(check_data(&read(&nested(MAX_DATA_DEPTH))).is_ok());
        let deeper = check_data(&read(&nested(MAX_DATA_DEPTH + 1))).unwrap_err();
        assert_eq!(deeper.code, ErrorCode::Invalid);
        // serde_json reads the string under this key as JSON, with a depth of its own.
        let hidden = serde_json::json!({"$serde_json::private::RawValue": nested(126)});
        let text = format!("[[{hidden}]]");
        assert!(check_data(&read(&text)).is_err(), "{text}");
    }

    #[test]
    fn data_holds_no_key_of_serde_json() {
        for text in [
            r#"{"a":0,"$serde_json::private::RawValue":"x"}"#,
            r#"[{"b":{"a":0,"$serde_json::private::RawValue":"1"}}]"#,
            r#"{"$serde_json::private::RawValue":"{\"a\":0,\"$serde_json::private::RawValue\":\"x\"}"}"#,
        ] {
            let data = serde_json::from_str::<Value>(text).unwrap();
            let error = check_data(&data).unwrap_err();
            assert_eq!(error.code, ErrorCode::Invalid, "{text}");
        }
    }

    #[test]
    fn emoji_names_and_topics_have_their_bounds() {
        assert!(check_emoji("👩‍👩‍👧‍👦").is_ok());
        for bad in ["", "a b", "\u{7}", &"x".repeat(33)] {
            assert!(check_emoji(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("Raid").is_ok());
        assert!(check_name(" ").is_err());
        assert!(check_name(&"x".repeat(101)).is_err());
        assert!(check_topic("").is_ok());
        assert!(check_topic(&"x".repeat(501)).is_err());
    }
}
