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

/// The document as JSON.
fn asyncapi() -> Value {
    serde_yaml_ng::from_str(include_str!("../../docs/asyncapi.yaml")).unwrap()
}

#[test]
fn asyncapi_has_exactly_the_ops_and_events() {
    let document = asyncapi();
    let of = |action: &str| -> BTreeSet<String> {
        let operations = document["operations"].as_object().unwrap();
        operations
            .iter()
            .filter(|(_, operation)| operation["action"] == action)
            .map(|(name, _)| name.clone())
            .collect()
    };
    let ops: BTreeSet<String> = OPS.iter().map(|op| (*op).to_owned()).collect();
    let events: BTreeSet<String> = EVENTS.iter().map(|ev| format!("event.{ev}")).collect();
    assert_eq!(of("receive"), ops);
    assert_eq!(of("send"), events);
    // The channel and the components hold the messages of those, the answers, and no others.
    let mut answers = BTreeSet::from(["err".to_owned()]);
    for op in &ops {
        let replies = document["operations"][op]["reply"]["messages"]
            .as_array()
            .unwrap();
        for reply in replies {
            let pointer = reply["$ref"].as_str().unwrap();
            answers.insert(pointer.rsplit('/').next().unwrap().to_owned());
        }
    }
    let expected: BTreeSet<String> = ops.iter().chain(&events).chain(&answers).cloned().collect();
    for place in ["/channels/socket/messages", "/components/messages"] {
        let messages = document.pointer(place).unwrap().as_object().unwrap();
        assert_eq!(
            messages.keys().cloned().collect::<BTreeSet<_>>(),
            expected,
            "{place}"
        );
    }
    let codes = &document["components"]["schemas"]["ErrorCode"]["enum"];
    let words: Vec<&str> = ERRORS.iter().map(|row| row.word).collect();
    assert_eq!(*codes, serde_json::json!(words));
}

#[test]
fn every_reference_of_asyncapi_leads_somewhere_and_every_schema_is_used() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|v| references(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let document = asyncapi();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        let reference = format!("#/components/schemas/{name}");
        assert!(found.contains(&reference), "{name} is not used");
    }
}

/// Every golden vector fits the schema of its message, closed to fields that the schema does not
/// know; so neither has a field that the other lacks.
#[test]
fn the_golden_vectors_fit_the_schemas_of_asyncapi() {
    let mut document = asyncapi();
    close(&mut document["components"]);
    let ok_of = |op: &str| -> String {
        let op = op.split(" (").next().unwrap();
        let pointer = format!("/operations/{op}/reply/messages/0/$ref");
        let reference = document.pointer(&pointer).unwrap().as_str().unwrap();
        reference.rsplit('/').next().unwrap().to_owned()
    };
    for file in ["commands.json", "replies.json", "events.json"] {
        for vector in vectors(file) {
            let name = vector["name"].as_str().unwrap();
            let json = &vector["json"];
            let message = match (name.split_once(": "), file) {
                (Some(("ok", op)), "replies.json") => ok_of(op),
                (_, "replies.json") => "err".to_owned(),
                (_, "events.json") => format!("event.{}", json["ev"].as_str().unwrap()),
                _ => json["op"].as_str().unwrap().to_owned(),
            };
            let mut schema = document["components"]["messages"][&message]["payload"].clone();
            assert!(schema.is_object(), "no message {message}");
            schema["components"] = document["components"].clone();
            let validator = jsonschema::validator_for(&schema).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(json)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{name} as {message}: {errors:?}");
        }
    }
}

/// Lets no object of a schema have fields that it does not list.
fn close(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("type") == Some(&Value::from("object")) {
                fields
                    .entry("additionalProperties")
                    .or_insert(Value::Bool(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn vectors(name: &str) -> Vec<Value> {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
