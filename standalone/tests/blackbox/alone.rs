//! What one process alone is held to: its data directory is its own, and under a load for which a
//! history of its own is quick enough, kills and lost sockets cost nothing. Of several nodes
//! `tests/cluster` shows the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loadtest::{Device, Recorder, check, drive::read_logs, record::Happened};
use reqwest::Method;
use shared::{
    id::Seq,
    protocol::{reply::Synced, room::Entry},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    app::{ENCODINGS, TestApp},
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
                first: Seq::FIRST,
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

/// Twenty people talk in three rooms, and every one of them loses the socket again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_sockets_under_load_lose_and_double_nothing() {
    let app = TestApp::start().await;
    let recorder = Recorder::in_memory();
    let rooms = open_rooms(&app, 20, 3).await;
    let until = Instant::now() + Duration::from_secs(6);
    let mut talkers = JoinSet::new();
    for n in 0..20 {
        let connector = app.connector(&app.stranger(&format!("talker{n}")), ENCODINGS[n % 2]);
        let mut device = Device::new(&format!("d{n}"), connector, recorder.clone());
        let rooms = rooms.clone();
        talkers.spawn(async move {
            let patience = Duration::from_secs(20);
            device.reconnect(patience).await.unwrap();
            let mut said = 0;
            while Instant::now() < until {
                if said % 7 == n % 7 {
                    device.drop_socket();
                }
                if !device.on_line() {
                    device.reconnect(patience).await.unwrap();
                }
                let room = &rooms[said % rooms.len()];
                let _ = device.send(room, &format!("{n} says {said}")).await;
                said += 1;
                let pause = Instant::now() + Duration::from_millis(40);
                while Instant::now() < pause && device.step(pause).await.is_ok() {}
            }
            device.settle(patience).await.unwrap();
            device
        });
    }
    let mut devices = talkers.join_all().await;
    for device in &mut devices {
        device.catch_up().await.unwrap();
    }
    read_logs(&mut devices[0], &rooms, &recorder).await.unwrap();
    let verdict = check(&recorder.lines().unwrap());
    assert!(verdict.holds(), "{verdict}");
    println!("{verdict}");
    // Not one of the sessions was lost on the way.
    assert_eq!(verdict.seen.sessions, 20);
    assert!(verdict.seen.resumes > 100, "{verdict}");
    assert!(verdict.seen.acks > 500, "{verdict}");
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
