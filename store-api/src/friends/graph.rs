//! The friend graph as a chat node reads it.

use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, JoinType, QueryFilter, QueryOrder, QuerySelect,
    RelationDef,
};
use shared::id::UserId;

use super::relation::Relation;
use crate::{
    entity::{block, relation, user},
    error::StoreError,
    store::{Store, stored_id},
};

/// Whom a person shares presence and direct messages with, and whom not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FriendGraph {
    /// Friends with their names.
    pub friends: Vec<(UserId, String)>,
    /// Whom the person blocks.
    pub blocked: Vec<UserId>,
    /// Who blocks the person. Never to be shown to them.
    pub blocked_by: Vec<UserId>,
}

#[derive(FromQueryResult)]
struct Named {
    id: String,
    name: Option<String>,
}

impl Store {
    /// The friend graph of one person; empty for an account that is none.
    pub async fn friend_graph(&self, person: &UserId) -> Result<FriendGraph, StoreError> {
        let db = self.database().reader();
        let friends = relation::Entity::find()
            .select_only()
            .column_as(user::Column::Id, "id")
            .column_as(user::Column::Name, "name")
            .join(JoinType::InnerJoin, other_user())
            .filter(relation::Column::Owner.eq(person.as_str()))
            .filter(relation::Column::State.eq(Relation::Friend.word()))
            .order_by_asc(relation::Column::Other)
            .into_model::<Named>()
            .all(db)
            .await?
            .into_iter()
            .filter_map(|row| Some((row.id, row.name?)))
            .map(|(id, name)| Ok((stored_id(&id)?, name)))
            .collect::<Result<_, StoreError>>()?;
        let rows = block::Entity::find()
            .filter(
                sea_orm::Condition::any()
                    .add(block::Column::Owner.eq(person.as_str()))
                    .add(block::Column::Other.eq(person.as_str())),
            )
            .all(db)
            .await?;
        let mut graph = FriendGraph {
            friends,
            ..FriendGraph::default()
        };
        for row in rows {
            if row.owner == person.as_str() {
                graph.blocked.push(stored_id(&row.other)?);
            } else {
                graph.blocked_by.push(stored_id(&row.owner)?);
            }
        }
        Ok(graph)
    }
}

/// From a relation to the account of its owner.
pub(super) fn owner() -> RelationDef {
    relation::Entity::belongs_to(user::Entity)
        .from(relation::Column::Owner)
        .to(user::Column::Id)
        .into()
}

fn other_user() -> RelationDef {
    relation::Entity::belongs_to(user::Entity)
        .from(relation::Column::Other)
        .to(user::Column::Id)
        .into()
}
