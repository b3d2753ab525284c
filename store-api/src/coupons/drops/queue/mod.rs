//! The queue before a drop: who comes takes a ticket and waits, so many a minute are admitted in the order of their
//! tickets, and with the pass that they get then they come to the drop.
//!
//! Tickets, and who is admitted, stand in the database (`joins`, `rounds`); how many are ahead of somebody, and who
//! has not asked for a while, a `line` knows, which may forget all. A pass (`pass`) needs neither.

use sea_orm::{ConnectionTrait, FromQueryResult};
use shared::id::{Timestamp, UserId};

use super::{
    super::{Campaign, campaign::find, grant::refusal},
    DropState,
};
use crate::{
    error::StoreError,
    sql::{self, values},
    store::Store,
};

pub(crate) use joins::{Joins, enlist_all};
#[cfg(feature = "redis")]
pub(crate) use line::RedisLine;
pub(crate) use lines::Lines;
pub(crate) use pass::{NoPass, Passes};
pub(crate) use rounds::go_round;

mod joins;
mod line;
mod lines;
mod pass;
mod ranks;
mod rounds;

/// Who has so few ahead is looked up in the database too: a line that was not told of an admission keeps those in
/// front who are not waiting any more.
const NEAR: u64 = 32;

/// Somebody's place in the queue before a drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePlace {
    /// The number of the ticket; higher than every one given out before.
    pub number: i64,
    /// Whether they may go in.
    pub state: QueueState,
}

/// Whether somebody may go in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueState {
    /// Not yet.
    Waiting {
        /// How many are before them.
        ahead: u64,
        /// How long that takes if nobody leaves, in milliseconds.
        wait: i64,
    },
    /// Yes.
    Admitted {
        /// What to show.
        pass: String,
        /// Until when it is good.
        until: Timestamp,
    },
}

/// A ticket, as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromQueryResult)]
struct Ticket {
    number: i64,
    admitted_until: Option<i64>,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

impl Store {
    /// Gives `me` a ticket for a drop, or says again which they have: whoever asks again keeps the place. Before a
    /// drop opens people may wait already.
    pub async fn join_queue(&self, me: &UserId, drop: &str) -> Result<QueuePlace, StoreError> {
        let campaign = self.queued(drop).await?;
        let state = DropState::of(&campaign, self.now());
        match state {
            DropState::Soon | DropState::Open => {}
            DropState::SoldOut => return Err(refusal("id", state.word(), "there are no more")),
            DropState::Over => return Err(refusal("id", state.word(), "this is over")),
        }
        let ticket = self.joins().join(drop, me).await?;
        self.stand(me, &campaign, ticket).await
    }

    /// Where `me` stands. To ask is to be seen: who does not for `queue_timeout` does not wait any more.
    pub async fn queue_place(&self, me: &UserId, drop: &str) -> Result<QueuePlace, StoreError> {
        let campaign = self.queued(drop).await?;
        match DropState::of(&campaign, self.now()) {
            DropState::Soon | DropState::Open => {}
            DropState::SoldOut | DropState::Over => return Err(StoreError::NotFound),
        }
        if let Some((number, ahead)) = self.lines().ask(self, &campaign, me).await?
            && ahead >= NEAR
        {
            return Ok(self.waiting(&campaign, number, ahead));
        }
        let db = self.database().reader();
        let ticket = ticket(db, drop, me, self.now()).await?;
        let Some(ticket) = ticket else {
            self.lines().leave(self, &campaign, &[me.as_str()]).await;
            return Err(StoreError::NotFound);
        };
        self.stand(me, &campaign, ticket).await
    }

    /// `me` does not want to wait any more. A pass stays good for its while. Again is fine.
    pub async fn leave_queue(&self, me: &UserId, drop: &str) -> Result<(), StoreError> {
        let campaign = self.queued(drop).await?;
        let tx = self.database().begin().await?;
        let delete = "DELETE FROM drop_tickets WHERE campaign = ? AND user_id = ?";
        let left = sql::execute(&tx, delete, values![drop, me.as_str()]).await?;
        self.database().commit(tx).await?;
        self.lines().leave(self, &campaign, &[me.as_str()]).await;
        count_gone("left", left);
        Ok(())
    }

    /// What a ticket comes to now.
    async fn stand(
        &self,
        me: &UserId,
        campaign: &Campaign,
        ticket: Ticket,
    ) -> Result<QueuePlace, StoreError> {
        let number = ticket.number;
        if let Some(until) = ticket.admitted_until {
            let until = Timestamp::from_millis(until);
            let pass = self.passes().of(&campaign.id, me, number, until)?;
            self.lines().leave(self, campaign, &[me.as_str()]).await;
            return Ok(QueuePlace {
                number,
                state: QueueState::Admitted { pass, until },
            });
        }
        let lines = self.lines();
        lines.put(self, campaign, &[(me.as_str(), number)]).await;
        let ahead = match lines.ask(self, campaign, me).await? {
            // Near the front, where a line may be wrong, the database counts few.
            Some((_, ahead)) if ahead >= NEAR => ahead,
            _ => count_ahead(self.database().reader(), &campaign.id, number).await?,
        };
        Ok(self.waiting(campaign, number, ahead))
    }

    fn waiting(&self, campaign: &Campaign, number: i64, ahead: u64) -> QueuePlace {
        let rate = campaign.queue_rate.unwrap_or(1).max(1);
        let closed = (campaign.opens_at.as_millis() - self.now().as_millis()).max(0);
        let before = i64::try_from(ahead).unwrap_or(i64::MAX);
        let wait = closed.saturating_add(before.saturating_mul(60_000) / rate);
        QueuePlace {
            number,
            state: QueueState::Waiting { ahead, wait },
        }
    }

    /// A drop that has a queue.
    async fn queued(&self, drop: &str) -> Result<Campaign, StoreError> {
        let campaign = find(self.database().reader(), "id = ?", drop).await?;
        campaign
            .filter(|campaign| campaign.queue_rate.is_some())
            .ok_or(StoreError::NotFound)
    }
}

/// The ticket of somebody, unless its pass has lapsed.
async fn ticket(
    db: &impl ConnectionTrait,
    drop: &str,
    person: &UserId,
    now: Timestamp,
) -> Result<Option<Ticket>, StoreError> {
    Ok(sql::one(
        db,
        "SELECT number, admitted_until FROM drop_tickets WHERE campaign = ? AND user_id = ? \
         AND (admitted_until IS NULL OR admitted_until > ?)",
        values![drop, person.as_str(), now.as_millis()],
    )
    .await?)
}

async fn count_ahead(
    db: &impl ConnectionTrait,
    drop: &str,
    number: i64,
) -> Result<u64, StoreError> {
    let row: Option<Count> = sql::one(
        db,
        "SELECT COUNT(*) AS count FROM drop_tickets WHERE campaign = ? AND admitted_until IS NULL AND number < ?",
        values![drop, number],
    )
    .await?;
    Ok(row.map_or(0, |row| row.count.unsigned_abs()))
}

fn count_gone(reason: &'static str, people: u64) {
    metrics::counter!("fireside_store_queue_gone_total", "reason" => reason).increment(people);
}
