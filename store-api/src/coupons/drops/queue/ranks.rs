//! How many are ahead, told to those who wait and are there, without being asked, and without a trace in the database:
//! who misses it hears the next.

use std::collections::HashMap;

use sea_orm::FromQueryResult;
use serde_json::json;
use shared::events::{self, StoreEventKind};
use ulid::Ulid;

use super::{super::super::Campaign, count_ahead};
use crate::{
    error::StoreError,
    notices::QUEUE_RANK,
    sql::{self, values},
    store::{Store, stored_id},
};

/// How many in front are told of every change.
const FRONT: i64 = 100;
/// How many of the others are looked at in a round, in turns.
const PAGE: i64 = 200;
/// Of how many it is remembered what they were told.
const REMEMBERED: usize = 50_000;

/// What those who wait for a drop were told.
#[derive(Default)]
pub(super) struct Ranks {
    told: HashMap<String, u64>,
    /// The last one whose turn it was.
    turn: i64,
}

#[derive(FromQueryResult)]
struct Waiting {
    number: i64,
    user_id: String,
}

impl Ranks {
    /// Tells those in front, and the next page of the others, if it is news. While the last news are still under way,
    /// nothing.
    pub(super) async fn tell(
        &mut self,
        store: &Store,
        campaign: &Campaign,
    ) -> Result<(), StoreError> {
        let Some(whisper) = store.outbox().whispers().place() else {
            return Ok(());
        };
        let mut told = ranked(store, campaign, 0, 0, FRONT).await?;
        let front = told.last().map_or(0, |(_, last)| last.number);
        let from = self.turn.max(front);
        if told.len() as i64 == FRONT {
            let db = store.database().reader();
            let ahead = count_ahead(db, &campaign.id, from + 1).await?;
            let others = ranked(store, campaign, from, ahead, PAGE).await?;
            self.turn = others.last().map_or(0, |(_, last)| last.number);
            told.extend(others);
        }
        if self.told.len() > REMEMBERED {
            self.told.clear();
        }
        let mut events = Vec::new();
        for (ahead, waiting) in told {
            if self.told.insert(waiting.user_id.clone(), ahead) == Some(ahead) {
                continue;
            }
            let data = json!({"drop": campaign.id, "number": waiting.number, "ahead": ahead});
            events.push(store.event(StoreEventKind::Notice(events::Notice {
                user: stored_id(&waiting.user_id)?,
                notice: Ulid::new(),
                topic: QUEUE_RANK.to_owned(),
                data,
            })));
        }
        metrics::counter!("fireside_store_queue_ranks_total").increment(events.len() as u64);
        whisper.send(events);
        Ok(())
    }
}

/// So many who wait with a higher number than `after`, where `ahead` have none such, and how many are ahead of each.
async fn ranked(
    store: &Store,
    campaign: &Campaign,
    after: i64,
    ahead: u64,
    limit: i64,
) -> Result<Vec<(u64, Waiting)>, StoreError> {
    let rows: Vec<Waiting> = sql::all(
        store.database().reader(),
        "SELECT number, user_id FROM drop_tickets WHERE campaign = ? AND admitted_until IS NULL AND number > ? \
         ORDER BY number LIMIT ?",
        values![campaign.id.as_str(), after, limit],
    )
    .await?;
    Ok((ahead..).zip(rows).collect())
}
