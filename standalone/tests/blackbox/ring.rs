//! Away for longer than the server remembers: `session_lost`, a fresh start, and no hole.

use loadtest::{
    Device, Recorder, check,
    client::{Connector, WireError, WsClient},
    drive::read_logs,
    record::Happened,
};
use shared::{
    codes::ErrorCode,
    id::SessionId,
    protocol::{codec::Encoding, reply::Resumed},
};
use tokio::time::{Duration, Instant};

use crate::{
    app::{ENCODINGS, TestApp},
    resume::open_rooms,
};

/// What a session keeps to be replayed: so many events, or so many bytes of them.
const RING_EVENTS: usize = 1024;
const RING_BYTES: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_mins(1);

/// Nothing here is about limits of speed.
const FAST: &[(&str, &str)] = &[
    ("FIRESIDE_LIMIT_SENDS", "100000/s"),
    ("FIRESIDE_LIMIT_ROOM_SENDS", "100000/s"),
];

async fn talk(device: &mut Device, room: &shared::id::RoomId, messages: usize, text: &str) {
    for n in 0..messages {
        device.send(room, text).await.unwrap();
        // Reads as it goes, or it would be the one that is too slow.
        while n % 50 == 49 && device.in_flight() > 0 {
            device.step(Instant::now() + PATIENCE).await.unwrap();
        }
    }
    device.settle(PATIENCE).await.unwrap();
}

/// Resumes from the beginning, until it comes to what is wanted.
async fn resume_until(
    connector: &Connector,
    sid: &SessionId,
    wanted: impl Fn(&Result<Resumed, WireError>) -> bool,
) -> (WsClient, Result<Resumed, WireError>) {
    let since = Instant::now();
    loop {
        let mut socket = connector.connect().await.unwrap();
        let resumed = socket.resume(sid, 0).await;
        if wanted(&resumed) || since.elapsed() > PATIENCE {
            return (socket, resumed);
        }
    }
}

#[tokio::test]
async fn what_a_ring_holds_is_replayed_and_one_more_is_lost() {
    let app = TestApp::with(FAST).await;
    let room = open_rooms(&app, 2, 1).await.remove(0);
    let recorder = Recorder::in_memory();
    for encoding in ENCODINGS {
        let speaker = app.connector(&app.stranger("talker0"), encoding);
        let mut speaker = Device::new(&format!("s{encoding:?}"), speaker, recorder.clone());
        speaker.reconnect(PATIENCE).await.unwrap();
        let token = app.stranger("talker1");
        let (socket, started) = app.session(&token, encoding).await;
        drop(socket);
        talk(&mut speaker, &room, RING_EVENTS, "x").await;
        let connector = app.connector(&token, encoding);
        // Who was acknowledged may be ahead of whom it is delivered to.
        let (socket, resumed) = resume_until(
            &connector,
            &started.sid,
            |resumed| matches!(resumed, Ok(resumed) if resumed.replayed == RING_EVENTS as u64),
        )
        .await;
        assert_eq!(resumed.unwrap().replayed, RING_EVENTS as u64);
        drop(socket);
        talk(&mut speaker, &room, 1, "x").await;
        let (mut socket, lost) = resume_until(&connector, &started.sid, Result::is_err).await;
        assert_eq!(lost.unwrap_err().code(), Some(ErrorCode::SessionLost));
        // The socket stays open for a start.
        let _: serde_json::Value = socket
            .command("session.start", &serde_json::json!({}))
            .await
            .unwrap();
    }
    app.is_well().await;
}

/// Judged by the checker, which wants every entry seen by everybody, once and in order.
#[tokio::test]
async fn who_was_away_too_long_starts_afresh_and_misses_nothing() {
    let app = TestApp::with(FAST).await;
    // Too many, and too much.
    for (encoding, messages, text) in [
        (Encoding::Json, RING_EVENTS + 100, "x".to_owned()),
        (Encoding::MsgPack, RING_BYTES / 3900 + 20, "x".repeat(3900)),
    ] {
        let rooms = open_rooms(&app, 2, 2).await;
        let recorder = Recorder::in_memory();
        let device = |n: usize, recorder: &Recorder| {
            let connector = app.connector(&app.stranger(&format!("talker{n}")), encoding);
            Device::new(&format!("d{n}"), connector, recorder.clone())
        };
        let mut speaker = device(0, &recorder);
        let mut away = device(1, &recorder);
        speaker.reconnect(PATIENCE).await.unwrap();
        away.reconnect(PATIENCE).await.unwrap();
        talk(&mut speaker, &rooms[0], 3, "before").await;
        while away.holds(&rooms[0]) < speaker.holds(&rooms[0]) {
            away.step(Instant::now() + PATIENCE).await.unwrap();
        }
        away.drop_socket();
        talk(&mut speaker, &rooms[1], 3, "elsewhere").await;
        talk(&mut speaker, &rooms[0], messages, &text).await;
        away.connect().await.unwrap();
        talk(&mut speaker, &rooms[0], 3, "after").await;
        for device in [&mut away, &mut speaker] {
            device.catch_up().await.unwrap();
        }
        read_logs(&mut speaker, &rooms, &recorder).await.unwrap();
        let lines = recorder.lines().unwrap();
        let of_away = |what: &Happened| matches!(what, Happened::Lost);
        assert!(lines.iter().any(|l| l.c == "d1" && of_away(&l.what)));
        let verdict = check(&lines);
        assert!(verdict.holds(), "{verdict}");
        assert_eq!(verdict.seen.sessions, 3, "{verdict}");
        assert!(verdict.seen.synced >= messages, "{verdict}");
    }
    app.is_well().await;
}
