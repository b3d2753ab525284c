//! The friend graph as a chat node reads it.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{DbBackend, DbErr, EntityTrait as _, FromQueryResult, RelationDef, Value};
use serde::de::DeserializeOwned;
use shared::id::UserId;

use crate::{
    entity::{relation, user},
    error::StoreError,
    sql,
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

/// What is known of one person: all friends in one value, or all blocks. A row a friend would cost
/// ten times as much, most of it to hand over rows and values.
#[derive(FromQueryResult)]
struct Found {
    person: String,
    kind: i32,
    people: String,
}

const FRIENDS: i32 = 0;
const BLOCKED: i32 = 1;
const BLOCKED_BY: i32 = 2;

impl Store {
    /// The friend graph of one person; empty for an account that is none.
    pub async fn friend_graph(&self, person: &UserId) -> Result<FriendGraph, StoreError> {
        let graphs = self.friend_graphs(std::slice::from_ref(person)).await?;
        Ok(graphs.into_iter().next().unwrap_or_default())
    }

    /// The friend graphs of several people, in their order: one statement, however many they are.
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
        let text = statement(db.get_database_backend(), ids.len());
        let values: Vec<Value> = [&ids, &ids, &ids]
            .into_iter()
            .flatten()
            .map(|id| Value::from(*id))
            .collect();
        for found in sql::all::<Found>(db, &text, values).await? {
            let Some(&place) = places.get(found.person.as_str()) else {
                continue;
            };
            let graph = &mut graphs[place];
            match found.kind {
                FRIENDS => {
                    let friends: BTreeMap<String, String> = parsed(&found.people)?;
                    let friends = friends.into_iter();
                    graph
                        .friends
                        .extend(friends.filter_map(|(id, name)| Some((readable(&id)?, name))));
                }
                kind => {
                    let people: Vec<String> = parsed(&found.people)?;
                    let people = people.iter().filter_map(|id| readable(id));
                    if kind == BLOCKED {
                        graph.blocked.extend(people);
                    } else {
                        graph.blocked_by.extend(people);
                    }
                }
            }
        }
        Ok(people
            .iter()
            .map(|person| graphs[places[person.as_str()]].clone())
            .collect())
    }
}

/// Finds the graphs of so many people, each named three times.
fn statement(backend: DbBackend, people: usize) -> String {
    let (object, array) = match backend {
        DbBackend::Postgres => (
            "json_object_agg(users.id, users.name)::text",
            ["json_agg(other)::text", "json_agg(owner)::text"],
        ),
        _ => (
            "json_group_object(users.id, users.name)",
            ["json_group_array(other)", "json_group_array(owner)"],
        ),
    };
    let people = sql::list(people);
    format!(
        "SELECT relations.owner AS person, {FRIENDS} AS kind, {object} AS people
         FROM relations JOIN users ON users.id = relations.other
         WHERE relations.owner IN {people} AND relations.state = 'friend' AND users.name IS NOT NULL
         GROUP BY relations.owner
         UNION ALL
         SELECT owner, {BLOCKED}, {} FROM blocks WHERE owner IN {people} GROUP BY owner
         UNION ALL
         SELECT other, {BLOCKED_BY}, {} FROM blocks WHERE other IN {people} GROUP BY other",
        array[0], array[1],
    )
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, DbErr> {
    serde_json::from_str(text).map_err(|error| DbErr::Json(error.to_string()))
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
