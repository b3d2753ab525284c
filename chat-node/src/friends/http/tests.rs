//! The client against an HTTP server that answers as store-api documents; against store-api
//! itself it runs where both are built.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::json;

use super::*;

const TOKEN: &str = "a service token of at least 32 characters";

/// How the server answers, and how often it was asked.
#[derive(Default)]
struct Mood {
    asked: AtomicUsize,
    failures: AtomicUsize,
    hangs: bool,
}

async fn answer(mood: web::Data<Mood>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    mood.asked.fetch_add(1, Relaxed);
    if mood.hangs {
        tokio::time::sleep(Duration::from_hours(1)).await;
    }
    if mood.failures.load(Relaxed) > 0 {
        mood.failures.fetch_sub(1, Relaxed);
        return HttpResponse::ServiceUnavailable().finish();
    }
    let header = request.headers().get("authorization");
    if header.is_none_or(|header| header != format!("Bearer {TOKEN}").as_str()) {
        return HttpResponse::Unauthorized().finish();
    }
    match request.path() {
        "/v1/internal/users/a/friends" => HttpResponse::Ok().json(json!({
            "friends": [{"id": "b", "name": "Bö", "since": 5}], "blocked": ["c"], "blocked_by": ["d"]})),
        "/v1/internal/names" => {
            let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(asked, json!({"ids": ["b", "z"]}));
            HttpResponse::Ok().json(json!({"items": [{"id": "b", "name": "Bö"}]}))
        }
        "/v1/internal/revocations" => HttpResponse::Ok().json(json!({"items": [
            {"kind": "token", "jti": "j", "expires": 7},
            {"kind": "user", "user": "a", "issued_at_or_before": 8}]})),
        _ => HttpResponse::NotFound().finish(),
    }
}

fn serve(mood: Mood) -> (String, web::Data<Mood>) {
    let mood = web::Data::from(Arc::new(mood));
    let server = HttpServer::new({
        let mood = mood.clone();
        move || {
            App::new()
                .app_data(mood.clone())
                .default_service(web::to(answer))
        }
    });
    let server = server
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
    let url = format!("http://{}/", server.addrs()[0]);
    actix_rt::spawn(server.run());
    (url, mood)
}

fn client(url: &str, token: &str) -> HttpFriends {
    HttpFriends::new(url, Secret::new(token.to_owned())).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

#[actix_rt::test]
async fn reads_what_store_api_documents() {
    let (url, _) = serve(Mood::default());
    let friends = client(&url, TOKEN);
    let graph = friends.graph(&user("a")).await.unwrap();
    assert!(graph.friends.iter().eq([(&user("b"), &"Bö".into())]));
    assert!(graph.blocked.ids().eq([&user("c")]));
    assert!(graph.blocked_by.ids().eq([&user("d")]));
    let names = friends.names(&[user("b"), user("z")]).await.unwrap();
    assert_eq!(names, HashMap::from([(user("b"), "Bö".to_owned())]));
    let revocations = friends.revocations().await.unwrap();
    let expected = [
        Revocation::Token {
            jti: "j".into(),
            expires: Timestamp::from_millis(7),
        },
        Revocation::User {
            user: user("a"),
            issued_at_or_before: Timestamp::from_millis(8),
        },
    ];
    assert_eq!(revocations, expected);
}

#[actix_rt::test]
async fn a_passing_failure_is_got_over() {
    let (url, mood) = serve(Mood {
        failures: AtomicUsize::new(2),
        ..Mood::default()
    });
    assert!(client(&url, TOKEN).graph(&user("a")).await.is_ok());
    assert_eq!(mood.asked.load(Relaxed), 3);
}

#[actix_rt::test]
async fn a_wrong_token_is_not_tried_again() {
    let (url, mood) = serve(Mood::default());
    let refused = client(&url, "wrong").graph(&user("a")).await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    assert_eq!(mood.asked.load(Relaxed), 1);
}

#[actix_rt::test]
async fn who_does_not_answer_is_given_up_in_time_and_left_alone() {
    let (url, mood) = serve(Mood {
        hangs: true,
        ..Mood::default()
    });
    let friends = client(&url, TOKEN);
    let began = std::time::Instant::now();
    assert!(friends.graph(&user("a")).await.is_err());
    assert!(began.elapsed() < DEADLINE + Duration::from_secs(1));
    let asked = mood.asked.load(Relaxed);
    assert!(friends.graph(&user("a")).await.is_err());
    assert_eq!(
        mood.asked.load(Relaxed),
        asked,
        "for a moment nothing is asked"
    );
}

#[actix_rt::test]
async fn nobody_there_is_out_of_reach_and_an_address_has_to_be_one() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    assert!(client(&url, TOKEN).names(&[user("b")]).await.is_err());
    assert!(
        client(&url, TOKEN).names(&[]).await.is_ok(),
        "nothing to ask"
    );
    for bad in ["", "store", "ftp://store", "store:8120"] {
        assert!(
            HttpFriends::new(bad, Secret::new(String::new())).is_err(),
            "{bad}"
        );
    }
}
