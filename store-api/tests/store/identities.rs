//! Logging in by other providers, at one that is real.

use std::{net::TcpListener, time::Duration};

use loadtest::cluster::RedisServer;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::{
    app::{Answer, Backend, PASSWORD, TestApp, User, client},
    both,
    drops::link as redis,
    oidc::{
        IdentityProvider, begin, begun_link, bring_back, came_back, finish, link, log_in, newcomer,
        register, visit, walk,
    },
};

both!(
    somebody_comes_by_a_provider_and_comes_again,
    a_log_in_is_of_the_browser_that_began_it,
    a_state_and_a_ticket_are_good_once,
    a_log_in_ends,
    a_code_is_good_once_and_for_whoever_asked_for_it,
    a_refusal_of_the_provider_is_told,
    two_at_once_make_one_account,
    a_taken_name_costs_no_second_walk,
    a_provider_that_is_away_or_talks_nonsense_is_told,
    a_store_without_providers_has_none,
);

/// The first broken rule that a conflict names.
pub fn rule(answer: Answer) -> String {
    let body = answer.expect(409);
    let (field, rule) = (&body["errors"][0]["field"], &body["errors"][0]["rule"]);
    format!("{} {}", field.as_str().unwrap(), rule.as_str().unwrap())
}

pub async fn providers(app: &mut TestApp) -> IdentityProvider {
    let provider = IdentityProvider::start();
    provider.serve(app).await;
    provider
}

pub async fn linked(app: &TestApp, user: &User) -> Vec<String> {
    let body = app.get("/v1/me/identities", user).await.expect(200);
    let items = body["items"].as_array().unwrap().iter();
    items
        .map(|item| item["provider"].as_str().unwrap().to_owned())
        .collect()
}

pub async fn deeds(app: &TestApp, user: &User) -> Vec<String> {
    let body = app.get("/v1/me/security-events", user).await.expect(200);
    let items = body["items"].as_array().unwrap().iter();
    items
        .map(|item| item["deed"].as_str().unwrap().to_owned())
        .collect()
}

async fn somebody_comes_by_a_provider_and_comes_again(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let list = app.send(app.request(Method::GET, "/v1/auth/providers", None));
    assert_eq!(
        list.await.expect(200)["items"],
        json!([{"name": "kakao", "label": "Kakao"}, {"name": "oak", "label": "Oak"}])
    );
    let begun = begin(&app, "kakao").await;
    let ticket = walk(&app, &begun, "17").await;
    let new = finish(&app, &ticket, &begun.secret).await;
    assert_eq!(new.headers["cache-control"], "no-store");
    let new = new.expect(202);
    assert_eq!(new["name"], "17");
    assert!(new.get("access_token").is_none());
    assert_eq!(app.count("users").await, 0);
    let ticket = new["ticket"].as_str().unwrap();
    let body = register(&app, ticket, &begun.secret, "Ann")
        .await
        .expect(201);
    let ann = User::of(&body, String::new());
    let me = app.get("/v1/me", &ann).await.expect(200);
    assert_eq!(me["email"], "17@example.org");
    // Only a code of ours proves it.
    assert_eq!(me["email_verified"], false);
    assert_eq!(linked(&app, &ann).await, ["kakao"]);

    let again = log_in(&app, "kakao", "17").await.expect(200);
    assert_eq!(again["user"]["id"], ann.id.as_str());
    let again = User::of(&again, String::new());
    assert_eq!(deeds(&app, &again).await, ["logged_in", "registered"]);
    // The same name at another provider is somebody else, whose address is taken.
    assert_eq!(rule(log_in(&app, "oak", "17").await), "email taken");
    assert_eq!(app.count("users").await, 1);
    // There is no password to guess.
    app.login("17@example.org", PASSWORD).await.expect(401);
    app
}

async fn a_log_in_is_of_the_browser_that_began_it(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    newcomer(&app, "kakao", "mallory", "Mallory").await;
    // Mallory sends Ann's browser back with a code of Mallory's.
    let (of_ann, of_mallory) = (begin(&app, "kakao").await, begin(&app, "kakao").await);
    let ticket = walk(&app, &of_mallory, "mallory").await;
    let answer = finish(&app, &ticket, &of_ann.secret).await;
    assert_eq!(answer.problem(403), "forbidden");
    // Nor does the right one help afterwards.
    finish(&app, &ticket, &of_mallory.secret).await.expect(403);
    // A ticket to log in links nothing, and one to link logs nobody in.
    let ann = app.user("Ann").await;
    let begun = begin(&app, "oak").await;
    let ticket = walk(&app, &begun, "x").await;
    link(&app, &ann, &ticket, &begun.secret).await.expect(403);
    let begun = begun_link(&app, &ann, "oak", json!({"password": PASSWORD})).await;
    let ticket = walk(&app, &begun, "x").await;
    finish(&app, &ticket, &begun.secret).await.expect(403);
    // And it links to the account that began.
    let bob = app.user("Bob").await;
    let begun = begun_link(&app, &ann, "oak", json!({"password": PASSWORD})).await;
    let ticket = walk(&app, &begun, "x").await;
    link(&app, &bob, &ticket, &begun.secret).await.expect(403);
    assert!(linked(&app, &bob).await.is_empty());
    app
}

async fn a_state_and_a_ticket_are_good_once(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let begun = begin(&app, "kakao").await;
    let back = visit(&begun, "ann").await;
    // At the door of another provider it is nobody's.
    let other = begin(&app, "oak").await;
    let elsewhere = visit(&other, "ann").await;
    let elsewhere = Url::parse(&elsewhere.as_str().replace("/oak/", "/kakao/")).unwrap();
    assert_eq!(bring_back(&app, &elsewhere).await, "over");
    let ticket = bring_back(&app, &back).await;
    assert_ne!(ticket, "over");
    assert_eq!(bring_back(&app, &back).await, "over");
    for forged in [
        "state=",
        "state=x&code=y",
        "code=y",
        &format!("state={ticket}&code=y"),
        "",
    ] {
        let mut forged_back = back.clone();
        forged_back.set_query(Some(forged));
        assert_eq!(bring_back(&app, &forged_back).await, "over", "{forged}");
    }
    for wrong in ["over", "", "x", &begun.secret] {
        finish(&app, wrong, &begun.secret).await.expect(403);
    }
    let new = finish(&app, &ticket, &begun.secret).await.expect(202);
    finish(&app, &ticket, &begun.secret).await.expect(403);
    let ticket = new["ticket"].as_str().unwrap();
    register(&app, ticket, "wrong", "Ann").await.expect(403);
    register(&app, ticket, &begun.secret, "Ann")
        .await
        .expect(403);
    assert_eq!(app.count("users").await, 0);
    app
}

async fn a_log_in_ends(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let late = Duration::from_secs(601);
    let begun = begin(&app, "kakao").await;
    let back = visit(&begun, "ann").await;
    app.advance(late);
    assert_eq!(bring_back(&app, &back).await, "over");

    let begun = begin(&app, "kakao").await;
    let ticket = walk(&app, &begun, "ann").await;
    app.advance(late);
    finish(&app, &ticket, &begun.secret).await.expect(403);

    let begun = begin(&app, "kakao").await;
    let ticket = walk(&app, &begun, "ann").await;
    let new = finish(&app, &ticket, &begun.secret).await.expect(202);
    app.advance(late);
    let ticket = new["ticket"].as_str().unwrap();
    register(&app, ticket, &begun.secret, "Ann")
        .await
        .expect(403);
    app
}

async fn a_code_is_good_once_and_for_whoever_asked_for_it(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let code = |back: &Url| {
        let mut pairs = back.query_pairs();
        let (_, code) = pairs.find(|(name, _)| name == "code").unwrap();
        code.into_owned()
    };
    let with_code = |back: &Url, code: &str| {
        let mut changed = back.clone();
        let kept: Vec<_> = back
            .query_pairs()
            .filter(|(name, _)| name != "code")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        changed.query_pairs_mut().clear().extend_pairs(kept);
        changed.query_pairs_mut().append_pair("code", code);
        changed
    };
    // A code that was asked for with another challenge: the provider finds that the verifier is wrong.
    let (of_mallory, of_ann) = (begin(&app, "kakao").await, begin(&app, "kakao").await);
    let stolen = code(&visit(&of_ann, "ann").await);
    let back = visit(&of_mallory, "mallory").await;
    let ticket = bring_back(&app, &with_code(&back, &stolen)).await;
    let answer = finish(&app, &ticket, &of_mallory.secret).await;
    assert_eq!(answer.problem(403), "forbidden");

    // One that was used.
    let begun = begin(&app, "kakao").await;
    let back = visit(&begun, "ann").await;
    let used = code(&back);
    let ticket = bring_back(&app, &back).await;
    finish(&app, &ticket, &begun.secret).await.expect(202);
    let begun = begin(&app, "kakao").await;
    let back = visit(&begun, "ann").await;
    let ticket = bring_back(&app, &with_code(&back, &used)).await;
    finish(&app, &ticket, &begun.secret).await.expect(403);

    // And ones that are none.
    let long = "x".repeat(5000);
    for (code, status) in [("x", 403), ("é & =", 403), (&long, 409)] {
        let begun = begin(&app, "kakao").await;
        let back = visit(&begun, "ann").await;
        let ticket = bring_back(&app, &with_code(&back, code)).await;
        let answer = finish(&app, &ticket, &begun.secret).await;
        answer.expect(status);
    }
    app
}

async fn a_refusal_of_the_provider_is_told(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let begun = begin(&app, "kakao").await;
    let back = visit(&begun, "").await;
    assert!(back.as_str().contains("error=access_denied"), "{back}");
    let ticket = bring_back(&app, &back).await;
    let answer = finish(&app, &ticket, &begun.secret).await;
    assert_eq!(rule(answer), "provider declined");
    app
}

async fn two_at_once_make_one_account(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let mut ready = Vec::new();
    for _ in 0..4 {
        let begun = begin(&app, "kakao").await;
        let ticket = walk(&app, &begun, "ann").await;
        let body = finish(&app, &ticket, &begun.secret).await.expect(202);
        ready.push((body["ticket"].as_str().unwrap().to_owned(), begun.secret));
    }
    let names = ["Ann", "Anne", "Anna", "Annie"];
    let [a, b, c, d] = [0, 1, 2, 3].map(|n| register(&app, &ready[n].0, &ready[n].1, names[n]));
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let ids: Vec<Value> = [a, b, c, d]
        .into_iter()
        .map(|answer| answer.expect(201)["user"]["id"].clone())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(app.count("users").await, 1);
    assert_eq!(app.count("identities").await, 1);
    app
}

async fn a_taken_name_costs_no_second_walk(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    app.register("bob@example.org", "Bob").await.expect(201);
    let begun = begin(&app, "kakao").await;
    let ticket = walk(&app, &begun, "ann").await;
    let new = finish(&app, &ticket, &begun.secret).await.expect(202);
    let ticket = new["ticket"].as_str().unwrap();
    let answer = register(&app, ticket, &begun.secret, "bob").await;
    assert_eq!(rule(answer), "name taken");
    register(&app, ticket, &begun.secret, "x").await.expect(400);
    register(&app, ticket, &begun.secret, "Ann")
        .await
        .expect(201);
    register(&app, ticket, &begun.secret, "Ann")
        .await
        .expect(403);
    app
}

async fn a_provider_that_is_away_or_talks_nonsense_is_told(mut app: TestApp) -> TestApp {
    let mut provider = providers(&mut app).await;
    let begun = begin(&app, "kakao").await;
    let ticket = walk(&app, &begun, "ann").await;
    provider.down();
    let answer = finish(&app, &ticket, &begun.secret).await;
    assert_eq!(answer.problem(503), "unavailable");
    // One cannot begin again but once it is back.
    provider.up();
    log_in(&app, "kakao", "ann").await.expect(202);

    // One that never answers.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let nowhere = format!("http://{}/token", silent.local_addr().unwrap());
    app.settings.login.login_provider_timeout = Duration::from_millis(300);
    app.settings.login.kakao_login_token_url = nowhere;
    app.restart().await;
    log_in(&app, "kakao", "ann").await.expect(503);
    // What is no token, and what is nobody.
    let login = &mut app.settings.login;
    login.login_provider_timeout = Duration::from_secs(10);
    login.kakao_login_token_url = provider.url("/jwks");
    app.restart().await;
    log_in(&app, "kakao", "ann").await.expect(503);
    let login = &mut app.settings.login;
    login.kakao_login_token_url = provider.url("/token");
    login.kakao_login_user_url = provider.url("/jwks");
    app.restart().await;
    log_in(&app, "kakao", "ann").await.expect(503);
    // A secret of ours that it does not know is no fault of whoever logs in.
    app.settings.login.kakao_login_user_url = provider.url("/me");
    app.settings.login.kakao_login_secret = None;
    app.restart().await;
    log_in(&app, "kakao", "ann").await.expect(503);
    app
}

async fn a_store_without_providers_has_none(app: TestApp) -> TestApp {
    let list = app.send(app.request(Method::GET, "/v1/auth/providers", None));
    assert_eq!(list.await.expect(200)["items"], json!([]));
    for path in ["/v1/auth/providers/kakao", "/v1/auth/providers/%00"] {
        app.post(path, Value::Null).await.expect(404);
    }
    let path = "/v1/auth/providers/kakao/return?state=x&code=y";
    let answer = app.send(app.request(Method::GET, path, None)).await;
    assert_eq!(answer.problem(404), "not_found");
    app
}

/// Stores that share a Redis share who is on the way.
#[test]
fn a_browser_may_come_back_to_another_store() {
    crate::app::run(Backend::Postgres, async |mut app: TestApp| {
        let server = RedisServer::shared().await.unwrap();
        app.redis = Some(redis(server).await);
        let _provider = providers(&mut app).await;
        let twin = app.twin().await;
        let begun = begin(&app, "kakao").await;
        let ticket = walk(&twin, &begun, "ann").await;
        let new = finish(&app, &ticket, &begun.secret).await.expect(202);
        let ticket = new["ticket"].as_str().unwrap();
        let made = register(&twin, ticket, &begun.secret, "Ann").await;
        let made = made.expect(201);
        let again = log_in(&app, "kakao", "ann").await.expect(200);
        assert_eq!(again["user"]["id"], made["user"]["id"]);
        twin.end().await;
        app
    });
}

/// Whoever is on the way while Redis is away is told so and goes on afterwards, or begins again if it forgot them.
#[test]
fn log_ins_on_their_way_outlive_a_redis_that_is_away() {
    crate::app::run(Backend::Postgres, async |mut app: TestApp| {
        let mut server = RedisServer::start().await.unwrap();
        let redis = redis(&server).await;
        app.redis = Some(redis.clone());
        let _provider = providers(&mut app).await;
        app.register("bob@example.org", "Bob").await.expect(201);
        let begun = begin(&app, "kakao").await;
        let back = visit(&begun, "ann").await;
        let other = begin(&app, "kakao").await;
        let ticket = walk(&app, &other, "ann").await;

        server.kill().unwrap();
        let path = "/v1/auth/providers/kakao";
        let answer = app.post(path, Value::Null).await;
        assert_eq!(answer.problem(503), "unavailable");
        assert_eq!(came_back(&app, &back).await.problem(503), "unavailable");
        // Whoever comes back by a browser has a page to read, from which they try again.
        let page = seen_by_browser(&app, &back).await;
        assert!(page.contains("That did not work just now"), "{page}");
        assert!(page.contains("<code>unavailable</code>"), "{page}");
        assert!(page.contains("href=\"\">Try again</a>"), "{page}");
        let answer = finish(&app, &ticket, &other.secret).await;
        assert_eq!(answer.problem(503), "unavailable");
        // All other ways in are open.
        app.login("bob@example.org", PASSWORD).await.expect(200);

        server.restart().await.unwrap();
        assert!(redis.wait_up(Duration::from_mins(1)).await);
        // The browser loads the same address again.
        let again = bring_back(&app, &back).await;
        let new = finish(&app, &again, &begun.secret).await.expect(202);
        finish(&app, &ticket, &other.secret).await.expect(202);

        server.kill().unwrap();
        let known = new["ticket"].as_str().unwrap();
        let answer = register(&app, known, &begun.secret, "Ann").await;
        assert_eq!(answer.problem(503), "unavailable");
        server.restart_empty().await.unwrap();
        assert!(redis.wait_up(Duration::from_mins(1)).await);
        let answer = register(&app, known, &begun.secret, "Ann").await;
        assert_eq!(answer.problem(403), "forbidden");
        assert_eq!(app.count("users").await, 1);
        newcomer(&app, "kakao", "ann", "Ann").await;
        app
    });
}

/// The page that a browser shows of an answer 503.
async fn seen_by_browser(app: &TestApp, back: &Url) -> String {
    let url = app.url(&format!("{}?{}", back.path(), back.query().unwrap()));
    let request = client().get(url).header("sec-fetch-mode", "navigate");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert!(answer.headers().contains_key("content-security-policy"));
    answer.text().await.unwrap()
}
