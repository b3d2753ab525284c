//! Messages, the log, read markers, search.

use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::Rig;

fn seqs(page: &Value) -> Vec<u64> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|m| m["seq"].as_u64().unwrap()).collect()
}

#[actix_rt::test]
async fn a_message_is_sent_once_under_its_key_and_paged_both_ways() {
    let rig = Rig::start().await;
    let id = rig.group(&["ann", "bob"]).await;
    let first = rig.say("ann", &id, "n-0", "hello 0").await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = rig.say("ann", &id, "\"n-0\"", "hello 0").await;
    assert_eq!((again.status, &again.body["dup"]), (200, &json!(true)));
    assert_eq!(again.body["seq"], first.body["seq"]);
    for n in 1..7 {
        let sent = rig
            .say("bob", &id, &format!("n-{n}"), &format!("hello {n}"))
            .await;
        assert_eq!((sent.status, &sent.body["dup"]), (201, &json!(false)));
    }
    let path = format!("/v1/rooms/{id}/messages");
    let at = first.body["seq"].as_u64().unwrap();
    let all: Vec<u64> = (at..at + 7).collect();
    let page = async |query: &str| {
        let answer = rig.get("bob", &format!("{path}?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let body = answer.body;
        let edges = (body["has_before"] == true, body["has_after"] == true);
        (seqs(&body), edges)
    };
    assert_eq!(page("").await, (all.clone(), (false, false)));
    assert_eq!(page("limit=3").await, (all[4..].to_vec(), (true, false)));
    let before = format!("before={}&limit=2", at + 4);
    assert_eq!(page(&before).await, (all[2..4].to_vec(), (true, true)));
    let after = format!("after={at}&limit=2");
    assert_eq!(page(&after).await, (all[1..3].to_vec(), (true, true)));
    let around = format!("around={}&limit=4", at + 3);
    assert_eq!(page(&around).await, (all[1..5].to_vec(), (true, true)));
    let newest = rig.get("ann", &path).await;
    assert_eq!(newest.body["items"][6]["text"], "hello 6");
    let room = rig.get("ann", &format!("/v1/rooms/{id}")).await;
    assert_eq!(newest.body["epoch"], room.body["room"]["epoch"]);
    assert_eq!(room.body["room"]["unread"], 6);
}

#[actix_rt::test]
async fn what_is_wrong_with_a_request_is_said() {
    let rig = Rig::start().await;
    let id = rig.group(&["ann", "bob"]).await;
    let path = format!("/v1/rooms/{id}/messages");
    for (query, detail) in [
        ("limit=0", "limit is 1 to 100"),
        ("limit=101", "limit is 1 to 100"),
        ("before=1&after=2", "at most one of"),
        ("before=x", "query"),
    ] {
        let answer = rig.get("ann", &format!("{path}?{query}")).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("invalid"))
        );
        let told = answer.body["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{query}: {told}");
    }
    let keyless = rig.post("ann", &path, json!({"text": "x"})).await;
    assert_eq!(
        (keyless.status, &keyless.body["code"]),
        (400, &json!("invalid"))
    );
    assert_eq!(keyless.body["errors"][0]["field"], "idempotency-key");
    let keyed = async |body: Value| {
        let key = [("idempotency-key", "k")];
        rig.call_with("ann", Method::POST, &path, Some(body), &key)
            .await
    };
    assert_eq!(keyed(json!({"text": ""})).await.status, 400);
    let long = keyed(json!({"text": "x".repeat(4_001)})).await;
    assert!(matches!(long.status, 400 | 413), "{long:?}");
    let huge = keyed(json!({"text": "x".repeat(70_000)})).await;
    assert_eq!(
        (huge.status, &huge.body["code"]),
        (413, &json!("too_large"))
    );
    assert_eq!(keyed(json!([1])).await.status, 400);
    assert_eq!(keyed(json!({"text": "fits"})).await.status, 201);
    let outside = rig.say("eve", &id, "k", "hi").await;
    assert_eq!(
        (outside.status, &outside.body["code"]),
        (404, &json!("not_found"))
    );
}

#[actix_rt::test]
async fn the_log_gives_entries_and_tells_of_another_epoch() {
    let rig = Rig::start().await;
    let id = rig.group(&["ann", "bob"]).await;
    rig.say("ann", &id, "n", "hello").await;
    let path = format!("/v1/rooms/{id}/log");
    let log = rig.get("bob", &path).await;
    let entries = log.body["entries"].as_array().unwrap();
    let kinds: Vec<_> = entries
        .iter()
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["room", "member", "member", "message"], "{log:?}");
    assert_eq!(
        (&log.body["head"], &log.body["more"]),
        (&json!(4), &json!(false))
    );
    let rest = rig.get("bob", &format!("{path}?after=1&limit=2")).await;
    assert_eq!(rest.body["entries"][0]["seq"], 2);
    assert_eq!(rest.body["more"], true);
    let other = rig.get("bob", &format!("{path}?epoch=other&after=1")).await;
    assert_eq!(other.body["reset"], true, "{other:?}");
    assert_eq!(rig.get("eve", &path).await.status, 404);
}

#[actix_rt::test]
async fn a_read_marker_goes_forward() {
    let rig = Rig::start().await;
    let id = rig.group(&["ann", "bob"]).await;
    for n in 0..3 {
        rig.say("ann", &id, &format!("n{n}"), "x").await;
    }
    let read = async |seq: Value| {
        let path = format!("/v1/rooms/{id}/read");
        rig.call("bob", Method::PUT, &path, Some(json!({ "seq": seq })))
            .await
    };
    assert_eq!(read(json!(5)).await.body, json!({"seq": 5}));
    assert_eq!(read(json!(4)).await.body, json!({"seq": 5}));
    let room = rig.get("bob", &format!("/v1/rooms/{id}")).await;
    assert_eq!(room.body["room"]["unread"], 1);
    assert_eq!(read(json!(-1)).await.status, 400);
    assert_eq!(read(json!("5")).await.status, 400);
}

#[actix_rt::test]
async fn search_finds_in_the_callers_rooms_by_pages() {
    let rig = Rig::start().await;
    let id = rig.group(&["ann", "bob"]).await;
    let other = rig.group(&["ann", "cyd"]).await;
    for n in 0..5 {
        rig.say("ann", &id, &format!("n{n}"), &format!("boss {n}"))
            .await;
    }
    rig.say("cyd", &other, "n", "boss elsewhere").await;
    let first = rig.get("bob", "/v1/search?q=boss&limit=3").await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.body["items"][0]["message"]["text"], "boss 4");
    assert_eq!(first.body["items"][0]["room"], json!(id));
    let next = first.body["next"].as_str().unwrap();
    let second = rig
        .get("bob", &format!("/v1/search?q=boss&limit=3&after={next}"))
        .await;
    assert_eq!(second.body["items"].as_array().unwrap().len(), 2);
    assert!(second.body.get("next").is_none());
    let by = rig.get("ann", "/v1/search?q=boss&author=cyd").await;
    assert_eq!(by.body["items"].as_array().unwrap().len(), 1);
    let within = rig
        .get("ann", &format!("/v1/search?q=boss&room={other}"))
        .await;
    assert_eq!(within.body["items"].as_array().unwrap().len(), 1);
    let hidden = rig
        .get("bob", &format!("/v1/search?q=boss&room={other}"))
        .await;
    assert_eq!(
        (hidden.status, &hidden.body["code"]),
        (404, &json!("not_found"))
    );
    for bad in [
        "q=",
        "q=%22",
        "x=1",
        "q=a&limit=0",
        "q=a&after=zzz",
        "q=a&room=%20",
    ] {
        let answer = rig.get("ann", &format!("/v1/search?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    let hostile = rig
        .get("bob", "/v1/search?q=boss%20OR%20room%3Ar2%22")
        .await;
    assert_eq!(hostile.body["items"], json!([]));
}
