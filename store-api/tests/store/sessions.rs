//! Logging in and out, refreshing, and what is taken back.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::{
    app::{PASSWORD, TestApp, User},
    both,
};

both!(
    a_wrong_password_and_an_unknown_account_look_the_same,
    an_unknown_account_takes_as_long,
    a_refresh_token_is_good_for_one_exchange,
    using_a_refresh_token_again_ends_its_session,
    of_two_refreshes_at_once_one_wins_and_the_session_ends,
    logging_out_ends_one_session,
    a_client_without_access_token_logs_out_by_refresh_token,
    logging_out_everywhere_ends_all_and_logging_in_again_works,
    what_is_revoked_stays_so_over_a_restart,
    changing_the_password_throws_everybody_else_out,
    tokens_end_by_themselves,
    a_token_at_its_very_end_is_taken_back_too,
    the_longest_unused_log_in_ends_for_a_new_one,
    a_log_in_racing_with_log_out_everywhere_leaves_no_doubt,
    tokens_that_are_not_ours_are_refused,
);

const LOGOUT_ALL: &str = "/v1/auth/logout-all";

async fn another_login(app: &TestApp, user: &User) -> User {
    let body = app.login(&user.email, PASSWORD).await.expect(200);
    User::of(&body, user.email.clone())
}

async fn a_wrong_password_and_an_unknown_account_look_the_same(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let wrong = app.login(&ann.email, "not the password").await;
    for unknown in [
        "nobody@example.org",
        "no address at all",
        "",
        &"x".repeat(5000),
    ] {
        let unknown = app.login(unknown, "not the password").await;
        assert_eq!(unknown.status, wrong.status);
        assert_eq!(unknown.body, wrong.body);
        // In which order they come is each worker's own.
        let names = |headers: &reqwest::header::HeaderMap| -> BTreeSet<String> {
            headers.keys().map(ToString::to_string).collect()
        };
        assert_eq!(names(&unknown.headers), names(&wrong.headers));
    }
    assert_eq!(wrong.problem(401), "unauthenticated");
    app
}

async fn an_unknown_account_takes_as_long(mut app: TestApp) -> TestApp {
    // Dear enough that skipping the hash would show above everything else.
    app.settings.password_hash_memory_kib = 19 * 1024;
    app.settings.password_hash_passes = 2;
    app.restart().await;
    let ann = app.user("Ann").await;
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..5 {
        for (email, fastest) in [ann.email.as_str(), "nobody@example.org"]
            .iter()
            .zip(&mut fastest)
        {
            let begun = Instant::now();
            app.login(email, "not the password").await.problem(401);
            *fastest = begun.elapsed().min(*fastest);
        }
    }
    let [known, unknown] = fastest;
    assert!(
        unknown * 3 > known && known * 3 > unknown,
        "known {known:?}, unknown {unknown:?}"
    );
    app
}

async fn a_refresh_token_is_good_for_one_exchange(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let body = app.refresh(&ann.refresh).await.expect(200);
    let next = User::of(&body, ann.email.clone());
    assert_eq!(next.id, ann.id);
    assert_ne!(next.refresh, ann.refresh);
    assert_eq!(app.me_status(&next.access).await, 200);
    assert_eq!(
        app.me_status(&ann.access).await,
        200,
        "an exchange revokes nothing"
    );
    app.refresh(&next.refresh).await.expect(200);
    for bad in ["", "x", "a.b", &next.access] {
        assert_eq!(app.refresh(bad).await.problem(401), "unauthenticated");
    }
    app
}

async fn using_a_refresh_token_again_ends_its_session(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let elsewhere = another_login(&app, &ann).await;
    let next = User::of(
        &app.refresh(&ann.refresh).await.expect(200),
        ann.email.clone(),
    );
    // The thief comes with the old one.
    assert_eq!(
        app.refresh(&ann.refresh).await.problem(401),
        "unauthenticated"
    );
    assert_eq!(
        app.refresh(&next.refresh).await.problem(401),
        "unauthenticated"
    );
    for access in [&ann.access, &next.access] {
        assert_eq!(app.me_status(access).await, 401);
    }
    app.nodes[0]
        .wait_for(|event| event["kind"] == "token_revoked")
        .await;
    assert_eq!(
        app.me_status(&elsewhere.access).await,
        200,
        "the other device is not concerned"
    );
    app.refresh(&elsewhere.refresh).await.expect(200);
    app
}

async fn of_two_refreshes_at_once_one_wins_and_the_session_ends(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let answers = join_all((0..8).map(|_| app.refresh(&ann.refresh))).await;
    let won: Vec<_> = answers
        .into_iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert!(won.len() <= 1, "{} got tokens", won.len());
    for answer in won {
        let next = User::of(&answer.body, ann.email.clone());
        assert_eq!(
            app.refresh(&next.refresh).await.problem(401),
            "unauthenticated"
        );
        assert_eq!(app.me_status(&next.access).await, 401);
    }
    app
}

async fn logging_out_ends_one_session(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let elsewhere = another_login(&app, &ann).await;
    app.send(app.request(Method::POST, "/v1/auth/logout", Some(&ann.access)))
        .await
        .expect(204);
    assert_eq!(app.me_status(&ann.access).await, 401);
    assert_eq!(
        app.refresh(&ann.refresh).await.problem(401),
        "unauthenticated"
    );
    let (event, took) = app.nodes[0]
        .wait_for(|event| event["kind"] == "token_revoked")
        .await;
    assert_eq!(event["user"], ann.id.as_str());
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(app.me_status(&elsewhere.access).await, 200);
    let again = app
        .send(app.request(Method::POST, "/v1/auth/logout", Some(&ann.access)))
        .await;
    assert_eq!(again.problem(401), "unauthenticated");
    app
}

async fn a_client_without_access_token_logs_out_by_refresh_token(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let body = json!({"refresh_token": ann.refresh});
    app.post("/v1/auth/logout", body.clone()).await.expect(204);
    assert_eq!(app.me_status(&ann.access).await, 401);
    app.post("/v1/auth/logout", body).await.expect(204);
    app.post("/v1/auth/logout", json!({"refresh_token": "nonsense"}))
        .await
        .expect(204);
    assert_eq!(
        app.post("/v1/auth/logout", json!({})).await.problem(401),
        "unauthenticated"
    );
    app
}

async fn logging_out_everywhere_ends_all_and_logging_in_again_works(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let bob = app.user("Bob").await;
    let elsewhere = another_login(&app, &ann).await;
    app.send(app.request(Method::POST, LOGOUT_ALL, Some(&ann.access)))
        .await
        .expect(204);
    // Within the same second, which is all that `iat` tells.
    let again = another_login(&app, &ann).await;
    for old in [&ann, &elsewhere] {
        assert_eq!(app.me_status(&old.access).await, 401);
        assert_eq!(
            app.refresh(&old.refresh).await.problem(401),
            "unauthenticated"
        );
    }
    assert_eq!(app.me_status(&again.access).await, 200);
    assert_eq!(app.me_status(&bob.access).await, 200);
    let (event, _) = app.nodes[0]
        .wait_for(|event| event["kind"] == "user_tokens_revoked")
        .await;
    assert_eq!(event["user"], ann.id.as_str());
    app
}

async fn what_is_revoked_stays_so_over_a_restart(mut app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.send(app.request(Method::POST, "/v1/auth/logout", Some(&ann.access)))
        .await
        .expect(204);
    app.send(app.request(Method::POST, LOGOUT_ALL, Some(&bob.access)))
        .await
        .expect(204);
    app.restart().await;
    assert_eq!(app.me_status(&ann.access).await, 401);
    assert_eq!(app.me_status(&bob.access).await, 401);
    let body = app
        .service(Method::GET, "/v1/internal/revocations")
        .await
        .expect(200);
    let items = body["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert!(
        items
            .iter()
            .any(|item| item["kind"] == "token" && item["jti"].is_string())
    );
    assert!(
        items
            .iter()
            .any(|item| item["kind"] == "user" && item["user"] == bob.id.as_str())
    );
    // And are forgotten once they deny nothing that would hold otherwise.
    app.advance(Duration::from_secs(15 * 60 + 10));
    let body = app
        .service(Method::GET, "/v1/internal/revocations")
        .await
        .expect(200);
    assert_eq!(body["items"], json!([]));
    app
}

async fn changing_the_password_throws_everybody_else_out(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let elsewhere = another_login(&app, &ann).await;
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        app.with_body(Method::PUT, "/v1/me/password", &ann, body)
            .await
    };
    assert_eq!(
        change("wrong", "a better password").await.problem(403),
        "forbidden"
    );
    assert_eq!(
        change(PASSWORD, "short").await.expect(400)["errors"][0]["field"],
        "new_password"
    );
    let next = User::of(
        &change(PASSWORD, "a better password").await.expect(200),
        ann.email.clone(),
    );
    assert_eq!(app.me_status(&next.access).await, 200);
    app.refresh(&next.refresh).await.expect(200);
    for old in [&ann, &elsewhere] {
        assert_eq!(app.me_status(&old.access).await, 401);
        assert_eq!(
            app.refresh(&old.refresh).await.problem(401),
            "unauthenticated"
        );
    }
    assert_eq!(
        app.login(&ann.email, PASSWORD).await.problem(401),
        "unauthenticated"
    );
    app.login(&ann.email, "a better password").await.expect(200);
    app
}

async fn tokens_end_by_themselves(app: TestApp) -> TestApp {
    const DAY: Duration = Duration::from_hours(24);
    let ann = app.user("Ann").await;
    app.advance(Duration::from_mins(14));
    assert_eq!(app.me_status(&ann.access).await, 200);
    app.advance(Duration::from_mins(2));
    assert_eq!(app.me_status(&ann.access).await, 401);
    app.advance(29 * DAY);
    let mut ann = User::of(&app.refresh(&ann.refresh).await.expect(200), ann.email);
    for _ in 0..5 {
        app.advance(29 * DAY);
        ann = User::of(&app.refresh(&ann.refresh).await.expect(200), ann.email);
    }
    app.advance(29 * DAY);
    // 180 days are over, however often it was refreshed.
    assert_eq!(
        app.refresh(&ann.refresh).await.problem(401),
        "unauthenticated"
    );
    let bob = app.user("Bob").await;
    app.advance(31 * DAY);
    assert_eq!(
        app.refresh(&bob.refresh).await.problem(401),
        "unauthenticated"
    );
    app
}

async fn the_longest_unused_log_in_ends_for_a_new_one(mut app: TestApp) -> TestApp {
    app.settings.max_logins = 3;
    app.restart().await;
    let first = app.user("Ann").await;
    let second = another_login(&app, &first).await;
    app.advance(Duration::from_secs(1));
    let first = User::of(&app.refresh(&first.refresh).await.expect(200), first.email);
    app.advance(Duration::from_secs(1));
    another_login(&app, &first).await;
    another_login(&app, &first).await;
    assert_eq!(app.me_status(&second.access).await, 401);
    assert_eq!(app.me_status(&first.access).await, 200);
    let (_, took) = app.nodes[0]
        .wait_for(|event| event["kind"] == "token_revoked")
        .await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    app
}

/// A token is believed for a moment after its end, and so has to be taken back in that moment.
async fn a_token_at_its_very_end_is_taken_back_too(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    app.advance(Duration::from_secs(15 * 60 + 1));
    assert_eq!(app.me_status(&ann.access).await, 200);
    let body = json!({"refresh_token": ann.refresh});
    app.post("/v1/auth/logout", body).await.expect(204);
    assert_eq!(app.me_status(&ann.access).await, 401);
    app.nodes[0]
        .wait_for(|event| event["kind"] == "token_revoked")
        .await;
    app
}

async fn a_log_in_racing_with_log_out_everywhere_leaves_no_doubt(app: TestApp) -> TestApp {
    // Whichever comes first: a session either ended, tokens and all, or lives, tokens and all.
    let ann = app.user("Ann").await;
    for _ in 0..5 {
        let current = another_login(&app, &ann).await;
        let racing = another_login(&app, &ann).await;
        let logout = app.send(app.request(Method::POST, LOGOUT_ALL, Some(&current.access)));
        let (refreshed, login, _) = tokio::join!(
            app.refresh(&racing.refresh),
            app.login(&ann.email, PASSWORD),
            logout
        );
        for answer in [refreshed, login] {
            if answer.status != 200 {
                continue;
            }
            let user = User::of(&answer.body, ann.email.clone());
            let holds = app.me_status(&user.access).await;
            let lives = app.refresh(&user.refresh).await.status.as_u16();
            assert_eq!(
                (holds == 200),
                (lives == 200),
                "access {holds}, refresh {lives}"
            );
        }
    }
    app
}

async fn tokens_that_are_not_ours_are_refused(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let parts: Vec<&str> = ann.access.split('.').collect();
    let none = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0";
    let unsigned = format!("{none}.{}.", parts[1]);
    let swapped = format!("{none}.{}.{}", parts[1], parts[2]);
    let cut = &ann.access[..ann.access.len() - 2];
    for bad in [&unsigned, &swapped, cut, "x", &"y".repeat(6000)] {
        assert_eq!(app.me_status(bad).await, 401, "{bad}");
    }
    app
}
