//! Giving: owned once it is accepted, paid back when it is not.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Answer, TestApp, User},
    both,
    orders::{give, library, rule},
};

both!(
    a_gift_is_owned_once_it_is_accepted,
    what_is_not_wanted_is_paid_back,
    a_gift_is_answered_once,
    a_gift_obeys_the_rules,
    nobody_waits_for_an_answer_for_ever,
    a_full_wallet_holds_up_no_other_gift,
    a_full_wallet_keeps_nobody_from_leaving,
    a_gift_to_somebody_who_leaves_is_paid_back,
);

/// Two friends, the first with 20 dollars; and a game for 10.
async fn friends(app: &TestApp) -> (User, User, String) {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let (ann, bob) = (app.rich_user("Ann", 20).await, app.user("Bob").await);
    app.befriend(&ann, &bob).await;
    (ann, bob, star)
}

async fn answer(app: &TestApp, user: &User, gift: &Value, word: &str) -> Answer {
    let id = gift["id"].as_str().unwrap();
    if word == "take back" {
        return app.delete(&format!("/v1/gifts/{id}"), user).await;
    }
    app.put(&format!("/v1/gifts/{id}/{word}"), user).await
}

async fn topics(app: &TestApp, user: &User) -> Vec<String> {
    let body = app.get("/v1/notices", user).await.expect(200);
    let items = body["items"].as_array().unwrap();
    let topic = |item: &Value| item["topic"].as_str().unwrap().to_owned();
    items.iter().map(topic).collect()
}

async fn a_gift_is_owned_once_it_is_accepted(mut app: TestApp) -> TestApp {
    let (ann, bob, star) = friends(&app).await;
    app.put(&format!("/v1/lists/wishlist/{star}"), &bob)
        .await
        .expect(204);
    let body = json!({"recipient": bob.id, "games": [star], "message": "  for you  ", "expected_total": 1000});
    let named = || app.named("/v1/gifts", &ann.access, "anns-gift", &body);
    let gift = named().await.expect(201);
    assert_eq!(gift["state"], "waiting");
    assert_eq!(gift["message"], "for you");
    assert_eq!(gift["total"]["minor"], 1000);
    assert_eq!(named().await.expect(201), gift);
    assert_eq!(app.balance(&ann).await, 1000);
    assert_eq!(library(&app, &bob).await, [""; 0]);
    // Its recipient sees it, and not what it cost.
    let page = app.get("/v1/gifts", &bob).await.expect(200);
    assert_eq!(page["items"][0]["id"], gift["id"]);
    assert!(page["items"][0].get("total").is_none());
    let sent = app.get("/v1/gifts?side=sent", &ann).await.expect(200);
    assert_eq!(sent["items"], json!([gift]));
    let (told, _) = app.nodes[0]
        .wait_for(|event| event["topic"] == "gift_received")
        .await;
    assert_eq!(told["user"], bob.id.as_str());
    assert_eq!(
        told["data"]["from"],
        json!({"id": ann.id, "name": ann.name})
    );
    app.check_ledger().await;

    for _ in 0..2 {
        let accepted = answer(&app, &bob, &gift, "accept").await.expect(200);
        assert_eq!(accepted["state"], "accepted");
        assert_eq!(library(&app, &bob).await, std::slice::from_ref(&star));
    }
    assert_eq!(library(&app, &ann).await, [""; 0]);
    assert_eq!(
        app.get("/v1/lists/wishlist", &bob).await.expect(200)["items"],
        json!([])
    );
    assert_eq!(topics(&app, &ann).await, ["gift_accepted"]);
    // The order is the giver's, and is theirs no more to give back.
    let path = format!("/v1/orders/{}", gift["id"].as_str().unwrap());
    assert_eq!(
        app.get(&path, &ann).await.expect(200)["gift_for"],
        bob.id.as_str()
    );
    assert_eq!(app.get(&path, &bob).await.problem(404), "not_found");
    let refund = format!("{path}/refund");
    let refund = app
        .named(&refund, &ann.access, "anns-refund", &json!({}))
        .await;
    assert_eq!(rule(&refund.expect(409)), "gift");
    // Nor does its owner, who did not pay for it; of whom it does not concern it is no order at all.
    let refund = format!("{path}/refund");
    let owners = app
        .named(&refund, &bob.access, "bobs-refund", &json!({}))
        .await;
    assert_eq!(rule(&owners.expect(409)), "gift_received");
    let cat = app.user("Cat").await;
    let strangers = app
        .named(&refund, &cat.access, "cats-refund", &json!({}))
        .await;
    assert_eq!(strangers.problem(404), "not_found");
    app.restart().await;
    assert_eq!(named_again(&app, &ann, &body).await["state"], "accepted");
    app.check_ledger().await;
    app
}

async fn named_again(app: &TestApp, user: &User, body: &Value) -> Value {
    app.named("/v1/gifts", &user.access, "anns-gift", body)
        .await
        .expect(201)
}

async fn what_is_not_wanted_is_paid_back(app: TestApp) -> TestApp {
    let (ann, bob, star) = friends(&app).await;
    for (key, who, word, state) in [
        ("the-first-gift", &bob, "decline", "declined"),
        ("the-second-gift", &ann, "take back", "taken_back"),
    ] {
        let gift = give(&app, &ann, key, &bob, &[&star]).await.expect(201);
        assert_eq!(app.balance(&ann).await, 1000);
        for _ in 0..2 {
            let ended = answer(&app, who, &gift, word).await.expect(200);
            assert_eq!(ended["state"], state);
            assert_eq!(app.balance(&ann).await, 2000);
        }
        let late = answer(&app, &bob, &gift, "accept").await.expect(409);
        assert_eq!(rule(&late), "answered");
        assert_eq!(library(&app, &bob).await, [""; 0]);
        app.check_ledger().await;
    }
    assert_eq!(topics(&app, &ann).await, ["gift_declined"]);
    assert_eq!(
        topics(&app, &bob).await,
        ["gift_taken_back", "gift_received", "gift_received"]
    );
    let history = app.get("/v1/wallet/history", &ann).await.expect(200);
    assert_eq!(history["items"][0]["cause"], "refund");
    assert_eq!(app.get("/v1/games/star", &ann).await.expect(200)["sold"], 0);
    app
}

async fn a_gift_is_answered_once(app: TestApp) -> TestApp {
    let (ann, bob, star) = friends(&app).await;
    for round in 0..3 {
        let key = format!("gift-number-{round}");
        let gift = give(&app, &ann, &key, &bob, &[&star]).await.expect(201);
        let answers = join_all([
            answer(&app, &bob, &gift, "accept"),
            answer(&app, &bob, &gift, "decline"),
            answer(&app, &ann, &gift, "take back"),
            answer(&app, &bob, &gift, "accept"),
        ])
        .await;
        let states: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .map(|answer| answer.body["state"].as_str().unwrap())
            .collect();
        assert!(!states.is_empty());
        assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
        let owned = library(&app, &bob).await.len();
        let balance = app.balance(&ann).await;
        app.check_ledger().await;
        if states[0] == "accepted" {
            assert_eq!((owned, balance), (1, 1000));
            break;
        }
        assert_eq!((owned, balance), (0, 2000));
    }
    app
}

async fn a_gift_obeys_the_rules(app: TestApp) -> TestApp {
    let (ann, bob, star) = friends(&app).await;
    let publisher = app.publisher("Elm").await;
    let here = app
        .game(&publisher, "here", |game| game["prices"] = json!({"US": 0}))
        .await;
    let cat = app.user("Cat").await;
    let country = json!({"country": "KR"});
    app.with_body(Method::PUT, "/v1/wallet/country", &cat, country)
        .await
        .expect(200);
    let strange = give(&app, &ann, "for-a-stranger", &cat, &[&here]).await;
    assert_eq!(rule(&strange.expect(409)), "not_a_friend");
    let mut nobody = app.user("Dan").await;
    nobody.id = "01J00000000000000000000000".into();
    let nobody = give(&app, &ann, "for-nobody-else", &nobody, &[&here]).await;
    assert_eq!(rule(&nobody.expect(409)), "not_a_friend");
    app.befriend(&ann, &cat).await;
    let there = give(&app, &ann, "not-sold-there", &cat, &[&here]).await;
    assert_eq!(rule(&there.expect(409)), "not_sold_there");
    let own = give(&app, &ann, "for-ann-herself", &ann, &[&star]).await;
    assert_eq!(own.problem(400), "invalid");
    let empty = give(&app, &ann, "nothing-at-all", &bob, &[]).await;
    assert_eq!(rule(&empty.expect(409)), "empty");
    for message in ["x".repeat(141), "two\nlines".into()] {
        let body = json!({"recipient": bob.id, "games": [star], "message": message});
        let answer = app.named("/v1/gifts", &ann.access, "bad-message", &body);
        assert_eq!(answer.await.problem(400), "invalid");
    }
    // What they have already, and what they got meanwhile.
    let free = give(&app, &ann, "free-for-bob", &bob, &[&here]).await;
    let free = free.expect(201);
    app.buy(&bob, "bob-buys-it", &[&here]).await.expect(201);
    let owned = answer(&app, &bob, &free, "accept").await.expect(409);
    assert_eq!(rule(&owned), "already_owned");
    let again = give(&app, &ann, "free-for-bob-again", &bob, &[&here]).await;
    assert_eq!(rule(&again.expect(409)), "already_owned");
    answer(&app, &bob, &free, "decline").await.expect(200);
    assert_eq!(library(&app, &bob).await, [here]);
    // Nobody answers for somebody else.
    let gift = give(&app, &ann, "for-bob-alone", &bob, &[&star]).await;
    let gift = gift.expect(201);
    for (who, word) in [
        (&cat, "accept"),
        (&ann, "accept"),
        (&ann, "decline"),
        (&bob, "take back"),
    ] {
        assert_eq!(
            answer(&app, who, &gift, word).await.problem(404),
            "not_found"
        );
    }
    assert_eq!(
        app.get("/v1/gifts?side=both", &ann).await.problem(400),
        "invalid"
    );
    app.check_ledger().await;
    app
}

async fn nobody_waits_for_an_answer_for_ever(mut app: TestApp) -> TestApp {
    app.settings.gift_lifetime = Duration::from_mins(5);
    app.restart().await;
    let (ann, bob, star) = friends(&app).await;
    let gift = give(&app, &ann, "never-answered", &bob, &[&star]).await;
    let gift = gift.expect(201);
    app.advance(Duration::from_mins(6));
    let late = answer(&app, &bob, &gift, "accept").await.expect(409);
    assert_eq!(rule(&late), "expired");
    // The sweep comes by when the store begins, and every minute.
    app.restart().await;
    app.nodes[0]
        .wait_for(|event| event["topic"] == "gift_expired")
        .await;
    assert_eq!(app.balance(&ann).await, 2000);
    assert_eq!(topics(&app, &ann).await, ["gift_expired"]);
    app.check_ledger().await;
    app
}

/// With the ten dollars she has left it is five short of what a wallet holds, and a gift cost ten.
const FILLED: i64 = 1_000_000_000_000_000 - 1000 - 500;

/// Has a wallet hold so much more than its postings say.
async fn fill(app: &TestApp, user: &User, by: i64) {
    let change = |account: &str, by: i64| {
        format!("UPDATE ledger_accounts SET balance = balance + {by} WHERE id = '{account}'")
    };
    let wallet = format!("wallet:{}:USD", user.id);
    app.write(&[&change(&wallet, by), &change("outside:USD", -by)])
        .await;
}

/// The second is given the same by the first and by the third, who each have ten dollars left.
async fn two_gifts(app: &TestApp) -> (User, User, User) {
    let (ann, bob, star) = friends(app).await;
    let cat = app.rich_user("Cat", 20).await;
    app.befriend(&cat, &bob).await;
    for giver in [&ann, &cat] {
        let gift = give(app, giver, "the-same-star", &bob, &[&star]).await;
        gift.expect(201);
    }
    (ann, bob, cat)
}

async fn a_full_wallet_holds_up_no_other_gift(mut app: TestApp) -> TestApp {
    app.settings.gift_lifetime = Duration::from_mins(5);
    app.restart().await;
    let (ann, _, cat) = two_gifts(&app).await;
    fill(&app, &ann, FILLED).await;
    app.advance(Duration::from_mins(6));
    app.restart().await;
    app.nodes[0]
        .wait_for(|event| event["topic"] == "gift_expired")
        .await;
    assert_eq!(app.balance(&cat).await, 2000);
    assert!(topics(&app, &ann).await.is_empty());
    // Once there is room, it is her turn.
    fill(&app, &ann, -FILLED).await;
    app.restart().await;
    app.nodes[0]
        .wait_for(|event| event["topic"] == "gift_expired" && event["user"] == ann.id)
        .await;
    assert_eq!(app.balance(&ann).await, 2000);
    app.check_ledger().await;
    app
}

async fn a_full_wallet_keeps_nobody_from_leaving(mut app: TestApp) -> TestApp {
    let (ann, bob, cat) = two_gifts(&app).await;
    fill(&app, &ann, FILLED).await;
    let password = json!({"password": crate::app::PASSWORD});
    app.with_body(Method::DELETE, "/v1/me", &bob, password)
        .await
        .expect(204);
    assert_eq!(app.balance(&cat).await, 2000);
    fill(&app, &ann, -FILLED).await;
    assert_eq!(app.balance(&ann).await, 1000);
    // Once there is room, it is her turn.
    app.restart().await;
    app.nodes[0]
        .wait_for(|event| event["topic"] == "gift_expired" && event["user"] == ann.id)
        .await;
    assert_eq!(app.balance(&ann).await, 2000);
    app.check_ledger().await;
    app
}

async fn a_gift_to_somebody_who_leaves_is_paid_back(app: TestApp) -> TestApp {
    let (ann, bob, star) = friends(&app).await;
    give(&app, &ann, "for-who-leaves", &bob, &[&star])
        .await
        .expect(201);
    let password = json!({"password": crate::app::PASSWORD});
    app.with_body(Method::DELETE, "/v1/me", &bob, password)
        .await
        .expect(204);
    assert_eq!(app.balance(&ann).await, 2000);
    app.check_ledger().await;
    app
}
