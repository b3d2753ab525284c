//! Who sees what of whom, on every path there is.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{TestApp, User},
    both,
    orders::{give, rule},
};

both!(
    what_is_said_is_kept,
    a_profile_is_veiled_wherever_it_is_shown,
    friends_hear_of_a_profile_what_they_may,
    whose_friend_somebody_is_may_be_kept_from_all,
    libraries_wishlists_and_times_are_shown_to_whom_they_are_for,
    a_gift_does_not_tell_what_somebody_owns,
    friends_hear_of_purchases_they_wish_for,
    of_a_library_that_is_not_shown_nobody_hears,
    every_friend_hears_once_of_purchases_made_together,
);

async fn show(app: &TestApp, user: &User, changes: Value) -> Value {
    app.with_body(Method::PATCH, "/v1/me/privacy", user, changes)
        .await
        .expect(200)
}

async fn status(app: &TestApp, viewer: &User, owner: &User, what: &str) -> u16 {
    let path = format!("/v1/users/{}/{what}", owner.id);
    app.get(&path, viewer).await.status.as_u16()
}

async fn what_is_said_is_kept(mut app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let mut expected = json!({"profile": "public", "friends": "friends", "library": "friends", "wishlist": "friends",
        "play_time": "public", "guest_book": "public", "guest_book_entries": "friends"});
    let get = || app.get("/v1/me/privacy", &ann);
    assert_eq!(get().await.expect(200), expected);
    expected["library"] = "nobody".into();
    expected["play_time"] = "friends".into();
    let change = json!({"library": "nobody", "play_time": "friends"});
    for _ in 0..2 {
        assert_eq!(show(&app, &ann, change.clone()).await, expected);
    }
    assert_eq!(show(&app, &ann, json!({})).await, expected);
    let bad = json!({"library": "everybody", "friends": "", "wishlist": "public"});
    let bad = app.with_body(Method::PATCH, "/v1/me/privacy", &ann, bad);
    let bad = bad.await.expect(400);
    let fields: Vec<&Value> = bad["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["field"])
        .collect();
    assert_eq!(fields, [&json!("friends"), &json!("library")]);
    app.restart().await;
    assert_eq!(
        app.get("/v1/me/privacy", &ann).await.expect(200),
        expected,
        "nothing of a change that breaks a rule holds"
    );
    app
}

/// Every object in an answer that is about somebody.
fn about<'a>(value: &'a Value, id: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| about(item, id, found)),
        Value::Object(fields) => {
            if fields.get("id").is_some_and(|of| of == id) {
                found.push(value);
            }
            fields.values().for_each(|field| about(field, id, found));
        }
        _ => {}
    }
}

async fn a_profile_is_veiled_wherever_it_is_shown(app: TestApp) -> TestApp {
    let (ann, bob, cat, dan) = (
        app.user("Ann").await,
        app.user("Bob").await,
        app.user("Cat").await,
        app.user("Dan").await,
    );
    for friend in [&ann, &bob, &cat] {
        app.befriend(&dan, friend).await;
    }
    app.befriend(&ann, &bob).await;
    // To Cat she is somebody who asks.
    app.put(&format!("/v1/friends/{}", cat.id), &ann)
        .await
        .expect(200);
    let looks = json!({"avatar_url": "https://example.org/a.png", "status_text": "here"});
    app.with_body(Method::PATCH, "/v1/me", &ann, looks)
        .await
        .expect(200);
    let book = format!("/v1/users/{}/guest-book", dan.id);
    app.named(&book, &ann.access, "anns-entry", &json!({"text": "Hi"}))
        .await
        .expect(201);
    let everywhere = [
        format!("/v1/users/{}", ann.id),
        format!("/v1/users?q={}", ann.name),
        "/v1/friends".to_owned(),
        format!("/v1/users/{}/friends", dan.id),
        book,
        format!("/v1/friends/{}/mutual", dan.id),
    ];
    for (audience, shown) in [
        ("public", [true, true]),
        ("friends", [true, false]),
        ("nobody", [false, false]),
    ] {
        show(&app, &ann, json!({"profile": audience})).await;
        for (viewer, shown) in [&bob, &cat].into_iter().zip(shown) {
            // Cat and Dan have no friend in common.
            let paths = if viewer.id == cat.id { 5 } else { 6 };
            for path in &everywhere[..paths] {
                let body = app.get(path, viewer).await.expect(200);
                let mut found = Vec::new();
                about(&body, &ann.id, &mut found);
                assert!(!found.is_empty(), "{path}: {body}");
                for person in found {
                    assert_eq!(person["name"], ann.name.as_str(), "{path}");
                    for field in ["avatar_url", "status_text"] {
                        let there = person.get(field).is_some();
                        assert_eq!(there, shown, "{audience} {path} by {}", viewer.name);
                    }
                }
            }
        }
        // She sees herself.
        for path in ["/v1/me", &everywhere[0], &everywhere[1]] {
            let body = app.get(path, &ann).await.expect(200);
            let mut found = Vec::new();
            about(&body, &ann.id, &mut found);
            assert_eq!(found[0]["status_text"], "here", "{path}");
        }
    }
    app
}

async fn friends_hear_of_a_profile_what_they_may(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let node = app.nodes[0].clone();
    let is_change = |event: &Value| event["kind"] == "profile_changed";
    let change = async |body: Value| {
        app.with_body(Method::PATCH, "/v1/me", &ann, body)
            .await
            .expect(200);
    };
    change(json!({"status_text": "one"})).await;
    show(&app, &ann, json!({"profile": "nobody"})).await;
    change(json!({"status_text": "two"})).await;
    // What changes nothing for friends is no news.
    show(&app, &ann, json!({"library": "nobody"})).await;
    show(&app, &ann, json!({"profile": "friends"})).await;
    show(&app, &ann, json!({"profile": "public"})).await;
    change(json!({"status_text": "three"})).await;
    let events = node.wait_for_all(5, is_change).await;
    let said: Vec<&Value> = events.iter().map(|event| &event["status_text"]).collect();
    assert_eq!(
        said,
        [
            &json!("one"),
            &Value::Null,
            &Value::Null,
            &json!("two"),
            &json!("three")
        ]
    );
    assert!(
        events
            .iter()
            .all(|event| event["name"] == ann.name.as_str())
    );
    app
}

async fn whose_friend_somebody_is_may_be_kept_from_all(app: TestApp) -> TestApp {
    let (ann, bob, cat, dan) = (
        app.user("Ann").await,
        app.user("Bob").await,
        app.user("Cat").await,
        app.user("Dan").await,
    );
    // Ann and Bob have Dan in common; Cat is a stranger to Ann, and a friend of Dan's.
    for (one, other) in [(&ann, &bob), (&ann, &dan), (&bob, &dan), (&cat, &dan)] {
        app.befriend(one, other).await;
    }
    for (audience, expected) in [
        ("public", [200, 200]),
        ("friends", [200, 403]),
        ("nobody", [403, 403]),
    ] {
        show(&app, &ann, json!({"friends": audience})).await;
        for (viewer, expected) in [&bob, &cat].into_iter().zip(expected) {
            assert_eq!(
                status(&app, viewer, &ann, "friends").await,
                expected,
                "{audience} {}",
                viewer.name
            );
        }
        assert_eq!(status(&app, &ann, &ann, "friends").await, 200);
    }
    let ids = async |viewer: &User, path: String| -> Vec<String> {
        let body = app.get(&path, viewer).await.expect(200);
        let items = body["items"].as_array().unwrap();
        let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
        items.iter().map(id).collect()
    };
    let friends = |of: &User| format!("/v1/users/{}/friends", of.id);
    let mutual = |with: &User| format!("/v1/friends/{}/mutual", with.id);
    // She keeps it from all: neither does Dan's list show her, nor what he has in common with Bob,
    // nor what she has with anybody; she herself finds what she knows.
    assert_eq!(ids(&bob, friends(&dan)).await, [bob.id.as_str(), &cat.id]);
    assert_eq!(ids(&cat, friends(&dan)).await, [bob.id.as_str(), &cat.id]);
    assert_eq!(ids(&bob, mutual(&dan)).await, [""; 0]);
    assert_eq!(ids(&bob, mutual(&ann)).await, [""; 0]);
    assert_eq!(ids(&ann, friends(&dan)).await.len(), 3);
    assert_eq!(ids(&ann, friends(&ann)).await.len(), 2);
    show(&app, &ann, json!({"friends": "friends"})).await;
    assert_eq!(ids(&bob, friends(&dan)).await.len(), 3);
    assert_eq!(ids(&bob, mutual(&dan)).await, [ann.id.as_str()]);
    // A stranger learns of Dan from Dan, whose friend she is, too.
    assert_eq!(ids(&cat, mutual(&ann)).await, [dan.id.as_str()]);
    show(&app, &dan, json!({"friends": "nobody"})).await;
    assert_eq!(ids(&cat, mutual(&ann)).await, [""; 0]);
    assert_eq!(ids(&bob, friends(&ann)).await, [bob.id.as_str()]);
    assert_eq!(status(&app, &cat, &dan, "friends").await, 403);
    // Who is no friend any more is a stranger.
    app.delete(&format!("/v1/friends/{}", bob.id), &ann)
        .await
        .expect(204);
    assert_eq!(status(&app, &bob, &ann, "friends").await, 403);
    let mut nobody = ann.clone();
    nobody.id = "01J00000000000000000000000".into();
    for what in ["friends", "library", "wishlist", "guest-book"] {
        assert_eq!(status(&app, &bob, &nobody, what).await, 404);
    }
    app
}

async fn libraries_wishlists_and_times_are_shown_to_whom_they_are_for(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app
        .game(&publisher, "star", |game| game["prices"] = json!({"US": 0}))
        .await;
    let moon = app.game(&publisher, "moon", |_| ()).await;
    let (ann, bob, cat) = (
        app.user("Ann").await,
        app.user("Bob").await,
        app.user("Cat").await,
    );
    app.befriend(&ann, &bob).await;
    app.buy(&ann, "ann-buys-it", &[&star]).await.expect(201);
    let path = format!("/v1/library/{star}/sessions/one");
    app.with_body(Method::PUT, &path, &ann, json!({"seconds": 90}))
        .await
        .expect(200);
    app.put(&format!("/v1/lists/wishlist/{moon}"), &ann)
        .await
        .expect(204);
    let review = format!("/v1/games/{star}/review");
    app.with_body(Method::PUT, &review, &ann, json!({"stars": 5}))
        .await
        .expect(204);
    let reviews = format!("/v1/games/{star}/reviews");
    for (audience, expected) in [
        ("public", [true, true]),
        ("friends", [true, false]),
        ("nobody", [false, false]),
    ] {
        show(&app, &ann, json!({"play_time": audience})).await;
        show(&app, &ann, json!({"library": "public"})).await;
        for (viewer, shown) in [&bob, &cat].into_iter().zip(expected) {
            let library = format!("/v1/users/{}/library", ann.id);
            let body = app.get(&library, viewer).await.expect(200);
            let game = &body["items"][0];
            assert_eq!(game["id"], star.as_str());
            assert!(game.get("order").is_none() && game.get("installed").is_none());
            for field in ["played_seconds", "played_at"] {
                assert_eq!(game.get(field).is_some(), shown, "{audience}: {game}");
            }
            let body = app.get(&reviews, viewer).await.expect(200);
            let time = body["items"][0].get("played_seconds");
            assert_eq!(time, shown.then_some(&json!(90)), "{audience}");
        }
        let visitor = app.send(app.request(Method::GET, &reviews, None)).await;
        let visitor = visitor.expect(200);
        let time = visitor["items"][0].get("played_seconds").is_some();
        assert_eq!(time, audience == "public");
        let own = app.get(&reviews, &ann).await.expect(200);
        assert_eq!(own["items"][0]["played_seconds"], 90);

        show(
            &app,
            &ann,
            json!({"library": audience, "wishlist": audience}),
        )
        .await;
        for what in ["library", "wishlist"] {
            for (viewer, shown) in [&bob, &cat].into_iter().zip(expected) {
                let expected = if shown { 200 } else { 403 };
                assert_eq!(status(&app, viewer, &ann, what).await, expected, "{what}");
            }
            assert_eq!(status(&app, &ann, &ann, what).await, 200);
        }
    }
    // As the viewer would buy it.
    show(&app, &ann, json!({"wishlist": "friends"})).await;
    let country = json!({"country": "KR"});
    app.with_body(Method::PUT, "/v1/wallet/country", &bob, country)
        .await
        .expect(200);
    let wishlist = format!("/v1/users/{}/wishlist", ann.id);
    let body = app.get(&wishlist, &bob).await.expect(200);
    assert_eq!(body["items"][0]["game"]["id"], moon.as_str());
    assert_eq!(body["items"][0]["game"]["price"]["minor"], 12_000);
    app
}

async fn a_gift_does_not_tell_what_somebody_owns(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let (ann, bob) = (
        app.rich_user("Ann", 10).await,
        app.rich_user("Bob", 10).await,
    );
    app.befriend(&ann, &bob).await;
    app.buy(&ann, "ann-buys-it", &[&star]).await.expect(201);
    let told = give(&app, &bob, "the-first-gift", &ann, &[&star]).await;
    assert_eq!(rule(&told.expect(409)), "already_owned");
    show(&app, &ann, json!({"library": "nobody"})).await;
    let gift = give(&app, &bob, "the-second-gift", &ann, &[&star]).await;
    let gift = gift.expect(201);
    assert_eq!(app.balance(&bob).await, 0);
    let path = format!("/v1/gifts/{}", gift["id"].as_str().unwrap());
    let accept = app.put(&format!("{path}/accept"), &ann).await;
    assert_eq!(rule(&accept.expect(409)), "already_owned");
    app.put(&format!("{path}/decline"), &ann).await.expect(200);
    assert_eq!(app.balance(&bob).await, 1000);
    app.check_ledger().await;
    app
}

/// What somebody was told of a topic: the data of each.
async fn told(app: &TestApp, user: &User, topic: &str) -> Vec<Value> {
    let body = app.get("/v1/notices", user).await.expect(200);
    let items = body["items"].as_array().unwrap().iter();
    items
        .filter(|item| item["topic"] == topic)
        .map(|item| item["data"].clone())
        .collect()
}

async fn wish(app: &TestApp, user: &User, games: &[&str]) {
    for game in games {
        app.put(&format!("/v1/lists/wishlist/{game}"), user)
            .await
            .expect(204);
    }
}

async fn free_games(app: &TestApp) -> [String; 3] {
    let publisher = app.publisher("Oak").await;
    let free = |game: &mut Value| game["prices"] = json!({"US": 0});
    [
        app.game(&publisher, "star", free).await,
        app.game(&publisher, "moon", free).await,
        app.game(&publisher, "sun", free).await,
    ]
}

async fn friends_hear_of_purchases_they_wish_for(app: TestApp) -> TestApp {
    let [star, moon, sun] = free_games(&app).await;
    let (ann, bob, cat, dan) = (
        app.user("Ann").await,
        app.user("Bob").await,
        app.user("Cat").await,
        app.user("Dan").await,
    );
    app.befriend(&ann, &bob).await;
    app.befriend(&ann, &dan).await;
    wish(&app, &bob, &[&star, &moon]).await;
    wish(&app, &cat, &[&star]).await;
    let body = json!({"games": [star, moon, sun]});
    for _ in 0..2 {
        app.named("/v1/orders", &ann.access, "anns-order", &body)
            .await
            .expect(201);
    }
    let is_news = |event: &Value| event["topic"] == "friend_bought";
    let (event, _) = app.nodes[0].wait_for(is_news).await;
    assert_eq!(event["user"], bob.id.as_str());
    let heard = told(&app, &bob, "friend_bought").await;
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0]["friend"], json!({"id": ann.id, "name": ann.name}));
    let mut games: Vec<&str> = heard[0]["games"]
        .as_array()
        .unwrap()
        .iter()
        .map(|game| game["id"].as_str().unwrap())
        .collect();
    games.sort_unstable();
    let mut expected = [star.as_str(), moon.as_str()];
    expected.sort_unstable();
    assert_eq!(games, expected);
    // A stranger does not hear of it, nor a friend who does not wish for it, nor the buyer.
    for other in [&ann, &cat, &dan] {
        assert!(told(&app, other, "friend_bought").await.is_empty());
    }
    app
}

async fn of_a_library_that_is_not_shown_nobody_hears(app: TestApp) -> TestApp {
    let [star, moon, sun] = free_games(&app).await;
    let (ann, bob, cat) = (
        app.user("Ann").await,
        app.user("Bob").await,
        app.user("Cat").await,
    );
    app.befriend(&ann, &bob).await;
    app.befriend(&cat, &bob).await;
    wish(&app, &bob, &[&star, &moon, &sun]).await;
    show(&app, &ann, json!({"library": "nobody"})).await;
    app.buy(&ann, "ann-buys-it", &[&star, &moon])
        .await
        .expect(201);
    // What was announced later is told later.
    show(&app, &cat, json!({"library": "public"})).await;
    app.buy(&cat, "cat-buys-it", &[&star, &sun])
        .await
        .expect(201);
    let is_news = |event: &Value| event["topic"] == "friend_bought";
    app.nodes[0].wait_for(is_news).await;
    let heard = told(&app, &bob, "friend_bought").await;
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0]["friend"]["id"], cat.id.as_str());
    app
}

/// More friends than a page reaches, of more people than one, told together and after a stop in the midst of it.
async fn every_friend_hears_once_of_purchases_made_together(mut app: TestApp) -> TestApp {
    let [star, moon, sun] = free_games(&app).await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.wishers(&star, 450).await;
    // Bob's friends are some of Ann's; every other of those wishes for the moon too.
    let befriend = |user: &User, from: usize| {
        let columns = "INSERT INTO relations (owner, other, state, since) SELECT";
        let wishers =
            format!("FROM marks WHERE list = 'wishlist' AND game = '{star}' AND since >= 0");
        let some = format!("{wishers} AND CAST(SUBSTR(user_id, 8) AS INTEGER) > {from}");
        [
            format!("{columns} '{}', user_id, 'friend', 0 {some}", user.id),
            format!("{columns} user_id, '{}', 'friend', 0 {some}", user.id),
        ]
    };
    let moon_too = format!(
        "INSERT INTO marks (user_id, list, game, since) SELECT user_id, list, '{moon}', since FROM marks \
         WHERE list = 'wishlist' AND game = '{star}' AND CAST(SUBSTR(user_id, 8) AS INTEGER) % 2 = 0"
    );
    let statements = [befriend(&ann, 0), befriend(&bob, 150)].concat();
    let statements: Vec<&str> = statements
        .iter()
        .chain([&moon_too])
        .map(String::as_str)
        .collect();
    app.write(&statements).await;
    let (anns, bobs) = (["star", "moon"], ["star", "sun"]);
    app.buy(&ann, "ann-buys-it", &[&star, &moon])
        .await
        .expect(201);
    app.buy(&bob, "bob-buys-it", &[&star, &sun])
        .await
        .expect(201);
    app.restart().await;
    let is_news = |event: &Value| event["topic"] == "friend_bought";
    let node = app.nodes[0].clone();
    let events = node.wait_for_all(450 + 300, is_news).await;
    let mut heard = std::collections::BTreeSet::new();
    for event in &events {
        let (reader, data) = (event["user"].as_str().unwrap(), &event["data"]);
        let friend = data["friend"]["name"].as_str().unwrap();
        assert!(
            heard.insert((reader, friend)),
            "{reader} was told twice of {friend}"
        );
        let number: usize = reader.trim_start_matches("wisher-").parse().unwrap();
        let bought: &[&str] = if friend == ann.name { &anns } else { &bobs };
        let wished = if number.is_multiple_of(2) {
            ["star", "moon"].as_slice()
        } else {
            &["star"]
        };
        let expected = bought.iter().filter(|game| wished.contains(game)).count();
        assert_eq!(data["games"].as_array().unwrap().len(), expected, "{event}");
    }
    app
}
