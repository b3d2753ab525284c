//! What the store publishes about itself, and how it answers what it does not know.

use reqwest::Method;
use serde_json::{Value, json};
use store_api::Role;

use crate::{
    app::{SERVICE_TOKEN, TestApp},
    both,
};

both!(
    the_documents_are_public,
    what_is_not_there_is_a_problem,
    no_address_makes_the_store_fail,
    every_reference_resolves
);

async fn the_documents_are_public(app: TestApp) -> TestApp {
    let get = async |path: &str| app.send(app.request(Method::GET, path, None)).await;
    // HS256: there is nothing to publish.
    assert_eq!(
        get("/.well-known/jwks.json").await.expect(200),
        json!({"keys": []})
    );
    let document = get("/v1/store/openapi.json").await.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    app
}

async fn what_is_not_there_is_a_problem(app: TestApp) -> TestApp {
    let send = async |method: Method, path: &str| app.send(app.request(method, path, None)).await;
    assert_eq!(
        send(Method::GET, "/v1/nothing").await.problem(404),
        "not_found"
    );
    assert_eq!(
        send(Method::GET, "/v1/auth/login").await.problem(405),
        "invalid"
    );
    assert_eq!(send(Method::POST, "/v1/me").await.problem(405), "invalid");
    app
}

async fn no_address_makes_the_store_fail(mut app: TestApp) -> TestApp {
    app.settings.store_user_rate = "1000/s".parse().unwrap();
    app.restart().await;
    let operator = app.user_as("Olaf", Role::Operator).await;
    let request = app.request(Method::GET, "/v1/store/openapi.json", None);
    let document = app.send(request).await.expect(200);
    let (mut tried, mut failed) = (0, Vec::new());
    for (template, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            for odd in ["%00", "a%00b", "%20", "%F0%9F%90%89", "..", "%27%22"] {
                let mut path = template.clone();
                while let (Some(begin), Some(end)) = (path.find('{'), path.find('}')) {
                    path.replace_range(begin..=end, odd);
                }
                if path == *template {
                    continue;
                }
                for token in [operator.access.as_str(), SERVICE_TOKEN] {
                    let request = app.request(method.clone(), &path, Some(token));
                    let request = request.header("idempotency-key", "an-odd-request");
                    let answer = app.send(request.json(&json!({}))).await;
                    tried += 1;
                    if answer.status.is_server_error() {
                        failed.push(format!("{method} {path}: {}", answer.body));
                    }
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
    assert!(failed.is_empty(), "{failed:#?}");
    app
}

async fn every_reference_resolves(app: TestApp) -> TestApp {
    let document = app
        .send(app.request(Method::GET, "/v1/store/openapi.json", None))
        .await
        .expect(200);
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    app
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                references.push(reference.clone());
            }
            fields.values().for_each(|field| collect(field, references));
        }
        _ => {}
    }
}
