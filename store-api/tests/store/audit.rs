//! Who did what, as it stands in the log.

use std::time::Duration;

use reqwest::Method;
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::{Value, json};
use store_api::Role;

use crate::{
    app::{PASSWORD, SERVICE_TOKEN, TestApp, User, game},
    both,
    smtp::MailServer,
};

both!(
    every_deed_is_written_down,
    a_line_says_where_it_came_from,
    the_log_is_filtered_and_paged,
    one_sees_what_was_done_to_ones_own_account,
    what_stands_there_is_final_and_goes_with_time,
    a_deed_that_came_to_nothing_is_not_there,
    what_is_done_to_publishers_and_games_is_written_down,
);

async fn log(app: &TestApp, operator: &User, query: &str) -> Vec<Value> {
    let body = app.get(&format!("/v1/audit?{query}"), operator).await;
    body.expect(200)["items"].as_array().unwrap().clone()
}

/// The one line that a query finds.
async fn line(app: &TestApp, operator: &User, query: &str) -> Value {
    let lines = log(app, operator, query).await;
    assert_eq!(lines.len(), 1, "{query}: {lines:?}");
    lines[0].clone()
}

async fn every_deed_is_written_down(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let operator = app.user_as("Olaf", Role::Operator).await;
    let ann = app.user("Ann").await;
    let by = |user: &User| format!("user:{}", user.id);
    // What a line about Ann says; who did it, and what else there is to know.
    let told = async |deed: &str, actor: &str, details: Value| {
        let query = format!("deed={deed}&subject={}", ann.id);
        let found = line(&app, &operator, &query).await;
        assert_eq!(
            (&found["actor"], &found["details"]),
            (&json!(actor), &details)
        );
    };
    told("registered", &by(&ann), json!({})).await;
    app.login(&ann.email, PASSWORD).await.expect(200);
    told("logged_in", &by(&ann), json!({})).await;
    app.login(&ann.email, "not my password").await.problem(401);
    told("login_failed", "nobody", json!({})).await;
    app.login("nobody@example.org", PASSWORD).await.problem(401);
    let failed = log(&app, &operator, "deed=login_failed").await;
    assert_eq!(failed.len(), 2);
    assert!(failed[0].get("subject").is_none(), "{failed:?}");

    let code = server.code(&ann.email, 1).await;
    let body = json!({"code": code});
    app.with_body(Method::POST, "/v1/me/email/verify", &ann, body)
        .await
        .expect(200);
    told("email_verified", &by(&ann), json!({})).await;
    let path = format!("/v1/users/{}/role", ann.id);
    let body = json!({"role": "publisher"});
    app.with_body(Method::PUT, &path, &operator, body)
        .await
        .expect(204);
    let details = json!({"from": "player", "to": "publisher"});
    told("role_changed", &by(&operator), details).await;
    let query = format!("deed=role_changed&subject={}", operator.id);
    let found = line(&app, &operator, &query).await;
    assert_eq!(found["actor"], "machine");

    let exchanged = app.refresh(&ann.refresh).await.expect(200);
    app.refresh(&ann.refresh).await.problem(401);
    told("refresh_reused", "nobody", json!({})).await;
    drop(exchanged);
    let login = app.login(&ann.email, PASSWORD).await.expect(200);
    let again = User::of(&login, ann.email.clone());
    app.get("/v1/me/export", &again).await.expect(200);
    told("exported", &by(&ann), json!({})).await;
    let body = json!({"current_password": PASSWORD, "new_password": "a better password"});
    app.with_body(Method::PUT, "/v1/me/password", &again, body)
        .await
        .expect(200);
    told("password_changed", &by(&ann), json!({})).await;
    app.post("/v1/auth/password/forgot", json!({"email": ann.email}))
        .await
        .expect(202);
    let mails = server.mails_to(&ann.email, 3).await;
    let reset = mails
        .iter()
        .find(|mail| mail.headers("subject")[0].starts_with("A new password"));
    let body = json!({
        "email": ann.email, "code": reset.unwrap().code(), "new_password": PASSWORD,
    });
    let body = app.post("/v1/auth/password/reset", body).await.expect(200);
    let ann_again = User::of(&body, ann.email.clone());
    told("password_reset", &by(&ann), json!({})).await;

    let body = json!({"name": "cards", "scopes": ["wallet"], "lifetime_hours": 1});
    let made = app.with_body(Method::POST, "/v1/service-tokens", &operator, body);
    let made = made.await.expect(201);
    let found = line(&app, &operator, "deed=service_token_made").await;
    assert_eq!(found["actor"], by(&operator).as_str());
    let details = json!({"token": made["id"], "name": "cards", "scopes": ["wallet"]});
    assert_eq!(found["details"], details);
    let cards = json!({"amount": 500, "currency": "USD", "cards": 2});
    let token = made["token"].as_str().unwrap();
    let issued = app.named("/v1/gift-cards", token, "some-cards", &cards);
    let batch = issued.await.expect(201)["batch"].clone();
    // Asked again it is answered again, and nothing is done.
    app.named("/v1/gift-cards", token, "some-cards", &cards)
        .await
        .expect(201);
    let found = line(&app, &operator, "deed=gift_cards_issued").await;
    let service = format!("service:{}", made["id"].as_str().unwrap());
    assert_eq!(found["actor"], service.as_str());
    assert_eq!(found["details"]["cards"], 2);
    if !batch.is_null() {
        assert_eq!(found["details"]["batch"], batch);
    }
    let path = format!("/v1/service-tokens/{}", made["id"].as_str().unwrap());
    // Taken back once, however often it is asked for.
    for _ in 0..2 {
        app.delete(&path, &operator).await.expect(204);
    }
    let found = line(&app, &operator, "deed=service_token_revoked").await;
    assert_eq!(found["details"], json!({"token": made["id"]}));

    let password = json!({"password": PASSWORD});
    app.with_body(Method::DELETE, "/v1/me", &ann_again, password)
        .await
        .expect(204);
    told("withdrawn", &by(&ann), json!({})).await;
    // Nothing in it proves who somebody is, or reaches them.
    let everything = json!(log(&app, &operator, "limit=500").await).to_string();
    for never in [PASSWORD, "@example.org", token, &code] {
        assert!(!everything.contains(never), "{never}: {everything}");
    }
    app
}

async fn a_line_says_where_it_came_from(mut app: TestApp) -> TestApp {
    app.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    app.restart().await;
    let operator = app.user_as("Olaf", Role::Operator).await;
    let ann = app.user("Ann").await;
    let body = json!({"email": ann.email, "password": "guess"});
    let request = app
        .request(Method::POST, "/v1/auth/login", None)
        .json(&body);
    let request = request
        .header("x-forwarded-for", "2001:db8::7")
        .header("x-request-id", "from.lb:7");
    app.send(request).await.problem(401);
    let found = line(&app, &operator, "deed=login_failed").await;
    assert_eq!(found["address"], "2001:db8::7");
    assert_eq!(found["request"], "from.lb:7");
    let found = line(
        &app,
        &operator,
        &format!("deed=registered&subject={}", ann.id),
    )
    .await;
    assert_eq!(found["address"], "127.0.0.1");
    assert_eq!(found["request"].as_str().unwrap().len(), 26);
    app
}

async fn the_log_is_filtered_and_paged(app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", Role::Operator).await;
    let ann = app.user("Ann").await;
    for _ in 0..5 {
        app.login(&ann.email, PASSWORD).await.expect(200);
    }
    let actor = format!("actor=user:{}", ann.id);
    let all = log(&app, &operator, &actor).await;
    assert_eq!(all.len(), 6);
    let ids: Vec<&Value> = all.iter().map(|line| &line["id"]).collect();
    assert!(
        ids.windows(2)
            .all(|pair| pair[0].as_str() > pair[1].as_str())
    );
    let (mut paged, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/audit?{actor}&limit=4{next}");
        let page = app.get(&path, &operator).await.expect(200);
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next"].as_str() else {
            break;
        };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(paged, all);
    assert_eq!(
        log(&app, &operator, "actor=user:nobody").await,
        [Value::Null; 0]
    );
    for bad in ["deed=login", "limit=0", "cursor=%25", "actor=%00"] {
        let answer = app.get(&format!("/v1/audit?{bad}"), &operator).await;
        assert_eq!(answer.problem(400), "invalid", "{bad}");
    }
    let answer = app.get("/v1/audit", &ann).await;
    assert_eq!(answer.problem(403), "forbidden");
    app
}

async fn one_sees_what_was_done_to_ones_own_account(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.login(&ann.email, "guess").await.problem(401);
    app.login(&bob.email, "guess").await.problem(401);
    let operator = app.user_as("Olaf", Role::Operator).await;
    let path = format!("/v1/users/{}/role", ann.id);
    let body = json!({"role": "player"});
    app.with_body(Method::PUT, &path, &operator, body)
        .await
        .expect(204);
    let body = app.get("/v1/me/security-events", &ann).await.expect(200);
    let seen: Vec<Value> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| json!([event["deed"], event["own"], event["address"]]))
        .collect();
    // Who runs the store, and from where, is not told.
    let expected = [
        json!(["role_changed", false, null]),
        json!(["login_failed", false, "127.0.0.1"]),
        json!(["registered", true, "127.0.0.1"]),
    ];
    assert_eq!(seen, expected);
    assert!(!body.to_string().contains(&operator.id));
    app
}

async fn what_stands_there_is_final_and_goes_with_time(mut app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", Role::Operator).await;
    let url = match &app.settings.database_url {
        Some(url) => url.expose().clone(),
        None => format!("sqlite:{}", app.data_dir.path().join("store.db").display()),
    };
    let database = Database::connect(url).await.unwrap();
    let forged = "UPDATE audit SET actor = 'nobody'";
    let refused = database.execute_unprepared(forged).await.unwrap_err();
    assert!(refused.to_string().contains("is final"), "{refused}");
    database.close().await.unwrap();
    assert_eq!(log(&app, &operator, "").await.len(), 2);
    app.settings.audit_keep = Duration::from_hours(24);
    app.advance(Duration::from_hours(25));
    // The sweep of the start finds them.
    app.restart().await;
    let body = app.login(&operator.email, PASSWORD).await.expect(200);
    let operator = User::of(&body, operator.email);
    let since = std::time::Instant::now();
    while log(&app, &operator, "").await.len() > 1 {
        assert!(since.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    app
}

async fn a_deed_that_came_to_nothing_is_not_there(app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", Role::Operator).await;
    app.register(&operator.email, "Another").await.problem(409);
    let cards = json!({"amount": -5, "currency": "USD", "cards": 1});
    app.named("/v1/gift-cards", SERVICE_TOKEN, "no-cards", &cards)
        .await
        .problem(400);
    let body = json!({"role": "player"});
    app.with_body(Method::PUT, "/v1/users/01J0/role", &operator, body)
        .await
        .problem(404);
    let deeds: Vec<Value> = log(&app, &operator, "")
        .await
        .iter()
        .map(|line| line["deed"].clone())
        .collect();
    assert_eq!(deeds, ["role_changed", "registered"]);
    app
}

async fn what_is_done_to_publishers_and_games_is_written_down(app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", Role::Operator).await;
    let pia = app.user("Pia").await;
    let by = |user: &User| format!("user:{}", user.id);
    let body = json!({"name": "Pia's", "owner": pia.id});
    let made = app.with_body(Method::POST, "/v1/publishers", &operator, body);
    let house = made.await.expect(201)["id"].clone();
    let found = line(&app, &operator, "deed=publisher_made").await;
    assert_eq!(found["actor"], by(&operator).as_str());
    assert_eq!(found["subject"], pia.id.as_str());
    assert_eq!(
        found["details"],
        json!({"publisher": house, "name": "Pia's"})
    );
    // She was a player.
    let query = format!("deed=role_changed&subject={}", pia.id);
    let found = line(&app, &operator, &query).await;
    assert_eq!(
        (&found["actor"], &found["details"]),
        (
            &json!(by(&operator)),
            &json!({"from": "player", "to": "publisher"})
        )
    );

    let games = format!("/v1/publishers/{}/games", house.as_str().unwrap());
    let put = async |user: &User, change: fn(&mut Value)| {
        let path = format!("{games}/star");
        app.with_body(Method::PUT, &path, user, game(change)).await
    };
    let star = put(&pia, |_| ()).await.expect(201)["id"].clone();
    let found = line(&app, &operator, "deed=game_made").await;
    assert_eq!(found["actor"], by(&pia).as_str());
    let about = json!({"game": star, "slug": "star", "publisher": house});
    let with = |more: Value| {
        let mut details = about.clone();
        let fields = more.as_object().unwrap().clone();
        details.as_object_mut().unwrap().extend(fields);
        details
    };
    assert_eq!(
        found["details"],
        with(json!({"state": "published", "prices": {"US": 1000, "KR": 12000}}))
    );
    // Said again it is no change.
    put(&operator, |_| ()).await.expect(200);
    assert_eq!(
        log(&app, &operator, "deed=game_changed").await,
        [Value::Null; 0]
    );
    put(&operator, |game| {
        game["state"] = json!("withdrawn");
        game["prices"] = json!({"US": 900});
        game["summary"] = json!("Another star.");
        game["sales"] = json!([{"country": "US", "price": 5, "starts_at": 1, "ends_at": 2}]);
    })
    .await
    .expect(200);
    let found = line(&app, &operator, "deed=game_changed").await;
    assert_eq!(found["actor"], by(&operator).as_str());
    let changes = json!({
        "texts": ["summary"], "state": {"from": "published", "to": "withdrawn"},
        "prices": {"US": {"from": 1000, "to": 900}, "KR": {"from": 12000, "to": null}},
        "sales": [{"country": "US", "price": 5, "starts_at": 1, "ends_at": 2}],
    });
    assert_eq!(found["details"], with(json!({"changes": changes})));

    // An import is a line, and so is each game of it that is new or another; one that is refused is none.
    let listed = |slug: &str, price: i64| {
        game(|game| {
            game["slug"] = json!(slug);
            game["prices"] = json!({"US": price});
        })
    };
    let bad = json!([listed("moon", 5), listed("sun", -1)]);
    app.with_body(Method::POST, &games, &operator, bad)
        .await
        .problem(400);
    let good = json!([listed("star", 800), listed("moon", 5), listed("sun", 5)]);
    for _ in 0..2 {
        app.with_body(Method::POST, &games, &operator, good.clone())
            .await
            .expect(200);
    }
    let imports = log(&app, &operator, "deed=games_imported").await;
    let details: Vec<&Value> = imports.iter().map(|line| &line["details"]).collect();
    assert_eq!(
        details,
        [
            &json!({"publisher": house, "lines": 3, "created": 0}),
            &json!({"publisher": house, "lines": 3, "created": 2}),
        ]
    );
    assert_eq!(log(&app, &operator, "deed=game_made").await.len(), 3);
    let changed = log(&app, &operator, "deed=game_changed").await;
    assert_eq!(changed.len(), 2);
    assert_eq!(
        changed[0]["details"]["changes"]["prices"],
        json!({"US": {"from": 900, "to": 800}})
    );
    assert_eq!(changed[0]["request"], imports[1]["request"]);

    // Who may not do it leaves no trace.
    let ann = app.user("Ann").await;
    put(&ann, |game| game["title"] = json!("Mine"))
        .await
        .problem(403);
    let body = json!({"name": "Pia's"});
    app.with_body(Method::POST, "/v1/publishers", &operator, body)
        .await
        .problem(409);
    assert_eq!(log(&app, &operator, "deed=game_changed").await.len(), 2);
    assert_eq!(log(&app, &operator, "deed=publisher_made").await.len(), 1);
    app
}
