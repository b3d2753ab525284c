//! Blocking: what it ends, and what the blocked one must not notice.

use serde_json::{Value, json};

use crate::{
    app::{TestApp, User},
    both,
};

both!(
    a_block_ends_a_friendship_and_is_listed,
    a_blocked_person_cannot_tell,
    a_request_made_while_blocked_arrives_when_the_block_is_lifted,
    a_block_leaves_the_others_request_as_if_nobody_answered,
    whom_one_cannot_block,
);

fn block(user: &User) -> String {
    format!("/v1/blocks/{}", user.id)
}

fn friend(user: &User) -> String {
    format!("/v1/friends/{}", user.id)
}

async fn a_block_ends_a_friendship_and_is_listed(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.befriend(&ann, &bob).await;
    app.put(&block(&bob), &ann).await.expect(204);
    app.put(&block(&bob), &ann).await.expect(204);
    assert_eq!(app.sees(&ann, &bob).await, None);
    assert_eq!(app.sees(&bob, &ann).await, None);
    let body = app.get("/v1/blocks", &ann).await.expect(200);
    assert_eq!(body["items"][0]["user"]["id"], bob.id.as_str());
    assert_eq!(
        app.get("/v1/blocks", &bob).await.expect(200)["items"],
        json!([])
    );
    assert_eq!(app.put(&friend(&bob), &ann).await.problem(409), "conflict");

    let (event, _) = app.nodes[0]
        .wait_for(|event| event["kind"] == "blocked")
        .await;
    assert_eq!(
        (&event["by"], &event["user"]),
        (&json!(ann.id), &json!(bob.id))
    );
    app.nodes[0]
        .wait_for(|event| event["state"] == "none")
        .await;

    app.delete(&block(&bob), &ann).await.expect(204);
    app.delete(&block(&bob), &ann).await.expect(204);
    assert_eq!(
        app.get("/v1/blocks", &ann).await.expect(200)["items"],
        json!([])
    );
    app.nodes[0]
        .wait_for(|event| event["kind"] == "unblocked")
        .await;
    app.befriend(&ann, &bob).await;
    app
}

/// Everything a person can find out about another, with what may differ between any two struck.
async fn looks(app: &TestApp, me: &User, other: &User) -> Value {
    let mut seen = vec![
        app.get(&format!("/v1/users/{}", other.id), me).await,
        app.get(&format!("/v1/users?q={}", other.name), me).await,
        app.get("/v1/friends", me).await,
        app.get(&format!("{}/mutual", friend(other)), me).await,
        app.get("/v1/blocks", me).await,
    ];
    for _ in 0..2 {
        seen.push(app.put(&friend(other), me).await);
        seen.push(app.get("/v1/friends", me).await);
        seen.push(app.get(&format!("/v1/users/{}", other.id), me).await);
    }
    seen.push(app.delete(&friend(other), me).await);
    seen.push(app.get("/v1/friends", me).await);
    seen.push(app.put(&block(other), me).await);
    seen.push(app.delete(&block(other), me).await);
    seen.push(app.put(&friend(other), me).await);
    let seen: Vec<Value> = seen
        .into_iter()
        .map(|answer| json!([answer.status.as_u16(), answer.body]))
        .collect();
    let mut text = Value::from(seen).to_string();
    text = text.replace(&other.id, "ID").replace(&other.name, "NAME");
    let mut value: Value = serde_json::from_str(&text).unwrap();
    strike_times(&mut value);
    value
}

fn strike_times(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(strike_times),
        Value::Object(fields) => {
            fields.remove("since");
            fields.values_mut().for_each(strike_times);
        }
        _ => {}
    }
}

async fn a_blocked_person_cannot_tell(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let (silent, cid) = (app.user("Ann").await, app.user("Cid").await);
    app.put(&block(&bob), &ann).await.expect(204);
    // Bob tries everything on somebody who blocks him, Cid on somebody who only never answers.
    let (blocked, ignored) = (
        looks(&app, &bob, &ann).await,
        looks(&app, &cid, &silent).await,
    );
    assert_eq!(blocked, ignored);

    // Ann hears and sees nothing of it.
    assert_eq!(
        app.get("/v1/friends", &ann).await.expect(200)["items"],
        json!([])
    );
    let node = &app.nodes[0];
    let of = |who: &User, whom: &User| {
        let (who, whom) = (who.id.clone(), whom.id.clone());
        move |event: &Value| {
            event["kind"] == "friend_changed"
                && event["a"]["id"] == who.as_str()
                && event["b"]["id"] == whom.as_str()
        }
    };
    // Asked, took it back, asked again; and after all of that his request stands.
    app.put(&friend(&cid), &silent).await.expect(200);
    node.wait_for(|event| event["state"] == "friend").await;
    let events = node.events();
    let of_bob: Vec<&Value> = events
        .iter()
        .filter(|event| of(&bob, &ann)(event))
        .collect();
    let of_cid: Vec<&Value> = events
        .iter()
        .filter(|event| of(&cid, &silent)(event))
        .collect();
    let states = |events: &[&Value]| -> Vec<Value> {
        events.iter().map(|event| event["state"].clone()).collect()
    };
    assert_eq!(
        states(&of_bob),
        states(&of_cid),
        "his devices are told the same"
    );
    assert!(
        of_bob.iter().all(|event| event["only_a"] == true),
        "and hers nothing"
    );
    app
}

async fn a_request_made_while_blocked_arrives_when_the_block_is_lifted(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.put(&block(&bob), &ann).await.expect(204);
    app.put(&friend(&ann), &bob).await.expect(200);
    assert_eq!(app.sees(&ann, &bob).await, None);
    app.delete(&block(&bob), &ann).await.expect(204);
    assert_eq!(app.sees(&ann, &bob).await.as_deref(), Some("incoming"));
    let (event, _) = app.nodes[0]
        .wait_for(|event| event["state"] == "incoming")
        .await;
    assert_eq!(
        (&event["a"]["id"], &event["only_a"]),
        (&json!(ann.id), &json!(true))
    );
    assert_eq!(
        app.put(&friend(&bob), &ann).await.expect(200)["state"],
        "friend"
    );
    app
}

async fn a_block_leaves_the_others_request_as_if_nobody_answered(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.put(&friend(&ann), &bob).await.expect(200);
    app.put(&block(&bob), &ann).await.expect(204);
    assert_eq!(app.sees(&bob, &ann).await.as_deref(), Some("outgoing"));
    assert_eq!(app.sees(&ann, &bob).await, None);
    app.delete(&friend(&ann), &bob).await.expect(204);
    assert_eq!(app.sees(&bob, &ann).await, None);
    app
}

async fn whom_one_cannot_block(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    assert_eq!(app.put(&block(&ann), &ann).await.problem(400), "invalid");
    assert_eq!(
        app.put("/v1/blocks/nobody", &ann).await.problem(404),
        "not_found"
    );
    app.delete("/v1/blocks/nobody", &ann).await.expect(204);
    app
}
