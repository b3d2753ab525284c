//! Buying from the wallet: rules, and books that are right whatever happens at the same time.

use futures_util::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Answer, TestApp, User},
    both,
};

both!(
    what_is_paid_is_owned,
    an_order_under_one_name_is_one_order,
    what_breaks_a_rule_is_not_bought,
    a_price_that_changed_is_not_paid,
    what_is_free_needs_no_money,
    nobody_pays_twice_for_what_they_buy_at_once,
    purchases_at_random_leave_the_books_right,
);

pub(crate) async fn library(app: &TestApp, user: &User) -> Vec<String> {
    let body = app.get("/v1/library?limit=500", user).await.expect(200);
    let items = body["items"].as_array().unwrap();
    let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
    items.iter().map(id).collect()
}

#[track_caller]
pub(crate) fn rule(body: &Value) -> &str {
    body["errors"][0]["rule"].as_str().unwrap()
}

async fn what_is_paid_is_owned(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let moon = app
        .game(&publisher, "moon", |game| {
            game["prices"] = json!({"US": 333});
        })
        .await;
    let ann = app.rich_user("Ann", 20).await;
    for game in [&star, &moon] {
        app.put(&format!("/v1/lists/cart/{game}"), &ann)
            .await
            .expect(204);
    }
    // What is in the cart.
    let body = json!({"expected_total": 1333});
    let order = app.named("/v1/orders", &ann.access, "the-whole-cart", &body);
    let order = order.await.expect(201);
    assert_eq!(order["total"]["minor"], 1333);
    assert_eq!(app.balance(&ann).await, 667);
    let mut owned = library(&app, &ann).await;
    let mut expected = vec![star.clone(), moon.clone()];
    owned.sort();
    expected.sort();
    assert_eq!(owned, expected);
    assert_eq!(
        app.get("/v1/lists/cart", &ann).await.expect(200)["items"],
        json!([])
    );
    let page = app.get("/v1/orders", &ann).await.expect(200);
    assert_eq!(page["items"], json!([order]));
    let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(app.get(&path, &ann).await.expect(200), order);
    let bob = app.user("Bob").await;
    assert_eq!(app.get(&path, &bob).await.problem(404), "not_found");
    let history = app.get("/v1/wallet/history", &ann).await.expect(200);
    let entry = &history["items"][0];
    assert_eq!(
        (&entry["cause"], &entry["reference"]),
        (&json!("purchase"), &order["id"])
    );
    assert_eq!(
        (&entry["amount"]["minor"], &entry["balance"]["minor"]),
        (&json!(-1333), &json!(667))
    );
    assert_eq!(app.get("/v1/games/star", &ann).await.expect(200)["sold"], 1);
    // The chat nodes hear of it.
    let node = &app.nodes[0];
    let (told, _) = node.wait_for(|event| event["topic"] == "purchase").await;
    assert_eq!(told["data"]["order"], order["id"]);
    app.check_ledger().await;
    app
}

async fn an_order_under_one_name_is_one_order(mut app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let ann = app.rich_user("Ann", 20).await;
    let answers =
        join_all((0..5).map(async |_| app.buy(&ann, "one-and-the-same", &[&star]).await)).await;
    let bodies: Vec<Value> = answers
        .into_iter()
        .map(|answer| answer.expect(201))
        .collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    app.restart().await;
    let again = app.buy(&ann, "one-and-the-same", &[&star]).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), bodies[0]);
    assert_eq!(app.balance(&ann).await, 1000);
    let other = app
        .buy(&ann, "one-and-the-same", &[&star, "x"])
        .await
        .expect(409);
    assert_eq!(rule(&other), "reused");
    // One that failed may be tried again under its name.
    let moon = app
        .game(&publisher, "moon", |game| {
            game["prices"] = json!({"US": 9000});
        })
        .await;
    assert_eq!(
        rule(&app.buy(&ann, "the-moon-then", &[&moon]).await.expect(409)),
        "insufficient_funds"
    );
    let codes = app.gift_cards(9000, "USD", 1).await;
    app.redeem(&ann, &codes[0]).await.expect(200);
    app.buy(&ann, "the-moon-then", &[&moon]).await.expect(201);
    app.check_ledger().await;
    app
}

async fn what_breaks_a_rule_is_not_bought(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let far = app
        .game(&publisher, "far", |game| game["prices"] = json!({"KR": 1}))
        .await;
    let soon = app
        .game(&publisher, "soon", |game| {
            game["released_at"] = json!(9_000_000_000_000_i64);
        })
        .await;
    let draft = app
        .game(&publisher, "draft", |game| game["state"] = json!("draft"))
        .await;
    let ann = app.rich_user("Ann", 100).await;
    app.buy(&ann, "first-of-all", &[&star]).await.expect(201);
    for (games, expected) in [
        (vec![star.as_str()], "already_owned"),
        (vec![far.as_str()], "not_sold_here"),
        (vec![soon.as_str()], "not_released"),
        (vec![], "empty"),
    ] {
        assert_eq!(
            rule(&app.buy(&ann, "breaks-a-rule", &games).await.expect(409)),
            expected
        );
    }
    for games in [["nothing"], [draft.as_str()]] {
        assert_eq!(
            app.buy(&ann, "breaks-a-rule", &games).await.problem(404),
            "not_found"
        );
    }
    let many: Vec<String> = (0..51).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        app.buy(&ann, "breaks-a-rule", &many).await.problem(400),
        "invalid"
    );
    let request = app.request(Method::POST, "/v1/orders", Some(&ann.access));
    let nameless = app
        .send(request.json(&json!({"games": [star]})))
        .await
        .expect(400);
    assert_eq!(rule(&nameless), "required");
    // All or nothing: what could be bought is not, beside what cannot.
    let moon = app.game(&publisher, "moon", |_| ()).await;
    app.buy(&ann, "all-or-nothing", &[&moon, &far])
        .await
        .expect(409);
    assert_eq!(library(&app, &ann).await, [star]);
    assert_eq!(app.balance(&ann).await, 9000);
    app.check_ledger().await;
    app
}

async fn a_price_that_changed_is_not_paid(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let ann = app.rich_user("Ann", 100).await;
    app.game(&publisher, "star", |game| {
        game["prices"] = json!({"US": 1500});
    })
    .await;
    let body = json!({"games": [star], "expected_total": 1000});
    let buy = async |body: &Value| {
        app.named("/v1/orders", &ann.access, "the-star-now", body)
            .await
    };
    assert_eq!(rule(&buy(&body).await.expect(409)), "price_changed");
    let body = json!({"games": [star], "expected_total": 1500});
    assert_eq!(buy(&body).await.expect(201)["total"]["minor"], 1500);
    app.check_ledger().await;
    app
}

async fn what_is_free_needs_no_money(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app
        .game(&publisher, "star", |game| game["prices"] = json!({"US": 0}))
        .await;
    let ann = app.user("Ann").await;
    let order = app.buy(&ann, "free-as-in-beer", &[&star]).await.expect(201);
    assert_eq!(order["total"]["minor"], 0);
    assert_eq!(library(&app, &ann).await, [star]);
    assert_eq!(
        app.get("/v1/wallet/history", &ann).await.expect(200)["items"],
        json!([])
    );
    app.check_ledger().await;
    app
}

async fn nobody_pays_twice_for_what_they_buy_at_once(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let ann = app.rich_user("Ann", 100).await;
    // Of two devices, each with a name of its own.
    let buy = |number: i32| {
        let (app, ann, star) = (&app, &ann, &star);
        async move {
            app.buy(ann, &format!("device-number-{number}"), &[star])
                .await
        }
    };
    let answers = join_all((0..6).map(buy)).await;
    let bought = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(bought, 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        assert_eq!(rule(&answer.expect(409)), "already_owned");
    }
    assert_eq!(app.balance(&ann).await, 9000);
    app.check_ledger().await;
    app
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Gives games to a friend.
pub(crate) async fn give(
    app: &TestApp,
    user: &User,
    key: &str,
    friend: &User,
    games: &[&str],
) -> Answer {
    let body = json!({"recipient": friend.id, "games": games});
    app.named("/v1/gifts", &user.access, key, &body).await
}

/// Accepts the newest gift, or declines it, or takes one back: which, the name says.
async fn answer_a_gift(app: &TestApp, user: &User, name: &str) -> Answer {
    let way = name.len() % 3;
    let side = if way == 2 { "sent" } else { "received" };
    let gifts = app
        .get(&format!("/v1/gifts?side={side}&limit=1"), user)
        .await;
    let id = gifts.body["items"][0]["id"].as_str().unwrap_or("none");
    match way {
        0 => app.put(&format!("/v1/gifts/{id}/accept"), user).await,
        1 => app.put(&format!("/v1/gifts/{id}/decline"), user).await,
        _ => app.delete(&format!("/v1/gifts/{id}"), user).await,
    }
}

/// Gives the newest order back.
async fn give_back(app: &TestApp, user: &User, name: &str) -> Answer {
    let orders = app.get("/v1/orders?limit=1", user).await;
    let id = orders.body["items"][0]["id"].as_str().unwrap_or("none");
    let path = format!("/v1/orders/{id}/refund");
    app.named(&path, &user.access, name, &json!({})).await
}

async fn purchases_at_random_leave_the_books_right(app: TestApp) -> TestApp {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut games: Vec<String> = Vec::new();
    for (number, publisher) in ["Oak", "Elm"].iter().cycle().take(6).enumerate() {
        let house = if number < 2 {
            app.publisher(publisher).await
        } else {
            games[number - 2].clone()
        };
        games.push(house);
    }
    let houses = games.clone();
    games.clear();
    for (number, house) in houses.iter().enumerate() {
        let price = [0, 199, 333, 1000, 1501, 2500][number];
        let slug = format!("game-{number}");
        games.push(
            app.game(house, &slug, |game| game["prices"] = json!({"US": price}))
                .await,
        );
    }
    let mut users = Vec::new();
    for _ in 0..3 {
        users.push(app.user("Ann").await);
    }
    for (one, other) in [(0, 1), (1, 2), (2, 0)] {
        app.befriend(&users[one], &users[other]).await;
    }
    let codes = app.gift_cards(1100, "USD", 12).await;
    for round in 0..6 {
        let mut acts = Vec::new();
        for number in 0..12 {
            let user = random.random_range(0..users.len());
            let card = random.random_range(0..3 * codes.len());
            let mut basket: Vec<&str> = games.iter().map(String::as_str).collect();
            basket.retain(|_| random.random_bool(0.4));
            // Now and then under a name that was used before.
            let name = random.random_range(0..20) + 20 * (number % 2) * round;
            let act = random.random_range(0..7);
            acts.push((
                user,
                codes.get(card),
                basket,
                act,
                format!("act-number-{name}"),
            ));
        }
        let (app, users) = (&app, &users);
        join_all(
            acts.into_iter()
                .map(async |(user, card, basket, act, name)| {
                    let (user, friend) = (&users[user], &users[(user + 1) % users.len()]);
                    let answer = match (card, act) {
                        (Some(code), _) => app.redeem(user, code).await,
                        (None, 0) => give(app, user, &name, friend, &basket).await,
                        (None, 1 | 2) => answer_a_gift(app, user, &name).await,
                        (None, 3) => give_back(app, user, &name).await,
                        (None, _) => app.buy(user, &name, &basket).await,
                    };
                    let status = answer.status.as_u16();
                    assert!(
                        [200, 201, 404, 409, 429].contains(&status),
                        "{}",
                        answer.body
                    );
                }),
        )
        .await;
        app.check_ledger().await;
    }
    for user in &users {
        let orders = app.get("/v1/orders?limit=500", user).await.expect(200);
        let mut licensed = Vec::new();
        for order in orders["items"].as_array().unwrap() {
            let mut lines = order["lines"].as_array().unwrap().clone();
            lines.retain(|line| {
                line.get("refunded_at").is_none() && order.get("gift_for").is_none()
            });
            licensed.extend(lines.iter().map(|line| text(&line["game"])));
        }
        let gifts = app.get("/v1/gifts?limit=500", user).await.expect(200);
        for gift in gifts["items"].as_array().unwrap() {
            if gift["state"] == "accepted" {
                let games = gift["games"].as_array().unwrap();
                licensed.extend(games.iter().map(|game| text(&game["id"])));
            }
        }
        licensed.sort();
        assert_eq!(
            licensed,
            library(&app, user).await,
            "each licence once, and each paid"
        );
    }
    app
}
