//! The start of many nodes on an empty database, and on one that is not theirs.

use std::time::Duration;

use chat_node::history::mongodb::{MongoHistory, MongoSettings, OpenError};
use futures_util::future::join_all;
use loadtest::cluster::{MongoServer, free_port};
use mongodb::{
    Client,
    bson::{Document, doc},
};
use shared::settings::Secret;

use super::super::Log;
use super::{database, node, settings};

async fn raw(server: &MongoServer, database: &str) -> mongodb::Database {
    let client = Client::with_uri_str(server.uri()).await.unwrap();
    client.database(database)
}

#[tokio::test]
async fn eight_nodes_that_start_at_once_make_the_same_database() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let nodes = join_all((0..8).map(|_| node(server, &database))).await;
    Log::group(&nodes[0], "first", &["a"]).await;
    let raw = raw(server, &database).await;
    let meta = raw.collection::<Document>("meta");
    assert_eq!(meta.count_documents(doc! {}).await.unwrap(), 1);
    let entries = raw.collection::<Document>("entries");
    assert_eq!(entries.list_index_names().await.unwrap().len(), 6);
    // And once more, on what is there.
    node(server, &database).await;
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_and_not_changed() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    drop(node(server, &database).await);
    let meta = raw(server, &database).await.collection::<Document>("meta");
    let later = doc! { "$set": { "version": 99 } };
    meta.update_one(doc! { "_id": "schema" }, later)
        .await
        .unwrap();
    let opened = MongoHistory::open(&settings(server, &database)).await;
    assert!(matches!(
        opened.err(),
        Some(OpenError::TooNew { found: 99, .. })
    ));
    let schema = meta.find_one(doc! { "_id": "schema" }).await.unwrap();
    assert_eq!(schema.unwrap().get_i32("version").unwrap(), 99);
}

#[tokio::test]
async fn without_a_uri_it_says_so() {
    let opened = MongoHistory::open(&MongoSettings::default()).await;
    assert!(matches!(opened.err(), Some(OpenError::NoUri)));
}

/// A node waits for a server that is away, and for nothing that no waiting mends.
#[tokio::test]
async fn what_may_pass_is_told_from_what_does_not() {
    let open = async |uri: &str| {
        let settings = MongoSettings {
            mongodb_uri: Some(Secret::new(uri.to_owned())),
            mongodb_connect_timeout: Duration::from_millis(200),
            ..MongoSettings::default()
        };
        MongoHistory::open(&settings).await.err().unwrap()
    };
    for unreadable in ["fireside", "mongodb://", "mongodb://127.0.0.1:port/"] {
        let error = open(unreadable).await;
        assert!(
            matches!(error, OpenError::Refused(_)),
            "{unreadable}: {error}"
        );
        assert!(!error.may_pass());
    }
    let nobody = format!("mongodb://127.0.0.1:{}/", free_port().unwrap());
    let error = open(&nobody).await;
    assert!(error.may_pass(), "{error}");
}
