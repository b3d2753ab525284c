//! Rooms and their members.

use reqwest::Method;
use serde_json::json;

use crate::rig::Rig;

#[actix_rt::test]
async fn a_room_is_made_listed_and_shown_to_its_members_only() {
    let rig = Rig::start().await;
    rig.people.befriend("ann", "bob");
    let body = json!({"kind": "group", "name": "Raid", "members": ["bob"], "topic": "tonight"});
    let made = rig.post("ann", "/v1/rooms", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let room = made.body["room"].clone();
    let id = room["id"].as_str().unwrap();
    let path = format!("/v1/rooms/{id}");
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!(
        (&room["name"], &room["topic"]),
        (&json!("Raid"), &json!("tonight"))
    );
    assert_eq!(
        (&room["role"], &room["members"]),
        (&json!("owner"), &json!(2))
    );

    let got = rig.get("bob", &path).await;
    assert_eq!((got.status, &got.body["room"]["id"]), (200, &json!(id)));
    assert_eq!(got.body["room"]["role"], "member");
    let list = rig.get("bob", "/v1/rooms").await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(list.body["items"][0]["id"], json!(id));

    let stranger = rig.get("eve", &path).await;
    assert_eq!(
        (stranger.status, &stranger.body["code"]),
        (404, &json!("not_found"))
    );
    let nowhere = rig.get("eve", "/v1/rooms/r:none").await;
    assert_eq!(
        (nowhere.status, &nowhere.body["detail"]),
        (404, &stranger.body["detail"]),
        "a room one may not see reads like none"
    );
    assert_eq!(rig.get("eve", "/v1/rooms").await.body, json!({"items": []}));
}

#[actix_rt::test]
async fn a_direct_message_room_is_opened_between_friends() {
    let rig = Rig::start().await;
    rig.people.befriend("ann", "bob");
    let open = |peer: &str| json!({"kind": "dm", "members": [peer]});
    let one = rig.post("ann", "/v1/rooms", open("bob")).await;
    let two = rig.post("bob", "/v1/rooms", open("ann")).await;
    assert_eq!((one.status, two.status), (200, 200), "{one:?} {two:?}");
    assert_eq!(one.body["room"]["id"], two.body["room"]["id"]);
    assert_eq!(
        one.body["room"]["peer"],
        json!({"id": "bob", "name": "bob"})
    );
    let stranger = rig.post("ann", "/v1/rooms", open("eve")).await;
    assert_eq!(
        (stranger.status, &stranger.body["code"]),
        (403, &json!("forbidden"))
    );
    let crowd = json!({"kind": "dm", "members": ["bob", "eve"]});
    assert_eq!(rig.post("ann", "/v1/rooms", crowd).await.status, 400);
}

#[actix_rt::test]
async fn members_come_in_pages() {
    let rig = Rig::start().await;
    let id = rig.group(&["a", "b", "c", "d", "e"]).await;
    let path = format!("/v1/rooms/{id}/members");
    let first = rig.get("c", &format!("{path}?limit=3")).await;
    let ids = |body: &serde_json::Value| -> Vec<String> {
        let members = body["members"].as_array().unwrap().iter();
        members
            .map(|m| m["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&first.body), ["a", "b", "c"], "{first:?}");
    assert_eq!(first.body["members"][0]["role"], "owner");
    let next = first.body["next"].as_str().unwrap();
    let second = rig.get("c", &format!("{path}?limit=3&after={next}")).await;
    assert_eq!(ids(&second.body), ["d", "e"]);
    assert!(second.body.get("next").is_none());
    for bad in ["limit=0", "limit=501", "limit=x", "after=%20"] {
        assert_eq!(
            rig.get("c", &format!("{path}?{bad}")).await.status,
            400,
            "{bad}"
        );
    }
    assert_eq!(rig.get("x", &path).await.status, 404);
    assert_eq!(rig.call("a", Method::DELETE, &path, None).await.status, 405);
}
