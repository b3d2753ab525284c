//! How often is too often, what a page of elsewhere may do, and what the page of our own is.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    recorded::Recorded,
    rig::{PATIENCE, balancer, say, token},
};

fn rooms(token: &str, more: &str) -> String {
    format!(
        "GET /v1/rooms HTTP/1.1\r\nHost: chat.example\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
    )
}

fn upgrade(token: &str) -> String {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_often_is_refused_with_a_time_to_come_back() {
    let node = Recorded::start().await;
    let settings = [
        ("FIRESIDE_REQUESTS_PER_USER", "1/h burst 3"),
        ("FIRESIDE_REQUESTS_PER_ADDRESS", "1/h burst 8"),
    ];
    let door = balancer(node.address(), &settings).await;
    let (ann, bob) = (rooms(&token("ann"), ""), rooms(&token("bob"), ""));
    for _ in 0..3 {
        assert_eq!(say(door.address(), ann.as_bytes()).await.status, 200);
    }
    let refused = say(door.address(), ann.as_bytes()).await;
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"));
    assert!(refused.head.contains("retry-after: "), "{refused:?}");
    // Another person is not her, and still comes from the same place.
    for _ in 0..3 {
        assert_eq!(say(door.address(), bob.as_bytes()).await.status, 200);
    }
    let carl = rooms(&token("carl"), "");
    assert_eq!(say(door.address(), carl.as_bytes()).await.status, 200);
    assert_eq!(say(door.address(), carl.as_bytes()).await.status, 429);
    assert_eq!(node.requests().len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_asked_to_come_back_at_different_times() {
    let node = Recorded::start().await;
    let settings = [
        ("FIRESIDE_ADMISSIONS", "1/h burst 1"),
        ("FIRESIDE_COME_BACK_WITHIN", "1m"),
    ];
    let door = balancer(node.address(), &settings).await;
    // The recorder agrees to nothing, and yet the place is taken.
    assert_eq!(
        say(door.address(), upgrade(&token("u")).as_bytes())
            .await
            .status,
        200
    );
    let mut waits = Vec::new();
    for n in 0..20 {
        let refused = say(door.address(), upgrade(&token(&format!("u{n}"))).as_bytes()).await;
        assert_eq!(
            (refused.status, refused.code()),
            (503, "busy"),
            "{refused:?}"
        );
        assert!(refused.head.contains("retry-after: "), "{refused:?}");
        waits.push(refused.body["retry_after_ms"].as_u64().unwrap());
    }
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 10, "{waits:?}");
    assert_eq!(node.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_address_are_counted() {
    let node = Recorded::start().await;
    let door = balancer(
        node.address(),
        &[("FIRESIDE_MAX_CONNECTIONS_PER_ADDRESS", "2")],
    )
    .await;
    let one = TcpStream::connect(door.address()).await.unwrap();
    let two = TcpStream::connect(door.address()).await.unwrap();
    let ann = rooms(&token("ann"), "");
    // Places are taken when connections are accepted, which is soon and not at once.
    while say(door.address(), ann.as_bytes()).await.status != 429 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop((one, two));
    while say(door.address(), ann.as_bytes()).await.status != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_its_answers_is_let_go() {
    let node = Recorded::start().await;
    let settings = [
        ("FIRESIDE_MAX_CONNECTIONS_PER_ADDRESS", "1"),
        ("FIRESIDE_REQUESTS_PER_ADDRESS", "100000/s"),
        ("FIRESIDE_HTTP_KEEP_ALIVE", "1s"),
    ];
    let door = balancer(node.address(), &settings).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = door.address().parse().unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    // The page, over and over, until its answers fill whatever lies between; nothing of them is read.
    let page = b"GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n";
    let asking = async {
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if socket.write_all(page).await.is_err() {
                return;
            }
        }
        panic!("it takes whatever is asked");
    };
    timeout(PATIENCE, asking).await.unwrap();
    // Its place is free.
    let ann = rooms(&token("ann"), "");
    let served = async {
        while say(door.address(), ann.as_bytes()).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, served).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_elsewhere_may_read_if_they_are_welcome() {
    let node = Recorded::start().await;
    let settings = [("FIRESIDE_ALLOWED_ORIGINS", "https://play.example")];
    let door = balancer(node.address(), &settings).await;
    let asks = |origin: &str| {
        format!(
            "OPTIONS /v1/rooms HTTP/1.1\r\nHost: chat.example\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\r\n"
        )
    };
    let heard = say(door.address(), asks("https://play.example").as_bytes()).await;
    assert_eq!(heard.status, 204);
    assert!(
        heard
            .head
            .contains("access-control-allow-origin: https://play.example")
    );
    assert!(
        heard.head.contains("access-control-allow-methods: "),
        "{heard:?}"
    );
    let heard = say(door.address(), asks("https://evil.example").as_bytes()).await;
    assert_eq!((heard.status, heard.code()), (403, "forbidden"));
    assert!(!heard.head.contains("access-control-allow-origin"));
    // Also what is refused can be read by whoever is welcome.
    let heard = say(
        door.address(),
        rooms("x.y.z", "Origin: https://play.example\r\n").as_bytes(),
    )
    .await;
    assert_eq!(heard.status, 401);
    assert!(
        heard
            .head
            .contains("access-control-allow-origin: https://play.example")
    );
    assert!(node.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_here_and_operators_see_who_is_behind() {
    let node = Recorded::start().await;
    let door = balancer(&format!("a={}", node.address()), &[]).await;
    let page = reqwest::get(format!("{}/", door.origin())).await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.headers().contains_key("content-security-policy"));
    let tag = page.headers()["etag"].to_str().unwrap().to_owned();
    assert!(page.text().await.unwrap().contains("<!doctype html>"));
    let known = [("if-none-match", tag.as_str())];
    let again = door
        .rest()
        .call_with(Method::GET, "/", None, &known)
        .await
        .unwrap();
    assert_eq!(again.status, 304);
    let nothing = door
        .rest()
        .call(Method::GET, "/none", None, None)
        .await
        .unwrap();
    assert_eq!(
        (nothing.status, &nothing.body["code"]),
        (404, &"not_found".into())
    );

    let live = door.live().await.unwrap();
    assert_eq!(live["nodes"][0]["name"], "a");
    assert_eq!(live["nodes"][0]["state"], "fit");
    assert_eq!(live["nodes"][0]["risen"], 1.0);
    assert_eq!(live["tunnels"], 0);
    assert!(live["per_second"]["requests"].is_number(), "{live}");
}
