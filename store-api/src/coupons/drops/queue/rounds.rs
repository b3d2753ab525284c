//! Rounds: twice a second, by one store at a time, a queue lets go of who is gone and admits whose turn it is.

use std::{collections::HashMap, time::Duration};

use sea_orm::{FromQueryResult, Value};
use serde_json::json;
use shared::id::Timestamp;
use tokio::sync::watch;

use super::{
    super::{
        super::{Campaign, campaign::find},
        DropState,
    },
    count_gone,
    ranks::Ranks,
};
use crate::{
    error::StoreError,
    notices::{News, Topic},
    sql::{self, values},
    store::{Store, stored_id},
};

/// How often there is a round while somebody waits.
const ROUND: Duration = Duration::from_millis(500);
/// How often to look whether somebody waits who came to another store, or before this one was started.
const LOOK: Duration = Duration::from_secs(5);
/// For how long the rate is not lost when nobody is there to use it, in milliseconds.
const CREDIT: i64 = 2000;
/// How many who are gone a round lets go of.
const UNSEEN: usize = 500;

#[derive(FromQueryResult)]
struct Queue {
    campaign: String,
}

#[derive(FromQueryResult)]
struct Settled {
    settled_at: i64,
}

#[derive(FromQueryResult)]
struct Next {
    number: i64,
    user_id: String,
}

/// How many may be admitted at a moment, and from when that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowance {
    people: i64,
    from: i64,
    rate: i64,
}

impl Allowance {
    /// What a rate of people a minute allows at `now`, if it is used up to `settled_at`.
    fn at(now: i64, settled_at: i64, rate: i64) -> Self {
        let rate = rate.max(1);
        // Beside it what one takes, of which a part may have passed: what is slower than the credit lasts
        // admits one at a time, and a round that comes late costs nothing.
        let credit = CREDIT + span(1, rate);
        let from = settled_at.max(now - credit);
        Self {
            people: (now - from).max(0).saturating_mul(rate) / 60_000,
            from,
            rate,
        }
    }

    /// Up to when the rate is used once so many were admitted.
    fn settled_at(self, people: usize) -> i64 {
        self.from + span(i64::try_from(people).unwrap_or(i64::MAX), self.rate)
    }
}

/// How long so many people take, in milliseconds, rounded up.
fn span(people: i64, rate: i64) -> i64 {
    people.saturating_mul(60_000).saturating_add(rate - 1) / rate
}

/// Goes round until the store stops.
pub(crate) async fn go_round(store: Store, mut stop: watch::Receiver<bool>) {
    let mut ranks = HashMap::new();
    loop {
        let pause = match go_once(&store, &mut ranks).await {
            Ok(true) => ROUND,
            Ok(false) if store.database().is_shared() => LOOK,
            // Whoever comes, comes to this store.
            Ok(false) => Duration::MAX,
            Err(error) => {
                tracing::warn!(%error, "a round of the queues before drops");
                LOOK
            }
        };
        let rest = async {
            if pause == ROUND {
                return tokio::time::sleep(ROUND).await;
            }
            tokio::select! {
                () = tokio::time::sleep(pause.min(LOOK.saturating_mul(720))) => {}
                () = store.joins().joined() => {}
            }
        };
        tokio::select! {
            () = rest => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// A round of every queue in which somebody is; whether there is one.
async fn go_once(store: &Store, ranks: &mut HashMap<String, Ranks>) -> Result<bool, StoreError> {
    let queues: Vec<Queue> = sql::all(
        store.database().reader(),
        "SELECT campaign FROM drop_queues q WHERE EXISTS \
         (SELECT 1 FROM drop_tickets t WHERE t.campaign = q.campaign) ORDER BY campaign",
        Vec::new(),
    )
    .await?;
    ranks.retain(|drop, _| queues.iter().any(|queue| queue.campaign == *drop));
    for Queue { campaign } in &queues {
        let found = find(store.database().reader(), "id = ?", campaign).await?;
        let Some(found) = found else { continue };
        if store.queue_round(&found).await? {
            let ranks = ranks.entry(campaign.clone()).or_default();
            ranks.tell(store, &found).await?;
        }
    }
    Ok(!queues.is_empty())
}

impl Store {
    /// A round of a queue, unless another store has just had one; whether this was one.
    async fn queue_round(&self, campaign: &Campaign) -> Result<bool, StoreError> {
        let drop = campaign.id.as_str();
        let timeout = self.limits().queue_timeout;
        let unseen = self.lines().unseen(self, campaign, timeout, UNSEEN).await;
        let now = self.now();
        let at = now.as_millis();
        let tx = self.database().begin().await?;
        let settled: Option<Settled> = sql::one(
            &tx,
            "UPDATE drop_queues SET swept_at = ? WHERE campaign = ? AND swept_at <= ? RETURNING settled_at",
            values![at, drop, at - ROUND.as_millis() as i64 / 2],
        )
        .await?;
        let Some(Settled { settled_at }) = settled else {
            self.database().commit(tx).await?;
            return Ok(false);
        };
        let state = DropState::of(campaign, now);
        if matches!(state, DropState::Over | DropState::SoldOut) {
            // There is nothing to wait for.
            let delete = "DELETE FROM drop_tickets WHERE campaign = ? RETURNING number, user_id";
            let all: Vec<Next> = sql::all(&tx, delete, values![drop]).await?;
            self.database().commit(tx).await?;
            count_gone(state.word(), all.len() as u64);
            let people: Vec<&str> = all.iter().map(|next| next.user_id.as_str()).collect();
            self.lines().leave(self, campaign, &people).await;
            return Ok(false);
        }
        let delete = "DELETE FROM drop_tickets WHERE campaign = ? AND admitted_until <= ?";
        let lapsed = sql::execute(&tx, delete, values![drop, at]).await?;
        let mut gone = 0;
        if !unseen.is_empty() {
            let delete = format!(
                "DELETE FROM drop_tickets WHERE campaign = ? AND admitted_until IS NULL AND user_id IN {}",
                sql::list(unseen.len())
            );
            let mut values = values![drop];
            values.extend(unseen.iter().map(|person| Value::from(person.as_str())));
            gone = sql::execute(&tx, &delete, values).await?;
        }
        let rate = campaign.queue_rate.unwrap_or(1);
        let since = settled_at.max(campaign.opens_at.as_millis());
        let allowance = Allowance::at(at, since, rate);
        let admitted: Vec<Next> = if state == DropState::Open && allowance.people > 0 {
            sql::all(
                &tx,
                "SELECT number, user_id FROM drop_tickets WHERE campaign = ? AND admitted_until IS NULL \
                 ORDER BY number LIMIT ?",
                values![drop, allowance.people],
            )
            .await?
        } else {
            Vec::new()
        };
        if let Some(last) = admitted.last() {
            let lifetime = self.limits().queue_pass_lifetime.as_millis() as i64;
            let until = now.plus_millis(lifetime);
            let update = "UPDATE drop_tickets SET admitted_until = ? \
                WHERE campaign = ? AND admitted_until IS NULL AND number <= ?";
            sql::execute(&tx, update, values![until.as_millis(), drop, last.number]).await?;
            let update = "UPDATE drop_queues SET settled_at = ? WHERE campaign = ?";
            let settled_at = allowance.settled_at(admitted.len());
            sql::execute(&tx, update, values![settled_at, drop]).await?;
            self.tell(&tx, news(campaign, &admitted, until)?).await?;
        }
        self.commit(tx).await?;
        count_gone("lapsed", lapsed);
        count_gone("unseen", gone);
        metrics::counter!("fireside_store_queue_admitted_total").increment(admitted.len() as u64);
        let mut people: Vec<&str> = unseen.iter().map(String::as_str).collect();
        people.extend(admitted.iter().map(|next| next.user_id.as_str()));
        self.lines().leave(self, campaign, &people).await;
        Ok(true)
    }
}

/// That it is their turn.
fn news(campaign: &Campaign, admitted: &[Next], until: Timestamp) -> Result<Vec<News>, StoreError> {
    admitted
        .iter()
        .map(|next| {
            Ok(News {
                user: stored_id(&next.user_id)?,
                topic: Topic::QueueAdmitted,
                data: json!({
                    "drop": campaign.id, "name": campaign.name, "number": next.number,
                    "expires_at": until.as_millis(),
                }),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of a while in which enough people wait: how many each admits.
    fn rounds(rate: i64, every: i64, rounds: i64) -> Vec<i64> {
        let mut settled_at = 0;
        let mut admit = |round| {
            let allowance = Allowance::at(round * every, settled_at, rate);
            settled_at = allowance.settled_at(allowance.people as usize);
            allowance.people
        };
        (1..=rounds).map(&mut admit).collect()
    }

    #[test]
    fn a_rate_is_kept_over_time_and_never_exceeded() {
        for rate in [1, 7, 60, 999, 60_000] {
            for every in [500, 517, 1900] {
                let admitted: i64 = rounds(rate, every, 1000).iter().sum();
                let ideal = every * 1000 * rate / 60_000;
                assert!(admitted <= ideal, "{rate} {every}: {admitted} of {ideal}");
                // A round may lose a millisecond.
                let least = (every - 1) * 1000 * rate / 60_000 - 1;
                assert!(admitted >= least, "{rate} {every}: {admitted} of {ideal}");
            }
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        assert_eq!(Allowance::at(3_600_000, 0, 600).people, 21);
        assert_eq!(Allowance::at(3_600_000, 0, 1).people, 1);
        // A clock that was set back admits nobody until it has caught up.
        assert_eq!(Allowance::at(1000, 5000, 600).people, 0);
    }
}
