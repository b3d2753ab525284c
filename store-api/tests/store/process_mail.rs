//! Mail of the program itself: kept over a kill, encrypted on its way, or put into files.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    app::{PASSWORD, client},
    process::Program,
    smtp::MailServer,
};

const FROM: (&str, &str) = ("FIRESIDE_MAIL_FROM", "Oak Games <no-reply@oak.example>");

/// Registers Ann, and gives her access token.
async fn register(program: &Program) -> String {
    let account = json!({"email": "ann@example.org", "name": "Ann", "password": PASSWORD});
    let answer = program.post("/v1/auth/register", account).await;
    assert_eq!(answer.status(), 201);
    let tokens: Value = answer.json().await.unwrap();
    tokens["access_token"].as_str().unwrap().to_owned()
}

/// The status of proving Ann's address.
async fn verify(program: &Program, access: &str, code: &str) -> u16 {
    let request = client().post(format!("{}/v1/me/email/verify", program.url));
    let request = request.bearer_auth(access).json(&json!({"code": code}));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_mail_that_was_answered_survives_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = MailServer::start();
    let url = server.url();
    let settings = [("FIRESIDE_MAIL_URL", url.as_str()), FROM];
    server.down();
    let program = Program::start(dir.path(), &settings);
    let access = register(&program).await;
    drop(program);
    let program = Program::start(dir.path(), &settings);
    // In the middle of its attempts.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(program);
    server.up();
    let program = Program::start(dir.path(), &settings);
    let code = server.code("ann@example.org", 1).await;
    assert_eq!(verify(&program, &access, &code).await, 200);
}

#[tokio::test]
async fn mail_leaves_encrypted_to_a_server_it_can_believe() {
    let certificates = tempfile::tempdir().unwrap();
    let write = |name: &str, of: &str| {
        let made = rcgen::generate_simple_self_signed(vec![of.to_owned()]).unwrap();
        let (certificate, key) = (
            certificates.path().join(format!("{name}.pem")),
            certificates.path().join(format!("{name}.key")),
        );
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    };
    let (right, key) = write("right", "localhost");
    let (other, _) = write("other", "localhost");
    let server = MailServer::start_encrypted(&right, &key);
    let url = |password: &str| format!("smtp://oak:{password}@localhost:{}", server.port());
    let dir = TempDir::new().unwrap();
    // A server that nobody vouches for is shown nothing, one that knows us differently takes nothing.
    let mut access = None;
    for (url, believed) in [(url("p%40ss%2Bword"), &other), (url("wrong"), &right)] {
        let settings = [
            ("FIRESIDE_MAIL_URL", url.as_str()),
            ("SSL_CERT_FILE", believed.to_str().unwrap()),
            FROM,
        ];
        let program = Program::start(dir.path(), &settings);
        if access.is_none() {
            access = Some(register(&program).await);
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(server.mails().len(), 0);
    }
    let url = url("p%40ss%2Bword");
    let settings = [
        ("FIRESIDE_MAIL_URL", url.as_str()),
        ("SSL_CERT_FILE", right.to_str().unwrap()),
        FROM,
    ];
    let program = Program::start(dir.path(), &settings);
    let mail = server.mails_to("ann@example.org", 1).await.remove(0);
    assert!(mail.encrypted);
    let verified = verify(&program, &access.unwrap(), &mail.code()).await;
    assert_eq!(verified, 200);
}

#[tokio::test]
async fn mail_goes_into_files_for_whoever_develops() {
    let dir = tempfile::tempdir().unwrap();
    let mails = dir.path().join("mails");
    let url = format!("file:{}", mails.display());
    let program = Program::start(dir.path(), &[("FIRESIDE_MAIL_URL", &url), FROM]);
    register(&program).await;
    let mail = loop {
        let files = fs::read_dir(&mails).into_iter().flatten();
        let mut files = files.map(|entry| entry.unwrap().path());
        if let Some(file) = files.find(|path| path.extension().is_some_and(|end| end == "eml")) {
            break fs::read_to_string(file).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(mail.contains("To: Ann <ann@example.org>\r\n"), "{mail}");
    assert!(mail.contains("is your code for Fireside"), "{mail}");
}
