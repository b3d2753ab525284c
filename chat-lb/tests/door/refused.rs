//! What is refused at the door, and that nobody behind it hears of it.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    recorded::Recorded,
    rig::{Heard, PATIENCE, balancer, hear, issued, say, token},
};

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Says each of these and wants each answered with its status and code; then that nothing came through.
async fn refuses(settings: &[(&str, &str)], cases: &[(String, u16, &str)]) {
    let node = Recorded::start().await;
    let door = balancer(node.address(), settings).await;
    for (bytes, status, code) in cases {
        let heard = say(door.address(), bytes.as_bytes()).await;
        let shown: String = bytes.chars().take(300).collect();
        assert_eq!(
            (heard.status, heard.code()),
            (*status, *code),
            "{shown}\n{heard:?}"
        );
        assert!(
            heard
                .head
                .contains("content-type: application/problem+json"),
            "{heard:?}"
        );
        assert!(heard.head.contains("x-request-id: "), "{heard:?}");
    }
    // Something good goes through, or there would be no telling that nothing else did.
    let good = request("GET", "/v1/rooms?limit=2", &bearer(&token("ann")), "");
    assert_eq!(say(door.address(), good.as_bytes()).await.status, 200);
    let came = node.requests();
    assert_eq!(came.len(), 1, "{came:#?}");
    assert!(
        came[0].starts_with("GET /v1/rooms?limit=2 HTTP/1.1\r\n"),
        "{}",
        came[0]
    );
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: chat.example\r\n{headers}\r\n{body}")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_can_be_read_in_two_ways() {
    let auth = bearer(&token("ann"));
    let inner = "GET /v1/internal/names HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunks = format!("0\r\n\r\n{inner}");
    let post =
        |headers: &str, body: &str| request("POST", "/v1/rooms", &format!("{auth}{headers}"), body);
    let length = inner.len();
    let mut cases: Vec<(String, u16, &str)> = [
        post(
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            &chunks,
        ),
        post(
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            &chunks,
        ),
        post(
            &format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
            inner,
        ),
        post(
            &format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
            inner,
        ),
        post("Content-Length: 0, 5\r\n", inner),
        post("Content-Length: +5\r\n", "hello"),
        post("Content-Length: 5 \u{b}\r\n", "hello"),
        post("Transfer-Encoding: xchunked\r\n", &chunks),
        post("Transfer-Encoding: chunked, identity\r\n", &chunks),
        post(
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            &chunks,
        ),
        post("Transfer-Encoding : chunked\r\n", &chunks),
        post("X: a\r\n Transfer-Encoding: chunked\r\n", &chunks),
        post("X: a\nTransfer-Encoding: chunked\r\n", &chunks),
        post("X: a\rTransfer-Encoding: chunked\r\n", &chunks),
        post("Content\0-Length: 5\r\n", "hello"),
        request(
            "GET",
            "/v1/rooms",
            &format!("{auth}Content-Length: {length}\r\n"),
            inner,
        ),
        request(
            "GET",
            "/v1/rooms",
            &format!("{auth}Transfer-Encoding: chunked\r\n"),
            &chunks,
        ),
        format!(
            "POST /v1/rooms HTTP/1.0\r\nHost: a\r\n{auth}Transfer-Encoding: chunked\r\n\r\n{chunks}"
        ),
        request("GET", "/v1/rooms", &format!("Host: evil\r\n{auth}"), ""),
        format!("GET /v1/rooms HTTP/1.1\r\n{auth}\r\n"),
        request("GET", "http://127.0.0.1:1/v1/rooms", &auth, ""),
        request("CONNECT", "chat.example:443", &auth, ""),
        request("GET", "/v1/rooms/../internal/names", &auth, ""),
        request("GET", "/v1/rooms/%2e%2e/internal/names", &auth, ""),
        request("GET", "/v1/rooms%2f..%2finternal", &auth, ""),
        request("GET", "/v1//internal/names", &auth, ""),
        request("GET", "/v1/rooms/a\\b", &auth, ""),
        format!("GET  /v1/rooms HTTP/1.1\r\nHost: a\r\n{auth}\r\n"),
        format!("GET /v1/rooms HTTP/9.9\r\nHost: a\r\n{auth}\r\n"),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3} no HTTP at all\r\n\r\n".to_owned(),
    ]
    .map(|bytes| (bytes, 400, "invalid"))
    .into();
    for path in [
        "/v1/internal/names",
        "/v1/%69nternal/names",
        "/v1/server/events",
        "/v1/server/live",
        "/readyz",
        "/metrics",
    ] {
        let service = bearer(loadtest::cluster::Cluster::service_token());
        cases.push((request("GET", path, &service, ""), 404, "not_found"));
    }
    cases.push((request("TRACE", "/v1/rooms", &auth, ""), 405, "invalid"));
    refuses(&[], &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_or_too_slow() {
    let auth = bearer(&token("ann"));
    let long = "a".repeat(20 << 10);
    let many = "X: a\r\n".repeat(200);
    let cases = [
        (
            request("GET", "/v1/rooms", &format!("{auth}X: {long}\r\n"), ""),
            431,
            "too_large",
        ),
        (
            request("GET", "/v1/rooms", &format!("{auth}{many}"), ""),
            431,
            "too_large",
        ),
        (
            request("GET", &format!("/v1/rooms?{long}"), &auth, ""),
            414,
            "too_large",
        ),
        // Begun and not ended.
        (
            format!("GET /v1/rooms HTTP/1.1\r\nHost: a\r\n{auth}X: a"),
            408,
            "invalid",
        ),
        (
            request(
                "POST",
                "/v1/rooms",
                &format!("{auth}Content-Length: 300\r\n"),
                "{",
            ),
            408,
            "invalid",
        ),
        (
            request(
                "POST",
                "/v1/rooms",
                &format!("{auth}Transfer-Encoding: chunked\r\n"),
                "5\r\nhe",
            ),
            408,
            "invalid",
        ),
        (
            request(
                "POST",
                "/v1/rooms",
                &format!("{auth}Content-Length: 3000\r\n"),
                "",
            ),
            413,
            "too_large",
        ),
        (
            request(
                "POST",
                "/v1/rooms",
                &format!("{auth}Transfer-Encoding: chunked\r\n"),
                &format!("800\r\n{}\r\n0\r\n\r\n", "a".repeat(2048)),
            ),
            413,
            "too_large",
        ),
        (
            request(
                "POST",
                "/v1/rooms",
                &format!("{auth}Transfer-Encoding: chunked\r\n"),
                "zz\r\n",
            ),
            400,
            "invalid",
        ),
    ];
    let settings = [
        ("FIRESIDE_HANDSHAKE_TIMEOUT", "500ms"),
        ("FIRESIDE_BODY_TIMEOUT", "500ms"),
        ("FIRESIDE_MAX_BODY", "1KiB"),
    ];
    refuses(&settings, &cases.map(|(a, b, c)| (a, b, c))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn games_with_tokens() {
    let secret = loadtest::cluster::Cluster::jwt_secret();
    let good = token("ann");
    let hour = Duration::from_hours(1);
    let none = {
        // The same claims under `alg: none`.
        let claims = good.split('.').nth(1).unwrap();
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
    };
    let (head, rest) = good.split_at(good.len() - 4);
    let tampered = format!("{head}{}", rest.chars().rev().collect::<String>());
    let mut cases = Vec::new();
    let of = |headers: String| request("GET", "/v1/rooms", &headers, "");
    for headers in [
        String::new(),
        "Authorization: \r\n".to_owned(),
        "Authorization: Basic YW5uOmFubg==\r\n".to_owned(),
        bearer("x.y.z"),
        bearer(&none),
        bearer(&tampered),
        bearer(&issued(
            "ann",
            "another secret of more than 32 bytes length",
            "fireside",
            hour,
        )),
        bearer(&issued("ann", secret, "somebody else", hour)),
        bearer(&"a".repeat(5000)),
        // Two, of which one is good.
        format!("{}{}", bearer(&good), bearer("x.y.z")),
        format!("{}{}", bearer("x.y.z"), bearer(&good)),
        // A token in the target is none.
        "Cookie: token=1\r\n".to_owned(),
    ] {
        cases.push((of(headers.clone()), 401, "unauthenticated"));
        let upgrade = request("GET", "/v1/ws", &format!("{HANDSHAKE}{headers}"), "");
        cases.push((upgrade, 401, "unauthenticated"));
        // The store shows some things to everybody, and nothing to a token that does not hold.
        if headers.contains("Authorization") {
            let of_store = request("GET", "/v1/me", &headers, "");
            cases.push((of_store, 401, "unauthenticated"));
        }
        cases.push((
            request("POST", "/v1/server/rooms", &headers, ""),
            401,
            "unauthenticated",
        ));
    }
    let in_target = format!("/v1/rooms?access_token={good}");
    cases.push((request("GET", &in_target, "", ""), 401, "unauthenticated"));
    let two = format!(
        "{HANDSHAKE}{}Sec-WebSocket-Protocol: bearer.x.y.z\r\n",
        bearer(&good)
    );
    cases.push((request("GET", "/v1/ws", &two, ""), 401, "unauthenticated"));
    // A person is no service, and a service no person.
    let as_service = request("POST", "/v1/server/rooms", &bearer(&good), "");
    cases.push((as_service, 403, "forbidden"));
    let service = bearer(loadtest::cluster::Cluster::service_token());
    cases.push((
        request("GET", "/v1/rooms", &service, ""),
        401,
        "unauthenticated",
    ));
    refuses(&[], &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_that_are_none() {
    let auth = bearer(&token("ann"));
    let without = |name: &str| {
        let lines = HANDSHAKE.split_inclusive("\r\n");
        let kept: String = lines.filter(|line| !line.starts_with(name)).collect();
        request("GET", "/v1/ws", &format!("{kept}{auth}"), "")
    };
    let whole = |method: &str, more: &str| {
        request(method, "/v1/ws", &format!("{HANDSHAKE}{auth}{more}"), "")
    };
    let other = |from: &str, to: &str| {
        let handshake = HANDSHAKE.replace(from, to);
        request("GET", "/v1/ws", &format!("{handshake}{auth}"), "")
    };
    let cases = [
        (without("Upgrade"), 426, "invalid"),
        (without("Connection"), 426, "invalid"),
        (without("Sec-WebSocket-Version"), 426, "invalid"),
        (without("Sec-WebSocket-Key"), 400, "invalid"),
        (other("websocket", "h2c"), 426, "invalid"),
        (other("13", "8"), 426, "invalid"),
        (other("dGhl", "!!!!"), 400, "invalid"),
        (whole("POST", ""), 405, "invalid"),
        (whole("GET", "Content-Length: 5\r\n"), 400, "invalid"),
        (
            whole("GET", "Transfer-Encoding: chunked\r\n"),
            400,
            "invalid",
        ),
        (
            whole("GET", "Origin: https://evil.example\r\n"),
            403,
            "forbidden",
        ),
        (whole("GET", "Origin: null\r\n"), 403, "forbidden"),
        (
            whole("GET", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
            400,
            "invalid",
        ),
        (
            request("GET", "/v1/ws/", &format!("{HANDSHAKE}{auth}"), ""),
            404,
            "not_found",
        ),
        (
            format!("GET /v1/ws HTTP/1.0\r\nHost: a\r\n{HANDSHAKE}{auth}\r\n"),
            426,
            "invalid",
        ),
    ];
    refuses(&[], &cases.map(|(a, b, c)| (a, b, c))).await;
}

/// After a refusal nothing more of the connection is read as a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_after_a_refusal() {
    let node = Recorded::start().await;
    let door = balancer(node.address(), &[]).await;
    let auth = bearer(&token("ann"));
    let good = request("GET", "/v1/rooms", &auth, "");
    let refused_upgrade = request("GET", "/v1/ws", &format!("{HANDSHAKE}Host: b\r\n"), "");
    let no_token = request("GET", "/v1/ws", HANDSHAKE, "");
    let long = format!("Content-Length: {}\r\n", good.len());
    let no_body_wanted = request("POST", "/v1/rooms", &long, "");
    for first in [refused_upgrade, no_token, no_body_wanted] {
        let mut socket = TcpStream::connect(door.address()).await.unwrap();
        socket
            .write_all(format!("{first}{good}").as_bytes())
            .await
            .unwrap();
        let heard = hear(&mut socket).await;
        assert!(heard.status >= 400, "{heard:?}");
        assert!(heard.head.contains("connection: close"), "{heard:?}");
        let mut rest = Vec::new();
        // Reset or closed: it ends.
        let _ = timeout(PATIENCE, socket.read_to_end(&mut rest))
            .await
            .unwrap();
        assert!(
            !String::from_utf8_lossy(&rest).contains("HTTP/1.1"),
            "a second answer"
        );
    }
    assert_eq!(node.requests(), Vec::<String>::new());
    // Requests in a row on one connection are fine, and what is wrong with the last is said last.
    let mut socket = TcpStream::connect(door.address()).await.unwrap();
    let row = format!("{good}{good}GET / HTTP/1.1\r\n\r\n");
    socket.write_all(row.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut all))
        .await
        .unwrap();
    let all = String::from_utf8_lossy(&all).into_owned();
    let statuses: Vec<&str> = all
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &all[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "200", "400"], "{all}");
    assert_eq!(node.requests().len(), 2);
}

/// Whatever a client claims of where it comes from, the node hears what is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_an_address_do_not_come_through() {
    let claims = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nForwarded: for=3.3.3.3\r\n\
        X-Real-IP: 4.4.4.4\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nTrue-Client-IP: 5.5.5.5\r\n\
        Connection: close, X-Forwarded-For\r\nProxy-Authorization: x\r\nTraceparent: nonsense\r\nTracestate: a=b\r\n";
    let auth = bearer(&token("ann"));
    let sent = request("GET", "/v1/rooms", &format!("{auth}{claims}"), "");
    for (trusted, address) in [("192.0.2.1", "127.0.0.1"), ("127.0.0.0/8", "2.2.2.2")] {
        let node = Recorded::start().await;
        let door = balancer(node.address(), &[("FIRESIDE_TRUSTED_PROXIES", trusted)]).await;
        assert_eq!(say(door.address(), sent.as_bytes()).await.status, 200);
        let came = node.requests().remove(0).to_ascii_lowercase();
        let lines: Vec<&str> = came.lines().collect();
        let of = |name: &str| -> Vec<&str> {
            lines
                .iter()
                .filter_map(|line| line.strip_prefix(name))
                .collect()
        };
        assert_eq!(of("x-forwarded-for: "), [address], "{came}");
        assert_eq!(of("x-forwarded-proto: "), ["http"]);
        assert_eq!(of("host: "), ["chat.example"]);
        assert_eq!(of("authorization: ").len(), 1);
        assert_eq!(of("x-request-id: ").len(), 1);
        let trace = of("traceparent: ");
        assert!(trace.len() == 1 && trace[0].starts_with("00-"), "{came}");
        for gone in [
            "forwarded: ",
            "x-real-ip: ",
            "x-forwarded-host: ",
            "true-client-ip: ",
            "proxy-authorization: ",
            "tracestate: ",
        ] {
            assert!(of(gone).is_empty(), "{gone} {came}");
        }
    }
}

/// A refusal that nobody can act on is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_to_do() {
    let node = Recorded::start().await;
    let door = balancer(node.address(), &[]).await;
    let heard: Heard = say(door.address(), request("GET", "/v1/ws", "", "").as_bytes()).await;
    assert_eq!(heard.status, 426);
    assert!(heard.head.contains("upgrade: websocket"), "{heard:?}");
    assert!(heard.head.contains("sec-websocket-version: 13"));
    assert_eq!(
        heard.body["type"],
        Value::from("urn:fireside:error:invalid")
    );
    let heard = say(
        door.address(),
        request("GET", "/v1/rooms", "", "").as_bytes(),
    )
    .await;
    assert!(heard.head.contains("www-authenticate: bearer"), "{heard:?}");
    assert!(node.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_is_shown_a_page_and_a_program_a_document() {
    let node = Recorded::start().await;
    let door = balancer(node.address(), &[]).await;
    for (headers, kind) in [
        ("Sec-Fetch-Mode: navigate\r\n", "text/html; charset=utf-8"),
        (
            "Accept: text/html,*/*;q=0.8\r\n",
            "text/html; charset=utf-8",
        ),
        (
            "Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n",
            "application/problem+json",
        ),
        ("", "application/problem+json"),
    ] {
        let asked = request("GET", "/v1/rooms", headers, "");
        let heard = say(door.address(), asked.as_bytes()).await;
        assert_eq!(heard.status, 401, "{heard:?}");
        let kind = format!("content-type: {kind}\r\n");
        assert!(heard.head.contains(&kind), "{headers}: {heard:?}");
        assert_eq!(heard.head.matches("content-type: ").count(), 1, "{heard:?}");
    }
    assert!(node.requests().is_empty());
}
