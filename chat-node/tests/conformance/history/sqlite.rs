//! The suite, run by the SQLite backend.

use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use chat_node::history::{
    History,
    sqlite::{SqliteHistory, SqliteSettings},
};
use tempfile::TempDir;

use super::{HistoryFactory, suite};

/// One file for each factory, open while somebody holds it.
struct File {
    dir: TempDir,
    open: Mutex<Weak<SqliteHistory>>,
}

impl File {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            open: Mutex::new(Weak::new()),
        }
    }
}

#[async_trait]
impl HistoryFactory for File {
    async fn open(&self) -> Arc<dyn History> {
        let mut open = self.open.lock().unwrap();
        if let Some(history) = open.upgrade() {
            return history;
        }
        let path = self.dir.path().join("history.db");
        let history = Arc::new(SqliteHistory::open(&path, &SqliteSettings::default()).unwrap());
        *open = Arc::downgrade(&history);
        history
    }

    async fn reopen(&self, held: Arc<dyn History>) -> Arc<dyn History> {
        drop(held);
        assert!(
            self.open.lock().unwrap().upgrade().is_none(),
            "somebody else holds the store open"
        );
        self.open().await
    }
}

suite!(File::new());
