//! Lists of people: friends and requests, blocks, mutual friends. In order of the other's id, so
//! a page is never upset by a change of state while somebody reads.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};
use shared::id::{Timestamp, UserId};

use super::relation::Relation;
use crate::{
    entity::{block, relation, user},
    error::StoreError,
    paging::{Page, PageRequest},
    store::{Store, stored_id},
    users::Profile,
};

/// A friend, or somebody with whom a request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Friend {
    /// The person.
    pub user: Profile,
    /// What they are to the owner of the list.
    pub state: Relation,
    /// Since when.
    pub since: Timestamp,
}

/// Somebody the owner of the list blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The person.
    pub user: Profile,
    /// Since when.
    pub since: Timestamp,
}

impl Store {
    /// Friends and requests of `me`, all or of one state.
    pub async fn friends(
        &self,
        me: &UserId,
        state: Option<Relation>,
        page: &PageRequest,
    ) -> Result<Page<Friend>, StoreError> {
        let db = self.database().reader();
        let mut query = relation::Entity::find()
            .filter(relation::Column::Owner.eq(me.as_str()))
            .filter(relation::Column::Other.gt(page.after()))
            .order_by_asc(relation::Column::Other)
            .limit(page.fetch());
        if let Some(state) = state {
            query = query.filter(relation::Column::State.eq(state.word()));
        }
        let rows = page.cut(query.all(db).await?, |row| row.other.clone());
        let users = profiles(db, rows.items.iter().map(|row| row.other.as_str())).await?;
        Ok(rows.filter_map(|row| {
            Some(Friend {
                user: users.get(&row.other)?.clone(),
                state: Relation::from_word(&row.state)?,
                since: Timestamp::from_millis(row.since),
            })
        }))
    }

    /// Whom `me` blocks.
    pub async fn blocks(
        &self,
        me: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Blocked>, StoreError> {
        let db = self.database().reader();
        let rows = block::Entity::find()
            .filter(block::Column::Owner.eq(me.as_str()))
            .filter(block::Column::Other.gt(page.after()))
            .order_by_asc(block::Column::Other)
            .limit(page.fetch())
            .all(db)
            .await?;
        let rows = page.cut(rows, |row| row.other.clone());
        let users = profiles(db, rows.items.iter().map(|row| row.other.as_str())).await?;
        Ok(rows.filter_map(|row| {
            let since = Timestamp::from_millis(row.since);
            Some(Blocked {
                user: users.get(&row.other)?.clone(),
                since,
            })
        }))
    }

    /// Friends that `me` and `other` have in common.
    pub async fn mutual_friends(
        &self,
        me: &UserId,
        other: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Profile>, StoreError> {
        let db = self.database().reader();
        // Not found for an account that is none, rather than nothing in common with it.
        self.profile(other).await?;
        let theirs = relation::Entity::find()
            .select_only()
            .column(relation::Column::Other)
            .filter(relation::Column::Owner.eq(other.as_str()))
            .filter(relation::Column::State.eq(Relation::Friend.word()))
            .into_query();
        let rows = relation::Entity::find()
            .filter(relation::Column::Owner.eq(me.as_str()))
            .filter(relation::Column::State.eq(Relation::Friend.word()))
            .filter(relation::Column::Other.in_subquery(theirs))
            .filter(relation::Column::Other.gt(page.after()))
            .order_by_asc(relation::Column::Other)
            .limit(page.fetch())
            .all(db)
            .await?;
        let rows = page.cut(rows, |row| row.other.clone());
        let users = profiles(db, rows.items.iter().map(|row| row.other.as_str())).await?;
        Ok(rows.filter_map(|row| users.get(&row.other).cloned()))
    }

    /// What `me` sees of each of `others`: nothing for strangers.
    pub async fn relations(
        &self,
        me: &UserId,
        others: &[UserId],
    ) -> Result<HashMap<UserId, Relation>, StoreError> {
        let rows = relation::Entity::find()
            .filter(relation::Column::Owner.eq(me.as_str()))
            .filter(relation::Column::Other.is_in(others.iter().map(UserId::as_str)))
            .all(self.database().reader())
            .await?;
        rows.into_iter()
            .filter_map(|row| Some((row.other, Relation::from_word(&row.state)?)))
            .map(|(other, state)| Ok((stored_id(&other)?, state)))
            .collect()
    }
}

async fn profiles(
    db: &impl ConnectionTrait,
    ids: impl Iterator<Item = &str>,
) -> Result<HashMap<String, Profile>, StoreError> {
    let rows = user::Entity::find()
        .filter(user::Column::Id.is_in(ids))
        .filter(user::Column::WithdrawnAt.is_null())
        .all(db)
        .await?;
    rows.into_iter()
        .map(|row| Ok((row.id.clone(), Profile::of(row)?)))
        .collect()
}
