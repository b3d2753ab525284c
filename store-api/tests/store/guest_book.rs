//! Guest books: who writes, who reads, who deletes.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Answer, PASSWORD, TestApp, User},
    both,
    orders::rule,
};

both!(
    friends_write_and_everybody_reads,
    the_owner_says_who_writes_and_who_reads,
    the_owner_hides_and_deletes_and_authors_delete_their_own,
    who_is_blocked_cannot_tell,
    a_book_has_pages_and_bounds,
    who_leaves_takes_their_words_along,
);

async fn write(app: &TestApp, author: &User, owner: &User, key: &str, text: &str) -> Answer {
    let path = format!("/v1/users/{}/guest-book", owner.id);
    let body = json!({"text": text});
    app.named(&path, &author.access, key, &body).await
}

async fn read(app: &TestApp, viewer: &User, owner: &User) -> Vec<Value> {
    let path = format!("/v1/users/{}/guest-book", owner.id);
    let body = app.get(&path, viewer).await.expect(200);
    body["items"].as_array().unwrap().clone()
}

async fn texts(app: &TestApp, viewer: &User, owner: &User) -> Vec<String> {
    let items = read(app, viewer, owner).await;
    let text = |item: &Value| item["text"].as_str().unwrap().to_owned();
    items.iter().map(text).collect()
}

async fn show(app: &TestApp, user: &User, changes: Value) {
    app.with_body(Method::PATCH, "/v1/me/privacy", user, changes)
        .await
        .expect(200);
}

/// Ann, her friend Bob, and Cat, a stranger.
async fn people(app: &TestApp) -> (User, User, User) {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.befriend(&ann, &bob).await;
    (ann, bob, app.user("Cat").await)
}

async fn friends_write_and_everybody_reads(app: TestApp) -> TestApp {
    let (ann, bob, cat) = people(&app).await;
    let entry = write(&app, &bob, &ann, "bobs-first-entry", " Hello\nthere! ").await;
    assert_eq!(entry.headers["idempotency-replayed"], "false");
    let entry = entry.expect(201);
    assert_eq!(entry["text"], "Hello\nthere!");
    assert_eq!(entry["author"]["name"], bob.name.as_str());
    // The answer was lost, and is asked for again.
    let again = write(&app, &bob, &ann, "bobs-first-entry", " Hello\nthere! ").await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), entry);
    let other = write(&app, &bob, &ann, "bobs-first-entry", "Something else").await;
    assert_eq!(rule(&other.expect(409)), "reused");
    for viewer in [&ann, &bob, &cat] {
        assert_eq!(
            read(&app, viewer, &ann).await,
            std::slice::from_ref(&entry),
            "{}",
            viewer.name
        );
    }
    let strange = write(&app, &cat, &ann, "cats-first-entry", "Hi").await;
    assert_eq!(strange.problem(403), "forbidden");
    write(&app, &ann, &ann, "anns-own-entry", "Welcome")
        .await
        .expect(201);
    // She hears of what others write.
    let told = app.get("/v1/notices", &ann).await.expect(200);
    assert_eq!(told["items"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["items"][0]["topic"], "guest_book_entry");
    assert_eq!(told["items"][0]["data"]["entry"], entry["id"]);
    assert_eq!(told["items"][0]["data"]["from"]["id"], bob.id.as_str());
    // What was deleted is nowhere, and a request that was answered is answered the same.
    assert!(!told.to_string().contains("Hello"), "{told}");
    let id = entry["id"].as_str().unwrap();
    let at = format!("/v1/users/{}/guest-book/{id}", ann.id);
    app.delete(&at, &bob).await.expect(204);
    let replayed = write(&app, &bob, &ann, "bobs-first-entry", " Hello\nthere! ").await;
    assert_eq!(replayed.headers["idempotency-replayed"], "true");
    assert_eq!(replayed.expect(201), entry);
    assert_eq!(texts(&app, &bob, &ann).await, ["Welcome"]);
    for table in ["notices", "outbox", "idempotency_keys"] {
        let column = if table == "outbox" { "event" } else { "data" };
        let column = if table == "idempotency_keys" {
            "answer"
        } else {
            column
        };
        let kept = format!("SELECT COUNT(*) FROM {table} WHERE {column} LIKE '%Hello%'");
        assert_eq!(app.numbers(&kept).await, [0], "{table}");
    }

    for text in ["", " \n ", "\u{200b}", "a\u{0}b", &"x".repeat(501)] {
        let answer = write(&app, &bob, &ann, "bobs-bad-entry", text).await;
        assert_eq!(answer.problem(400), "invalid", "{text:?}");
    }
    let path = format!("/v1/users/{}/guest-book", ann.id);
    let unnamed = app.with_body(Method::POST, &path, &bob, json!({"text": "x"}));
    assert_eq!(unnamed.await.problem(400), "invalid");
    let mut nobody = ann.clone();
    nobody.id = "01J00000000000000000000000".into();
    let answer = write(&app, &bob, &nobody, "for-nobody-at-all", "x").await;
    assert_eq!(answer.problem(404), "not_found");
    app
}

async fn the_owner_says_who_writes_and_who_reads(app: TestApp) -> TestApp {
    let (ann, bob, cat) = people(&app).await;
    // Who may write, and who of Bob and Cat then does.
    for (round, (audience, expected)) in [
        ("public", [201, 201]),
        ("friends", [201, 403]),
        ("nobody", [403, 403]),
    ]
    .into_iter()
    .enumerate()
    {
        show(&app, &ann, json!({"guest_book_entries": audience})).await;
        for (author, expected) in [&bob, &cat].into_iter().zip(expected) {
            let key = format!("entry-of-round-{round}");
            let answer = write(&app, author, &ann, &key, "Hi").await;
            assert_eq!(answer.status, expected, "{audience}: {}", author.name);
        }
    }
    write(&app, &ann, &ann, "anns-own-entry", "Mine")
        .await
        .expect(201);
    let path = format!("/v1/users/{}/guest-book", ann.id);
    for (audience, expected) in [
        ("public", [200, 200]),
        ("friends", [200, 403]),
        ("nobody", [403, 403]),
    ] {
        show(&app, &ann, json!({"guest_book": audience})).await;
        for (viewer, expected) in [&bob, &cat].into_iter().zip(expected) {
            let answer = app.get(&path, viewer).await;
            assert_eq!(answer.status, expected, "{audience}: {}", viewer.name);
        }
        assert_eq!(read(&app, &ann, &ann).await.len(), 4);
    }
    app
}

async fn the_owner_hides_and_deletes_and_authors_delete_their_own(app: TestApp) -> TestApp {
    let (ann, bob, cat) = people(&app).await;
    show(&app, &ann, json!({"guest_book_entries": "public"})).await;
    let mut ids = Vec::new();
    for (author, text) in [(&bob, "one"), (&cat, "two"), (&bob, "three")] {
        let key = format!("the-entry-{text}");
        let entry = write(&app, author, &ann, &key, text).await.expect(201);
        ids.push(entry["id"].as_str().unwrap().to_owned());
    }
    let at = |id: &str| format!("/v1/users/{}/guest-book/{id}", ann.id);
    let hidden = format!("{}/hidden", at(&ids[0]));
    for other in [&bob, &cat] {
        assert_eq!(app.put(&hidden, other).await.problem(403), "forbidden");
        assert_eq!(app.delete(&hidden, other).await.problem(403), "forbidden");
    }
    for _ in 0..2 {
        app.put(&hidden, &ann).await.expect(204);
    }
    assert_eq!(texts(&app, &cat, &ann).await, ["three", "two"]);
    // Its author sees nothing of that; its owner does.
    let mine = read(&app, &bob, &ann).await;
    assert_eq!(mine.len(), 3);
    assert!(mine.iter().all(|entry| entry.get("hidden").is_none()));
    let hers = read(&app, &ann, &ann).await;
    assert_eq!(hers[2]["hidden"], true);
    app.delete(&hidden, &ann).await.expect(204);
    assert_eq!(texts(&app, &cat, &ann).await, ["three", "two", "one"]);
    let nothing = format!("{}/hidden", at("01J00000000000000000000000"));
    assert_eq!(app.put(&nothing, &ann).await.problem(404), "not_found");

    assert_eq!(
        app.delete(&at(&ids[0]), &cat).await.problem(403),
        "forbidden"
    );
    // Of another book than it stands in.
    let elsewhere = format!("/v1/users/{}/guest-book/{}", bob.id, ids[1]);
    app.delete(&elsewhere, &bob).await.expect(204);
    assert_eq!(texts(&app, &cat, &ann).await.len(), 3);
    for _ in 0..2 {
        app.delete(&at(&ids[0]), &bob).await.expect(204);
        app.delete(&at(&ids[1]), &ann).await.expect(204);
    }
    assert_eq!(texts(&app, &cat, &ann).await, ["three"]);
    app
}

async fn who_is_blocked_cannot_tell(app: TestApp) -> TestApp {
    let (ann, bob, cat) = people(&app).await;
    show(&app, &ann, json!({"guest_book_entries": "public"})).await;
    write(&app, &cat, &ann, "before-the-block", "before")
        .await
        .expect(201);
    app.put(&format!("/v1/blocks/{}", cat.id), &ann)
        .await
        .expect(204);
    write(&app, &cat, &ann, "after-the-block", "after")
        .await
        .expect(201);
    assert_eq!(texts(&app, &cat, &ann).await, ["after", "before"]);
    for other in [&ann, &bob] {
        assert_eq!(texts(&app, other, &ann).await, [""; 0]);
    }
    let told = app.get("/v1/notices", &ann).await.expect(200);
    assert_eq!(told["items"].as_array().unwrap().len(), 1);
    // Whom a reader blocks, the reader does not read, and others do.
    let dan = app.user("Dan").await;
    write(&app, &dan, &ann, "from-dan-himself", "dan")
        .await
        .expect(201);
    app.put(&format!("/v1/blocks/{}", dan.id), &bob)
        .await
        .expect(204);
    assert_eq!(texts(&app, &bob, &ann).await, [""; 0]);
    assert_eq!(texts(&app, &ann, &ann).await, ["dan"]);
    app
}

async fn a_book_has_pages_and_bounds(app: TestApp) -> TestApp {
    let (ann, bob, _) = people(&app).await;
    for n in 0..9 {
        let key = format!("entry-number-{n}");
        write(&app, &bob, &ann, &key, &format!("entry {n}"))
            .await
            .expect(201);
    }
    // At once, so that of those beyond the bound none slips by.
    let writes = (9..13).map(|n| {
        let (app, bob, ann) = (&app, &bob, &ann);
        async move {
            let key = format!("entry-number-{n}");
            write(app, bob, ann, &key, &format!("entry {n}")).await
        }
    });
    let mut refused = 0;
    for answer in join_all(writes).await {
        if answer.status != 201 {
            assert_eq!(rule(&answer.expect(409)), "too_many");
            refused += 1;
        }
    }
    assert_eq!(refused, 3);
    // Who deletes what they wrote has written all the same.
    let all = read(&app, &bob, &ann).await;
    let gone = all[0]["id"].as_str().unwrap();
    for (user, status) in [(&bob, 204), (&ann, 204)] {
        let path = format!("/v1/users/{}/guest-book/{gone}", ann.id);
        app.delete(&path, user).await.expect(status);
    }
    assert_eq!(read(&app, &bob, &ann).await, all[1..]);
    let answer = write(&app, &bob, &ann, "one-is-gone-now", "again").await;
    assert_eq!(rule(&answer.expect(409)), "too_many");
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/users/{}/guest-book?limit=4{cursor}", ann.id);
        let page = app.get(&path, &bob).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 9);
    assert!(seen.is_sorted_by(|a, b| a["id"].as_str() > b["id"].as_str()));
    app.advance(Duration::from_hours(25));
    let body = app.login(&bob.email, PASSWORD).await.expect(200);
    let bob = User::of(&body, bob.email);
    write(&app, &bob, &ann, "the-next-morning", "again")
        .await
        .expect(201);
    app
}

async fn who_leaves_takes_their_words_along(app: TestApp) -> TestApp {
    let (ann, bob, cat) = people(&app).await;
    write(&app, &bob, &ann, "bobs-first-entry", "Hello")
        .await
        .expect(201);
    show(&app, &bob, json!({"guest_book_entries": "public"})).await;
    write(&app, &cat, &bob, "cats-first-entry", "Hello")
        .await
        .expect(201);
    let password = json!({"password": PASSWORD});
    app.with_body(Method::DELETE, "/v1/me", &bob, password)
        .await
        .expect(204);
    assert_eq!(texts(&app, &ann, &ann).await, [""; 0]);
    let path = format!("/v1/users/{}/guest-book", bob.id);
    assert_eq!(app.get(&path, &cat).await.problem(404), "not_found");
    let answer = write(&app, &cat, &bob, "cats-other-entry", "Hello").await;
    assert_eq!(answer.problem(404), "not_found");
    app
}
