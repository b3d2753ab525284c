//! docs/protocol.md and docs/asyncapi.yaml say what the code says: every op, event, error and close
//! code stands there with the right columns, and every golden vector fits its schema.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::{
    codes::{AfterClose, CLOSES, ERRORS},
    protocol::{
        SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, codec::MAX_COMMANDS_PER_FRAME, command::OPS,
        event::EVENTS,
    },
};

const PAGE: &str = include_str!("../../docs/protocol.md");

/// The rows of the table under a heading whose header line is the one given: cells, trimmed.
fn rows(header: &str) -> Vec<Vec<String>> {
    let mut lines = PAGE.lines().skip_while(|line| *line != header);
    assert!(lines.next().is_some(), "no table {header}");
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let inner = line.trim_matches('|').replace("\\|", "\u{0}");
            inner
                .split('|')
                .map(|cell| cell.trim().replace('\u{0}', "|"))
                .collect()
        })
        .collect()
}

fn bare(cell: &str) -> &str {
    cell.trim_matches('`')
}

#[test]
fn every_op_has_its_row() {
    let rows = rows("| op | `d` | `ok` | errors |");
    let listed: Vec<&str> = rows.iter().map(|row| bare(&row[0])).collect();
    assert_eq!(listed, OPS);
}

/// The fields of a row are those of the golden vectors: all of them, and the right ones optional.
#[test]
fn the_fields_of_an_op_are_those_it_has() {
    let commands = vectors("commands.json");
    let replies = vectors("replies.json");
    for row in rows("| op | `d` | `ok` | errors |") {
        let op = bare(&row[0]);
        let sent: Vec<&Value> = commands
            .iter()
            .filter(|v| v["json"]["op"] == op)
            .map(|v| &v["json"]["d"])
            .collect();
        assert_fields(op, &row[1], &sent);
        let answered: Vec<&Value> = replies
            .iter()
            .filter(|v| {
                let name = v["name"].as_str().unwrap();
                name == format!("ok: {op}") || name.starts_with(&format!("ok: {op} ("))
            })
            .map(|v| &v["json"]["ok"])
            .collect();
        assert_fields(op, &row[2], &answered);
    }
}

fn assert_fields(what: &str, cell: &str, objects: &[&Value]) {
    assert!(!objects.is_empty(), "no vector of {what}");
    let words: BTreeMap<&str, bool> = cell
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| !word.contains('.'))
        .map(|word| (word.trim_end_matches('?'), word.ends_with('?')))
        .collect();
    let keys: BTreeSet<&str> = objects
        .iter()
        .flat_map(|object| object.as_object().unwrap().keys().map(String::as_str))
        .collect();
    assert_eq!(
        words.keys().copied().collect::<BTreeSet<_>>(),
        keys,
        "{what}"
    );
    for (word, optional) in words {
        let everywhere = objects.iter().all(|object| object.get(word).is_some());
        // `text` and `after` are always written and may still be left out by a client.
        if !everywhere {
            assert!(optional, "{what}: {word} is not always there");
        }
    }
}

#[test]
fn every_event_has_its_row() {
    let rows = rows("| event | stream | `d` |");
    let listed: Vec<&str> = rows.iter().map(|row| bare(&row[0])).collect();
    assert_eq!(listed, EVENTS);
    let vectors = vectors("events.json");
    for row in &rows {
        let name = bare(&row[0]);
        let one = vectors.iter().find(|v| v["json"]["ev"] == name).unwrap();
        let stream = match one["json"].get("s") {
            Some(_) => "durable",
            None => "ephemeral",
        };
        assert_eq!(row[1], stream, "{name}");
    }
}

#[test]
fn every_error_code_has_its_row() {
    let rows = rows("| code | retry | HTTP | meaning |");
    assert_eq!(rows.len(), ERRORS.len());
    for (row, error) in rows.iter().zip(ERRORS) {
        assert_eq!(bare(&row[0]), error.word);
        assert_eq!(
            row[1],
            if error.retry { "yes" } else { "no" },
            "{}",
            error.word
        );
        assert_eq!(row[2], error.status.to_string(), "{}", error.word);
    }
}

#[test]
fn every_close_code_has_its_row() {
    let rows = rows("| code | reason | after | when |");
    assert_eq!(rows.len(), CLOSES.len());
    for (row, (code, word, after)) in rows.iter().zip(CLOSES) {
        let after = match after {
            AfterClose::Resume => "resume",
            AfterClose::Renew => "renew",
            AfterClose::Wait => "wait",
            AfterClose::Stop => "stop",
        };
        assert_eq!(row[0], code.code().to_string());
        assert_eq!((bare(&row[1]), row[2].as_str()), (*word, after));
    }
}

#[test]
fn names_and_numbers_of_the_connection_are_the_codes() {
    assert!(PAGE.contains(&format!("| `{SUBPROTOCOL_JSON}` |")));
    assert!(PAGE.contains(&format!("| `{SUBPROTOCOL_MSGPACK}` |")));
    assert!(PAGE.contains(&format!(
        "| commands in a frame | {MAX_COMMANDS_PER_FRAME} |"
    )));
}

fn vectors(name: &str) -> Vec<Value> {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
