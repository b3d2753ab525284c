//! Which line a store asks: the one it shares with others, or its own if it is alone on its database. Where there is
//! neither, or it does not answer, the database counts.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use sea_orm::FromQueryResult;
use shared::id::UserId;

use super::{
    super::super::Campaign,
    line::{Line, LineError, LineOf, LocalLine, Standing},
};
use crate::{
    error::StoreError,
    sql::{self, values},
    store::Store,
};

/// How many people a line is told of at once.
const PAGE: i64 = 1000;

/// The lines of a store.
#[derive(Default)]
pub(crate) struct Lines {
    shared: OnceLock<Arc<dyn Line>>,
    local: LocalLine,
}

#[derive(FromQueryResult)]
struct Waiting {
    number: i64,
    user_id: String,
}

impl Lines {
    /// Shares a line with other stores, from the first ticket on.
    #[cfg(feature = "redis")]
    pub(crate) fn share(&self, line: Arc<dyn Line>) {
        let _ = self.shared.set(line);
    }

    /// Nothing where several stores would each know a part of those who wait.
    fn line(&self, store: &Store) -> Option<&dyn Line> {
        if let Some(shared) = self.shared.get() {
            return Some(shared.as_ref());
        }
        (!store.database().is_shared()).then_some(&self.local)
    }

    /// The number of somebody who waits and how many are ahead; nothing if the line does not know.
    pub(super) async fn ask(
        &self,
        store: &Store,
        campaign: &Campaign,
        person: &UserId,
    ) -> Result<Option<(i64, u64)>, StoreError> {
        let Some(line) = self.line(store) else {
            return Ok(None);
        };
        let of = line_of(campaign);
        // Twice: a line may lose everything at any time, also what it has just been told.
        for _ in 0..2 {
            match line.ask(&of, person.as_str()).await {
                Ok(Standing::At { number, ahead }) => return Ok(Some((number, ahead))),
                Ok(Standing::Absent) => return Ok(None),
                Ok(Standing::Unknown) => {}
                Err(error) => {
                    away(&error);
                    return Ok(None);
                }
            }
            if let Err(error) = fill(store, line, &of).await? {
                away(&error);
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// These have tickets of these numbers.
    pub(super) async fn put(&self, store: &Store, campaign: &Campaign, people: &[(&str, i64)]) {
        if let Some(line) = self.line(store)
            && let Err(error) = line.put(&line_of(campaign), people).await
        {
            away(&error);
        }
    }

    /// These wait no more.
    pub(super) async fn leave(&self, store: &Store, campaign: &Campaign, people: &[&str]) {
        if people.is_empty() {
            return;
        }
        if let Some(line) = self.line(store)
            && let Err(error) = line.leave(&line_of(campaign), people).await
        {
            away(&error);
        }
    }

    /// Who has not asked for so long. Nobody if no line knows; that costs places in the rate, and nobody theirs.
    pub(super) async fn unseen(
        &self,
        store: &Store,
        campaign: &Campaign,
        since: Duration,
        limit: usize,
    ) -> Vec<String> {
        let Some(line) = self.line(store) else {
            return Vec::new();
        };
        match line.unseen(&line_of(campaign), since, limit).await {
            Ok(unseen) => unseen,
            Err(error) => {
                away(&error);
                Vec::new()
            }
        }
    }
}

/// Tells a line who waits, in pages, and that it knows everybody then.
async fn fill(
    store: &Store,
    line: &dyn Line,
    of: &LineOf,
) -> Result<Result<(), LineError>, StoreError> {
    let mut after = 0;
    loop {
        let waiting: Vec<Waiting> = sql::all(
            store.database().reader(),
            "SELECT number, user_id FROM drop_tickets WHERE campaign = ? AND admitted_until IS NULL AND number > ? \
             ORDER BY number LIMIT ?",
            values![of.drop.as_str(), after, PAGE],
        )
        .await?;
        let Some(last) = waiting.last() else {
            return Ok(line.open(of).await);
        };
        after = last.number;
        let people = waiting.iter().map(|row| (row.user_id.as_str(), row.number));
        let people: Vec<_> = people.collect();
        if let Err(error) = line.put(of, &people).await {
            return Ok(Err(error));
        }
    }
}

fn line_of(campaign: &Campaign) -> LineOf {
    LineOf {
        drop: campaign.id.clone(),
        closes_at: campaign.closes_at.as_millis(),
    }
}

fn away(error: &LineError) {
    metrics::counter!("fireside_store_line_failures_total").increment(1);
    tracing::debug!(%error, "the line before a drop is away; the database counts");
}
