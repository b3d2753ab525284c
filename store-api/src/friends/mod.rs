//! Friends, requests and blocks.
//!
//! [`relation`] says what an act makes of two people; this module reads the two, lets them become
//! it, writes the difference and the events about it in one transaction.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait,
    JoinType, PaginatorTrait, QueryFilter, QuerySelect, sea_query::OnConflict,
};
use shared::{events::StoreEventKind, id::UserId};

pub use graph::FriendGraph;
pub(crate) use list::profiles;
pub use list::{Blocked, Friend};
pub(crate) use relation::Act;
use relation::Pair;
pub use relation::Relation;

use crate::{
    entity::{block, relation as relation_row, user},
    error::{StoreError, Violation},
    store::{Store, lock_users, stored_id},
};

mod changes;
mod graph;
mod list;
mod relation;

impl Store {
    /// Asks `other` to be friends, or accepts their asking. Answers what they are now, as far as
    /// `me` may know: [`Relation::Outgoing`] or [`Relation::Friend`].
    pub async fn befriend(&self, me: &UserId, other: &UserId) -> Result<Relation, StoreError> {
        let sees = self.act(me, other, Act::Befriend).await?;
        Ok(sees.unwrap_or(Relation::Outgoing))
    }

    /// Ends a friendship, rejects a request or takes one back. Nothing between them is fine too.
    pub async fn part(&self, me: &UserId, other: &UserId) -> Result<(), StoreError> {
        self.act(me, other, Act::Part).await.map(drop)
    }

    /// Blocks `other`, which ends whatever is between them.
    pub async fn block(&self, me: &UserId, other: &UserId) -> Result<(), StoreError> {
        self.act(me, other, Act::Block).await.map(drop)
    }

    /// Lifts a block. A request the other made meanwhile arrives now.
    pub async fn unblock(&self, me: &UserId, other: &UserId) -> Result<(), StoreError> {
        self.act(me, other, Act::Unblock).await.map(drop)
    }

    async fn act(
        &self,
        me: &UserId,
        other: &UserId,
        act: Act,
    ) -> Result<Option<Relation>, StoreError> {
        let adds = matches!(act, Act::Befriend | Act::Block);
        if me == other {
            return if adds {
                Err(Violation::new("user_id", "self", "that is you yourself").into())
            } else {
                Ok(None)
            };
        }
        let tx = self.database().begin().await?;
        let users = lock_users(&tx, &[me, other]).await?;
        let find = |id: &UserId| users.iter().find(|user| user.id == id.as_str());
        let Some(my_row) = find(me) else {
            return Err(StoreError::Unauthenticated("the account is withdrawn"));
        };
        let Some(their_row) = find(other) else {
            return if adds {
                Err(StoreError::NotFound)
            } else {
                Ok(None)
            };
        };
        let before = load(&tx, me, other).await?;
        let after = before
            .after(act)
            .map_err(|relation::BlockedByMe| StoreError::conflict("unblock this person first"))?;
        if after == before {
            return Ok(after.me.sees);
        }
        self.check_room(&tx, before, after, me, other).await?;
        let now = self.now().as_millis();
        save_side(&tx, me, other, before.me, after.me, now).await?;
        save_side(&tx, other, me, before.them, after.them, now).await?;
        let events = changes::changes(my_row, their_row, before, after)?;
        self.enqueue(&tx, events).await?;
        self.commit(tx).await?;
        count(act, after);
        Ok(after.me.sees)
    }

    /// Refuses what would make a list longer than it may be.
    async fn check_room(
        &self,
        tx: &DatabaseTransaction,
        before: Pair,
        after: Pair,
        me: &UserId,
        other: &UserId,
    ) -> Result<(), StoreError> {
        let limits = self.limits();
        let becomes = |state| after.me.sees == Some(state) && before.me.sees != Some(state);
        if becomes(Relation::Outgoing)
            && count_state(tx, me, Relation::Outgoing).await? >= limits.requests
        {
            return Err(StoreError::conflict(
                "too many requests of yours are unanswered",
            ));
        }
        if becomes(Relation::Friend) {
            if count_state(tx, me, Relation::Friend).await? >= limits.friends {
                return Err(StoreError::conflict("your friend list is full"));
            }
            if count_state(tx, other, Relation::Friend).await? >= limits.friends {
                return Err(StoreError::conflict("their friend list is full"));
            }
        }
        if after.me.blocks && !before.me.blocks {
            let blocked = block::Entity::find()
                .filter(block::Column::Owner.eq(me.as_str()))
                .count(tx)
                .await?;
            if blocked >= limits.blocks {
                return Err(StoreError::conflict("your block list is full"));
            }
        }
        Ok(())
    }

    /// Ends everything between a person who leaves and everybody else.
    pub(crate) async fn part_from_all(
        &self,
        tx: &DatabaseTransaction,
        leaving: &user::Model,
    ) -> Result<Vec<StoreEventKind>, StoreError> {
        let others: Vec<(String, Option<String>)> = relation_row::Entity::find()
            .select_only()
            .column(user::Column::Id)
            .column(user::Column::Name)
            .join(JoinType::InnerJoin, graph::owner())
            .filter(relation_row::Column::Other.eq(&leaving.id))
            .into_tuple()
            .all(tx)
            .await?;
        let events = others
            .into_iter()
            .map(|(id, name)| changes::left(leaving, &stored_id(&id)?, &name.unwrap_or_default()))
            .collect::<Result<_, _>>()?;
        relation_row::Entity::delete_many()
            .filter(
                Condition::any()
                    .add(relation_row::Column::Owner.eq(&leaving.id))
                    .add(relation_row::Column::Other.eq(&leaving.id)),
            )
            .exec(tx)
            .await?;
        block::Entity::delete_many()
            .filter(
                Condition::any()
                    .add(block::Column::Owner.eq(&leaving.id))
                    .add(block::Column::Other.eq(&leaving.id)),
            )
            .exec(tx)
            .await?;
        Ok(events)
    }
}

/// Whether the two are friends. Friendship has two sides that say the same.
pub(crate) async fn are_friends(
    db: &impl ConnectionTrait,
    one: &UserId,
    other: &UserId,
) -> Result<bool, StoreError> {
    Ok(load(db, one, other).await?.me.sees == Some(Relation::Friend))
}

async fn load(db: &impl ConnectionTrait, me: &UserId, other: &UserId) -> Result<Pair, StoreError> {
    let mut pair = Pair::default();
    let both = [me.as_str(), other.as_str()];
    let rows = relation_row::Entity::find()
        .filter(relation_row::Column::Owner.is_in(both))
        .filter(relation_row::Column::Other.is_in(both))
        .all(db)
        .await?;
    for row in rows {
        let side = if row.owner == me.as_str() {
            &mut pair.me
        } else {
            &mut pair.them
        };
        side.sees = Relation::from_word(&row.state);
    }
    let rows = block::Entity::find()
        .filter(block::Column::Owner.is_in(both))
        .filter(block::Column::Other.is_in(both))
        .all(db)
        .await?;
    for row in rows {
        let side = if row.owner == me.as_str() {
            &mut pair.me
        } else {
            &mut pair.them
        };
        side.blocks = true;
    }
    Ok(pair)
}

async fn save_side(
    tx: &DatabaseTransaction,
    owner: &UserId,
    other: &UserId,
    before: relation::Side,
    after: relation::Side,
    now: i64,
) -> Result<(), StoreError> {
    let key = || (owner.as_str().to_owned(), other.as_str().to_owned());
    if before.sees != after.sees {
        if let Some(state) = after.sees {
            let row = relation_row::ActiveModel {
                owner: Set(owner.to_string()),
                other: Set(other.to_string()),
                state: Set(state.word().to_owned()),
                since: Set(now),
            };
            let replace =
                OnConflict::columns([relation_row::Column::Owner, relation_row::Column::Other])
                    .update_columns([relation_row::Column::State, relation_row::Column::Since])
                    .to_owned();
            relation_row::Entity::insert(row)
                .on_conflict(replace)
                .exec_without_returning(tx)
                .await?;
        } else {
            relation_row::Entity::delete_by_id(key()).exec(tx).await?;
        }
    }
    if after.blocks && !before.blocks {
        let row = block::ActiveModel {
            owner: Set(owner.to_string()),
            other: Set(other.to_string()),
            since: Set(now),
        };
        block::Entity::insert(row)
            .exec_without_returning(tx)
            .await?;
    } else if before.blocks && !after.blocks {
        block::Entity::delete_by_id(key()).exec(tx).await?;
    }
    Ok(())
}

async fn count_state(
    tx: &DatabaseTransaction,
    owner: &UserId,
    state: Relation,
) -> Result<u64, StoreError> {
    Ok(relation_row::Entity::find()
        .filter(relation_row::Column::Owner.eq(owner.as_str()))
        .filter(relation_row::Column::State.eq(state.word()))
        .count(tx)
        .await?)
}

fn count(act: Act, after: Pair) {
    let change = match act {
        Act::Befriend if after.me.sees == Some(Relation::Friend) => "accepted",
        Act::Befriend => "requested",
        Act::Part => "parted",
        Act::Block => "blocked",
        Act::Unblock => "unblocked",
    };
    metrics::counter!("fireside_store_friend_changes_total", "change" => change).increment(1);
}
