//! The suite, run by the MongoDB backend; and what only a shared, remote store can do to a node.

mod contention;
mod faults;
mod folds;
mod many_rooms;
mod rounds;
mod schema;
mod unread;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use chat_node::history::{
    History,
    mongodb::{MongoHistory, MongoSettings},
};
use loadtest::cluster::MongoServer;
use shared::settings::Secret;
use tokio::sync::Mutex;

use super::{HistoryFactory, suite};

/// Settings for a database of that name on a server.
pub(crate) fn settings(server: &MongoServer, database: &str) -> MongoSettings {
    MongoSettings {
        mongodb_uri: Some(Secret::new(server.uri_of(database))),
        ..MongoSettings::default()
    }
}

/// The name of a database that no other test uses.
pub(crate) fn database() -> String {
    format!("history-{}", ulid::Ulid::new())
}

/// The same for who asks whether an answer is right, on however busy a machine.
fn patient(server: &MongoServer, database: &str) -> MongoSettings {
    MongoSettings {
        mongodb_timeout: Duration::from_secs(45),
        ..settings(server, database)
    }
}

/// One more node on a database.
pub(crate) async fn node(server: &MongoServer, database: &str) -> Arc<dyn History> {
    let settings = patient(server, database);
    Arc::new(MongoHistory::open(&settings).await.unwrap())
}

/// A database for each factory, on one server for all.
struct Database {
    name: String,
    open: Mutex<Weak<MongoHistory>>,
}

impl Database {
    fn new() -> Self {
        Self {
            name: database(),
            open: Mutex::new(Weak::new()),
        }
    }
}

#[async_trait]
impl HistoryFactory for Database {
    async fn open(&self) -> Arc<dyn History> {
        let mut open = self.open.lock().await;
        if let Some(history) = open.upgrade() {
            return history;
        }
        let server = MongoServer::shared().await.unwrap();
        let settings = patient(server, &self.name);
        let history = Arc::new(MongoHistory::open(&settings).await.unwrap());
        *open = Arc::downgrade(&history);
        history
    }

    async fn reopen(&self, held: Arc<dyn History>) -> Arc<dyn History> {
        drop(held);
        assert!(
            self.open.lock().await.upgrade().is_none(),
            "somebody else holds the store open"
        );
        self.open().await
    }
}

suite!(Database::new());
