//! Lists of people: friends and requests, blocks, mutual friends. In order of the other's id, so
//! a page is never upset by a change of state while somebody reads.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect,
};
use shared::id::{Timestamp, UserId};

use super::relation::Relation;
use crate::{
    entity::{block, relation, user},
    error::StoreError,
    paging::{Page, PageRequest},
    privacy::{Section, kept_from_all, veil},
    sql::{self, values},
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

#[derive(FromQueryResult)]
struct Other {
    other: String,
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
        let users = profiles(db, me, rows.items.iter().map(|row| row.other.as_str())).await?;
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
        let users = profiles(db, me, rows.items.iter().map(|row| row.other.as_str())).await?;
        Ok(rows.filter_map(|row| {
            let since = Timestamp::from_millis(row.since);
            Some(Blocked {
                user: users.get(&row.other)?.clone(),
                since,
            })
        }))
    }

    /// The friends of `owner`, if they are shown to `viewer`, without those who keep it from all whose
    /// friends they are.
    pub async fn friends_of(
        &self,
        viewer: &UserId,
        owner: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Profile>, StoreError> {
        self.require_shown(viewer, owner, Section::Friends).await?;
        let text = format!(
            "SELECT r.other FROM relations r WHERE r.owner = ? AND r.state = 'friend' AND r.other > ? \
             AND (r.owner = ? OR r.other = ? OR NOT {}) ORDER BY r.other LIMIT ?",
            kept_from_all(Section::Friends, "r.other")
        );
        let values = values![
            owner.as_str(),
            page.after(),
            viewer.as_str(),
            viewer.as_str(),
            page.fetch() as i64
        ];
        self.people(viewer, &text, values, page).await
    }

    /// The people that a statement finds, as `viewer` sees them.
    async fn people(
        &self,
        viewer: &UserId,
        text: &str,
        values: Vec<sea_orm::Value>,
        page: &PageRequest,
    ) -> Result<Page<Profile>, StoreError> {
        let db = self.database().reader();
        let rows: Vec<Other> = sql::all(db, text, values).await?;
        let rows = page.cut(rows, |row| row.other.clone());
        let ids = rows.items.iter().map(|row| row.other.as_str());
        let users = profiles(db, viewer, ids).await?;
        Ok(rows.filter_map(|row| users.get(&row.other).cloned()))
    }

    /// Friends that `me` and `other` have in common. A friend of mine shows me whose friend they are
    /// unless they keep that from all, and so does `other`; one of the two who does hides it.
    pub async fn mutual_friends(
        &self,
        me: &UserId,
        other: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Profile>, StoreError> {
        // Not found for an account that is none, rather than nothing in common with it.
        self.active_user(other).await?.ok_or(StoreError::NotFound)?;
        let text = format!(
            "SELECT r.other FROM relations r \
             JOIN relations t ON t.owner = ? AND t.other = r.other AND t.state = 'friend' \
             WHERE r.owner = ? AND r.state = 'friend' AND r.other > ? \
             AND NOT {} AND NOT {} ORDER BY r.other LIMIT ?",
            kept_from_all(Section::Friends, "r.other"),
            kept_from_all(Section::Friends, "t.owner"),
        );
        let values = values![
            other.as_str(),
            me.as_str(),
            page.after(),
            page.fetch() as i64
        ];
        self.people(me, &text, values, page).await
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

/// The profiles of these people by their ids, as `viewer` sees them.
pub(crate) async fn profiles(
    db: &impl ConnectionTrait,
    viewer: &UserId,
    ids: impl Iterator<Item = &str>,
) -> Result<HashMap<String, Profile>, StoreError> {
    let rows = user::Entity::find()
        .filter(user::Column::Id.is_in(ids))
        .filter(user::Column::WithdrawnAt.is_null())
        .all(db)
        .await?;
    let mut profiles: HashMap<String, Profile> = rows
        .into_iter()
        .map(|row| Ok((row.id.clone(), Profile::of(row)?)))
        .collect::<Result<_, StoreError>>()?;
    veil(db, viewer, profiles.values_mut()).await?;
    Ok(profiles)
}
