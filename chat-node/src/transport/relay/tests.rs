use std::{collections::HashMap, io::Read as _, sync::Arc};

use shared::{
    id::Seq,
    protocol::{
        codec::SharedEvent,
        event::Event,
        presence::Status,
        reply::{Empty, ErrorBody},
    },
};

use super::{
    super::{Line, debt::Debt, outbox::StateKey},
    *,
};
use crate::overload::Overload;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn room(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn read(in_room: &str, seq: u64) -> Arc<SharedEvent> {
    let event = Event::Read {
        room: room(in_room),
        user: user("x"),
        seq: Seq::new(seq),
    };
    Arc::new(SharedEvent::new(event))
}

/// A sink with a real socket, and the other end of that socket.
async fn connect(relay: &Relay, name: &str) -> (Rc<Sink>, std::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let sink = Sink::new(relay.next_key(), user(name), Encoding::Json);
    sink.attach(socket, Encoding::Json);
    relay.register(&sink);
    (sink, client)
}

fn text(client: &mut std::net::TcpStream) -> String {
    client
        .set_read_timeout(Some(std::time::Duration::from_secs(5)))
        .unwrap();
    let mut bytes = [0; 4096];
    let n = client.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..n]).into_owned()
}

fn debt(to: Line, id: Option<u64>) -> Debt {
    Debt { to, id, bytes: 100 }
}

fn start() -> Relay {
    Relay::start(Relays::new(1, Overload::default()), 0)
}

#[actix_rt::test]
async fn a_post_reaches_who_listens_in_order_and_as_one_frame() {
    let relay = start();
    let relays = relay.relays().clone();
    let (sink, mut client) = connect(&relay, "a").await;
    let (_other, mut silent) = connect(&relay, "b").await;
    relay.subscribe(&sink, [room("r")]);
    relays.publish(&Audience::Room(room("r")), &read("r", 1));
    relays.reply(debt(sink.line(), Some(5)), Ok(ReplyBody::Empty(Empty {})));
    relays.publish(&Audience::user(&user("a")), &read("r", 2));
    relays.publish(&Audience::Room(room("elsewhere")), &read("elsewhere", 9));
    actix_rt::task::yield_now().await;
    let got = text(&mut client);
    let order = ["{\"s\":1,", "\"id\":5", "{\"s\":2,"].map(|part| got.find(part).unwrap());
    assert!(order.is_sorted(), "{got}");
    assert!(!got.contains("elsewhere"));
    silent.set_nonblocking(true).unwrap();
    assert!(silent.read(&mut [0; 9]).is_err());
}

#[actix_rt::test]
async fn an_answer_dies_with_the_socket_its_command_came_on() {
    let relay = start();
    let relays = relay.relays().clone();
    let (sink, _gone) = connect(&relay, "a").await;
    let before = sink.line();
    let (next, mut client) = connect(&relay, "b").await;
    sink.attach(next.detach().unwrap().0, Encoding::Json);
    let error = ErrorBody::new(shared::codes::ErrorCode::Busy, "late");
    relays.reply(debt(before, Some(5)), Ok(ReplyBody::Empty(Empty {})));
    relays.reply(debt(before, None), Err(error));
    relays.reply(debt(sink.line(), Some(6)), Ok(ReplyBody::Empty(Empty {})));
    actix_rt::task::yield_now().await;
    let got = text(&mut client);
    assert!(got.contains("\"id\":6"), "{got}");
    assert!(!got.contains("\"id\":5") && !got.contains("late"), "{got}");
}

#[actix_rt::test]
async fn an_enrolment_is_heard_by_what_follows_it() {
    let relay = start();
    let relays = relay.relays().clone();
    let (sink, _client) = connect(&relay, "a").await;
    assert!(relays.is_online(&user("a")) && !relays.listeners(&room("r")));
    relays.publish(&Audience::Room(room("r")), &read("r", 1));
    relays.enroll(&user("a"), &room("r"));
    relays.publish(&Audience::Room(room("r")), &read("r", 2));
    relays.withdraw(&user("a"), &room("r"));
    relays.publish(&Audience::Room(room("r")), &read("r", 3));
    actix_rt::task::yield_now().await;
    assert_eq!(sink.last(), 1, "one event: the second");
    assert!(!relays.listeners(&room("r")));
    relay.remove(&sink);
    assert!(!relays.is_online(&user("a")));
}

#[actix_rt::test]
async fn a_forgotten_room_and_an_ended_session_leave_no_trace() {
    let relay = start();
    let relays = relay.relays().clone();
    let (sink, _client) = connect(&relay, "a").await;
    relay.subscribe(&sink, [room("r"), room("q"), room("r")]);
    relays.forget(&room("r"));
    actix_rt::task::yield_now().await;
    assert!(!relays.listeners(&room("r")) && relays.listeners(&room("q")));
    relay.remove(&sink);
    relay.remove(&sink);
    assert!(!relays.listeners(&room("q")) && !relays.is_online(&user("a")));
    assert!(relay.book.borrow().rooms.is_empty() && relay.book.borrow().users.is_empty());
}

#[actix_rt::test]
async fn held_events_follow_the_snapshot_without_what_it_contains() {
    let relay = start();
    let (sink, _client) = connect(&relay, "a").await;
    sink.hold();
    let message = |seq: u64| {
        let entry = serde_json::json!({"room": "r", "seq": seq, "user": "b", "ts": 0,
            "kind": "delete", "target": 1});
        let entry = serde_json::from_value(entry).unwrap();
        Arc::new(SharedEvent::new(Event::MessageDeleted(entry)))
    };
    for seq in 3..=5 {
        sink.push_event(&message(seq));
    }
    assert_eq!(sink.last(), 0);
    sink.release(&HashMap::from([(room("r"), Seq::new(4))]));
    assert_eq!(sink.last(), 1, "only seq 5 is news");
}

#[actix_rt::test]
async fn a_reader_that_stalls_overflows_alone() {
    let relay = start();
    let relays = relay.relays().clone();
    let (stalled, _keep) = connect(&relay, "a").await;
    let (_well, mut reader) = connect(&relay, "b").await;
    reader.set_nonblocking(true).unwrap();
    let event = Event::Typing {
        room: room("r"),
        user: user("x"),
        on: true,
    };
    let key = StateKey::Typing(room("r"), user("x"));
    let both = Audience::Users(smallvec::smallvec![user("a"), user("b")]);
    let mut total = 0;
    for seq in 0..400_000 {
        relays.publish(&both, &read("r", seq));
        relays.update(
            &both,
            &key,
            &Arc::new(SharedEvent::new(event.clone())),
            None,
        );
        if seq % 100 == 0 {
            actix_rt::task::yield_now().await;
            while let Ok(n @ 1..) = reader.read(&mut [0; 16384]) {
                total += n;
            }
            if stalled.overflowed() {
                break;
            }
        }
    }
    assert!(stalled.overflowed() && total > 0);
    assert!(stalled.waiting() <= super::super::outbox::MAX_BYTES + 4096);
    stalled.close(4008, "too_slow", None);
    assert!(stalled.closing());
}

/// A burst of one turn that is larger than an outbox: the socket is written to in between, so that
/// only a reader who does not read is closed for being slow.
#[actix_rt::test]
async fn a_burst_larger_than_the_outbox_reaches_who_reads() {
    let relay = start();
    let relays = relay.relays().clone();
    let (sink, mut client) = connect(&relay, "a").await;
    let message = |seq: u64| {
        let entry = serde_json::json!({"room": "r", "seq": seq, "user": "b", "ts": 0,
            "kind": "message", "nonce": "n", "text": "x".repeat(8 * 1024)});
        let entry = serde_json::from_value(entry).unwrap();
        Arc::new(SharedEvent::new(Event::MessageNew(entry)))
    };
    let reader = std::thread::spawn(move || {
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen[seen.len().saturating_sub(9_000)..])
            .contains("\"s\":40,")
        {
            let mut bytes = vec![0; 64 * 1024];
            let n = client.read(&mut bytes).unwrap();
            assert!(n > 0);
            seen.extend_from_slice(&bytes[..n]);
        }
    });
    for seq in 1..=40 {
        relays.publish(&Audience::user(&user("a")), &message(seq));
    }
    for _ in 0..5_000 {
        if reader.is_finished() || sink.overflowed() {
            break;
        }
        sink.flush();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(!sink.overflowed());
    reader.join().unwrap();
}

/// The race: the list of rooms is read, the user is kicked out of one, the list is subscribed to.
#[actix_rt::test]
async fn who_is_kicked_while_a_session_starts_does_not_hear_the_room() {
    let relay = start();
    let relays = relay.relays().clone();
    let (sink, _client) = connect(&relay, "a").await;
    sink.hold();
    relays.withdraw(&user("a"), &room("r"));
    relays.withdraw(&user("a"), &room("q"));
    relays.enroll(&user("a"), &room("q"));
    actix_rt::task::yield_now().await;
    relay.subscribe(&sink, [room("r"), room("q")]);
    assert!(!relays.listeners(&room("r")), "kicked");
    assert!(relays.listeners(&room("q")), "kicked, and back");
    sink.release(&HashMap::new());
    relays.enroll(&user("a"), &room("r"));
    actix_rt::task::yield_now().await;
    assert!(relays.listeners(&room("r")), "back later");
}

/// A worker that has nothing to do says nothing about one that drowns.
#[actix_rt::test]
async fn the_ladder_goes_by_the_fullest_inbox() {
    let overload = Overload::default();
    let relays = Relays::new(2, overload.clone());
    let relay = Relay::start(relays.clone(), 0);
    let (_sink, _client) = connect(&relay, "a").await;
    // Of the other worker nobody takes posts.
    relays.count_user(&user("b"), 1, 1);
    for seq in 0..CONGESTED_AT as u64 {
        relays.publish(&Audience::user(&user("b")), &read("r", seq));
    }
    assert_eq!(overload.rung(), 4);
    relays.publish(&Audience::user(&user("a")), &read("r", 1));
    actix_rt::task::yield_now().await;
    assert_eq!(overload.rung(), 4);
}

#[actix_rt::test]
async fn an_error_is_answered_even_without_an_id_and_an_ok_is_not() {
    let relay = start();
    let (sink, mut client) = connect(&relay, "a").await;
    let error = ErrorBody::new(shared::codes::ErrorCode::NotFound, "no such room");
    relay
        .relays()
        .reply(debt(sink.line(), None), Ok(ReplyBody::Empty(Empty {})));
    relay.relays().reply(debt(sink.line(), None), Err(error));
    let presence = Event::Presence {
        user: user("x"),
        status: Status::Away,
        activity: None,
        last_seen: None,
    };
    let except = StateKey::Presence(user("x"));
    let event = Arc::new(SharedEvent::new(presence));
    relay.relays().update(
        &Audience::user(&user("a")),
        &except,
        &event,
        Some(&user("a")),
    );
    actix_rt::task::yield_now().await;
    let got = text(&mut client);
    assert!(
        got.contains("{\"err\":{\"code\":\"not_found\"") && !got.contains("presence"),
        "{got}"
    );
}

/// Who leaves gives the last one its place: whoever leaves next must still be found.
#[actix_rt::test]
async fn many_come_and_go_in_any_order_and_the_right_ones_stay() {
    let relay = start();
    let relays = relay.relays().clone();
    let mut sinks = Vec::new();
    for n in 0..40 {
        let sink = Sink::new(relay.next_key(), user(&format!("u{n}")), Encoding::Json);
        relay.register(&sink);
        let first = [room("q"), room("r")];
        relay.subscribe(&sink, first.into_iter().skip(n % 2));
        sinks.push(sink);
    }
    for n in [0, 39, 20, 1, 38, 21, 2, 3, 19, 17] {
        relay.part(&sinks[n], &room("r"));
    }
    for n in [10, 11, 12] {
        relay.remove(&sinks[n]);
    }
    relays.publish(&Audience::Room(room("r")), &read("r", 1));
    actix_rt::task::yield_now().await;
    let gone = [0, 39, 20, 1, 38, 21, 2, 3, 19, 17, 10, 11, 12];
    for (n, sink) in sinks.iter().enumerate() {
        assert_eq!(sink.last(), u64::from(!gone.contains(&n)), "u{n}");
    }
    for sink in &sinks {
        relay.remove(sink);
    }
    assert!(relay.book.borrow().rooms.is_empty() && !relays.listeners(&room("q")));
}

#[actix_rt::test]
async fn a_quiet_room_does_not_queue_behind_a_large_one() {
    let relay = start();
    let relays = relay.relays().clone();
    let mut crowd = Vec::new();
    for n in 0..2 * FLUSHES {
        let (sink, client) = connect(&relay, &format!("u{n}")).await;
        relay.subscribe(&sink, [room("large")]);
        crowd.push(client);
    }
    let (sink, mut quiet) = connect(&relay, "a").await;
    relay.subscribe(&sink, [room("quiet")]);
    relays.publish(&Audience::Room(room("large")), &read("large", 1));
    relays.publish(&Audience::Room(room("quiet")), &read("quiet", 1));
    let served = |clients: &mut [std::net::TcpStream]| {
        let has = |client: &std::net::TcpStream| client.peek(&mut [0]).is_ok_and(|n| n > 0);
        clients.iter().filter(|client| has(client)).count()
    };
    for client in &crowd {
        client.set_nonblocking(true).unwrap();
    }
    assert!(relay.turn(), "the rest waits for the next turn");
    assert!(text(&mut quiet).contains("quiet"));
    assert_eq!(served(&mut crowd), FLUSHES - 1);
    while relay.turn() {}
    assert_eq!(served(&mut crowd), 2 * FLUSHES);
}
