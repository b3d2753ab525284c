//! Delivery of events: in order, at least once, and one node's trouble is not another's.

use std::time::Duration;

use serde_json::Value;

use crate::{
    app::{TestApp, User},
    both,
    node::Node,
};

both!(
    what_a_node_does_not_take_comes_again_in_order,
    a_node_that_is_away_holds_up_nobody_else,
    what_was_not_delivered_is_delivered_after_a_restart,
    many_changes_at_once_arrive_whole_and_in_order,
    who_was_away_too_long_is_told_so,
    nodes_that_hang_do_not_make_the_store_hang,
);

async fn turn(app: &TestApp, ann: &User, bob: &User, times: usize) {
    let path = format!("/v1/friends/{}", bob.id);
    for _ in 0..times {
        app.put(&path, ann).await.expect(200);
        app.delete(&path, ann).await.expect(204);
    }
}

fn states(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["state"].as_str().unwrap())
        .collect()
}

/// Waits until `count` events have come.
async fn settle(node: &Node, count: usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while node.events().len() < count {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} of {count}",
            node.events().len()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn what_a_node_does_not_take_comes_again_in_order(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let node = &app.nodes[0];
    node.answer(503);
    turn(&app, &ann, &bob, 5).await;
    node.wait_for_refusal().await;
    assert!(node.events().is_empty());
    node.answer(204);
    settle(node, 10).await;
    assert_eq!(states(&node.events()), ["outgoing", "none"].repeat(5));
    app
}

async fn a_node_that_is_away_holds_up_nobody_else(mut app: TestApp) -> TestApp {
    app.nodes.push(Node::start());
    app.restart().await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.nodes[0].answer(500);
    turn(&app, &ann, &bob, 1).await;
    app.nodes[0].wait_for_refusal().await;
    turn(&app, &ann, &bob, 1).await;
    settle(&app.nodes[1], 4).await;
    assert!(app.nodes[0].events().is_empty());
    app.nodes[0].answer(200);
    settle(&app.nodes[0], 4).await;
    assert_eq!(
        states(&app.nodes[0].events()),
        states(&app.nodes[1].events())
    );
    app
}

async fn what_was_not_delivered_is_delivered_after_a_restart(mut app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.nodes[0].answer(503);
    turn(&app, &ann, &bob, 1).await;
    app.nodes[0].wait_for_refusal().await;
    app.restart().await;
    app.nodes[0].answer(204);
    settle(&app.nodes[0], 2).await;
    assert_eq!(states(&app.nodes[0].events()), ["outgoing", "none"]);
    app
}

async fn many_changes_at_once_arrive_whole_and_in_order(app: TestApp) -> TestApp {
    let mut pairs = Vec::new();
    for _ in 0..6 {
        pairs.push((app.user("Ann").await, app.user("Bob").await));
    }
    let turns = pairs.iter().map(|(ann, bob)| turn(&app, ann, bob, 10));
    futures_util::future::join_all(turns).await;
    let node = &app.nodes[0];
    settle(node, 120).await;
    let events = node.events();
    for (ann, _) in &pairs {
        let of_pair: Vec<Value> = events
            .iter()
            .filter(|event| event["a"]["id"] == ann.id.as_str())
            .cloned()
            .collect();
        assert_eq!(states(&of_pair), ["outgoing", "none"].repeat(10));
    }
    app
}

async fn who_was_away_too_long_is_told_so(mut app: TestApp) -> TestApp {
    app.nodes.push(Node::start());
    app.restart().await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let [away, there] = [app.nodes[0].clone(), app.nodes[1].clone()];
    away.answer(503);
    turn(&app, &ann, &bob, 2).await;
    away.wait_for_refusal().await;
    settle(&there, 4).await;
    app.advance(Duration::from_mins(61));
    // Looks through the outbox as it starts.
    app.restart().await;
    let body = app.refresh(&ann.refresh).await.expect(200);
    let ann = User::of(&body, ann.email.clone());
    turn(&app, &ann, &bob, 1).await;
    away.answer(204);
    away.wait_for(|event| event["kind"] == "missed").await;
    settle(&away, 3).await;
    let mut events = away.events();
    events.retain(|event| event["kind"] != "missed");
    assert_eq!(states(&events), ["outgoing", "none"]);
    settle(&there, 6).await;
    assert_eq!(
        states(&there.events()),
        ["outgoing", "none"].repeat(3),
        "who was there missed nothing"
    );
    app
}

async fn nodes_that_hang_do_not_make_the_store_hang(mut app: TestApp) -> TestApp {
    // More of them than there are connections to the database.
    for _ in 0..5 {
        app.nodes.push(Node::start());
    }
    app.restart().await;
    for node in &app.nodes {
        node.hang();
    }
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    turn(&app, &ann, &bob, 1).await;
    for node in &app.nodes {
        node.wait_for_delivery().await;
    }
    let began = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(app.me_status(&ann.access).await, 200);
    }
    // A request that waits for a delivery waits for seconds.
    assert!(began.elapsed() < Duration::from_secs(3), "{began:?}");
    app
}
