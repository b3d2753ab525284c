//! Campaigns: made by those who run the store, or by a publisher for its own games.

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult, Value};
use serde_json::json;
use shared::id::UserId;

use super::{
    Terms,
    campaign::{CAMPAIGN, Campaign, CampaignText, Row, campaign, find},
};
use crate::{
    audit::{By, Deed},
    catalogue::Keeper,
    error::{StoreError, Violation},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

impl Store {
    /// Makes a campaign, in the name of `by`, whose campaigns `keeper` may make.
    pub async fn make_campaign(
        &self,
        by: &str,
        keeper: Keeper<'_>,
        text: CampaignText,
    ) -> Result<Campaign, StoreError> {
        let campaign = text.check(self.now())?;
        let tx = self.database().begin().await?;
        self.check_campaign_keeper(&tx, keeper, campaign.publisher.as_deref())
            .await?;
        check_named(&tx, &campaign).await?;
        let terms = serde_json::to_string(&campaign.terms)
            .map_err(|error| StoreError::Internal(format!("terms of a coupon: {error}")))?;
        let made = sql::execute(
            &tx,
            "INSERT INTO campaigns (id, name, publisher, terms, starts_at, ends_at, code, is_drop, \
             opens_at, closes_at, quantity, queue_rate, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (code) DO NOTHING",
            values![
                campaign.id.as_str(),
                campaign.name.as_str(),
                campaign.publisher.clone(),
                terms,
                campaign.starts_at.as_millis(),
                campaign.ends_at.as_millis(),
                campaign.code.clone(),
                campaign.is_drop,
                campaign.opens_at.as_millis(),
                campaign.closes_at.as_millis(),
                campaign.quantity,
                campaign.queue_rate,
                campaign.created_at.as_millis()
            ],
        );
        if made.await? == 0 {
            let message = "another campaign has this code";
            return Err(StoreError::Conflict {
                message,
                violations: vec![Violation::new("code", "taken", message)],
            });
        }
        if campaign.queue_rate.is_some() {
            let insert = "INSERT INTO drop_queues (campaign, settled_at) VALUES (?, ?)";
            let values = values![campaign.id.as_str(), campaign.opens_at.as_millis()];
            sql::execute(&tx, insert, values).await?;
        }
        let details = json!({
            "campaign": campaign.id, "name": campaign.name, "publisher": campaign.publisher,
            "terms": campaign.terms, "quantity": campaign.quantity,
        });
        self.record(&tx, Deed::CampaignMade, By::Named(by), None, details)
            .await?;
        self.database().commit(tx).await?;
        Ok(campaign)
    }

    /// The campaigns that `keeper` keeps, the latest first.
    pub async fn campaigns(
        &self,
        keeper: Keeper<'_>,
        page: &PageRequest,
    ) -> Result<Page<Campaign>, StoreError> {
        let mut conditions = vec!["1 = 1"];
        let mut values = Vec::new();
        if let Keeper::Owner(owner) = keeper {
            conditions.push("publisher IN (SELECT b.id FROM publishers b WHERE b.owner = ?)");
            values.push(owner.as_str().into());
        }
        if !page.after().is_empty() {
            conditions.push("id < ?");
            values.push(page.after().into());
        }
        values.push((page.fetch() as i64).into());
        let text = format!(
            "{CAMPAIGN} WHERE {} ORDER BY id DESC LIMIT ?",
            conditions.join(" AND ")
        );
        let rows: Vec<Row> = sql::all(self.database().reader(), &text, values).await?;
        let page = page.cut(rows, |row| row.id.clone());
        Ok(Page {
            items: page
                .items
                .into_iter()
                .map(campaign)
                .collect::<Result<_, _>>()?,
            next: page.next,
        })
    }

    /// Ends a campaign at once, in the name of `by`: nothing more is given out, and what was given out
    /// and not used is good for nothing. Again is fine.
    pub async fn end_campaign(
        &self,
        by: &str,
        keeper: Keeper<'_>,
        id: &str,
    ) -> Result<Campaign, StoreError> {
        let tx = self.database().begin().await?;
        let found = self.kept_campaign(&tx, keeper, id).await?;
        let now = self.now().as_millis();
        if found.ends_at.as_millis() > now {
            sql::execute(
                &tx,
                "UPDATE campaigns SET ends_at = ? WHERE id = ?",
                values![now, id],
            )
            .await?;
            let details = json!({"campaign": id});
            self.record(&tx, Deed::CampaignEnded, By::Named(by), None, details)
                .await?;
        }
        let ended = find(&tx, "id = ?", id).await?;
        self.database().commit(tx).await?;
        ended.ok_or(StoreError::NotFound)
    }

    /// A campaign that `keeper` keeps.
    pub(super) async fn kept_campaign(
        &self,
        db: &impl ConnectionTrait,
        keeper: Keeper<'_>,
        id: &str,
    ) -> Result<Campaign, StoreError> {
        let campaign = find(db, "id = ?", id).await?.ok_or(StoreError::NotFound)?;
        match self
            .check_campaign_keeper(db, keeper, campaign.publisher.as_deref())
            .await
        {
            // Whoever may not know of it learns nothing.
            Err(StoreError::Forbidden(_)) => Err(StoreError::NotFound),
            kept => kept.map(|()| campaign),
        }
    }

    async fn check_campaign_keeper(
        &self,
        db: &impl ConnectionTrait,
        keeper: Keeper<'_>,
        publisher: Option<&str>,
    ) -> Result<(), StoreError> {
        let owner: Option<&UserId> = match keeper {
            Keeper::Store => None,
            Keeper::Owner(owner) => Some(owner),
        };
        let Some(publisher) = publisher else {
            return match owner {
                None => Ok(()),
                Some(_) => Err(StoreError::Forbidden(
                    "coupons of the store's own are for those who run it",
                )),
            };
        };
        let count = match owner {
            None => count(db, "publishers WHERE id = ?", values![publisher]).await?,
            Some(owner) => {
                let values = values![publisher, owner.as_str()];
                count(db, "publishers WHERE id = ? AND owner = ?", values).await?
            }
        };
        match (count, owner) {
            (1.., _) => Ok(()),
            (_, Some(_)) => Err(StoreError::Forbidden("this publisher is not yours")),
            (_, None) => {
                Err(Violation::new("publisher", "unknown", "no publisher of this id").into())
            }
        }
    }
}

/// Whether what a campaign names is there, and its publisher's where it has one.
async fn check_named(tx: &DatabaseTransaction, campaign: &Campaign) -> Result<(), StoreError> {
    let terms = Terms::parse(&campaign.terms)?;
    let ids = |names: &std::collections::BTreeSet<String>| -> Vec<Value> {
        names.iter().map(|name| name.as_str().into()).collect()
    };
    if !terms.publishers.is_empty() {
        if campaign.publisher.is_some() {
            let message = "a publisher's coupons are for its own games";
            return Err(Violation::new("publishers", "own_only", message).into());
        }
        let from = format!(
            "publishers WHERE id IN {}",
            sql::list(terms.publishers.len())
        );
        if count(tx, &from, ids(&terms.publishers)).await? < terms.publishers.len() as i64 {
            return Err(Violation::new("publishers", "unknown", "no publisher of this id").into());
        }
    }
    if !terms.games.is_empty() {
        let mut from = format!("games WHERE id IN {}", sql::list(terms.games.len()));
        let mut values = ids(&terms.games);
        if let Some(publisher) = &campaign.publisher {
            from.push_str(" AND publisher = ?");
            values.push(publisher.as_str().into());
        }
        if count(tx, &from, values).await? < terms.games.len() as i64 {
            let message = "no game of this id, or another publisher's";
            return Err(Violation::new("games", "unknown", message).into());
        }
    }
    Ok(())
}

async fn count(
    db: &impl ConnectionTrait,
    from: &str,
    values: Vec<Value>,
) -> Result<i64, StoreError> {
    let text = format!("SELECT COUNT(*) AS count FROM {from}");
    let row: Option<Count> = sql::one(db, &text, values).await?;
    Ok(row.map_or(0, |row| row.count))
}
