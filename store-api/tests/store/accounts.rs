//! Registering, availability, the own account, withdrawing.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{PASSWORD, TestApp, User},
    both,
};

both!(
    registering_answers_tokens_that_hold,
    registering_names_every_rule_that_is_broken,
    an_address_and_a_name_are_taken_once,
    of_many_who_register_one_address_at_once_one_wins,
    availability_says_what_is_free,
    what_is_no_json_is_a_problem,
    withdrawing_frees_the_name_and_ends_everything,
    a_profile_is_changed_by_its_owner,
);

fn rules(body: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = body["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|error| (text(&error["field"]), text(&error["rule"])))
        .collect()
}

async fn registering_answers_tokens_that_hold(app: TestApp) -> TestApp {
    let answer = app.register("Ann@Example.org", " Ann ").await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let body = answer.expect(201);
    assert_eq!(body["user"]["name"], "Ann");
    assert_eq!(body["expires_in"], 900);
    let ann = User::of(&body, "ann@example.org".into());
    let me = app.get("/v1/me", &ann).await.expect(200);
    assert_eq!(me["id"], ann.id.as_str());
    assert_eq!(me["email"], "ann@example.org");
    let again = app.login("ANN@example.org", PASSWORD).await.expect(200);
    assert_eq!(again["user"], body["user"]);
    app
}

async fn registering_names_every_rule_that_is_broken(app: TestApp) -> TestApp {
    let account = json!({"email": "nobody", "name": "x", "password": "short"});
    let body = app.post("/v1/auth/register", account).await.expect(400);
    assert_eq!(body["code"], "invalid");
    let expected = [
        ("email", "malformed"),
        ("name", "too_short"),
        ("password", "too_short"),
    ];
    let expected = expected.map(|(field, rule)| (field.to_owned(), rule.to_owned()));
    assert_eq!(rules(&body), expected);
    app
}

async fn an_address_and_a_name_are_taken_once(app: TestApp) -> TestApp {
    app.register("ann@example.org", "Ann").await.expect(201);
    let body = app.register("ANN@EXAMPLE.ORG", "Other").await.expect(409);
    assert_eq!(body["code"], "conflict");
    assert_eq!(rules(&body), [("email".to_owned(), "taken".to_owned())]);
    let body = app.register("other@example.org", "aNN").await.expect(409);
    assert_eq!(rules(&body), [("name".to_owned(), "taken".to_owned())]);
    let body = app.register("ann@example.org", "ＡＮＮ").await.expect(409);
    assert_eq!(rules(&body).len(), 2);
    app
}

async fn of_many_who_register_one_address_at_once_one_wins(app: TestApp) -> TestApp {
    // The race between looking whether an address is free and taking it.
    let tries = (0..12).map(|n| {
        let (app, name) = (&app, format!("Racer {n}"));
        async move {
            app.register("race@example.org", &name)
                .await
                .status
                .as_u16()
        }
    });
    let mut statuses = join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(
        statuses[1..].iter().all(|status| *status == 409),
        "{statuses:?}"
    );
    app
}

async fn availability_says_what_is_free(app: TestApp) -> TestApp {
    app.register("ann@example.org", "Ann").await.expect(201);
    let ask = async |query: &str| {
        let request = app.request(Method::GET, &format!("/v1/auth/available?{query}"), None);
        app.send(request).await
    };
    for (query, free) in [
        ("email=ann@example.org", false),
        ("email=bob@example.org", true),
        ("name=ANN", false),
        ("name=Bob", true),
    ] {
        assert_eq!(ask(query).await.expect(200)["available"], free, "{query}");
    }
    assert_eq!(rules(&ask("name=b").await.expect(400))[0].1, "too_short");
    assert_eq!(ask("").await.problem(400), "invalid");
    assert_eq!(
        ask("name=Bob&email=b@example.org").await.problem(400),
        "invalid"
    );
    app
}

async fn what_is_no_json_is_a_problem(app: TestApp) -> TestApp {
    let send = async |body: String| {
        let request = app.request(Method::POST, "/v1/auth/login", None);
        app.send(
            request
                .header("content-type", "application/json")
                .body(body),
        )
        .await
    };
    assert_eq!(send("{".into()).await.problem(400), "invalid");
    assert_eq!(send("[".repeat(5000)).await.problem(400), "invalid");
    assert_eq!(
        send("{\"email\":1,\"password\":2}".into())
            .await
            .problem(400),
        "invalid"
    );
    assert_eq!(
        send(format!("\"{}\"", "x".repeat(20_000)))
            .await
            .problem(413),
        "too_large"
    );
    let zero = json!({"email": "a\u{0}b@example.org", "password": "a\u{0}b"});
    assert_eq!(
        app.post("/v1/auth/login", zero).await.problem(401),
        "unauthenticated"
    );
    app
}

async fn withdrawing_frees_the_name_and_ends_everything(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.befriend(&ann, &bob).await;
    let withdraw = async |password: &str| {
        app.with_body(
            Method::DELETE,
            "/v1/me",
            &ann,
            json!({"password": password}),
        )
        .await
    };
    assert_eq!(withdraw("not my password").await.problem(403), "forbidden");
    assert_eq!(app.me_status(&ann.access).await, 200);
    withdraw(PASSWORD).await.expect(204);

    assert_eq!(app.me_status(&ann.access).await, 401);
    assert_eq!(
        app.refresh(&ann.refresh).await.problem(401),
        "unauthenticated"
    );
    assert_eq!(
        app.login(&ann.email, PASSWORD).await.problem(401),
        "unauthenticated"
    );
    assert_eq!(
        app.get(&format!("/v1/users/{}", ann.id), &bob)
            .await
            .problem(404),
        "not_found"
    );
    assert_eq!(app.sees(&bob, &ann).await, None);
    assert_eq!(
        app.put(&format!("/v1/friends/{}", ann.id), &bob)
            .await
            .problem(404),
        "not_found"
    );
    let node = &app.nodes[0];
    node.wait_for(|event| event["kind"] == "user_withdrawn")
        .await;
    node.wait_for(|event| {
        event["kind"] == "friend_changed" && event["state"] == "none" && event["a"]["id"] == bob.id
    })
    .await;

    let again = app.register(&ann.email, &ann.name).await.expect(201);
    assert_ne!(
        again["user"]["id"],
        ann.id.as_str(),
        "what she wrote stays hers"
    );
    app
}

async fn a_profile_is_changed_by_its_owner(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let change = async |body: Value| app.with_body(Method::PATCH, "/v1/me", &ann, body).await;
    let body = change(json!({
        "name": "Anna", "avatar_url": "https://example.org/a.png", "status_text": " on fire 🔥 "
    }))
    .await
    .expect(200);
    assert_eq!(body["name"], "Anna");
    let seen = app
        .get(&format!("/v1/users/{}", ann.id), &bob)
        .await
        .expect(200);
    assert_eq!(seen["avatar_url"], "https://example.org/a.png");
    assert_eq!(seen["status_text"], "on fire 🔥");
    assert!(seen.get("email").is_none(), "{seen}");
    let (event, _) = app.nodes[0]
        .wait_for(|event| event["kind"] == "profile_changed")
        .await;
    assert_eq!(event["name"], "Anna");

    let body = change(json!({"avatar_url": null})).await.expect(200);
    assert!(body.get("avatar_url").is_none());
    assert_eq!(body["status_text"], "on fire 🔥", "what is left out stays");
    let refused = change(json!({"avatar_url": "javascript:alert(1)", "name": "x"})).await;
    assert_eq!(rules(&refused.expect(400)).len(), 2);
    assert_eq!(
        change(json!({"name": bob.name})).await.problem(409),
        "conflict"
    );
    change(json!({"name": "aNNa"})).await.expect(200);
    app
}
