//! TLS, both versions of HTTP over it, and a certificate that is replaced.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, StatusCode,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    recorded::Recorded,
    rig::{PATIENCE, balancer, say, token},
};

/// A certificate for `chat.example`, in these files.
pub(crate) fn write(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["chat.example".to_owned()]).unwrap();
    // The key first: a pair that does not fit is refused, and read again when the other changes.
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()
}

/// A connection of somebody who believes this certificate alone.
pub(crate) async fn connect(
    address: &str,
    certificate: &CertificateDer<'static>,
    speaks: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![speaks.to_vec()];
    // Each connection is to see the certificate that is in force.
    config.resumption = rustls::client::Resumption::disabled();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("chat.example").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// As HTTP/2 names what it wants.
fn request(path: &str, token: Option<&str>) -> Request<Empty<Bytes>> {
    let uri = format!("https://chat.example{path}");
    let mut request = Request::builder().uri(uri);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Empty::new()).unwrap()
}

/// The page, as HTTP/1.1 names it.
fn page() -> Request<Empty<Bytes>> {
    let request = Request::builder().uri("/").header("host", "chat.example");
    request.body(Empty::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_are_spoken_and_a_new_certificate_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let first = write(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let node = Recorded::start().await;
    let settings = [
        ("FIRESIDE_TLS_CERTIFICATE", certificate.as_str()),
        ("FIRESIDE_TLS_KEY", key.as_str()),
    ];
    let door = balancer(node.address(), &settings).await;
    let token = token("ann");

    let stream = connect(door.address(), &first, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let kept = tokio::spawn(connection);
    let home = sender.send_request(request("/", None)).await.unwrap();
    assert_eq!(home.status(), StatusCode::OK);
    let body = home.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"<!doctype html>"));
    let refused = sender
        .send_request(request("/v1/rooms", None))
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );
    let upgrade = sender
        .send_request(request("/v1/ws", Some(&token)))
        .await
        .unwrap();
    assert_eq!(upgrade.status(), StatusCode::UPGRADE_REQUIRED);
    assert!(node.requests().is_empty());
    let answered = sender
        .send_request(request("/v1/rooms", Some(&token)))
        .await
        .unwrap();
    assert_eq!(answered.status(), StatusCode::OK);
    let came = node.requests().remove(0).to_ascii_lowercase();
    assert!(came.contains("\r\nhost: chat.example\r\n"), "{came}");
    assert!(came.contains("\r\nx-forwarded-proto: https\r\n"), "{came}");
    drop(sender);
    kept.await.unwrap().unwrap();

    let stream = connect(door.address(), &first, b"http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let first_page = sender.send_request(page()).await.unwrap();
    assert_eq!(first_page.status(), StatusCode::OK);
    first_page.into_body().collect().await.unwrap();

    // Who speaks no TLS is not answered in the clear.
    let plain = tokio::spawn({
        let address = door.address().to_owned();
        async move { say(&address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await }
    });
    assert!(plain.await.is_err());

    // A file that cannot be used changes nothing; one that can is used without a restart.
    std::fs::write(folder.path().join("cert.pem"), "no certificate").unwrap();
    let reads = async || door.metric("fireside_lb_certificate_reads_total").await;
    let since = Instant::now();
    while reads().await.unwrap_or_default() < 1.0 {
        assert!(
            since.elapsed() < PATIENCE,
            "the certificate is not looked at"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(connect(door.address(), &first, b"h2").await.is_ok());
    let second = write(folder.path());
    let since = Instant::now();
    while connect(door.address(), &second, b"h2").await.is_err() {
        assert!(
            since.elapsed() < PATIENCE,
            "the new certificate is not used"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(connect(door.address(), &first, b"h2").await.is_err());
    // The connection of before goes on.
    let again = sender.send_request(page()).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_has_the_certificate_and_its_key_read_again() {
    let node = Recorded::start().await;
    let folder = tempfile::tempdir().unwrap();
    let first = write(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let settings = [
        ("FIRESIDE_TLS_CERTIFICATE", certificate.as_str()),
        ("FIRESIDE_TLS_KEY", key.as_str()),
    ];
    let door = balancer(node.address(), &settings).await;
    let until_read = async |times: f64| {
        let since = Instant::now();
        while door.metric("fireside_lb_certificate_reads_total").await < Some(times) {
            assert!(since.elapsed() < PATIENCE, "not read {times} times");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // The files are what they were: only the signal can be the reason.
    door.process().hang_up().unwrap();
    until_read(1.0).await;
    assert!(connect(door.address(), &first, b"h2").await.is_ok());
    let second = write(folder.path());
    door.process().hang_up().unwrap();
    until_read(2.0).await;
    assert!(connect(door.address(), &second, b"h2").await.is_ok());
    assert!(connect(door.address(), &first, b"h2").await.is_err());
}

/// HTTP/2 without TLS, as balancers before us may speak it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_known_by_its_preface() {
    let node = Recorded::start().await;
    let door = balancer(node.address(), &[]).await;
    let stream = TcpStream::connect(door.address()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let token = token("ann");
    let asked = (0..10).map(|_| sender.send_request(request("/v1/rooms", Some(&token))));
    for answered in futures_util::future::join_all(asked.collect::<Vec<_>>()).await {
        assert_eq!(answered.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(node.requests().len(), 10);
}
