//! When people were last seen, kept for presence beside the history.

use std::collections::HashMap;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Result, params};
use shared::id::{Timestamp, UserId};

use super::{SqliteHistory, columns, writer::Job};
use crate::presence::{Seen, SeenTimes};

/// About how many bytes one of them holds while it waits.
const WEIGHT: usize = 96;

#[async_trait]
impl SeenTimes for SqliteHistory {
    fn note(&self, seen: Vec<Seen>) {
        let (weight, users) = (256 + WEIGHT * seen.len(), seen.len());
        if self.push(weight, Job::Seen { seen }).is_err() {
            tracing::warn!(users, "when they were last seen is not kept");
        }
    }

    async fn recall(&self, users: Vec<UserId>) -> HashMap<UserId, Timestamp> {
        let found = self.readers.ask(move |conn| recall(conn, users)).await;
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known when people were last seen");
            HashMap::new()
        })
    }
}

/// Within the writer's transaction.
pub(super) fn note(conn: &Connection, seen: &[Seen]) -> Result<()> {
    for Seen { user, at } in seen {
        match at {
            Some(at) => conn
                .prepare_cached("INSERT OR REPLACE INTO seen (user, at) VALUES (?1, ?2)")?
                .execute(params![user.as_str(), at.as_millis()])?,
            None => conn
                .prepare_cached("DELETE FROM seen WHERE user = ?1")?
                .execute([user.as_str()])?,
        };
    }
    Ok(())
}

fn recall(conn: &Connection, users: Vec<UserId>) -> Result<HashMap<UserId, Timestamp>> {
    let mut find = conn.prepare_cached("SELECT at FROM seen WHERE user = ?1")?;
    let mut found = HashMap::new();
    for user in users {
        let at = find
            .query_row([user.as_str()], |row| columns::time(row, 0))
            .optional()?;
        if let Some(at) = at {
            found.insert(user, at);
        }
    }
    Ok(found)
}
