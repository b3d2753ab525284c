//! Choosing a new password with a code, and how mails with codes get through.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::{
    app::{Answer, Backend, PASSWORD, TestApp, run},
    both,
    smtp::MailServer,
};

both!(
    a_lost_password_is_chosen_anew,
    asking_is_the_same_for_somebody_and_for_nobody,
    a_code_for_a_password_is_tried_five_times,
    a_code_for_a_password_ends_with_time,
    mails_wait_for_a_server_that_is_away,
    a_mail_that_is_put_off_or_refused_holds_up_no_other,
    a_mail_is_too_old_one_day,
    nothing_in_a_name_reaches_the_headers,
    who_left_gets_no_mail,
);

const NEW: &str = "a better password";

pub async fn forgot(app: &TestApp, email: &str) -> Answer {
    app.post("/v1/auth/password/forgot", json!({"email": email}))
        .await
}

pub async fn reset(app: &TestApp, email: &str, code: &str, password: &str) -> Answer {
    let body = json!({"email": email, "code": code, "new_password": password});
    app.post("/v1/auth/password/reset", body).await
}

async fn a_lost_password_is_chosen_anew(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    server.code(&ann.email, 1).await;
    forgot(&app, &ann.email.to_uppercase()).await.expect(202);
    let mail = server.mails_to(&ann.email, 2).await.remove(1);
    assert!(mail.text.contains("30 minutes"), "{}", mail.text);
    let code = mail.code();
    // A rule that is broken costs no attempt, and the old password is good until then.
    let short = reset(&app, &ann.email, &code, "short").await.expect(400);
    assert_eq!(short["errors"][0]["rule"], "too_short");
    app.login(&ann.email, PASSWORD).await.expect(200);

    let answer = reset(&app, &ann.email, &code, NEW).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let body = answer.expect(200);
    assert_eq!(body["user"]["id"], ann.id.as_str());
    // Everybody else is out, and nodes are told.
    assert_eq!(app.me_status(&ann.access).await, 401);
    app.refresh(&ann.refresh).await.problem(401);
    app.nodes[0]
        .wait_for(|event| {
            event["kind"] == "user_tokens_revoked" && event["user"] == ann.id.as_str()
        })
        .await;
    let access = body["access_token"].as_str().unwrap();
    let request = app.request(Method::GET, "/v1/me", Some(access));
    let me = app.send(request).await.expect(200);
    assert_eq!(
        me["email_verified"], true,
        "who has the code reads the mail"
    );
    app.login(&ann.email, PASSWORD).await.problem(401);
    app.login(&ann.email, NEW).await.expect(200);
    // Once.
    let again = reset(&app, &ann.email, &code, "yet another one").await;
    assert_eq!(again.problem(401), "unauthenticated");
    let told = server.mails_to(&ann.email, 3).await;
    assert!(
        told[2].text.contains("has a new password"),
        "{}",
        told[2].text
    );
    app
}

async fn asking_is_the_same_for_somebody_and_for_nobody(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    server.code(&ann.email, 1).await;
    let mut answers = Vec::new();
    for email in ["nobody@example.org", &ann.email] {
        let answer = forgot(&app, email).await;
        let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        headers.sort();
        answers.push((answer.status.as_u16(), headers, answer.body));
    }
    assert_eq!(answers[0], answers[1]);
    let code = server.code(&ann.email, 2).await;
    let wrong = reset(&app, "nobody@example.org", &code, NEW).await;
    let other = reset(&app, &ann.email, "0000-0000", NEW).await;
    assert_eq!(wrong.problem(401), other.problem(401));
    app.mails_left(0).await;
    assert_eq!(server.mails().len(), 2, "nobody gets none");
    app
}

async fn a_code_for_a_password_is_tried_five_times(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    server.code(&ann.email, 1).await;
    forgot(&app, &ann.email).await.expect(202);
    let first = server.code(&ann.email, 2).await;
    for _ in 0..5 {
        reset(&app, &ann.email, "0000-0000", NEW).await.problem(401);
    }
    reset(&app, &ann.email, &first, NEW).await.problem(401);
    forgot(&app, &ann.email).await.expect(202);
    let second = server.code(&ann.email, 3).await;
    // The first is ended twice over.
    reset(&app, &ann.email, &first, NEW).await.problem(401);
    reset(&app, &ann.email, &second, NEW).await.expect(200);
    app
}

async fn a_code_for_a_password_ends_with_time(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    server.code(&ann.email, 1).await;
    forgot(&app, &ann.email).await.expect(202);
    let code = server.code(&ann.email, 2).await;
    app.advance(Duration::from_mins(31));
    reset(&app, &ann.email, &code, NEW).await.problem(401);
    app.login(&ann.email, PASSWORD).await.expect(200);
    app
}

async fn mails_wait_for_a_server_that_is_away(mut app: TestApp) -> TestApp {
    let mut server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    server.code(&ann.email, 1).await;
    server.down();
    forgot(&app, &ann.email).await.expect(202);
    let bob = app.user("Bob").await;
    // Longer than a code holds: it begins to when its mail is sent.
    app.advance(Duration::from_mins(40));
    // Over a restart of the store, too.
    app.restart().await;
    assert_eq!(app.count("mails").await, 2);
    server.up();
    server.code(&bob.email, 1).await;
    let code = server.code(&ann.email, 2).await;
    reset(&app, &ann.email, &code, NEW).await.expect(200);
    app
}

async fn a_mail_that_is_put_off_or_refused_holds_up_no_other(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    server.set_busy(true);
    for email in [
        "busy@example.org",
        "refused@example.org",
        "open@example.org",
    ] {
        let name = email.split('@').next().unwrap();
        app.register(email, name).await.expect(201);
    }
    server.code("open@example.org", 1).await;
    // The refused one is gone, the other waits.
    app.mails_left(1).await;
    app.advance(Duration::from_mins(1));
    server.set_busy(false);
    server.code("busy@example.org", 1).await;
    app.mails_left(0).await;
    assert_eq!(server.mails().len(), 2);
    app
}

async fn a_mail_is_too_old_one_day(mut app: TestApp) -> TestApp {
    let mut server = MailServer::start();
    server.serve(&mut app).await;
    server.down();
    let ann = app.user("Ann").await;
    app.advance(Duration::from_hours(25));
    // The sweep of the start finds it.
    app.restart().await;
    let since = std::time::Instant::now();
    while app.count("mails").await > 0 {
        assert!(since.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.up();
    forgot(&app, &ann.email).await.expect(202);
    let mail = server.mails_to(&ann.email, 1).await.remove(0);
    assert!(mail.headers("subject")[0].contains("new password"));
    app
}

async fn nothing_in_a_name_reaches_the_headers(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    server.serve(&mut app).await;
    let ann = app.user("Ann").await;
    server.code(&ann.email, 1).await;
    // A name that no route takes, and one that every route does.
    for (mails, name) in [
        (2, "Ann\r\nBcc: eve@example.org\r\n\r\nHello"),
        (3, "\"Ann\" <eve@example.org>, <b>"),
    ] {
        let statement = format!("UPDATE users SET name = '{name}' WHERE id = '{}'", ann.id);
        app.write(&[&statement]).await;
        forgot(&app, &ann.email).await.expect(202);
        let mail = server.mails_to(&ann.email, mails).await.remove(mails - 1);
        assert_eq!(mail.headers("bcc"), [""; 0]);
        assert_eq!(mail.headers("to").len(), 1);
        assert!(mail.headers("to")[0].ends_with(&format!("<{}>", ann.email)));
        assert!(mail.text.starts_with("Hello "), "{}", mail.text);
        assert!(!mail.html.contains("<b>"), "{}", mail.html);
    }
    assert_eq!(server.mails().len(), 3);
    app
}

async fn who_left_gets_no_mail(mut app: TestApp) -> TestApp {
    let mut server = MailServer::start();
    server.serve(&mut app).await;
    server.down();
    let ann = app.user("Ann").await;
    forgot(&app, &ann.email).await.expect(202);
    let password = json!({"password": PASSWORD});
    app.with_body(Method::DELETE, "/v1/me", &ann, password)
        .await
        .expect(204);
    server.up();
    app.mails_left(0).await;
    assert_eq!(server.mails().len(), 0);
    app
}

#[test]
fn several_processes_send_each_mail_once() {
    run(Backend::Postgres, async |mut app: TestApp| {
        let mut server = MailServer::start();
        server.serve(&mut app).await;
        server.down();
        let mut people = Vec::new();
        for number in 0..12 {
            people.push(app.user(&format!("Ann{number} ")).await);
        }
        let twins = [app.twin().await, app.twin().await];
        server.up();
        for ann in &people {
            server.code(&ann.email, 1).await;
        }
        app.mails_left(0).await;
        assert_eq!(server.mails().len(), 12);
        for twin in twins {
            twin.end().await;
        }
        app
    });
}
