//! The friend graph as a chat node reads it.

use std::collections::HashMap;

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
    owner: String,
    id: String,
    name: Option<String>,
}

impl Store {
    /// The friend graph of one person; empty for an account that is none.
    pub async fn friend_graph(&self, person: &UserId) -> Result<FriendGraph, StoreError> {
        let graphs = self.friend_graphs(std::slice::from_ref(person)).await?;
        Ok(graphs.into_iter().next().unwrap_or_default())
    }

    /// The friend graphs of several people, in their order: two statements, however many they are.
    pub async fn friend_graphs(&self, people: &[UserId]) -> Result<Vec<FriendGraph>, StoreError> {
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(people.len());
        let mut ids: Vec<&str> = Vec::with_capacity(people.len());
        for person in people {
            places.entry(person.as_str()).or_insert_with(|| {
                ids.push(person.as_str());
                ids.len() - 1
            });
        }
        let Some(last) = ids.last().copied() else {
            return Ok(Vec::new());
        };
        let mut graphs = vec![FriendGraph::default(); ids.len()];
        // Few lengths, so that the databases know the statements already.
        ids.resize(ids.len().next_power_of_two(), last);

        let db = self.database().reader();
        let friends = relation::Entity::find()
            .select_only()
            .column_as(relation::Column::Owner, "owner")
            .column_as(user::Column::Id, "id")
            .column_as(user::Column::Name, "name")
            .join(JoinType::InnerJoin, other_user())
            .filter(relation::Column::Owner.is_in(ids.iter().copied()))
            .filter(relation::Column::State.eq(Relation::Friend.word()))
            .order_by_asc(relation::Column::Other)
            .into_model::<Named>()
            .all(db)
            .await?;
        for row in friends {
            if let (Some(name), Some(&place)) = (row.name, places.get(row.owner.as_str())) {
                graphs[place]
                    .friends
                    .extend(readable(&row.id).map(|id| (id, name)));
            }
        }
        let blocks = block::Entity::find()
            .filter(
                sea_orm::Condition::any()
                    .add(block::Column::Owner.is_in(ids.iter().copied()))
                    .add(block::Column::Other.is_in(ids.iter().copied())),
            )
            .all(db)
            .await?;
        for row in blocks {
            if let Some(&place) = places.get(row.owner.as_str()) {
                graphs[place].blocked.extend(readable(&row.other));
            }
            if let Some(&place) = places.get(row.other.as_str()) {
                graphs[place].blocked_by.extend(readable(&row.owner));
            }
        }
        Ok(people
            .iter()
            .map(|person| graphs[places[person.as_str()]].clone())
            .collect())
    }
}

/// An id as it is stored. One that is none is nobody's, and takes nobody's graph with it.
fn readable(id: &str) -> Option<UserId> {
    stored_id(id)
        .inspect_err(|error| tracing::error!(%error, "a row of the friend graph is left out"))
        .ok()
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
