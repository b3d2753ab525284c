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
    /// It does not know how to answer for several at once.
    old: bool,
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
    let anna = json!({
        "friends": [{"id": "b", "name": "Bö", "since": 5}], "blocked": ["c"], "blocked_by": ["d"]});
    let nobody = json!({"friends": [], "blocked": [], "blocked_by": []});
    match request.path() {
        "/v1/internal/users/a/friends" => HttpResponse::Ok().json(anna),
        "/v1/internal/users/z/friends" => HttpResponse::Ok().json(nobody),
        "/v1/internal/graphs" if !mood.old => {
            let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let graph = |id: &serde_json::Value| if id == "a" { &anna } else { &nobody };
            let ids = asked["ids"].as_array().unwrap();
            let items: Vec<_> = ids.iter().map(graph).take(3).collect();
            HttpResponse::Ok().json(json!({ "items": items }))
        }
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

async fn reads_graphs(friends: &HttpFriends) {
    let asked = [user("z"), user("a")];
    let [nobody, graph] = friends.graphs(&asked).await.unwrap().try_into().unwrap();
    assert_eq!(nobody, Graph::default());
    assert!(graph.friends.iter().eq([(&user("b"), &"Bö".into())]));
    assert!(graph.blocked.ids().eq([&user("c")]));
    assert!(graph.blocked_by.ids().eq([&user("d")]));
}

#[actix_rt::test]
async fn reads_what_store_api_documents() {
    let (url, mood) = serve(Mood::default());
    let friends = client(&url, TOKEN);
    reads_graphs(&friends).await;
    assert_eq!(mood.asked.load(Relaxed), 1, "one question for both");
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
async fn an_older_store_api_is_asked_for_one_after_the_other() {
    let (url, mood) = serve(Mood {
        old: true,
        ..Mood::default()
    });
    reads_graphs(&client(&url, TOKEN)).await;
    assert_eq!(mood.asked.load(Relaxed), 3);
}

#[actix_rt::test]
async fn an_answer_for_fewer_than_were_asked_for_is_none() {
    let (url, _) = serve(Mood::default());
    let asked = ["a", "b", "c", "d"].map(user);
    assert!(client(&url, TOKEN).graphs(&asked).await.is_err());
}

#[actix_rt::test]
async fn a_passing_failure_is_got_over() {
    let (url, mood) = serve(Mood {
        failures: AtomicUsize::new(2),
        ..Mood::default()
    });
    assert!(client(&url, TOKEN).graphs(&[user("a")]).await.is_ok());
    assert_eq!(mood.asked.load(Relaxed), 3);
}

#[actix_rt::test]
async fn a_wrong_token_is_not_tried_again() {
    let (url, mood) = serve(Mood::default());
    let refused = client(&url, "wrong")
        .graphs(&[user("a")])
        .await
        .unwrap_err();
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
    assert!(friends.graphs(&[user("a")]).await.is_err());
    assert!(began.elapsed() < DEADLINE + Duration::from_secs(1));
    let asked = mood.asked.load(Relaxed);
    assert!(friends.graphs(&[user("a")]).await.is_err());
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
