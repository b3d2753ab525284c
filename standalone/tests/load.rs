//! The load generator against the real `fireside`, a few dozen sessions each: do its scenarios
//! succeed, find that everything was delivered, and return figures? How good the figures are is
//! measured elsewhere, on an idle machine.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::path::PathBuf;

use clap::{Args, Parser};
use loadtest::{
    cluster::built,
    measure::{Figure, Progress, Row},
    scenario::{
        Channel, Comeback, Door, Fanout, Flood, Handshakes, Hot, Kernel, Latency, Mixed, Presence,
        Scenario, Send, Stage, Stalled, Storm,
    },
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

fn stage(encoding: Encoding) -> Stage {
    Stage {
        encoding,
        deflate: false,
        server_cpu: None,
        program: PathBuf::new(),
        progress: Progress::begin(),
    }
}

fn scenario<S: Args>(options: &str) -> S {
    let words = std::iter::once("load").chain(options.split_whitespace());
    Options::<S>::try_parse_from(words).unwrap().scenario
}

/// The figures of one run, on a server of its own that begins with what the scenario prepares.
fn run<S: Scenario + Args>(encoding: Encoding, options: &str) -> Vec<Figure> {
    run_of(&mut scenario::<S>(options), &stage(encoding))
}

fn run_of(scenario: &mut impl Scenario, stage: &Stage) -> Vec<Figure> {
    let mut launch = Launch {
        program: PathBuf::from(FIRESIDE),
        settings: scenario.settings(),
        ..Launch::default()
    };
    if stage.deflate {
        let on = ("FIRESIDE_DEFLATE".to_owned(), "true".to_owned());
        launch.settings.push(on);
    }
    let mut prepared = None;
    if scenario.prepares() {
        let server = Server::start(&launch).unwrap();
        scenario.prepare(stage, &server).unwrap();
        prepared = server.stop().unwrap();
    }
    launch.data = prepared.as_ref().map(Server::data_of);
    let mut server = Server::start(&launch).unwrap();
    let figures = scenario.run(stage, &mut server).unwrap();
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
fn compressed_deliveries_say_the_same_in_fewer_bytes() {
    let options = "--members 10 --in-flight 1,8 --deliveries 400 --text 300";
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let [plain, compressed] = [false, true].map(|deflate| {
            let stage = Stage {
                deflate,
                ..stage(encoding)
            };
            run_of(&mut scenario::<Fanout>(options), &stage)
        });
        for in_flight in [1, 8] {
            let name = format!("{in_flight} in flight: bytes of a delivery");
            let (plain, compressed) = (value(&plain, &name), value(&compressed, &name));
            assert!(compressed < plain * 0.9, "{compressed} {plain}");
        }
    }
}

#[test]
fn the_floor_writes_as_much_to_as_many() {
    let mut fanout: Fanout = scenario("--members 10 --in-flight 1,4 --deliveries 200");
    let stage = Stage {
        program: built("loadtest").unwrap(),
        ..stage(Encoding::Json)
    };
    let figures = run_of(&mut fanout, &stage);
    let floor = fanout.floor(&stage).unwrap();
    for in_flight in [1, 4] {
        let rate = format!("{in_flight} in flight: rate");
        assert!(value(&floor, &rate) > 0.0);
        // The two are compared by name.
        let cost = format!("{in_flight} in flight: deliveries");
        assert!(value(&figures, &cost) >= 0.0 && value(&floor, &cost) >= 0.0);
    }
}

#[test]
fn the_floor_is_measured_alone() {
    let report = scenario::<Kernel>("--sockets 10 --in-flight 1,4 --deliveries 200 --runs 2")
        .run(&built("loadtest").unwrap())
        .unwrap();
    for in_flight in [1, 4] {
        let rate = format!("{in_flight} in flight: rate");
        let row = report.rows().iter().find(|row| row.name == rate);
        assert!(row.is_some_and(|row| row.median > 0.0), "{report}");
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
fn a_server_that_was_killed_has_everybody_back() {
    let figures = run::<Comeback>(Encoding::Json, "--sessions 40 --members 10 --at-once 8");
    let (ready, back) = (
        value(&figures, "until ready"),
        value(&figures, "until the last is back"),
    );
    assert!(ready > 0.0 && back > ready, "{figures:?}");
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

/// Needs HAProxy and nginx, as `./test tools` installs them.
#[test]
fn every_door_gives_back_what_is_said_through_it() {
    let options = "--runs 1 --round-trips 300 --speakers 16 --from 20 --to 60";
    let report = scenario::<Door>(options)
        .run(&built("loadtest").unwrap())
        .unwrap();
    for door in ["chat-lb", "haproxy", "nginx"] {
        let of = |row: &&Row| row.of == door;
        let of_door: Vec<&Row> = report.rows().iter().filter(of).collect();
        for name in [
            "a round trip, 1 in flight",
            "a round trip, 64 in flight",
            "an upgrade",
            "memory of an idle tunnel",
        ] {
            let row = of_door.iter().find(|row| row.name == name);
            assert!(row.is_some_and(|row| row.median.is_finite()), "{report}");
        }
    }
    let direct = report.rows().iter().filter(|row| row.of == "direct");
    assert!(direct.clone().all(|row| row.name.contains(':')), "{report}");
    assert!(direct.count() > 0);
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
fn a_rate_is_found_at_which_the_server_works_as_much_as_it_is_to() {
    let options = "--members 2 --rooms 4 --share 0.2 --seconds 1 --probe 0.3 --burst 2";
    let figures = run::<Latency>(Encoding::Json, options);
    let (rate, busy) = (value(&figures, "messages"), value(&figures, "CPUs in use"));
    assert!(rate > 1.0 && busy > 0.0 && busy <= 4.0, "{figures:?}");
    assert!(value(&figures, "commit alone, p50") > 0.0);
    let curve = |name| {
        figures
            .iter()
            .filter(move |f| f.point.as_ref().is_some_and(|p| p.curve == name))
    };
    assert_eq!(curve("last of 2").count(), 9);
}

#[test]
fn a_channel_hears_a_burst_whole() {
    let options = "--members 600 --rate 4 --burst 4 --seconds 2";
    let figures = run::<Channel>(Encoding::MsgPack, options);
    for what in ["steady", "in bursts"] {
        assert!(value(&figures, &format!("{what}: last recipient, p50")) > 0.0);
    }
}

#[test]
fn a_flood_of_typing_and_presence_is_merged_and_loses_no_message() {
    let options = "--users 24 --friends 4 --group 6 --typing 300 --presence 150 --rate 20 --press 8 --seconds 2";
    let figures = run::<Flood>(Encoding::Json, options);
    let (said, heard) = (
        value(&figures, "beside the flood: typing said"),
        value(&figures, "beside the flood: typing heard"),
    );
    // Each is heard by five.
    assert!(heard > 0.0 && heard < said * 5.0 / 2.0, "{figures:?}");
    assert!(value(&figures, "under overload: sends acknowledged") > 0.0);
}

#[test]
fn a_full_server_turns_a_rush_away() {
    let options = "--sessions 40 --rate 40 --connections 200 --seconds 2";
    let figures = run::<Handshakes>(Encoding::MsgPack, options);
    let (all, away) = (
        value(&figures, "connections"),
        value(&figures, "turned away with 503") + value(&figures, "ended without an answer"),
    );
    assert!(
        away > 0.0 && (away + value(&figures, "let in") - all).abs() < 0.5,
        "{figures:?}"
    );
}

#[test]
fn who_stalls_is_closed_and_the_others_have_everything() {
    // More than the kernel keeps for who does not read: 4 MiB at most, by default.
    let options = "--members 12 --stalled 2 --rate 80 --seconds 15";
    let figures = run::<Stalled>(Encoding::Json, options);
    let closed = value(&figures, "closed as too slow");
    assert!((closed - 2.0).abs() < 0.5, "{figures:?}");
}

#[test]
fn quiet_rooms_are_heard_beside_a_hot_one() {
    let options = "--members 20 --in-flight 4 --quiet 10 --rate 50 --seconds 2";
    let figures = run::<Hot>(Encoding::MsgPack, options);
    assert!(value(&figures, "deliveries of the hot room") > 0.0);
    assert!(value(&figures, "quiet room beside the hot one, p99") > 0.0);
}

/// The members of each room are on different nodes, so every delivery but one's own crosses the bus.
#[test]
fn two_nodes_are_loaded_as_one_and_what_works_beside_them_is_counted_apart() {
    let launch = Launch {
        program: built("chat-node").unwrap(),
        ..Launch::default()
    };
    let mut server = Server::start_nodes(&launch, 2).unwrap();
    assert_eq!(server.addresses().len(), 2);
    let sends = scenario::<Send>("--rooms 4 --window 1 --seconds 2 --warm-up 0.5")
        .run(&stage(Encoding::MsgPack), &mut server)
        .unwrap();
    assert!(value(&sends, "acks") > 0.0);
    for beside in ["redis", "mongodb", "store-api"] {
        assert!(value(&sends, &format!("send, {beside}")).is_finite());
    }
    let paced = scenario::<Latency>("--members 2 --rooms 4 --rate 20 --seconds 2")
        .run(&stage(Encoding::Json), &mut server)
        .unwrap();
    assert!(value(&paced, "last recipient beyond the ack, p99") >= 0.0);
    let back = scenario::<Comeback>("--sessions 20 --members 4 --at-once 8")
        .run(&stage(Encoding::Json), &mut server)
        .unwrap();
    assert!(value(&back, "until the last is back") >= value(&back, "until ready"));
}
