//! Accounts and who their owners are at other providers.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use store_api::Role;

use crate::{
    app::{PASSWORD, TestApp, User},
    both,
    identities::{deeds, linked, providers, rule},
    oidc::{begin, begin_link, begun_link, finish, link, log_in, newcomer, register, walk},
    recovery::{forgot, reset},
    smtp::MailServer,
};

both!(
    an_address_links_nothing,
    an_address_that_nobody_proved_is_not_taken_over,
    an_identity_is_linked_by_who_is_logged_in,
    the_last_way_in_stays,
    an_account_without_a_password_is_confirmed_by_a_late_log_in,
    a_first_password_is_chosen_by_a_code,
    who_only_claimed_an_address_keeps_no_way_in,
    who_leaves_may_come_back_as_somebody_new,
    who_proved_an_address_is_mailed_of_links,
);

async fn an_address_links_nothing(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let ann = app.user("Ann").await;
    let who = ann.email.split('@').next().unwrap().to_owned();
    assert_eq!(rule(log_in(&app, "kakao", &who).await), "email taken");
    assert!(linked(&app, &ann).await.is_empty());
    // She logs in and links.
    let begun = begun_link(&app, &ann, "kakao", json!({"password": PASSWORD})).await;
    let ticket = walk(&app, &begun, &who).await;
    link(&app, &ann, &ticket, &begun.secret).await.expect(200);
    let body = log_in(&app, "kakao", &who).await.expect(200);
    assert_eq!(body["user"]["id"], ann.id.as_str());

    // An address that is taken while its owner chooses a name.
    let begun = begin(&app, "kakao").await;
    let ticket = walk(&app, &begun, "late").await;
    let new = finish(&app, &ticket, &begun.secret).await.expect(202);
    app.register("late@example.org", "Late").await.expect(201);
    let ticket = new["ticket"].as_str().unwrap();
    let answer = register(&app, ticket, &begun.secret, "Later").await;
    assert_eq!(rule(answer), "email taken");
    app
}

async fn an_address_that_nobody_proved_is_not_taken_over(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let ann = app.user("Ann").await;
    let who = format!("unproved-{}", ann.email.split('@').next().unwrap());
    let mallory = newcomer(&app, "kakao", &who, "Mallory").await;
    assert_ne!(mallory.id, ann.id);
    let me = app.get("/v1/me", &mallory).await.expect(200);
    assert_eq!(me.get("email"), None);
    app
}

async fn an_identity_is_linked_by_who_is_logged_in(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    for body in [json!({}), json!({"password": "wrong"})] {
        let answer = begin_link(&app, &ann, "kakao", body).await;
        assert_eq!(answer.problem(403), "forbidden");
    }
    let password = || json!({"password": PASSWORD});
    begin_link(&app, &ann, "nobody", password())
        .await
        .expect(404);
    // Twice is once.
    for _ in 0..2 {
        let begun = begun_link(&app, &ann, "kakao", password()).await;
        let ticket = walk(&app, &begun, "ann-k").await;
        let body = link(&app, &ann, &ticket, &begun.secret).await.expect(200);
        assert_eq!(body["provider"], "kakao");
        assert!(body["linked_at"].as_i64().unwrap() > 0);
    }
    let begun = begun_link(&app, &ann, "kakao", password()).await;
    let ticket = walk(&app, &begun, "ann-k2").await;
    let answer = link(&app, &ann, &ticket, &begun.secret).await;
    assert_eq!(rule(answer), "provider linked");
    let begun = begun_link(&app, &bob, "kakao", password()).await;
    let ticket = walk(&app, &begun, "ann-k").await;
    let answer = link(&app, &bob, &ticket, &begun.secret).await;
    assert_eq!(rule(answer), "provider taken");
    let begun = begun_link(&app, &ann, "oak", password()).await;
    let ticket = walk(&app, &begun, "ann-k").await;
    link(&app, &ann, &ticket, &begun.secret).await.expect(200);
    assert_eq!(linked(&app, &ann).await, ["kakao", "oak"]);
    assert_eq!(
        deeds(&app, &ann).await[..2],
        ["identity_linked", "identity_linked"]
    );

    app.delete("/v1/me/identities/kakao", &ann)
        .await
        .expect(204);
    app.delete("/v1/me/identities/kakao", &ann)
        .await
        .expect(404);
    assert_eq!(deeds(&app, &ann).await[0], "identity_unlinked");
    assert_eq!(linked(&app, &ann).await, ["oak"]);
    // Operators see who did it, and with which provider.
    let operator = app.user_as("Olaf", Role::Operator).await;
    for (deed, providers) in [
        ("identity_linked", &["oak", "kakao"][..]),
        ("identity_unlinked", &["kakao"]),
    ] {
        let query = format!("/v1/audit?deed={deed}&subject={}", ann.id);
        let lines = app.get(&query, &operator).await.expect(200);
        let lines = lines["items"].as_array().unwrap();
        assert_eq!(lines.len(), providers.len(), "{lines:?}");
        for (line, provider) in lines.iter().zip(providers) {
            assert_eq!(line["actor"], format!("user:{}", ann.id));
            assert_eq!(line["details"], json!({"provider": provider}));
        }
    }
    log_in(&app, "kakao", "ann-k").await.expect(202);
    app
}

async fn the_last_way_in_stays(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let ann = newcomer(&app, "kakao", "ann", "Ann").await;
    let unlink = async |user: &User| app.delete("/v1/me/identities/kakao", user).await;
    assert_eq!(rule(unlink(&ann).await), "provider last");
    let body = json!({"new_password": PASSWORD});
    let chosen = app
        .with_body(Method::PUT, "/v1/me/password", &ann, body)
        .await;
    let ann = User::of(&chosen.expect(200), ann.email);
    unlink(&ann).await.expect(204);
    app.login(&ann.email, PASSWORD).await.expect(200);
    app
}

async fn an_account_without_a_password_is_confirmed_by_a_late_log_in(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let ann = newcomer(&app, "kakao", "ann", "Ann").await;
    app.advance(Duration::from_secs(601));
    let refreshed = app.refresh(&ann.refresh).await.expect(200);
    let old = User::of(&refreshed, ann.email.clone());
    // A token that was refreshed is no younger a log-in.
    let password = json!({"new_password": PASSWORD});
    let nothing = json!({});
    for (method, path, body) in [
        (Method::PUT, "/v1/me/password", &password),
        (Method::DELETE, "/v1/me", &nothing),
        (Method::POST, "/v1/me/identities/oak", &nothing),
    ] {
        let answer = app.with_body(method, path, &old, body.clone()).await;
        assert_eq!(answer.problem(403), "forbidden", "{path}");
    }
    let again = log_in(&app, "kakao", "ann").await.expect(200);
    let again = User::of(&again, ann.email);
    begin_link(&app, &again, "oak", json!({})).await.expect(201);
    app.with_body(Method::DELETE, "/v1/me", &again, nothing)
        .await
        .expect(204);
    // Who has a password shows it, however lately they logged in.
    let bob = app.user("Bob").await;
    app.with_body(Method::DELETE, "/v1/me", &bob, json!({}))
        .await
        .expect(403);
    app
}

async fn a_first_password_is_chosen_by_a_code(mut app: TestApp) -> TestApp {
    let mails = MailServer::start();
    mails.serve(&mut app).await;
    let _provider = providers(&mut app).await;
    let ann = newcomer(&app, "kakao", "ann", "Ann").await;
    let me = app.get("/v1/me", &ann).await.expect(200);
    assert_eq!(me["has_password"], false);
    mails.code(&ann.email, 1).await;
    forgot(&app, &ann.email).await.expect(202);
    let code = mails.code(&ann.email, 2).await;
    let body = reset(&app, &ann.email, &code, PASSWORD).await.expect(200);
    let ann = User::of(&body, ann.email);
    let me = app.get("/v1/me", &ann).await.expect(200);
    assert_eq!(me["has_password"], true);
    // The provider had shown that the address is hers.
    assert_eq!(linked(&app, &ann).await, ["kakao"]);
    app.login(&ann.email, PASSWORD).await.expect(200);
    log_in(&app, "kakao", "ann").await.expect(200);
    app
}

async fn who_only_claimed_an_address_keeps_no_way_in(mut app: TestApp) -> TestApp {
    let mails = MailServer::start();
    mails.serve(&mut app).await;
    let _provider = providers(&mut app).await;
    // Mallory makes an account with Ann's address, which she never proves, and links herself.
    let mallory = app.user("Mallory").await;
    let who_is = async |user: &User, who: &str| {
        let begun = begun_link(&app, user, "kakao", json!({"password": PASSWORD})).await;
        let ticket = walk(&app, &begun, who).await;
        link(&app, user, &ticket, &begun.secret).await.expect(200);
    };
    who_is(&mallory, "mallory-k").await;
    let email = mallory.email.clone();
    mails.code(&email, 1).await;
    let anew = async |mail: usize| {
        forgot(&app, &email).await.expect(202);
        let code = mails.code(&email, mail).await;
        let body = reset(&app, &email, &code, PASSWORD).await.expect(200);
        User::of(&body, email.clone())
    };
    let ann = anew(2).await;
    assert!(linked(&app, &ann).await.is_empty());
    assert!(
        deeds(&app, &ann)
            .await
            .contains(&"identity_unlinked".into())
    );
    log_in(&app, "kakao", "mallory-k").await.expect(202);
    // What is linked once the address is proved stays, whoever forgets a password.
    who_is(&ann, "ann-k").await;
    // In between comes the word that the password is new, and that somebody is linked.
    mails.mails_to(&email, 4).await;
    let ann = anew(5).await;
    assert_eq!(linked(&app, &ann).await, ["kakao"]);
    app
}

async fn who_leaves_may_come_back_as_somebody_new(mut app: TestApp) -> TestApp {
    let _provider = providers(&mut app).await;
    let ann = newcomer(&app, "kakao", "ann", "Ann").await;
    let exported = app.get("/v1/me/export", &ann).await.expect(200);
    assert_eq!(exported["identities"][0]["subject"], "ann");
    app.with_body(Method::DELETE, "/v1/me", &ann, json!({}))
        .await
        .expect(204);
    assert_eq!(app.count("identities").await, 0);
    let again = newcomer(&app, "kakao", "ann", "Ann").await;
    assert_ne!(again.id, ann.id);
    app
}

async fn who_proved_an_address_is_mailed_of_links(mut app: TestApp) -> TestApp {
    let mut mails = MailServer::start();
    mails.serve(&mut app).await;
    let _provider = providers(&mut app).await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let code = mails.code(&ann.email, 1).await;
    let body = json!({"code": code});
    app.with_body(Method::POST, "/v1/me/email/verify", &ann, body)
        .await
        .expect(200);
    mails.mails_to(&bob.email, 1).await;
    // What is written down while the server is away is sent once it is back.
    mails.down();
    for user in [&bob, &ann] {
        // Twice is once.
        for _ in 0..2 {
            let begun = begun_link(&app, user, "kakao", json!({"password": PASSWORD})).await;
            let ticket = walk(&app, &begun, &user.name).await;
            link(&app, user, &ticket, &begun.secret).await.expect(200);
        }
    }
    mails.up();
    let linked = mails.mails_to(&ann.email, 2).await.remove(1);
    let subject = "Kakao is a way into your account at Fireside";
    assert_eq!(linked.headers("subject"), [subject]);
    let words = "whoever you are at Kakao can log in to your account";
    assert!(linked.text.contains(words), "{}", linked.text);
    assert!(linked.html.contains(words), "{}", linked.html);
    for user in [&bob, &ann] {
        app.delete("/v1/me/identities/kakao", user)
            .await
            .expect(204);
    }
    let unlinked = mails.mails_to(&ann.email, 3).await.remove(2);
    let subject = "Kakao is no way into your account at Fireside any more";
    assert_eq!(unlinked.headers("subject"), [subject]);
    assert!(
        unlinked.text.contains("by Kakao any more"),
        "{}",
        unlinked.text
    );
    // Of an address that nobody proved somebody else may read the mail.
    mails.mails_to(&bob.email, 1).await;
    app
}
