//! Campaigns: who may make which, and how people come by coupons.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shared::id::Timestamp;
use store_api::Role;

use crate::{
    app::{Answer, SERVICE_TOKEN, TestApp, User},
    both,
    orders::rule,
};

both!(
    a_campaign_is_held_to_its_rules,
    a_publisher_makes_coupons_for_its_own_games,
    coupons_are_given_to_people_once,
    a_code_gives_one_coupon_to_each,
    a_code_has_its_time,
    wrong_codes_are_counted_with_those_of_gift_cards,
    there_are_never_more_than_were_to_be,
    what_is_ended_is_good_for_nothing,
);

/// Makes something wrong of a campaign, at a moment.
type Change = fn(&mut Value, i64);

/// A campaign of the store's own that is on for a week: 20 % off everything, or what `change` makes of it.
pub(crate) fn text(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({
        "name": "Twenty off", "kind": "percent", "percent": 20,
        "ends_at": Timestamp::now().as_millis() + 7 * 24 * 60 * 60 * 1000,
    });
    change(&mut body);
    body
}

/// Makes a campaign.
pub(crate) async fn make(app: &TestApp, token: &str, body: &Value) -> Answer {
    let request = app.request(Method::POST, "/v1/campaigns", Some(token));
    app.send(request.json(body)).await
}

/// Makes a campaign of the store's own, and gives its id.
pub(crate) async fn campaign(app: &TestApp, change: impl FnOnce(&mut Value)) -> String {
    let made = make(app, SERVICE_TOKEN, &text(change)).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

/// Gives people coupons of a campaign.
pub(crate) async fn grant(app: &TestApp, token: &str, campaign: &str, users: &[&User]) -> Answer {
    let users: Vec<&str> = users.iter().map(|user| user.id.as_str()).collect();
    let path = format!("/v1/campaigns/{campaign}/coupons");
    let request = app.request(Method::POST, &path, Some(token));
    app.send(request.json(&json!({"users": users}))).await
}

/// Gives somebody a coupon, and says its id.
pub(crate) async fn coupon(app: &TestApp, user: &User, change: impl FnOnce(&mut Value)) -> String {
    let campaign = campaign(app, change).await;
    let granted = grant(app, SERVICE_TOKEN, &campaign, &[user]).await;
    assert_eq!(granted.expect(200), json!({"issued": 1, "held": 0}));
    let coupons = app.get("/v1/coupons?limit=500", user).await.expect(200);
    let mut coupons = coupons["items"].as_array().unwrap().iter();
    let found = coupons.find(|coupon| coupon["campaign"] == campaign.as_str());
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Enters a code.
pub(crate) async fn enter(app: &TestApp, user: &User, code: &str) -> Answer {
    let body = json!({"code": code});
    app.with_body(Method::POST, "/v1/coupons/redeem", user, body)
        .await
}

async fn a_campaign_is_held_to_its_rules(app: TestApp) -> TestApp {
    let now = Timestamp::now().as_millis();
    let rules: &[(Change, &str, &str)] = &[
        (|body, _| body["name"] = json!(" "), "name", "required"),
        (|body, _| body["kind"] = json!("free"), "kind", "unknown"),
        (|body, _| body["percent"] = json!(101), "percent", "range"),
        (
            |body, _| body["percent"] = json!(null),
            "percent",
            "required",
        ),
        (
            |body, _| body["amount"] = json!(5),
            "amount",
            "not_of_this_kind",
        ),
        (|body, _| body["minimum"] = json!(5), "currency", "required"),
        (
            |body, _| body["games"] = json!(["nothing"]),
            "games",
            "unknown",
        ),
        (
            |body, _| body["publishers"] = json!(["no"]),
            "publishers",
            "unknown",
        ),
        (
            |body, _| body["publisher"] = json!("nobody"),
            "publisher",
            "unknown",
        ),
        (
            |body, now| body["ends_at"] = json!(now - 1000),
            "ends_at",
            "range",
        ),
        (
            |body, _| body["starts_at"] = json!(-1),
            "starts_at",
            "range",
        ),
        (|body, _| body["opens_at"] = json!(-1), "opens_at", "range"),
        (
            |body, _| body["starts_at"] = body["ends_at"].clone(),
            "ends_at",
            "range",
        ),
        (
            |body, now| body["closes_at"] = json!(now - 1),
            "closes_at",
            "range",
        ),
        (|body, _| body["code"] = json!("short"), "code", "malformed"),
        (
            |body, _| body["code"] = json!("ümläutcode"),
            "code",
            "malformed",
        ),
        (|body, _| body["quantity"] = json!(0), "quantity", "range"),
        (|body, _| body["drop"] = json!(true), "quantity", "required"),
        (
            |body, _| body["queue_rate"] = json!(5),
            "queue_rate",
            "not_a_drop",
        ),
        (
            |body, _| {
                body["drop"] = json!(true);
                body["quantity"] = json!(5);
                body["queue_rate"] = json!(0);
            },
            "queue_rate",
            "range",
        ),
    ];
    for (change, field, expected) in rules {
        let body = text(|body| change(body, now));
        let refused = make(&app, SERVICE_TOKEN, &body).await.expect(400);
        let first = &refused["errors"][0];
        assert_eq!(
            (&first["field"], &first["rule"]),
            (&json!(field), &json!(expected))
        );
    }
    let coded = text(|body| body["code"] = json!("autumn-leaf"));
    let made = make(&app, SERVICE_TOKEN, &coded).await.expect(201);
    assert_eq!(made["code"], "AUTUMN1EAF");
    assert_eq!(
        rule(&make(&app, SERVICE_TOKEN, &coded).await.expect(409)),
        "taken"
    );
    let page = app.service(Method::GET, "/v1/campaigns").await.expect(200);
    assert_eq!(page["items"], json!([made]));
    app
}

async fn a_publisher_makes_coupons_for_its_own_games(app: TestApp) -> TestApp {
    let pia = app.user_as("Pia", Role::Publisher).await;
    let house = json!({"name": "Pia's", "owner": pia.id});
    let request = app.request(Method::POST, "/v1/publishers", Some(SERVICE_TOKEN));
    let house = app.send(request.json(&house)).await.expect(201);
    let house = house["id"].as_str().unwrap();
    let elm = app.publisher("Elm").await;
    let (own, other) = (
        app.game(house, "own", |_| ()).await,
        app.game(&elm, "other", |_| ()).await,
    );

    let of = |publisher: &str| text(|body| body["publisher"] = json!(publisher));
    make(&app, &pia.access, &text(|_| ())).await.problem(403);
    make(&app, &pia.access, &of(&elm)).await.problem(403);
    let mut body = of(house);
    body["games"] = json!([other]);
    assert_eq!(
        rule(&make(&app, &pia.access, &body).await.expect(400)),
        "unknown"
    );
    body["games"] = json!([]);
    body["publishers"] = json!([elm]);
    assert_eq!(
        rule(&make(&app, &pia.access, &body).await.expect(400)),
        "own_only"
    );
    let hers = make(&app, &pia.access, &of(house)).await.expect(201);
    let hers = hers["id"].as_str().unwrap();
    let theirs = campaign(&app, |_| ()).await;

    // She keeps hers and knows of no other; those who run the store keep all.
    let page = app.get("/v1/campaigns", &pia).await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let page = app.service(Method::GET, "/v1/campaigns").await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let ann = app.rich_user("Ann", 30).await;
    grant(&app, &pia.access, &theirs, &[&ann])
        .await
        .problem(404);
    grant(&app, &ann.access, hers, &[&ann]).await.problem(404);
    grant(&app, &pia.access, hers, &[&ann]).await.expect(200);
    app.delete(&format!("/v1/campaigns/{theirs}"), &pia)
        .await
        .problem(404);

    // Good for her game, and nobody else's, at her expense.
    let preview = json!({"games": [own, other]});
    let preview = app.with_body(Method::POST, "/v1/orders/preview", &ann, preview);
    let preview = preview.await.expect(200);
    assert_eq!(preview["total"]["minor"], 1800);
    let body = json!({"games": [own, other], "coupons": [preview["coupons"][0]["id"]]});
    app.named("/v1/orders", &ann.access, "hers-and-another", &body)
        .await
        .expect(201);
    let held = app.numbers(
        "SELECT balance FROM ledger_accounts WHERE kind <> 'outside' AND kind <> 'wallet' \
         AND balance > 0 ORDER BY balance",
    );
    // 300 of each is the store's; 700 of each a publisher's, less 200 of hers.
    assert_eq!(held.await, [500, 600, 700]);
    app.check_ledger().await;
    app
}

async fn coupons_are_given_to_people_once(app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", Role::Operator).await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let few = text(|body| body["quantity"] = json!(2));
    let made = make(&app, &operator.access, &few);
    let campaign = made.await.expect(201)["id"].as_str().unwrap().to_owned();
    let give = async |users: &[&User]| grant(&app, &operator.access, &campaign, users).await;
    assert_eq!(
        give(&[&ann, &ann]).await.expect(200),
        json!({"issued": 1, "held": 0})
    );
    assert_eq!(
        give(&[&ann]).await.expect(200),
        json!({"issued": 0, "held": 1})
    );
    // All of them or none.
    let cat = app.user("Cat").await;
    assert_eq!(
        rule(&give(&[&ann, &bob, &cat]).await.expect(409)),
        "sold_out"
    );
    let nobody = User {
        id: "01JD0000000000000000000000".to_owned(),
        ..cat.clone()
    };
    assert_eq!(rule(&give(&[&bob, &nobody]).await.expect(400)), "unknown");
    assert_eq!(
        give(&[&ann, &bob]).await.expect(200),
        json!({"issued": 1, "held": 1})
    );
    assert_eq!(rule(&give(&[]).await.expect(400)), "range");

    let coupons = app.get("/v1/coupons?state=good", &bob).await.expect(200);
    let coupon = &coupons["items"][0];
    assert_eq!(
        (&coupon["name"], &coupon["percent"], &coupon["state"]),
        (&json!("Twenty off"), &json!(20), &json!("good"))
    );
    assert_eq!(
        app.get("/v1/coupons", &cat).await.expect(200)["items"],
        json!([])
    );
    for state in ["used", "over"] {
        let page = app.get(&format!("/v1/coupons?state={state}"), &bob).await;
        assert_eq!(page.expect(200)["items"], json!([]));
    }
    app.get("/v1/coupons?state=new", &bob).await.problem(400);
    // They are told, each once; and it is written down who did it.
    let node = &app.nodes[0];
    node.wait_for(|event| {
        event["topic"] == "coupon_received"
            && event["user"] == bob.id.as_str()
            && event["data"]["coupon"] == coupon["id"]
    })
    .await;
    let told = node
        .events()
        .into_iter()
        .filter(|event| event["topic"] == "coupon_received");
    assert_eq!(told.count(), 2);
    for (deed, expected) in [("campaign_made", 1), ("coupons_issued", 2)] {
        let lines = app
            .get(&format!("/v1/audit?deed={deed}"), &operator)
            .await
            .expect(200);
        let lines = lines["items"].as_array().unwrap();
        assert_eq!(lines.len(), expected, "{lines:?}");
        assert_eq!(lines[0]["actor"], format!("user:{}", operator.id));
        assert_eq!(lines[0]["details"]["campaign"], campaign);
    }
    app.check_ledger().await;
    app
}

async fn a_code_gives_one_coupon_to_each(app: TestApp) -> TestApp {
    let (ann, bob, cat) = (
        app.user("Ann").await,
        app.user("Bob").await,
        app.user("Cat").await,
    );
    campaign(&app, |body| {
        body["code"] = json!("HELLO-2026");
        body["quantity"] = json!(2);
    })
    .await;
    let first = enter(&app, &ann, "hello 2o26").await.expect(200);
    assert_eq!(enter(&app, &ann, "HELLO2026").await.expect(200), first);
    let second = enter(&app, &bob, "HELLO-2026").await.expect(200);
    assert_ne!(first["id"], second["id"]);
    assert_eq!(
        rule(&enter(&app, &cat, "HELLO-2026").await.expect(409)),
        "sold_out"
    );
    // Who has it has it still.
    assert_eq!(enter(&app, &bob, "HELLO-2026").await.expect(200), second);
    app.check_ledger().await;
    app
}

async fn a_code_has_its_time(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let now = Timestamp::now().as_millis();
    campaign(&app, |body| {
        body["code"] = json!("IN-AN-HOUR");
        body["opens_at"] = json!(now + 3_600_000);
        body["closes_at"] = json!(now + 7_200_000);
    })
    .await;
    assert_eq!(
        rule(&enter(&app, &ann, "IN-AN-HOUR").await.expect(409)),
        "not_open"
    );
    app.advance(Duration::from_secs(3601));
    let again = app.refresh(&ann.refresh).await.expect(200);
    let ann = User::of(&again, ann.email);
    let coupon = enter(&app, &ann, "IN-AN-HOUR").await.expect(200);
    app.advance(Duration::from_secs(3601));
    let again = app.refresh(&ann.refresh).await.expect(200);
    let ann = User::of(&again, ann.email);
    assert_eq!(enter(&app, &ann, "IN-AN-HOUR").await.expect(200), coupon);
    let again = app.refresh(&bob.refresh).await.expect(200);
    let bob = User::of(&again, bob.email);
    assert_eq!(
        rule(&enter(&app, &bob, "IN-AN-HOUR").await.expect(409)),
        "over"
    );
    app
}

async fn wrong_codes_are_counted_with_those_of_gift_cards(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    campaign(&app, |body| body["code"] = json!("RIGHT-ONE")).await;
    let cards = app.gift_cards(100, "USD", 1).await;
    for guess in 0..5 {
        enter(&app, &ann, &format!("WRONG-{guess}"))
            .await
            .problem(404);
        app.redeem(&ann, &format!("WRONG-{guess}"))
            .await
            .problem(404);
    }
    for refused in [
        enter(&app, &ann, "RIGHT-ONE").await,
        app.redeem(&ann, &cards[0]).await,
    ] {
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(refused.problem(429), "rate_limited");
    }
    app
}

async fn there_are_never_more_than_were_to_be(app: TestApp) -> TestApp {
    let mut people = Vec::new();
    for _ in 0..12 {
        people.push(app.user("Ann").await);
    }
    let campaign = campaign(&app, |body| {
        body["code"] = json!("FIRST-FIVE");
        body["quantity"] = json!(5);
    })
    .await;
    // By two ways, each twice, all at once.
    let tries = people.iter().flat_map(|user| {
        let (app, campaign) = (&app, &campaign);
        (0..4).map(move |way| async move {
            if way % 2 == 0 {
                enter(app, user, "FIRST-FIVE").await.status
            } else {
                grant(app, SERVICE_TOKEN, campaign, &[user]).await.status
            }
        })
    });
    let statuses = join_all(tries).await;
    assert!(
        statuses
            .iter()
            .all(|status| [200, 409].contains(&status.as_u16()))
    );
    assert_eq!(app.count("coupons").await, 5);
    let page = app.service(Method::GET, "/v1/campaigns").await.expect(200);
    assert_eq!(page["items"][0]["issued"], 5);
    app.check_ledger().await;
    app
}

async fn what_is_ended_is_good_for_nothing(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let ann = app.rich_user("Ann", 30).await;
    let coupon = coupon(&app, &ann, |body| body["code"] = json!("A-MISTAKE")).await;
    let campaigns = app.service(Method::GET, "/v1/campaigns").await.expect(200);
    let path = format!(
        "/v1/campaigns/{}",
        campaigns["items"][0]["id"].as_str().unwrap()
    );
    for _ in 0..2 {
        app.service(Method::DELETE, &path).await.expect(200);
    }
    let body = json!({"games": [star], "coupons": [coupon]});
    let buy = app.named("/v1/orders", &ann.access, "with-an-old-one", &body);
    assert_eq!(rule(&buy.await.expect(409)), "over");
    let over = app.get("/v1/coupons?state=over", &ann).await.expect(200);
    assert_eq!(over["items"][0]["state"], "over");
    let bob = app.user("Bob").await;
    assert_eq!(
        rule(&enter(&app, &bob, "A-MISTAKE").await.expect(409)),
        "over"
    );
    assert_eq!(app.balance(&ann).await, 3000);
    app
}
