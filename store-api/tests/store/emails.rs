//! Proving e-mail addresses, and changing them.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Answer, PASSWORD, TestApp, User},
    both,
    smtp::MailServer,
};

both!(
    registering_sends_a_code_that_proves_the_address,
    five_attempts_end_a_code,
    attempts_at_once_are_counted_one_by_one,
    a_new_code_ends_the_one_before,
    a_code_ends_with_time,
    an_address_takes_the_place_of_another_once_it_is_proved,
    an_address_is_proved_by_one_account,
    a_new_password_calls_codes_off,
    an_account_needs_no_address,
    without_mail_it_says_so,
    mails_are_asked_for_so_often,
);

const WRONG: &str = "0000-0000";

async fn verify(app: &TestApp, user: &User, code: &str) -> Answer {
    let body = json!({"code": code});
    app.with_body(Method::POST, "/v1/me/email/verify", user, body)
        .await
}

async fn change(app: &TestApp, user: &User, email: &str) -> Answer {
    let body = json!({"email": email, "password": PASSWORD});
    app.with_body(Method::PUT, "/v1/me/email", user, body).await
}

async fn another_code(app: &TestApp, user: &User) -> Answer {
    let request = app.request(Method::POST, "/v1/me/email/code", Some(&user.access));
    app.send(request).await
}

#[track_caller]
fn rule(answer: Answer) -> String {
    let body = answer.expect(409);
    assert_eq!(body["code"], "conflict");
    body["errors"][0]["rule"].as_str().unwrap().to_owned()
}

async fn registering_sends_a_code_that_proves_the_address(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    app.settings.mail.mail_name = "Oak & Sons".into();
    app.settings.mail.mail_link = Some("https://oak.example/play".into());
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    let me = app.get("/v1/me", &ann).await.expect(200);
    assert_eq!(me["email_verified"], false);

    let mail = server.mails_to(&ann.email, 1).await.remove(0);
    assert_eq!(mail.sender, "no-reply@oak.example");
    assert_eq!(mail.headers("from"), ["Oak Games <no-reply@oak.example>"]);
    assert_eq!(
        mail.headers("to"),
        [format!("{} <{}>", ann.name, ann.email)]
    );
    assert_eq!(mail.headers("auto-submitted"), ["auto-generated"]);
    assert!(mail.headers("message-id")[0].ends_with("@oak.example>"));
    let code = mail.code();
    assert!(mail.headers("subject")[0].contains("Oak & Sons"));
    for said in [&code, &ann.name, "24 hours", "https://oak.example/play"] {
        assert!(mail.text.contains(said), "{said}: {}", mail.text);
        let escaped = said.replace('/', "&#x2f;");
        assert!(mail.html.contains(&escaped), "{said}: {}", mail.html);
    }
    assert!(mail.html.contains("Oak &amp; Sons"), "{}", mail.html);

    assert_eq!(verify(&app, &ann, WRONG).await.problem(403), "forbidden");
    // As people type it.
    let typed = format!(" {} ", code.to_lowercase().replace('-', " "));
    let me = verify(&app, &ann, &typed).await.expect(200);
    assert_eq!(me["email"], ann.email.as_str());
    assert_eq!(me["email_verified"], true);
    verify(&app, &ann, &code).await.problem(403);
    assert_eq!(rule(another_code(&app, &ann).await), "verified");
    assert_eq!(rule(change(&app, &ann, &ann.email).await), "verified");
    app
}

async fn five_attempts_end_a_code(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let code = server.code(&ann.email, 1).await;
    let bobs = server.code(&bob.email, 1).await;
    for _ in 0..4 {
        verify(&app, &ann, WRONG).await.problem(403);
    }
    // Four wrong ones and the right one are five.
    verify(&app, &ann, &code).await.expect(200);
    for _ in 0..5 {
        // The right one of somebody else is a wrong one.
        verify(&app, &bob, &code).await.problem(403);
    }
    verify(&app, &bob, &bobs).await.problem(403);
    another_code(&app, &bob).await.expect(202);
    let fresh = server.code(&bob.email, 2).await;
    verify(&app, &bob, &fresh).await.expect(200);
    app
}

async fn attempts_at_once_are_counted_one_by_one(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    let code = server.code(&ann.email, 1).await;
    let wrong = join_all((0..8).map(|_| verify(&app, &ann, WRONG))).await;
    assert!(wrong.iter().all(|answer| answer.status == 403));
    verify(&app, &ann, &code).await.problem(403);
    another_code(&app, &ann).await.expect(202);
    let code = server.code(&ann.email, 2).await;
    let right = join_all((0..4).map(|_| verify(&app, &ann, &code))).await;
    let used = right.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(used, 1, "a code is good for one use");
    app
}

async fn a_new_code_ends_the_one_before(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    let first = server.code(&ann.email, 1).await;
    let sent = another_code(&app, &ann).await.expect(202);
    assert_eq!(sent["email"], ann.email.as_str());
    verify(&app, &ann, &first).await.problem(403);
    let second = server.code(&ann.email, 2).await;
    verify(&app, &ann, &second).await.expect(200);
    app
}

async fn a_code_ends_with_time(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let anns = server.code(&ann.email, 1).await;
    let bobs = server.code(&bob.email, 1).await;
    app.settings.access_token_lifetime = Duration::from_hours(24);
    app.restart().await;
    let login = async |user: &User| {
        let body = app.login(&user.email, PASSWORD).await.expect(200);
        User::of(&body, user.email.clone())
    };
    let (ann, bob) = (login(&ann).await, login(&bob).await);
    app.advance(Duration::from_hours(23));
    verify(&app, &ann, &anns).await.expect(200);
    app.advance(Duration::from_mins(61));
    let body = app.login(&bob.email, PASSWORD).await.expect(200);
    let bob = User::of(&body, bob.email);
    verify(&app, &bob, &bobs).await.problem(403);
    app
}

async fn an_address_takes_the_place_of_another_once_it_is_proved(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    let new = "anna@example.org";
    let body = json!({"email": new, "password": "not my password"});
    let guess = app.with_body(Method::PUT, "/v1/me/email", &ann, body).await;
    assert_eq!(guess.problem(403), "forbidden");
    // Asked for at the address from before, and not used.
    app.post("/v1/auth/password/forgot", json!({"email": ann.email}))
        .await
        .expect(202);
    let lost = server.mails_to(&ann.email, 2).await;
    let lost = lost
        .iter()
        .find(|mail| mail.headers("subject")[0].contains("new password"));
    let lost = lost.unwrap().code();

    let sent = change(&app, &ann, "ANNA@example.org").await.expect(202);
    assert_eq!(sent["email"], new);
    let code = server.code(new, 1).await;
    let me = app.get("/v1/me", &ann).await.expect(200);
    assert_eq!(me["email"], ann.email.as_str(), "not before it is proved");
    app.login(new, PASSWORD).await.problem(401);
    let me = verify(&app, &ann, &code).await.expect(200);
    assert_eq!(
        (&me["email"], &me["email_verified"]),
        (&json!(new), &json!(true))
    );

    app.login(new, PASSWORD).await.expect(200);
    app.login(&ann.email, PASSWORD).await.problem(401);
    let told = server.mails_to(&ann.email, 3).await;
    assert!(
        told[2].text.contains("is not it any more"),
        "{}",
        told[2].text
    );
    for email in [new, &ann.email] {
        let body = json!({"email": email, "code": lost, "new_password": "a better password"});
        app.post("/v1/auth/password/reset", body).await.problem(401);
    }
    app
}

async fn an_address_is_proved_by_one_account(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    assert_eq!(rule(change(&app, &ann, &bob.email).await), "taken");
    // Both want it, and it is free: whoever proves it first has it.
    let (wanted, mut codes) = ("wanted@example.org", Vec::new());
    for (number, user) in [&ann, &bob].into_iter().enumerate() {
        change(&app, user, wanted).await.expect(202);
        codes.push(server.code(wanted, number + 1).await);
    }
    verify(&app, &bob, &codes[1]).await.expect(200);
    assert_eq!(rule(verify(&app, &ann, &codes[0]).await), "taken");
    let me = app.get("/v1/me", &ann).await.expect(200);
    assert_eq!(me["email"], ann.email.as_str());
    app
}

async fn a_new_password_calls_codes_off(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    server.code(&ann.email, 1).await;
    // Somebody with her password wants the account for themselves.
    change(&app, &ann, "eve@example.org").await.expect(202);
    let code = server.code("eve@example.org", 1).await;
    let body = json!({"current_password": PASSWORD, "new_password": "a better password"});
    let body = app.with_body(Method::PUT, "/v1/me/password", &ann, body);
    let ann = User::of(&body.await.expect(200), ann.email);
    verify(&app, &ann, &code).await.problem(403);
    let told = server.mails_to(&ann.email, 2).await;
    assert!(
        told[1].text.contains("has a new password"),
        "{}",
        told[1].text
    );
    app
}

async fn an_account_needs_no_address(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let account = json!({"name": "Ann", "password": PASSWORD});
    let body = app.post("/v1/auth/register", account).await.expect(201);
    let ann = User::of(&body, String::new());
    let me = app.get("/v1/me", &ann).await.expect(200);
    assert!(me.get("email").is_none(), "{me}");
    let login = async |body: Value| app.post("/v1/auth/login", body).await;
    let named = json!({"name": "ANN", "password": PASSWORD});
    login(named).await.expect(200);
    let wrong = json!({"name": "Ann", "password": "not my password"});
    assert_eq!(login(wrong).await.problem(401), "unauthenticated");
    let both = json!({"name": "Ann", "email": "ann@example.org", "password": PASSWORD});
    assert_eq!(
        login(both).await.problem(401),
        "unauthenticated",
        "the address counts"
    );
    let neither = json!({"password": PASSWORD});
    assert_eq!(login(neither).await.problem(400), "invalid");

    assert_eq!(rule(another_code(&app, &ann).await), "none");
    change(&app, &ann, "ann@example.org").await.expect(202);
    let code = server.code("ann@example.org", 1).await;
    verify(&app, &ann, &code).await.expect(200);
    app.login("ann@example.org", PASSWORD).await.expect(200);
    app
}

async fn without_mail_it_says_so(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    assert_eq!(
        rule(change(&app, &ann, "anna@example.org").await),
        "no_mail"
    );
    assert_eq!(rule(another_code(&app, &ann).await), "no_mail");
    for email in [&ann.email, "nobody@example.org"] {
        let body = json!({"email": email});
        let answer = app.post("/v1/auth/password/forgot", body).await;
        assert_eq!(rule(answer), "no_mail");
    }
    assert_eq!(app.count("mails").await, 0);
    app
}

async fn mails_are_asked_for_so_often(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    app.settings.mail.mail_account_rate = "1/h burst 2".parse().unwrap();
    app.settings.mail.mail_address_rate = "1/h burst 5".parse().unwrap();
    server.serve(&mut app).await;
    let forgot = async |email: &str| {
        let body = json!({"email": email});
        app.post("/v1/auth/password/forgot", body).await
    };
    // Of somebody or of nobody, and however it is spelled.
    for _ in 0..2 {
        forgot("nobody@example.org").await.expect(202);
    }
    let refused = forgot(" NOBODY@example.org").await;
    assert_eq!(refused.problem(429), "rate_limited");
    forgot("other@example.org").await.expect(202);
    forgot("another@example.org").await.expect(202);
    let refused = forgot("third@example.org").await;
    assert_eq!(refused.problem(429), "rate_limited");
    app
}
