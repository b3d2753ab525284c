//! The load generator against the real `fireside`, a few dozen sessions each: do its scenarios
//! succeed, find that everything was delivered, and return figures? How good the figures are is
//! measured elsewhere, on an idle machine.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::path::PathBuf;

use clap::{Args, Parser};
use loadtest::{
    measure::{Figure, Progress},
    scenario::{Fanout, Hot, Latency, Mixed, Presence, Scenario, Send, Stage, Stalled, Storm},
    target::{Launch, Server},
};
use shared::protocol::codec::Encoding;

const FIRESIDE: &str = env!("CARGO_BIN_EXE_fireside");

/// A scenario's options as the command line takes them.
#[derive(Debug, Parser)]
struct Options<S: Args> {
    #[command(flatten)]
    scenario: S,
}

/// The figures of one run, on a server of its own that begins with what the scenario prepares.
fn run<S: Scenario + Args>(encoding: Encoding, options: &str) -> Vec<Figure> {
    let words = std::iter::once("load").chain(options.split_whitespace());
    let mut scenario = Options::<S>::try_parse_from(words).unwrap().scenario;
    let stage = Stage {
        encoding,
        deflate: false,
        server_cpu: None,
        progress: Progress::begin(),
    };
    let mut launch = Launch {
        program: PathBuf::from(FIRESIDE),
        settings: scenario.settings(),
        ..Launch::default()
    };
    let mut prepared = None;
    if scenario.prepares() {
        let server = Server::start(&launch).unwrap();
        scenario.prepare(&stage, &server).unwrap();
        prepared = server.stop().unwrap();
    }
    launch.data = prepared.as_ref().map(Server::data_of);
    let server = Server::start(&launch).unwrap();
    let figures = scenario.run(&stage, &server).unwrap();
    for figure in &figures {
        let fine = figure.value.is_finite() && figure.value >= 0.0;
        assert!(fine, "{figure:?}");
    }
    figures
}

fn value(figures: &[Figure], name: &str) -> f64 {
    let found = figures.iter().find(|figure| figure.name == name);
    found
        .unwrap_or_else(|| panic!("no {name:?} among {figures:?}"))
        .value
}

#[test]
fn a_message_reaches_every_member() {
    let options = "--rooms 2 --members 10 --in-flight 1,4 --deliveries 200";
    let figures = run::<Fanout>(Encoding::Json, options);
    for in_flight in [1, 4] {
        let rate = value(&figures, &format!("{in_flight} in flight: rate"));
        assert!(rate > 0.0);
    }
}

#[test]
fn who_drops_comes_back_and_has_missed_nothing() {
    let options = "--sessions 45 --members 10 --missed 3 --at-once 8";
    let figures = run::<Storm>(Encoding::MsgPack, options);
    assert!((value(&figures, "events replayed") - 45.0 * 3.0).abs() < 0.5);
    assert!(value(&figures, "until the last is back") > 0.0);
}

#[test]
fn friends_hear_of_each_state_or_of_a_newer_one() {
    let options = "--users 20 --friends 6 --changes 60 --seconds 3";
    let figures = run::<Presence>(Encoding::Json, options);
    let (set, told) = (
        value(&figures, "states set"),
        value(&figures, "states told"),
    );
    assert!(set > 20.0 && told >= 20.0 && told <= set, "{figures:?}");
    assert!(value(&figures, "delivered") >= told * 7.0);
}

#[test]
fn a_day_among_friends_leaves_no_hole() {
    let options = "--users 30 --friends 4 --group 6 --active 0.5 --seconds 4 --direct 60 --to-group 60 \
                   --typing 60 --reads 60 --presence 20 --drops 600 --away 0.5";
    let figures = run::<Mixed>(Encoding::MsgPack, options);
    for name in [
        "messages",
        "resumes",
        "deliveries",
        "until the last has it, p50",
    ] {
        assert!(value(&figures, name) > 0.0, "{figures:?}");
    }
}

#[test]
fn every_send_is_acknowledged_and_heard() {
    let options = "--rooms 5 --members 3 --window 2 --seconds 1 --warm-up 0.2";
    let figures = run::<Send>(Encoding::MsgPack, options);
    assert!(value(&figures, "acks") > 0.0);
    assert!(value(&figures, "ack, p99") > 0.0);
}

#[test]
fn the_last_recipient_is_waited_for() {
    let options = "--rooms 2 --members 10 --rate 50 --seconds 2";
    let figures = run::<Latency>(Encoding::Json, options);
    let (ack, last) = (
        value(&figures, "ack, p50"),
        value(&figures, "last recipient, p50"),
    );
    assert!(ack > 0.0 && last > 0.0);
}

#[test]
fn who_stalls_is_closed_and_the_others_have_everything() {
    let options = "--members 20 --stalled 2 --rate 150 --seconds 3";
    let figures = run::<Stalled>(Encoding::Json, options);
    assert!((value(&figures, "closed as too slow") - 2.0).abs() < 0.5);
}

#[test]
fn quiet_rooms_are_heard_beside_a_hot_one() {
    let options = "--members 20 --in-flight 4 --quiet 10 --rate 50 --seconds 2";
    let figures = run::<Hot>(Encoding::MsgPack, options);
    assert!(value(&figures, "deliveries of the hot room") > 0.0);
    assert!(value(&figures, "quiet room beside the hot one, p99") > 0.0);
}
