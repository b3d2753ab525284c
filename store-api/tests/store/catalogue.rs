//! The catalogue: lists, search, prices, publishers and imports.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use shared::id::Timestamp;
use store_api::Role;

use crate::{
    app::{Answer, SERVICE_TOKEN, TestApp, game},
    both,
};

both!(
    a_list_is_filtered,
    a_list_comes_in_every_order_and_in_pages,
    words_are_found_wherever_they_stand,
    a_sale_is_a_price_for_a_time,
    a_game_is_sold_where_it_has_a_price,
    drafts_and_withdrawn_games_are_not_shown,
    suggestions_begin_with_what_is_typed,
    searches_are_remembered_and_counted,
    only_its_owner_keeps_a_publishers_games,
    an_import_is_all_or_nothing,
    an_empty_catalogue_is_filled_once,
);

async fn get(app: &TestApp, path: &str) -> Answer {
    app.send(app.request(Method::GET, path, None)).await
}

/// The slugs on a page.
async fn slugs(app: &TestApp, query: &str) -> Vec<String> {
    let body = get(app, &format!("/v1/games{query}")).await.expect(200);
    let items = body["items"].as_array().unwrap();
    let slug = |item: &Value| item["slug"].as_str().unwrap().to_owned();
    items.iter().map(slug).collect()
}

/// Three games of two publishers.
async fn three(app: &TestApp) -> [String; 2] {
    let (one, other) = (app.publisher("Oak").await, app.publisher("Elm").await);
    app.game(&one, "alpha", |game| {
        game["title"] = json!("Alpha");
        game["prices"] = json!({"US": 500});
        game["released_at"] = json!(3000);
    })
    .await;
    app.game(&one, "beta", |game| {
        game["title"] = json!("Beta");
        game["categories"] = json!(["puzzle", "action"]);
        game["tags"] = json!(["retro"]);
        game["released_at"] = json!(2000);
    })
    .await;
    app.game(&other, "gamma", |game| {
        game["title"] = json!("Gamma");
        game["categories"] = json!(["puzzle"]);
        game["prices"] = json!({"US": 2000, "KR": 1});
        game["released_at"] = json!(1000);
    })
    .await;
    [one, other]
}

async fn a_list_is_filtered(app: TestApp) -> TestApp {
    let [one, _] = three(&app).await;
    assert_eq!(slugs(&app, "?sort=title").await, ["alpha", "beta", "gamma"]);
    assert_eq!(
        slugs(&app, "?sort=title&category=puzzle").await,
        ["beta", "gamma"]
    );
    assert_eq!(slugs(&app, "?sort=title&tag=retro").await, ["beta"]);
    let of = format!("?sort=title&publisher={one}");
    assert_eq!(slugs(&app, &of).await, ["alpha", "beta"]);
    assert_eq!(
        slugs(&app, "?sort=title&max_price=1000").await,
        ["alpha", "beta"]
    );
    assert_eq!(
        slugs(&app, "?category=puzzle&max_price=1000&tag=retro&q=bet").await,
        ["beta"]
    );
    assert_eq!(slugs(&app, "?category=none").await, [""; 0]);
    let categories = get(&app, "/v1/games/categories").await.expect(200);
    let puzzle = json!({"category": "puzzle", "games": 2});
    assert!(categories["items"].as_array().unwrap().contains(&puzzle));
    for bad in [
        "?sort=sold",
        "?sort=relevance",
        "?country=XX",
        "?limit=0",
        "?q=%21",
    ] {
        let answer = get(&app, &format!("/v1/games{bad}")).await;
        assert_eq!(answer.problem(400), "invalid", "{bad}");
    }
    app
}

async fn a_list_comes_in_every_order_and_in_pages(app: TestApp) -> TestApp {
    three(&app).await;
    for (sort, expected) in [
        ("title", ["alpha", "beta", "gamma"]),
        ("newest", ["alpha", "beta", "gamma"]),
        ("price", ["alpha", "beta", "gamma"]),
        ("-price", ["gamma", "beta", "alpha"]),
    ] {
        let mut seen = Vec::new();
        let mut path = format!("/v1/games?sort={sort}&limit=1");
        loop {
            let page = get(&app, &path).await.expect(200);
            for item in page["items"].as_array().unwrap() {
                seen.push(item["slug"].as_str().unwrap().to_owned());
            }
            let Some(next) = page["next"].as_str() else {
                break;
            };
            let next = format!("cursor={next}");
            // A cursor is of one order.
            let other = get(&app, &format!("/v1/games?sort=rating&{next}")).await;
            assert_eq!(other.problem(400), "invalid");
            path = format!("/v1/games?sort={sort}&limit=1&{next}");
        }
        assert_eq!(seen, expected, "{sort}");
    }
    // What ties is in some order, and every one once.
    for sort in ["rating", "popular"] {
        let first = get(&app, &format!("/v1/games?sort={sort}&limit=2"))
            .await
            .expect(200);
        let next = first["next"].as_str().unwrap();
        let rest = get(
            &app,
            &format!("/v1/games?sort={sort}&limit=2&cursor={next}"),
        )
        .await;
        let rest = rest.expect(200);
        let items = |page: &Value| page["items"].as_array().unwrap().clone();
        let all: BTreeSet<String> = [items(&first), items(&rest)]
            .concat()
            .iter()
            .map(|item| item["slug"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(all.len(), 3, "{sort}");
    }
    app
}

async fn words_are_found_wherever_they_stand(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    app.game(&publisher, "title", |game| {
        game["title"] = json!("Über-Lantern 64");
    })
    .await;
    app.game(&publisher, "prose", |game| {
        game["title"] = json!("Quiet");
        game["description"] = json!("There is a lantern; it's broken.");
    })
    .await;
    // What is in the title comes first.
    assert_eq!(slugs(&app, "?q=lantern").await, ["title", "prose"]);
    assert_eq!(slugs(&app, "?q=LANT").await, ["title", "prose"]);
    assert_eq!(slugs(&app, "?q=%C3%BCber+64").await, ["title"]);
    assert_eq!(slugs(&app, "?q=broken+there").await, ["prose"]);
    assert_eq!(slugs(&app, "?q=lantern+nowhere").await, [""; 0]);
    // A prefix of a word, and no infix.
    assert_eq!(slugs(&app, "?q=antern").await, [""; 0]);
    // What looks like an operator is none.
    assert_eq!(
        slugs(&app, "?q=%22lantern%22+%26+%21%28quiet").await,
        ["prose"]
    );
    assert_eq!(slugs(&app, "?q=NOT+lantern").await, [""; 0]);
    assert_eq!(
        slugs(&app, "?q=action&sort=title").await,
        ["prose", "title"]
    );
    // Changed, it is found by its new words only.
    app.game(&publisher, "prose", |game| game["title"] = json!("Loud"))
        .await;
    assert_eq!(slugs(&app, "?q=lantern").await, ["title"]);
    assert_eq!(slugs(&app, "?q=loud").await, ["prose"]);
    app
}

async fn a_sale_is_a_price_for_a_time(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let now = Timestamp::now().as_millis();
    let hour = 3_600_000;
    app.game(&publisher, "star", |game| {
        game["sales"] = json!([
            {"country": "US", "price": 400, "starts_at": now + hour, "ends_at": now + 2 * hour},
            {"country": "US", "price": 700, "starts_at": now + 3 * hour, "ends_at": now + 4 * hour},
        ]);
    })
    .await;
    app.game(&publisher, "moon", |_| ()).await;
    let price = async |app: &TestApp| {
        let body = get(app, "/v1/games/star").await.expect(200);
        (
            body["price"]["minor"].clone(),
            body.get("full_price").is_some(),
        )
    };
    let mut prices = Vec::new();
    for _ in 0..5 {
        prices.push(price(&app).await);
        app.advance(std::time::Duration::from_millis(hour as u64 + 10_000));
    }
    let prices: Vec<_> = prices
        .iter()
        .map(|(price, sale)| (price.as_i64().unwrap(), *sale))
        .collect();
    assert_eq!(
        prices,
        [
            (1000, false),
            (400, true),
            (1000, false),
            (700, true),
            (1000, false)
        ]
    );
    app.game(&publisher, "star", |game| {
        let now = now + 5 * hour;
        game["sales"] = json!([{"country": "US", "price": 1, "starts_at": now - hour, "ends_at": now + 9 * hour}]);
    })
    .await;
    assert_eq!(slugs(&app, "?on_sale=true").await, ["star"]);
    assert_eq!(slugs(&app, "?sort=price").await, ["star", "moon"]);
    assert_eq!(slugs(&app, "?max_price=1").await, ["star"]);
    // In another country there is no sale.
    assert_eq!(slugs(&app, "?on_sale=true&country=KR").await, [""; 0]);
    app
}

async fn a_game_is_sold_where_it_has_a_price(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    app.game(&publisher, "star", |game| {
        game["prices"] = json!({"KR": 12000});
    })
    .await;
    assert_eq!(slugs(&app, "").await, [""; 0]);
    assert_eq!(slugs(&app, "?country=KR").await, ["star"]);
    assert_eq!(get(&app, "/v1/games/star").await.problem(404), "not_found");
    let won = get(&app, "/v1/games/star?country=KR").await.expect(200);
    assert_eq!(
        won["price"],
        json!({"minor": 12000, "currency": "KRW", "exponent": 0})
    );
    // Somebody who buys there needs not say so.
    let ann = app.user("Ann").await;
    let body = json!({"country": "KR"});
    app.with_body(Method::PUT, "/v1/wallet/country", &ann, body)
        .await
        .expect(200);
    app.get("/v1/games/star", &ann).await.expect(200);
    app
}

async fn drafts_and_withdrawn_games_are_not_shown(app: TestApp) -> TestApp {
    let owner = app.user("Pia").await;
    let body = json!({"name": "Oak", "owner": owner.id});
    let made = app.request(Method::POST, "/v1/publishers", Some(SERVICE_TOKEN));
    let made = app.send(made.json(&body)).await.expect(201);
    let publisher = made["id"].as_str().unwrap();
    // Whoever owns a publisher is one.
    assert_eq!(
        app.get("/v1/me", &owner).await.expect(200)["role"],
        "publisher"
    );
    for state in ["draft", "withdrawn"] {
        app.game(publisher, "star", |game| game["state"] = json!(state))
            .await;
        assert_eq!(slugs(&app, "").await, [""; 0]);
        assert_eq!(slugs(&app, "?q=star").await, [""; 0]);
        assert_eq!(get(&app, "/v1/games/star").await.problem(404), "not_found");
        assert_eq!(
            app.get("/v1/games/star", &owner).await.expect(200)["state"],
            state
        );
        let suggestions = get(&app, "/v1/games/suggestions?q=star").await.expect(200);
        assert_eq!(suggestions["items"], json!([]));
    }
    app.game(publisher, "star", |_| ()).await;
    assert_eq!(slugs(&app, "").await, ["star"]);
    app
}

async fn suggestions_begin_with_what_is_typed(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    for (slug, title) in [
        ("a", "The Star"),
        ("b", "Star Trip"),
        ("c", "Bestarred"),
        ("d", "50% Star_"),
    ] {
        app.game(&publisher, slug, |game| game["title"] = json!(title))
            .await;
    }
    let ask = async |q: &str| {
        let body = get(&app, &format!("/v1/games/suggestions?q={q}"))
            .await
            .expect(200);
        let items = body["items"].as_array().unwrap().clone();
        let title = |item: &Value| item["title"].as_str().unwrap().to_owned();
        items.iter().map(title).collect::<Vec<_>>()
    };
    assert_eq!(ask("sta").await, ["Star Trip", "50% Star_", "The Star"]);
    assert_eq!(ask("star+t").await, ["Star Trip"]);
    // What is a pattern elsewhere is not one here.
    assert_eq!(ask("50%25").await, ["50% Star_"]);
    assert_eq!(ask("s_ar").await, [""; 0]);
    get(&app, "/v1/games/suggestions?q=%25").await.problem(400);
    app
}

async fn searches_are_remembered_and_counted(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    app.game(&publisher, "star", |_| ()).await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let search = async |user, q: &str| {
        let body = json!({"q": q});
        app.with_body(Method::POST, "/v1/searches", user, body)
            .await
            .expect(204);
    };
    for number in 0..12 {
        search(&ann, &format!("Word {number}")).await;
        app.advance(std::time::Duration::from_millis(5));
    }
    search(&ann, "word 11").await;
    let recent = app.get("/v1/searches", &ann).await.expect(200);
    let recent = recent["items"].as_array().unwrap().clone();
    assert_eq!(
        (recent.len(), &recent[0], &recent[9]),
        (10, &json!("word 11"), &json!("word 2"))
    );
    // Counted once a person and day, and only what leads somewhere.
    for _ in 0..3 {
        search(&ann, "STAR").await;
    }
    search(&bob, "star of").await;
    search(&bob, "star").await;
    let top = get(&app, "/v1/searches/top").await.expect(200);
    let expected = json!([{"words": "star", "people": 2}, {"words": "star of", "people": 1}]);
    assert_eq!(top["items"], expected);
    app.delete("/v1/searches", &ann).await.expect(204);
    assert_eq!(
        app.get("/v1/searches", &ann).await.expect(200)["items"],
        json!([])
    );
    app.advance(std::time::Duration::from_hours(24 * 8));
    assert_eq!(
        get(&app, "/v1/searches/top").await.expect(200)["items"],
        json!([])
    );
    app
}

async fn only_its_owner_keeps_a_publishers_games(app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", Role::Operator).await;
    let (pia, zoe) = (
        app.user("Pia").await,
        app.user_as("Zoe", Role::Publisher).await,
    );
    let body = json!({"name": "Oak", "owner": pia.id});
    let make = async || {
        app.with_body(Method::POST, "/v1/publishers", &operator, body.clone())
            .await
    };
    let publisher = make().await.expect(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(make().await.expect(409)["errors"][0]["rule"], "taken");
    let path = format!("/v1/publishers/{publisher}/games/star");
    let put = async |user| app.with_body(Method::PUT, &path, user, game(|_| ())).await;
    assert_eq!(put(&zoe).await.problem(403), "forbidden");
    let made = put(&pia).await.expect(201);
    assert_eq!(put(&operator).await.expect(200), made);
    // A name in addresses is one game's.
    let other = app.publisher("Elm").await;
    let elsewhere = format!("/v1/publishers/{other}/games/star");
    let answer = app
        .with_body(Method::PUT, &elsewhere, &operator, game(|_| ()))
        .await;
    assert_eq!(answer.expect(409)["errors"][0]["rule"], "taken");
    let nowhere = app
        .with_body(
            Method::PUT,
            "/v1/publishers/x/games/star",
            &operator,
            game(|_| ()),
        )
        .await;
    assert_eq!(nowhere.problem(404), "not_found");
    let bad = game(|game| {
        game["categories"] = json!(["best"]);
        game["prices"] = json!({"US": -1});
    });
    let answer = app
        .with_body(Method::PUT, &path, &pia, bad)
        .await
        .expect(400);
    assert_eq!(answer["errors"].as_array().unwrap().len(), 2);
    app
}

async fn an_import_is_all_or_nothing(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    app.game(&app.publisher("Elm").await, "taken", |game| {
        game["title"] = json!("Zeta");
    })
    .await;
    app.game(&publisher, "old", |game| game["title"] = json!("Old"))
        .await;
    let path = format!("/v1/publishers/{publisher}/games");
    let send = async |kind: &str, body: String| {
        let request = app.request(Method::POST, &path, Some(SERVICE_TOKEN));
        app.send(request.header("content-type", kind).body(body))
            .await
    };
    let head = "slug,title,summary,state,released_at,categories,prices";
    let lines = [
        "one,One,A game.,published,5,action,US=100",
        ",Two,A game.,published,5,action,US=100",
        "taken,Three,A game.,published,5,action,US=100",
        "one,Four,A game.,published,5,action,US=100",
        "five,Five,A game.,published,5,best,US=x",
        "six,Six,A game.,gone,5,best,US=1",
    ];
    let all = format!("{head}\n{}\n", lines.join("\n"));
    let refused = send("text/csv", all).await.expect(400);
    let errors = refused["errors"].as_array().unwrap();
    let found: Vec<_> = errors
        .iter()
        .map(|error| {
            (
                error["field"].as_str().unwrap(),
                error["rule"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("lines[2].slug", "malformed"),
        ("lines[3].slug", "taken"),
        ("lines[4].slug", "taken"),
        ("lines[5].line", "malformed"),
        ("lines[6].state", "unknown"),
        ("lines[6].categories", "unknown"),
    ];
    assert_eq!(found, expected);
    assert_eq!(slugs(&app, "?sort=title").await, ["old", "taken"]);
    let good = format!(
        "{head}\n{}\nold,Old again,A game.,published,5,puzzle,US=1\n",
        lines[0]
    );
    let done = send("text/csv; charset=utf-8", good).await.expect(200);
    let outcome = |line: usize| done["items"][line]["outcome"].as_str().unwrap().to_owned();
    assert_eq!(
        (outcome(0), outcome(1)),
        ("created".to_owned(), "changed".to_owned())
    );
    assert_eq!(slugs(&app, "?sort=title").await, ["old", "one", "taken"]);
    // The same in JSON.
    let games = json!([game(|game| game["slug"] = json!("json")), {"title": 5}]);
    let refused = send("application/json", games.to_string())
        .await
        .expect(400);
    assert_eq!(refused["errors"][0]["field"], "lines[2].line");
    let games = json!([game(|game| game["slug"] = json!("json"))]);
    send("application/json", games.to_string())
        .await
        .expect(200);
    assert_eq!(slugs(&app, "?q=star+dawn&publisher=x").await, [""; 0]);
    assert_eq!(
        slugs(&app, &format!("?q=star&publisher={publisher}")).await,
        ["json"]
    );
    assert_eq!(send("text/plain", "x".into()).await.problem(415), "invalid");
    assert_eq!(
        send("application/json", "[]".into()).await.problem(400),
        "invalid"
    );
    app
}

async fn an_empty_catalogue_is_filled_once(app: TestApp) -> TestApp {
    assert_eq!(app.store().seed(0).await.unwrap(), 0);
    assert_eq!(app.store().seed(240).await.unwrap(), 240);
    assert_eq!(app.store().seed(240).await.unwrap(), 0);
    let page = get(&app, "/v1/games?limit=500&country=KR")
        .await
        .expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 240);
    assert!(!slugs(&app, "?on_sale=true").await.is_empty());
    let found = slugs(&app, "?q=clockwork").await;
    assert!(!found.is_empty());
    let detail = get(&app, &format!("/v1/games/{}", found[0]))
        .await
        .expect(200);
    assert!(detail["description"].as_str().unwrap().len() > 50);
    app
}
