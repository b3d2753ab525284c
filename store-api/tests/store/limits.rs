//! How often is too often.

use reqwest::Method;
use serde_json::json;

use crate::{
    app::{PASSWORD, TestApp},
    both,
};

both!(
    guessing_is_slowed_down_by_account_known_or_not,
    log_ins_are_slowed_down_by_address,
    registrations_are_slowed_down_by_address,
    a_stolen_token_does_not_help_guessing,
    an_address_is_what_the_socket_says_or_a_proxy_of_ours,
    a_person_is_slowed_down,
);

async fn guessing_is_slowed_down_by_account_known_or_not(mut app: TestApp) -> TestApp {
    app.settings.login_account_rate = "1/h burst 3".parse().unwrap();
    app.restart().await;
    let ann = app.user("Ann").await;
    let bob = app.user("Bob").await;
    let mut answers = Vec::new();
    for email in [ann.email.as_str(), "nobody@example.org"] {
        // Registering took one of Ann's; the unknown account gets the same here.
        if email != ann.email {
            app.login(email, "wrong").await.problem(401);
        }
        app.login(email, "wrong").await.problem(401);
        // In other letters that are the same address: `０` is `0`, and so `ｂ` is `b`.
        let disguised = email.to_uppercase().replace('0', "０").replace('B', "ｂ");
        app.login(&disguised, "wrong").await.problem(401);
        let refused = app.login(email, PASSWORD).await;
        assert_eq!(refused.headers["ratelimit-limit"], "3");
        assert_eq!(refused.headers["ratelimit-remaining"], "0");
        let after: u64 = refused.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((3000..=3600).contains(&after), "{after}");
        assert!(refused.body["retry_after_ms"].as_u64().unwrap() > 3_000_000);
        answers.push(refused.problem(429));
    }
    assert_eq!(answers, ["rate_limited", "rate_limited"]);
    app.login(&bob.email, PASSWORD).await.expect(200);
    app
}

async fn log_ins_are_slowed_down_by_address(mut app: TestApp) -> TestApp {
    app.settings.login_address_rate = "1/h burst 4".parse().unwrap();
    app.restart().await;
    for number in 0..4 {
        app.login(&format!("{number}@example.org"), "wrong")
            .await
            .problem(401);
    }
    assert_eq!(
        app.login("5@example.org", "wrong").await.problem(429),
        "rate_limited"
    );
    app
}

async fn registrations_are_slowed_down_by_address(mut app: TestApp) -> TestApp {
    app.settings.registration_rate = "1/h burst 2".parse().unwrap();
    app.settings.refresh_rate = "1/h burst 1".parse().unwrap();
    app.settings.availability_rate = "1/h burst 1".parse().unwrap();
    app.restart().await;
    app.user("Ann").await;
    app.user("Bob").await;
    assert_eq!(
        app.register("cid@example.org", "Cid").await.problem(429),
        "rate_limited"
    );
    app.refresh("x").await.problem(401);
    assert_eq!(app.refresh("x").await.problem(429), "rate_limited");
    let ask = || app.send(app.request(Method::GET, "/v1/auth/available?name=Cid", None));
    ask().await.expect(200);
    assert_eq!(ask().await.problem(429), "rate_limited");
    app
}

async fn a_stolen_token_does_not_help_guessing(mut app: TestApp) -> TestApp {
    app.settings.login_account_rate = "1/h burst 2".parse().unwrap();
    app.restart().await;
    let ann = app.user("Ann").await;
    let guess = || app.with_body(Method::DELETE, "/v1/me", &ann, json!({"password": "guess"}));
    guess().await.problem(403);
    guess().await.problem(403);
    assert_eq!(guess().await.problem(429), "rate_limited");
    app
}

async fn an_address_is_what_the_socket_says_or_a_proxy_of_ours(mut app: TestApp) -> TestApp {
    app.settings.login_address_rate = "1/h burst 1".parse().unwrap();
    for (trusted, last) in [(false, 429), (true, 401)] {
        app.trusted_proxies = if trusted {
            vec!["127.0.0.0/8".parse().unwrap()]
        } else {
            Vec::new()
        };
        app.restart().await;
        for (address, status) in [("192.0.2.1", 401), ("192.0.2.2", last)] {
            let body = json!({"email": format!("{address}@example.org"), "password": "wrong"});
            let request = app
                .request(Method::POST, "/v1/auth/login", None)
                .json(&body);
            app.send(request.header("x-forwarded-for", address))
                .await
                .problem(status);
        }
    }
    app
}

async fn a_person_is_slowed_down(mut app: TestApp) -> TestApp {
    app.settings.store_user_rate = "1/h burst 2".parse().unwrap();
    app.restart().await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    for expected in [200, 200, 429] {
        assert_eq!(app.me_status(&ann.access).await, expected);
    }
    assert_eq!(app.me_status(&bob.access).await, 200);
    app
}
