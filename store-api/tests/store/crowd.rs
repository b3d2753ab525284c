//! Many people before a store that is a process of its own: they are put into its database by hand, for to register so
//! many would take longer than the rest.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use serde_json::Value;
use shared::{
    auth::{SigningKey, TokenIssuer},
    id::UserId,
};

use crate::{
    app::{SERVICE_TOKEN, client},
    campaigns,
};

pub(crate) const SECRET: &str = "a secret for tokens of more than 32 characters";

/// The settings of a store that a crowd comes to.
pub(crate) fn settings<'a>(database: &'a str, redis: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("FIRESIDE_DATABASE_URL", database),
        ("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN),
        ("FIRESIDE_JWT_SECRET", SECRET),
        ("FIRESIDE_REDIS_URL", redis),
        ("FIRESIDE_STORE_USER_RATE", "1000/s"),
    ]
}

/// One of them.
pub(crate) struct Person {
    pub(crate) id: String,
    /// Good for a quarter of an hour.
    pub(crate) token: String,
}

/// So many people.
pub(crate) async fn gather(database: &DatabaseConnection, people: usize) -> Vec<Person> {
    let insert = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {people}) \
         INSERT INTO users (id, name, name_key, created_at) \
         SELECT 'person-' || i, 'Person ' || i, 'person ' || i, 0 FROM n"
    );
    database.execute_unprepared(&insert).await.unwrap();
    let key = SigningKey::from_secret(SECRET.as_bytes()).unwrap();
    let issuer = TokenIssuer::new(&key, "fireside", Duration::from_mins(15));
    let person = |number| {
        let id = format!("person-{number}");
        let user = UserId::parse(&id).unwrap();
        let token = issuer.issue(&user, "Person").unwrap().token;
        Person { id, token }
    };
    (1..=people).map(person).collect()
}

/// Makes a drop at the store of this address, and gives its id.
pub(crate) async fn make_drop(store: &str, change: impl FnOnce(&mut Value)) -> String {
    let body = campaigns::text(|body| {
        body["drop"] = Value::Bool(true);
        change(body);
    });
    let request = client().post(format!("{store}/v1/campaigns"));
    let answer = request.bearer_auth(SERVICE_TOKEN).json(&body).send();
    let made: Value = answer.await.unwrap().json().await.unwrap();
    made["id"].as_str().unwrap().to_owned()
}
