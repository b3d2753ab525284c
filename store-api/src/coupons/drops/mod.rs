//! Drops: campaigns whose coupons go to whoever comes first, one a person, as many as there are.
//!
//! A claim goes two steps, in batches (`claims`, `given`). The gate (`gate`) lets in as many people as there are
//! coupons; everybody else is told that there are no more, and never reaches the database. Who is let in
//! gets their coupon in a transaction with all who were let in with them, and is told of it after its commit. So what
//! was told is in the database, and the database alone says how many there are: the gate may forget all.
//!
//! Before a drop there may be a queue (`queue`), whose pass a claim has to show then.

use sea_orm::FromQueryResult;
use shared::id::{Timestamp, UserId};

use super::{
    Campaign,
    campaign::{self, campaign},
};
use crate::{
    error::StoreError,
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};

pub use claims::Claimed;
pub(crate) use claims::{Claims, serve};
#[cfg(feature = "redis")]
pub(crate) use gate::RedisGate;
pub(crate) use gates::Gates;
#[cfg(feature = "redis")]
pub(crate) use queue::RedisLine;
pub(crate) use queue::{Joins, Lines, Passes, enlist_all, go_round};
pub use queue::{QueuePlace, QueueState};

mod claims;
mod gate;
mod gates;
mod given;
mod outcome;
mod queue;

/// A drop, as somebody sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouponDrop {
    /// What it gives out.
    pub campaign: Campaign,
    /// The coupon of it that they have.
    pub mine: Option<String>,
}

/// What one can do at a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropState {
    /// Wait.
    Soon,
    /// Come.
    Open,
    /// Nothing: all are given out.
    SoldOut,
    /// Nothing: it is over.
    Over,
}

#[derive(FromQueryResult)]
struct Row {
    #[sea_orm(nested)]
    campaign: campaign::Row,
    mine: Option<String>,
}

impl DropState {
    /// What one can do at this drop now.
    fn of(campaign: &Campaign, now: Timestamp) -> Self {
        if now >= campaign.closes_at || now >= campaign.ends_at {
            Self::Over
        } else if campaign.left() == Some(0) {
            Self::SoldOut
        } else if now < campaign.opens_at {
            Self::Soon
        } else {
            Self::Open
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Soon => "soon",
            Self::Open => "open",
            Self::SoldOut => "sold_out",
            Self::Over => "over",
        }
    }
}

impl CouponDrop {
    /// What one can do at it now.
    pub fn state(&self, now: Timestamp) -> DropState {
        DropState::of(&self.campaign, now)
    }
}

impl Store {
    /// The drops whose coupons are not over, the latest made first, as `me` sees them.
    pub async fn drops(
        &self,
        me: &UserId,
        page: &PageRequest,
    ) -> Result<Page<CouponDrop>, StoreError> {
        let mut before = "";
        let mut values = values![me.as_str(), self.now().as_millis()];
        if !page.after().is_empty() {
            before = " AND k.id < ?";
            values.push(page.after().into());
        }
        values.push((page.fetch() as i64).into());
        let text = format!(
            "SELECT k.*, c.id AS mine FROM campaigns k \
             LEFT JOIN coupons c ON c.campaign = k.id AND c.user_id = ? \
             WHERE k.is_drop AND k.ends_at > ?{before} ORDER BY k.id DESC LIMIT ?"
        );
        let rows: Vec<Row> = sql::all(self.database().reader(), &text, values).await?;
        let drop = |row: Row| {
            Ok(CouponDrop {
                campaign: campaign(row.campaign)?,
                mine: row.mine,
            })
        };
        let drops = rows
            .into_iter()
            .map(drop)
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(page.cut(drops, |drop| drop.campaign.id.clone()))
    }
}
