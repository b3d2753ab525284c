//! Accounts as the socket feels them: what logging out, new passwords and withdrawal end.

use std::time::Duration;

use loadtest::accounts::RestError;
use reqwest::Method;
use serde_json::json;
use shared::{codes::CloseCode, protocol::codec::Encoding};
use tokio::time::Instant;

use crate::app::{ENCODINGS, TestApp};

/// How long a revocation may take to reach a live socket.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn logging_out_closes_that_login_and_no_other_within_a_second() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let phone = app.account("alice").await;
        let laptop = app.rest.login(&phone).await.unwrap();
        let (mut on_phone, _) = app.session(&phone.access_token, encoding).await;
        let (mut on_laptop, _) = app.session(&laptop.access_token, encoding).await;
        let body = json!({"refresh_token": phone.refresh_token});
        app.rest
            .ok(
                Method::POST,
                "/v1/auth/logout",
                Some(&body),
                Some(&phone.access_token),
            )
            .await
            .unwrap();
        let at = Instant::now();
        let bye = on_phone.event("bye").await.unwrap();
        assert_eq!(
            (&bye.d["code"], &bye.d["resume"]),
            (&json!(4401), &json!(false))
        );
        on_phone.closed_with(CloseCode::Revoked).await.unwrap();
        assert!(at.elapsed() < REVOKED_WITHIN, "{:?}", at.elapsed());
        on_laptop.until_pong().await.unwrap();
        // The token is worth nothing any more, on no surface.
        let connect = app.connector(&phone.access_token, encoding).connect().await;
        assert_eq!(connect.unwrap_err().status(), Some(401));
        for path in ["/v1/rooms", "/v1/me"] {
            let token = Some(phone.access_token.as_str());
            let answer = app.rest.call(Method::GET, path, None, token).await.unwrap();
            assert_eq!(answer.status, 401, "{path}");
        }
        assert!(app.rest.refresh(&phone).await.is_err());
    }
}

#[tokio::test]
async fn logging_out_everywhere_closes_every_socket_within_a_second() {
    let app = TestApp::start().await;
    let first = app.account("alice").await;
    let second = app.rest.login(&first).await.unwrap();
    let (mut one, started) = app.session(&first.access_token, Encoding::Json).await;
    let (mut two, _) = app.session(&second.access_token, Encoding::MsgPack).await;
    let path = "/v1/auth/logout-all";
    app.rest
        .ok(Method::POST, path, None, Some(&first.access_token))
        .await
        .unwrap();
    let at = Instant::now();
    one.closed_with(CloseCode::Revoked).await.unwrap();
    two.closed_with(CloseCode::Revoked).await.unwrap();
    assert!(at.elapsed() < REVOKED_WITHIN, "{:?}", at.elapsed());
    // A new login is a new beginning; the old sessions are gone.
    let third = app.rest.login(&first).await.unwrap();
    let mut socket = app
        .connector(&third.access_token, Encoding::Json)
        .connect()
        .await
        .unwrap();
    assert!(socket.resume(&started.sid, 0).await.is_err());
    socket
        .command::<shared::protocol::reply::Started>("session.start", &json!({}))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revocation_outlives_a_crash() {
    let mut app = TestApp::start().await;
    let account = app.account("alice").await;
    let body = json!({"refresh_token": account.refresh_token});
    app.rest
        .ok(
            Method::POST,
            "/v1/auth/logout",
            Some(&body),
            Some(&account.access_token),
        )
        .await
        .unwrap();
    app.kill();
    app.boot().await;
    let connect = app
        .connector(&account.access_token, Encoding::Json)
        .connect()
        .await;
    assert_eq!(connect.unwrap_err().status(), Some(401));
}

#[tokio::test]
async fn a_new_password_ends_the_other_logins_and_withdrawal_all() {
    let app = TestApp::start().await;
    let here = app.account("alice").await;
    let there = app.rest.login(&here).await.unwrap();
    let (mut thief, _) = app.session(&there.access_token, Encoding::Json).await;
    let body = json!({"current_password": here.password, "new_password": "a wholly new phrase"});
    let changed = app
        .rest
        .call(
            Method::PUT,
            "/v1/me/password",
            Some(&body),
            Some(&here.access_token),
        )
        .await
        .unwrap();
    assert!((200..300).contains(&changed.status), "{changed:?}");
    thief.closed_with(CloseCode::Revoked).await.unwrap();
    let old = app.rest.login(&here).await;
    assert!(matches!(old, Err(RestError::Refused { status, .. }) if status == 401));
    let renewed = loadtest::accounts::Account {
        password: "a wholly new phrase".into(),
        ..here
    };
    let renewed = app.rest.login(&renewed).await.unwrap();
    let (mut socket, _) = app.session(&renewed.access_token, Encoding::Json).await;
    let body = json!({"password": renewed.password});
    let gone = app
        .rest
        .call(
            Method::DELETE,
            "/v1/me",
            Some(&body),
            Some(&renewed.access_token),
        )
        .await
        .unwrap();
    assert!((200..300).contains(&gone.status), "{gone:?}");
    socket.closed_with(CloseCode::Revoked).await.unwrap();
    assert!(app.rest.login(&renewed).await.is_err());
}

/// Behind a balancer everybody comes from one socket's address: limits count who it speaks for.
#[tokio::test]
async fn a_trusted_balancer_is_believed_about_who_logs_in() {
    let limit = ("FIRESIDE_LOGIN_ADDRESS_RATE", "1/h burst 1");
    for (proxies, second) in [("127.0.0.0/8", 401), ("192.0.2.0/24", 429)] {
        let app = TestApp::with(&[limit, ("FIRESIDE_TRUSTED_PROXIES", proxies)]).await;
        for (client, status) in [("198.51.100.1", 401), ("198.51.100.2", second)] {
            let body = json!({"email": format!("{client}@example.org"), "password": "wrong"});
            let from = [("x-forwarded-for", client)];
            let path = "/v1/auth/login";
            let call = app.rest.call_with(Method::POST, path, Some(&body), &from);
            assert_eq!(call.await.unwrap().status, status, "{client} by {proxies}");
        }
    }
}
