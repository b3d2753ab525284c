//! When people were last seen, kept for presence beside the history.

use std::collections::HashMap;

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use serde::{Deserialize, Serialize};
use shared::id::{Timestamp, UserId};

use super::{
    MongoHistory,
    documents::user,
    store::{Result, Store, among},
};
use crate::presence::{Seen, SeenTimes};

/// When somebody was last seen; who is there has none.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SeenDoc {
    #[serde(rename = "_id")]
    user: String,
    at: i64,
}

#[async_trait]
impl SeenTimes for MongoHistory {
    fn note(&self, seen: Vec<Seen>) {
        let users = seen.len();
        let noting = self.tell(async move |store| {
            // Who waits for it is let in in turn.
            let _turn = store.noting.lock().await;
            store.note_seen(seen).await
        });
        if !noting {
            tracing::warn!(users, "when they were last seen is not kept");
        }
    }

    async fn recall(&self, users: Vec<UserId>) -> HashMap<UserId, Timestamp> {
        let found = self.ask(async move |store| store.recall_seen(users).await);
        found.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known when people were last seen");
            HashMap::new()
        })
    }
}

impl Store {
    async fn note_seen(&self, seen: Vec<Seen>) -> Result<()> {
        let (mut set, mut gone): (Vec<Document>, Vec<String>) = (Vec::new(), Vec::new());
        for Seen { user, at } in seen {
            match at {
                Some(at) => set.push(doc! {
                    "q": { "_id": user.as_str() },
                    "u": { "$set": { "at": at.as_millis() } },
                    "upsert": true,
                }),
                None => gone.push(user.as_str().to_owned()),
            }
        }
        self.update("seen", set).await?;
        if !gone.is_empty() {
            self.seen
                .delete_many(doc! { "_id": { "$in": gone } })
                .await?;
        }
        Ok(())
    }

    async fn recall_seen(&self, users: Vec<UserId>) -> Result<HashMap<UserId, Timestamp>> {
        let ids = users.iter().map(UserId::as_str).collect();
        let found = among(&self.seen, "_id", ids).await?;
        found
            .into_iter()
            .map(|doc| Ok((user(&doc.user)?, Timestamp::from_millis(doc.at))))
            .collect()
    }
}
