//! Requests and friendships.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{TestApp, User},
    both,
};

both!(
    a_request_is_accepted,
    a_request_is_rejected_or_taken_back,
    a_friendship_ends_from_either_side,
    crossed_requests_accept_each_other,
    crossed_requests_at_the_same_moment_become_one_friendship,
    a_change_reaches_both_at_once,
    whom_one_cannot_ask,
    lists_come_in_pages,
    mutual_friends_are_those_in_common,
    lists_are_bounded,
    a_node_reads_graph_and_names,
    contrary_acts_at_the_same_moment_agree_in_the_end,
);

fn friend(user: &User) -> String {
    format!("/v1/friends/{}", user.id)
}

async fn ask(app: &TestApp, from: &User, to: &User) -> Value {
    app.put(&friend(to), from).await.expect(200)["state"].take()
}

async fn both_see(app: &TestApp, a: &User, b: &User) -> [Option<String>; 2] {
    [app.sees(a, b).await, app.sees(b, a).await]
}

fn words(a: &str, b: &str) -> [Option<String>; 2] {
    [a, b].map(|word| (!word.is_empty()).then(|| word.to_owned()))
}

async fn a_request_is_accepted(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    assert_eq!(ask(&app, &ann, &bob).await, "outgoing");
    assert_eq!(
        ask(&app, &ann, &bob).await,
        "outgoing",
        "asking again changes nothing"
    );
    assert_eq!(
        both_see(&app, &ann, &bob).await,
        words("outgoing", "incoming")
    );
    assert_eq!(ask(&app, &bob, &ann).await, "friend");
    assert_eq!(ask(&app, &ann, &bob).await, "friend");
    assert_eq!(both_see(&app, &ann, &bob).await, words("friend", "friend"));
    let body = app.get("/v1/friends", &ann).await.expect(200);
    let item = &body["items"][0];
    assert_eq!(item["user"]["name"], bob.name.as_str());
    assert!(item["since"].as_i64().unwrap() > 1_700_000_000_000);
    assert!(body.get("next").is_none());
    app
}

async fn a_request_is_rejected_or_taken_back(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    for (who, whom) in [(&bob, &ann), (&ann, &bob)] {
        ask(&app, &ann, &bob).await;
        app.delete(&friend(whom), who).await.expect(204);
        assert_eq!(both_see(&app, &ann, &bob).await, words("", ""));
        app.delete(&friend(whom), who).await.expect(204);
    }
    app
}

async fn a_friendship_ends_from_either_side(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    for (who, whom) in [(&bob, &ann), (&ann, &bob)] {
        app.befriend(&ann, &bob).await;
        app.delete(&friend(whom), who).await.expect(204);
        assert_eq!(both_see(&app, &ann, &bob).await, words("", ""));
    }
    app
}

async fn crossed_requests_accept_each_other(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    assert_eq!(ask(&app, &ann, &bob).await, "outgoing");
    assert_eq!(ask(&app, &bob, &ann).await, "friend");
    assert_eq!(both_see(&app, &ann, &bob).await, words("friend", "friend"));
    app
}

async fn crossed_requests_at_the_same_moment_become_one_friendship(app: TestApp) -> TestApp {
    // The race in which each looks, sees nothing, and writes a request of their own.
    for _ in 0..6 {
        let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
        let (one, other) = tokio::join!(ask(&app, &ann, &bob), ask(&app, &bob, &ann));
        let mut answers = [one, other].map(|answer| answer.as_str().unwrap().to_owned());
        answers.sort();
        assert_eq!(answers, ["friend", "outgoing"]);
        assert_eq!(both_see(&app, &ann, &bob).await, words("friend", "friend"));
    }
    app
}

async fn a_change_reaches_both_at_once(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let node = &app.nodes[0];
    let changed = |state: &'static str| {
        move |event: &Value| event["kind"] == "friend_changed" && event["state"] == state
    };
    ask(&app, &ann, &bob).await;
    let (event, took) = node.wait_for(changed("outgoing")).await;
    assert_eq!(event["a"], json!({"id": ann.id, "name": ann.name}));
    assert_eq!(event["b"], json!({"id": bob.id, "name": bob.name}));
    assert!(event.get("only_a").is_none());
    assert!(took < Duration::from_secs(1), "{took:?}");
    ask(&app, &bob, &ann).await;
    node.wait_for(changed("friend")).await;
    app.delete(&friend(&bob), &ann).await.expect(204);
    node.wait_for(changed("none")).await;
    let events = node.events();
    let states: Vec<&str> = events
        .iter()
        .map(|event| event["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["outgoing", "friend", "none"]);
    // What changes nothing is no event.
    app.delete(&friend(&bob), &ann).await.expect(204);
    ask(&app, &ann, &bob).await;
    node.wait_for(|event| event["id"] != events[0]["id"] && event["state"] == "outgoing")
        .await;
    assert_eq!(node.events().len(), 4);
    app
}

async fn whom_one_cannot_ask(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    assert_eq!(app.put(&friend(&ann), &ann).await.problem(400), "invalid");
    app.delete(&friend(&ann), &ann).await.expect(204);
    for nobody in ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "x", "a%20b", &"y".repeat(80)] {
        let path = format!("/v1/friends/{nobody}");
        assert_eq!(
            app.put(&path, &ann).await.problem(404),
            "not_found",
            "{nobody}"
        );
    }
    app.delete("/v1/friends/01ARZ3NDEKTSV4RRFFQ69G5FAV", &ann)
        .await
        .expect(204);
    app
}

async fn lists_come_in_pages(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let mut others = Vec::new();
    for _ in 0..7 {
        let other = app.user("Other").await;
        ask(&app, &other, &ann).await;
        others.push(other.id);
    }
    others.sort();
    let mut seen = Vec::new();
    let mut path = "/v1/friends?state=incoming&limit=3".to_owned();
    loop {
        let body = app.get(&path, &ann).await.expect(200);
        let items = body["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(
            items
                .iter()
                .map(|item| item["user"]["id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = body["next"].as_str() else {
            break;
        };
        path = format!("/v1/friends?state=incoming&limit=3&cursor={cursor}");
    }
    assert_eq!(seen, others);
    let none = app.get("/v1/friends?state=friend", &ann).await.expect(200);
    assert_eq!(none["items"], json!([]));
    for bad in [
        "state=enemy",
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=%25",
    ] {
        assert_eq!(
            app.get(&format!("/v1/friends?{bad}"), &ann)
                .await
                .problem(400),
            "invalid"
        );
    }
    app
}

async fn mutual_friends_are_those_in_common(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let (common, of_ann, of_bob) = (
        app.user("Common").await,
        app.user("HerOwn").await,
        app.user("HisOwn").await,
    );
    for (one, other) in [
        (&ann, &common),
        (&bob, &common),
        (&ann, &of_ann),
        (&bob, &of_bob),
    ] {
        app.befriend(one, other).await;
    }
    // A request is not a friendship.
    ask(&app, &ann, &of_bob).await;
    let body = app
        .get(&format!("{}/mutual", friend(&bob)), &ann)
        .await
        .expect(200);
    let items = body["items"].as_array().unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["id"], common.id.as_str());
    assert_eq!(items[0]["name"], common.name.as_str());
    let nobody = app
        .get("/v1/friends/01ARZ3NDEKTSV4RRFFQ69G5FAV/mutual", &ann)
        .await;
    assert_eq!(nobody.problem(404), "not_found");
    app
}

async fn lists_are_bounded(mut app: TestApp) -> TestApp {
    app.settings.max_friends = 1;
    app.settings.max_friend_requests = 1;
    app.settings.max_blocks = 1;
    app.restart().await;
    let mut users = Vec::new();
    for name in ["Ann", "Bob", "Cid", "Dan"] {
        users.push(app.user(name).await);
    }
    let [ann, bob, cid, dan] = &users[..] else {
        unreachable!()
    };
    ask(&app, ann, bob).await;
    assert_eq!(app.put(&friend(cid), ann).await.problem(409), "conflict");
    ask(&app, bob, ann).await;
    ask(&app, cid, ann).await;
    assert_eq!(app.put(&friend(cid), ann).await.problem(409), "conflict");
    assert_eq!(
        both_see(&app, ann, cid).await,
        words("incoming", "outgoing")
    );
    // The other's list is full too.
    ask(&app, ann, dan).await;
    assert_eq!(app.put(&friend(ann), dan).await.problem(409), "conflict");
    app.put(&format!("/v1/blocks/{}", cid.id), dan)
        .await
        .expect(204);
    let second = app.put(&format!("/v1/blocks/{}", bob.id), dan).await;
    assert_eq!(second.problem(409), "conflict");
    app
}

async fn a_node_reads_graph_and_names(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let (cid, dan) = (app.user("Cid").await, app.user("Dan").await);
    app.befriend(&ann, &bob).await;
    ask(&app, &ann, &cid).await;
    app.put(&format!("/v1/blocks/{}", dan.id), &ann)
        .await
        .expect(204);
    app.put(&format!("/v1/blocks/{}", ann.id), &cid)
        .await
        .expect(204);
    let path = format!("/v1/internal/users/{}/friends", ann.id);
    let graph = app.service(Method::GET, &path).await.expect(200);
    let expected = json!({
        "friends": [{"id": bob.id, "name": bob.name}], "blocked": [dan.id], "blocked_by": [cid.id],
    });
    assert_eq!(graph, expected);
    let unknown = app
        .service(Method::GET, "/v1/internal/users/nobody/friends")
        .await
        .expect(200);
    assert_eq!(
        unknown,
        json!({"friends": [], "blocked": [], "blocked_by": []})
    );

    let graphs = async |ids: Value| {
        let token = Some(crate::app::SERVICE_TOKEN);
        let request = app.request(Method::POST, "/v1/internal/graphs", token);
        app.send(request.json(&json!({"ids": ids}))).await
    };
    let of_bob =
        json!({"friends": [{"id": ann.id, "name": ann.name}], "blocked": [], "blocked_by": []});
    let body = graphs(json!([bob.id, "nobody", ann.id, bob.id]));
    let together = body.await.expect(200);
    assert_eq!(
        together["items"],
        json!([of_bob, unknown, expected, of_bob])
    );
    assert_eq!(graphs(json!([])).await.expect(200)["items"], json!([]));
    let everybody = graphs(json!(vec!["x"; 100])).await.expect(200);
    assert_eq!(everybody["items"].as_array().unwrap().len(), 100);
    assert_eq!(graphs(json!(vec!["x"; 101])).await.problem(400), "invalid");

    let names = async |ids: Value| {
        let token = Some(crate::app::SERVICE_TOKEN);
        let request = app.request(Method::POST, "/v1/internal/names", token);
        app.send(request.json(&json!({"ids": ids}))).await
    };
    let body = names(json!([ann.id, "nobody", bob.id])).await.expect(200);
    let mut items = body["items"].as_array().unwrap().clone();
    items.sort_by_key(|item| item["name"].as_str().unwrap().to_owned());
    assert_eq!(items[0], json!({"id": ann.id, "name": ann.name}));
    assert_eq!(items.len(), 2);
    assert_eq!(names(json!([])).await.expect(200)["items"], json!([]));
    assert_eq!(names(json!(vec!["x"; 501])).await.problem(400), "invalid");
    app
}

async fn contrary_acts_at_the_same_moment_agree_in_the_end(app: TestApp) -> TestApp {
    // Each act looks at both sides and writes both; two at once must not leave half of each.
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    for _ in 0..4 {
        let acts = (0..12).map(|n| {
            let (who, whom) = if n % 2 == 0 {
                (&ann, &bob)
            } else {
                (&bob, &ann)
            };
            let app = &app;
            async move {
                match n % 3 {
                    0 => app.put(&friend(whom), who).await.status,
                    1 => app.delete(&friend(whom), who).await.status,
                    _ => {
                        app.put(&format!("/v1/blocks/{}", whom.id), who)
                            .await
                            .status
                    }
                }
            }
        });
        for status in join_all(acts).await {
            assert!(matches!(status.as_u16(), 200 | 204 | 409), "{status}");
        }
        for (who, whom) in [(&ann, &bob), (&bob, &ann)] {
            app.delete(&format!("/v1/blocks/{}", whom.id), who)
                .await
                .expect(204);
        }
        let seen = both_see(&app, &ann, &bob).await;
        let agreed = [
            words("", ""),
            words("friend", "friend"),
            words("outgoing", "incoming"),
            words("incoming", "outgoing"),
        ];
        assert!(agreed.contains(&seen), "{seen:?}");
    }
    app
}
