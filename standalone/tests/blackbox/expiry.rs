//! History that is kept for a short time only: what a client is shown of what has gone.

use std::time::{Duration, Instant};

use loadtest::WsClient;
use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    id::{RoomId, Seq},
    protocol::{
        codec::Encoding,
        reply::{ReadReply, RoomReply, Synced},
        room::RoomView,
    },
};

use crate::app::{TestApp, make_room, open_dm};

/// A sweep comes by twice a second.
const PATIENCE: Duration = Duration::from_mins(1);

async fn view(socket: &mut WsClient, room: &RoomId) -> RoomView {
    let reply: RoomReply = socket
        .command("room.get", &json!({ "room": room }))
        .await
        .unwrap();
    reply.room
}

/// Waits until all but the newest entry has expired.
async fn only_the_head_is_left(socket: &mut WsClient, room: &RoomId) -> RoomView {
    let began = Instant::now();
    loop {
        let view = view(socket, room).await;
        if view.first == Some(view.head) {
            return view;
        }
        assert!(began.elapsed() < PATIENCE, "{view:?} does not expire");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sync(socket: &mut WsClient, room: &RoomId, after: u64) -> Synced {
    let body = json!({ "room": room, "after": after });
    socket.command("room.sync", &body).await.unwrap()
}

async fn get(app: &TestApp, token: &str, path: &str) -> Value {
    let answer = app
        .rest
        .call(reqwest::Method::GET, path, None, Some(token))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
    answer.body
}

#[tokio::test]
async fn what_is_older_than_is_kept_goes_and_leaves_no_hole() {
    let app = TestApp::with(&[("FIRESIDE_HISTORY_KEEP_GROUP", "2s")]).await;
    let (alice, bob) = app.friends().await;
    let (mut a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let (mut b, _) = app.session(&bob.access_token, Encoding::MsgPack).await;
    let dm = open_dm(&mut a, &bob.id).await;
    let kept = a.say(&dm, "d1", "marmalade for two").await.unwrap().seq;
    let room = make_room(&mut a, "group", &[&bob.id]).await.id;
    let old = a.say(&room, "n1", "marmalade").await.unwrap().seq;
    for n in 2..6 {
        a.say(&room, &format!("n{n}"), "marmalade").await.unwrap();
    }
    let last = a.say(&room, "n6", "the last word").await.unwrap().seq;

    let epoch = only_the_head_is_left(&mut a, &room).await.epoch;
    for (socket, token) in [(&mut a, &alice.access_token), (&mut b, &bob.access_token)] {
        let seen = view(socket, &room).await;
        assert_eq!((seen.head, seen.first), (last, Some(last)));
        assert_eq!(
            seen.members, 2,
            "they stay, though their coming has expired"
        );
        assert_eq!(seen.last.map(|message| message.seq), Some(last));
        // Who held something of it is told that this has gone and nothing was lost.
        for after in [1, old.get(), last.get() - 2] {
            let synced = sync(socket, &room, after).await;
            assert_eq!(
                (synced.reset, synced.first),
                (true, Some(last)),
                "after {after}"
            );
            assert_eq!((&synced.epoch, synced.head), (&epoch, last));
            assert_eq!((synced.entries, synced.more), (vec![], false));
        }
        let all = sync(socket, &room, 0).await;
        assert_eq!(
            (all.reset, all.first, all.entries.len()),
            (false, Some(last), 1)
        );
        assert_eq!(all.entries[0].seq, last);
        let next = sync(socket, &room, last.get() - 1).await;
        assert_eq!(
            (next.reset, next.first, next.entries.len()),
            (false, None, 1)
        );

        let path = format!("/v1/rooms/{room}");
        for cursor in [
            "",
            "?after=0",
            &format!("?around={old}"),
            &format!("?before={}", last.next()),
        ] {
            let page = get(&app, token, &format!("{path}/messages{cursor}")).await;
            assert_eq!(
                page["items"].as_array().unwrap().len(),
                1,
                "{cursor}: {page}"
            );
            assert_eq!(page["items"][0]["seq"], last.get());
            assert_eq!(
                (&page["has_before"], &page["first"]),
                (&json!(false), &json!(last))
            );
        }
        let empty = get(&app, token, &format!("{path}/messages?before={last}")).await;
        assert_eq!(
            (&empty["items"], &empty["has_before"]),
            (&json!([]), &json!(false))
        );
        let log = get(&app, token, &format!("{path}/log?after=1")).await;
        assert_eq!((&log["reset"], &log["first"]), (&json!(true), &json!(last)));
        let found = get(&app, token, "/v1/search?q=marmalade").await;
        let hits: Vec<&Value> = found["items"].as_array().unwrap().iter().collect();
        assert_eq!(hits.len(), 1, "{found}");
        assert_eq!(hits[0]["room"], dm.as_str(), "another kind is kept");

        for (op, body) in [
            (
                "reaction.add",
                json!({ "room": room, "seq": old, "emoji": "👎" }),
            ),
            (
                "message.edit",
                json!({ "room": room, "seq": old, "text": "jam" }),
            ),
            ("message.delete", json!({ "room": room, "seq": old })),
            (
                "message.send",
                json!({ "room": room, "nonce": "r1", "text": "re", "reply_to": old }),
            ),
        ] {
            let refused = socket.refused(op, &body).await.unwrap();
            assert_eq!(refused.code, ErrorCode::NotFound, "{op}");
        }
    }
    // A mark before the beginning is one like any other.
    let early = json!({ "room": room, "seq": 1 });
    let read: ReadReply = b.command("read", &early).await.unwrap();
    assert!(read.seq < last);
    assert_eq!(
        view(&mut b, &room).await.unread,
        1,
        "what has expired is not unread"
    );
    assert_eq!(view(&mut b, &dm).await.first, None);
    assert_eq!(sync(&mut b, &dm, kept.get() - 1).await.entries.len(), 1);

    // The log goes on, on the same seqs, and a nonce whose message has gone is a new name.
    let fresh = a.say(&room, "n1", "and on").await.unwrap();
    assert_eq!((fresh.seq, fresh.dup), (last.next(), false));
    let heard = b.entry(&room, fresh.seq.get()).await.unwrap();
    assert_eq!(heard.entry.seq, Seq::new(last.get() + 1));
    let seen = only_the_head_is_left(&mut b, &room).await;
    assert_eq!(seen.first, Some(fresh.seq));
    app.is_well().await;
}
