//! What ends by itself, and what others end.

use std::time::{Duration, Instant};

use chat_node::{bridge::SessionControl as _, session::SessionSettings};
use serde_json::json;
use shared::{
    auth::Revocation,
    codes::{CloseCode, ErrorCode},
    id::Timestamp,
    protocol::{codec::Encoding, command::SessionStart, reply::Renewed},
};

use crate::rig::{Options, rig, rig_with, token_for, user};

fn quick() -> Options {
    let session = SessionSettings {
        heartbeat: Duration::from_millis(500),
        heartbeat_timeout: Duration::from_millis(1500),
        greeting_timeout: Duration::from_millis(500),
        session_ttl: Duration::from_millis(1500),
        ..Default::default()
    };
    Options {
        session,
        ..Options::default()
    }
}

#[actix_rt::test]
async fn a_socket_that_says_nothing_is_closed() {
    let rig = rig_with(quick()).await;
    let mut ann = rig.socket("ann").await;
    ann.closed_with(CloseCode::HeartbeatLost).await.unwrap();
    while rig.server.connections() > 0 {
        tokio::task::yield_now().await;
    }
}

#[actix_rt::test]
async fn a_client_that_answers_pings_stays_and_one_that_does_not_is_closed_and_may_resume() {
    let rig = rig_with(quick()).await;
    let (mut lively, _) = rig.start("ann").await;
    let (mut silent, session) = rig.start("bob").await;
    // Reading answers pings; not reading does not.
    let begun = Instant::now();
    let seen = lively.drain(Duration::from_secs(3)).await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "{seen:?}");
    silent.closed_with(CloseCode::HeartbeatLost).await.unwrap();
    let mut again = rig.socket("bob").await;
    let resumed = again.resume(&session.sid, 0).await;
    // Closed after 1.5 s, resumable for 1.5 s more: the clock of a busy machine decides.
    if let Err(error) = resumed {
        assert_eq!(error.code(), Some(ErrorCode::SessionLost));
    }
}

#[actix_rt::test]
async fn a_session_outlives_its_socket_for_a_while_only() {
    let rig = rig_with(quick()).await;
    let (ann, session) = rig.start("ann").await;
    drop(ann);
    let mut again = rig.socket("ann").await;
    again.resume(&session.sid, 0).await.unwrap();
    drop(again);
    let begun = Instant::now();
    while !rig.surroundings.sessions.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let mut late = rig.socket("ann").await;
    let lost = late.resume(&session.sid, 0).await.unwrap_err();
    assert_eq!(lost.code(), Some(ErrorCode::SessionLost));
}

#[actix_rt::test]
async fn the_end_of_the_token_closes_and_a_new_one_resumes() {
    let rig = rig().await;
    let token = token_for("ann", Duration::from_secs(2));
    let mut ann = rig.socket_with(&token, Encoding::Json).await;
    let session = ann.start(&SessionStart::default()).await.unwrap();
    ann.closed_with(CloseCode::TokenExpired).await.unwrap();
    let mut again = rig.socket("ann").await;
    again.resume(&session.sid, 0).await.unwrap();
}

#[actix_rt::test]
async fn a_renewed_session_goes_on() {
    let rig = rig().await;
    let token = token_for("ann", Duration::from_secs(2));
    let mut ann = rig.socket_with(&token, Encoding::Json).await;
    ann.start(&SessionStart::default()).await.unwrap();
    let refused = [
        (rig.token("bob"), ErrorCode::Forbidden),
        ("a.b.c".to_owned(), ErrorCode::Unauthenticated),
        (token_for("ann", Duration::from_secs(1)), ErrorCode::Invalid),
    ];
    for (token, code) in refused {
        let error = ann
            .refused("session.renew", &json!({"token": token}))
            .await
            .unwrap();
        assert_eq!(error.code, code, "{error}");
    }
    let renew = json!({"token": rig.token("ann")});
    let renewed: Renewed = ann.command("session.renew", &renew).await.unwrap();
    assert!(renewed.expires > Timestamp::now().plus_millis(500_000));
    ann.drain(Duration::from_secs(3)).await;
    ann.until_pong().await.unwrap();
}

#[actix_rt::test]
async fn revocation_and_disconnection_end_sessions_with_and_without_a_socket() {
    let rig = rig().await;
    let sessions = &rig.surroundings.sessions;
    let (mut ann, _) = rig.start("ann").await;
    let issued = rig.issuer.issue(&user("bob"), "bob").unwrap();
    let mut bob = rig.socket_with(&issued.token, Encoding::Json).await;
    let session = bob.start(&SessionStart::default()).await.unwrap();
    let (mut other, _) = rig.start("bob").await;

    let begun = Instant::now();
    let jti = issued.claims.jti.clone();
    rig.surroundings.auth.revocations.apply(Revocation::Token {
        jti: jti.clone(),
        expires: issued.claims.expires_at(),
    });
    sessions.close_by_token(&jti);
    bob.closed_with(CloseCode::Revoked).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    let mut late = rig.socket("bob").await;
    assert!(late.resume(&session.sid, 0).await.is_err());
    other.until_pong().await.unwrap();

    sessions.close_by_user(&user("bob"), Timestamp::from_millis(1));
    other.until_pong().await.unwrap();
    sessions.close_by_user(&user("bob"), Timestamp::now());
    other.closed_with(CloseCode::Revoked).await.unwrap();

    let (gone, _) = rig.start("ann").await;
    drop(gone);
    sessions.disconnect(&user("ann"), Timestamp::now());
    ann.closed_with(CloseCode::SessionLost).await.unwrap();
    let begun = Instant::now();
    while !sessions.is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{}",
            sessions.len()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A socket that was greeted before the drain begins its session only after it.
#[actix_rt::test]
async fn who_comes_during_a_drain_is_sent_away_too() {
    let rig = rig_with(Options::default()).await;
    let (ann, session) = rig.start("ann").await;
    drop(ann);
    let (mut fresh, mut again) = (rig.socket("bob").await, rig.socket("ann").await);
    rig.surroundings.sessions.drain(Duration::ZERO, true).await;
    fresh.start(&SessionStart::default()).await.unwrap();
    fresh.closed_with(CloseCode::Draining).await.unwrap();
    again.resume(&session.sid, 0).await.unwrap();
    again.closed_with(CloseCode::Draining).await.unwrap();
}

#[actix_rt::test]
async fn a_drain_sends_sockets_away_one_after_the_other() {
    let rig = rig().await;
    let mut clients = Vec::new();
    for n in 0..30 {
        clients.push(rig.start(&format!("u{n}")).await);
    }
    let begun = Instant::now();
    let drain = rig
        .surroundings
        .sessions
        .drain(Duration::from_secs(1), true);
    let leave = async {
        let mut times = Vec::new();
        for (client, _) in &mut clients {
            client.closed_with(CloseCode::Draining).await.unwrap();
            times.push(begun.elapsed());
        }
        times
    };
    let ((), times) = tokio::join!(drain, leave);
    assert!(times.iter().max().unwrap() >= &Duration::from_millis(500));
    assert!(begun.elapsed() < Duration::from_secs(3));
    // Nothing has ended: whoever comes back in time goes on.
    assert_eq!(rig.surroundings.sessions.len(), 30);
}
