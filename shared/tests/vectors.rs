//! The golden vectors are what the code makes, cover the whole contract, and read back as what
//! they were made from, in both encodings alike.

#![allow(clippy::unwrap_used)]

#[path = "vectors/cases.rs"]
mod cases;

use std::collections::BTreeSet;

use serde_json::Value;
use shared::{
    codes::{CLOSES, ERRORS},
    protocol::{
        codec::{Encoding, Prefix, SharedEvent, decode_commands},
        command::OPS,
        event::{EVENTS, Event},
    },
};

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

fn file(name: &str) -> String {
    std::fs::read_to_string(cases::directory().join(name)).unwrap()
}

fn vectors(name: &str) -> Vec<cases::Vector> {
    serde_json::from_str(&file(name)).unwrap()
}

#[test]
fn the_files_are_what_the_code_makes() {
    for (name, content) in cases::files() {
        assert!(
            file(name) == content,
            "shared/vectors/{name} is not what the code makes. When the change is meant: \
             cargo run -p shared --example vectors"
        );
    }
}

#[test]
fn both_encodings_hold_the_same_object() {
    for name in ["commands.json", "replies.json", "events.json"] {
        for vector in vectors(name) {
            let packed: Value = Encoding::MsgPack.decode(&unhex(&vector.msgpack)).unwrap();
            assert_eq!(packed, vector.json, "{name}: {}", vector.name);
        }
    }
}

#[test]
fn every_op_reads_back_in_both_encodings() {
    let mut seen = BTreeSet::new();
    for (vector, (_, command)) in vectors("commands.json").iter().zip(cases::commands()) {
        for (encoding, frame) in [
            (Encoding::Json, vector.json.to_string().into_bytes()),
            (Encoding::MsgPack, unhex(&vector.msgpack)),
        ] {
            let raw = decode_commands(encoding, &frame).unwrap();
            assert_eq!(raw.len(), 1);
            assert_eq!(raw[0].id, vector.json["id"].as_u64());
            let read = raw[0].parse().unwrap();
            assert_eq!(read, command, "{}", vector.name);
        }
        seen.insert(command.op());
    }
    assert_eq!(seen, OPS.iter().copied().collect());
}

#[test]
fn every_event_reads_back_in_both_encodings() {
    let mut seen = BTreeSet::new();
    let mut byes = BTreeSet::new();
    for (vector, (_, event, s)) in vectors("events.json").iter().zip(cases::events()) {
        let packed = unhex(&vector.msgpack);
        for (encoding, bytes) in [
            (Encoding::Json, vector.json.to_string().into_bytes()),
            (Encoding::MsgPack, packed.clone()),
        ] {
            let read: Event = encoding.decode(&bytes).unwrap();
            assert_eq!(read, event, "{}", vector.name);
            let mut again = Prefix::new(encoding, s).as_bytes().to_vec();
            again.extend_from_slice(&SharedEvent::new(read).tail(encoding));
            match encoding {
                Encoding::MsgPack => assert_eq!(again, packed, "{}", vector.name),
                Encoding::Json => {
                    let value: Value = serde_json::from_slice(&again).unwrap();
                    assert_eq!(value, vector.json, "{}", vector.name);
                }
            }
        }
        assert_eq!(vector.json["s"].as_u64(), s, "{}", vector.name);
        assert_eq!(s.is_none(), event.ephemeral(), "{}", vector.name);
        if let Event::Bye(bye) = &event {
            byes.insert(bye.code);
        }
        seen.insert(event.name());
    }
    assert_eq!(seen, EVENTS.iter().copied().collect());
    assert_eq!(byes, CLOSES.iter().map(|row| row.0.code()).collect());
}

#[test]
fn every_op_has_an_answer_and_every_error_its_body() {
    let replies = vectors("replies.json");
    for op in OPS {
        let name = format!("ok: {op}");
        assert!(replies.iter().any(|v| v.name == name), "no {name}");
    }
    for row in ERRORS {
        let body = replies.iter().find(|v| v.json["err"]["code"] == row.word);
        let body = body.unwrap_or_else(|| panic!("no reply with {}", row.word));
        assert_eq!(body.json["err"]["retry"], row.retry);
    }
}

#[test]
fn bad_frames_come_to_what_their_vector_says() {
    let bad: Vec<cases::Bad> = serde_json::from_str(&file("bad.json")).unwrap();
    for case in bad {
        let encoding = match case.encoding.as_str() {
            "json" => Encoding::Json,
            _ => Encoding::MsgPack,
        };
        let bytes = unhex(&case.hex);
        if let Some(text) = &case.text {
            assert_eq!(text.as_bytes(), bytes);
        }
        let decoded = decode_commands(encoding, &bytes);
        if case.close.is_some() {
            assert!(
                decoded.is_err(),
                "{} {}: {decoded:?}",
                case.encoding,
                case.name
            );
            continue;
        }
        let commands = decoded.unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let parsed = commands[0].parse();
        assert_eq!(commands[0].id, case.id, "{}", case.name);
        assert!(parsed.is_err(), "{}: {parsed:?}", case.name);
        assert_eq!(case.error.as_deref(), Some("invalid"), "{}", case.name);
    }
}

/// Adding an event without a vector must not compile.
#[test]
fn names_of_events_are_listed_once() {
    fn listed(event: &Event) -> &'static str {
        match event {
            Event::Hello(_)
            | Event::Bye(_)
            | Event::MessageNew(_)
            | Event::MessageEdited(_)
            | Event::MessageDeleted(_)
            | Event::ReactionChanged(_)
            | Event::RoomMember(_)
            | Event::RoomUpdated(_)
            | Event::RoomAdded { .. }
            | Event::RoomRemoved { .. }
            | Event::RoomReset { .. }
            | Event::Read { .. }
            | Event::Typing { .. }
            | Event::Presence { .. }
            | Event::FriendChanged { .. }
            | Event::BlockChanged { .. }
            | Event::ProfileChanged { .. }
            | Event::Notice(_) => event.name(),
        }
    }
    let made: BTreeSet<_> = cases::events().iter().map(|(_, e, _)| listed(e)).collect();
    assert_eq!(made.len(), EVENTS.len());
}
