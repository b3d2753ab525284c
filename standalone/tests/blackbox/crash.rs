//! kill -9 under load: what was acknowledged stands, once, and what was not may be said again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loadtest::{Device, Recorder, check, drive::read_logs, record::Happened};
use reqwest::Method;
use serde_json::Value;
use shared::protocol::{codec::Encoding, reply::Synced, room::Entry};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    app::{ENCODINGS, TestApp, open_dm},
    resume::open_rooms,
};

const SENDERS: usize = 50;
const KILLS: usize = 20;
const ROOMS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_and_double_nothing_that_was_acknowledged() {
    let mut app = TestApp::start().await;
    let recorder = Recorder::in_memory();
    let rooms = open_rooms(&app, SENDERS, ROOMS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for n in 0..SENDERS {
        let connector = app.connector(&app.stranger(&format!("talker{n}")), ENCODINGS[n % 2]);
        let mut device = Device::new(&format!("d{n}"), connector, recorder.clone());
        let (rooms, stop) = (rooms.clone(), Arc::clone(&stop));
        senders.spawn(async move {
            let patience = Duration::from_mins(1);
            let mut said = 0;
            while !stop.load(Ordering::Relaxed) {
                if !device.on_line() {
                    device.reconnect(patience).await.unwrap();
                }
                // Up to eight under way, so that a kill meets sends in every state.
                if device.unanswered() < 8 {
                    let room = &rooms[(n + said) % rooms.len()];
                    let _ = device.send(room, &format!("{n} says {said}")).await;
                    said += 1;
                }
                let pause = Instant::now() + Duration::from_millis(50);
                while Instant::now() < pause && device.step(pause).await.is_ok() {}
            }
            device.settle(patience).await.unwrap();
            device
        });
    }
    for n in 0..KILLS {
        // At odd times, so that it is not always the same part of a commit that is cut.
        tokio::time::sleep(Duration::from_millis(300 + (n as u64 * 137) % 500)).await;
        app.kill();
        app.boot().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut devices = senders.join_all().await;
    for device in &mut devices {
        device.catch_up().await.unwrap();
    }
    read_logs(&mut devices[0], &rooms, &recorder).await.unwrap();
    // The same logs once more through REST.
    for room in &rooms {
        let mut entries: Vec<Entry> = Vec::new();
        let token = app.stranger("talker1");
        let epoch = loop {
            let path = format!("/v1/rooms/{room}/log?after={}&limit=500", entries.len());
            let page = app
                .rest
                .ok(Method::GET, &path, None, Some(&token))
                .await
                .unwrap();
            let page: Synced = serde_json::from_value(page).unwrap();
            entries.extend(page.entries);
            if !page.more {
                break page.epoch;
            }
        };
        recorder.note(
            "",
            Happened::Log {
                room: room.clone(),
                epoch,
                entries,
            },
        );
    }
    let verdict = check(&recorder.lines().unwrap());
    assert!(verdict.holds(), "{verdict}");
    println!("{verdict}");
    assert_eq!(verdict.seen.clients, SENDERS);
    assert!(verdict.seen.sessions > SENDERS * KILLS / 2, "{verdict}");
    assert!(verdict.seen.acks > 1000, "{verdict}");
    // Both happened: tries that had been stored before the kill, and tries that had not.
    assert!(verdict.seen.dups > 0, "{verdict}");
    assert!(verdict.seen.retried > verdict.seen.dups, "{verdict}");
    app.is_well().await;
}

#[tokio::test]
async fn accounts_friends_rooms_and_messages_survive_a_kill() {
    let mut app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let (mut socket, _) = app.session(&alice.access_token, Encoding::Json).await;
    let room = open_dm(&mut socket, &bob.id).await;
    let ack = socket.say(&room, "n1", "before the fall").await.unwrap();
    app.kill();
    app.boot().await;
    // The access token still holds, and so does the account.
    let bob = app.rest.login(&bob).await.unwrap();
    let (mut socket, started) = app.session(&bob.access_token, Encoding::MsgPack).await;
    assert_eq!(started.friends[0].id, alice.id);
    let view = started.rooms.iter().find(|r| r.id == room).unwrap();
    assert_eq!((view.head, view.unread), (ack.seq, 1));
    let last = view.last.as_ref().unwrap();
    assert_eq!((last.text.as_str(), last.seq), ("before the fall", ack.seq));
    let path = format!("/v1/rooms/{room}/messages");
    let page: Value = app
        .rest
        .ok(Method::GET, &path, None, Some(&bob.access_token))
        .await
        .unwrap();
    assert_eq!(page["items"][0]["text"], "before the fall");
    // A retry of what was acknowledged before the fall is a dup, at its place.
    let (mut alice_again, _) = app.session(&alice.access_token, Encoding::Json).await;
    let again = alice_again
        .say(&room, "n1", "before the fall")
        .await
        .unwrap();
    assert!(again.dup);
    assert_eq!((again.seq, again.ts), (ack.seq, ack.ts));
    let next = socket
        .say(&room, "n1", "another sender's n1")
        .await
        .unwrap();
    assert_eq!((next.seq, next.dup), (ack.seq.next(), false));
}

#[tokio::test]
async fn a_clean_stop_and_start_keeps_everything_too() {
    let mut app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let (mut socket, _) = app.session(&alice.access_token, Encoding::Json).await;
    let room = open_dm(&mut socket, &bob.id).await;
    let ack = socket.say(&room, "n1", "good night").await.unwrap();
    assert!(app.terminate().await.success(), "{}", app.log());
    app.boot().await;
    let (_, started) = app.session(&bob.access_token, Encoding::Json).await;
    let view = started.rooms.iter().find(|r| r.id == room).unwrap();
    assert_eq!(view.head, ack.seq);
}

/// Two nodes on one history would not hear each other's messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_belongs_to_one_process() {
    let mut app = TestApp::start().await;
    let second = app.output_beside();
    let said = String::from_utf8_lossy(&second.stderr).into_owned()
        + &String::from_utf8_lossy(&second.stdout);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("used by another process"), "{said}");
    assert!(said.contains("--data-dir"), "{said}");
    app.is_well().await;
    // Whoever dies leaves it free at once.
    app.kill();
    app.boot().await;
    app.is_well().await;
}
