//! Publishers, and who keeps what they have.

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult};
use serde_json::json;
use shared::id::UserId;
use ulid::Ulid;

use super::draft::line;
use crate::{
    accounts::{Role, fold},
    audit::{By, Deed},
    error::{StoreError, Violation},
    sql::{self, values},
    store::{Store, lock_users},
};

/// A publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// Its name in addresses.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many follow it.
    pub followers: u64,
}

/// Who keeps games: an operator or a service, or somebody who may only keep their own.
#[derive(Debug, Clone, Copy)]
pub enum Keeper<'a> {
    /// May keep every publisher's.
    Store,
    /// May keep those of the publishers they own.
    Owner(&'a UserId),
}

#[derive(FromQueryResult)]
struct PublisherRow {
    id: String,
    name: String,
    owner: Option<String>,
    followers: i64,
}

const PUBLISHER: &str = "SELECT b.id, b.name, b.owner, \
    (SELECT COUNT(*) FROM follows f WHERE f.publisher = b.id) AS followers FROM publishers b WHERE b.id = ?";

impl Store {
    /// Makes a publisher whose games `owner` keeps, in the name of `by`. Whoever was a player is a publisher
    /// then.
    pub async fn make_publisher(
        &self,
        by: &str,
        name: &str,
        owner: Option<&UserId>,
    ) -> Result<Publisher, StoreError> {
        let name = line("name", name, 2, 64)?;
        let tx = self.database().begin().await?;
        if let Some(owner) = owner {
            let row = lock_users(&tx, &[owner]).await?.pop();
            let row = row.ok_or(Violation::new("owner", "unknown", "nobody has this id"))?;
            if Role::stored(&row.role) == Role::Player {
                sql::execute(
                    &tx,
                    "UPDATE users SET role = ? WHERE id = ?",
                    values![Role::Publisher.word(), owner.as_str()],
                )
                .await?;
                let details = json!({"from": row.role, "to": Role::Publisher.word()});
                let subject = Some(owner.as_str());
                self.record(&tx, Deed::RoleChanged, By::Named(by), subject, details)
                    .await?;
            }
        }
        let publisher = self.insert_publisher(&tx, &name, owner).await?;
        let details = json!({"publisher": publisher.id, "name": publisher.name});
        let subject = owner.map(UserId::as_str);
        self.record(&tx, Deed::PublisherMade, By::Named(by), subject, details)
            .await?;
        self.database().commit(tx).await?;
        Ok(publisher)
    }

    pub(super) async fn insert_publisher(
        &self,
        tx: &DatabaseTransaction,
        name: &str,
        owner: Option<&UserId>,
    ) -> Result<Publisher, StoreError> {
        let id = Ulid::new().to_string();
        let made = sql::execute(
            tx,
            "INSERT INTO publishers (id, name, name_key, owner, created_at) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (name_key) DO NOTHING",
            values![
                id.as_str(),
                name,
                fold(name),
                owner.map(|owner| owner.as_str().to_owned()),
                self.now().as_millis()
            ],
        )
        .await?;
        if made == 0 {
            let message = "another publisher has this name";
            return Err(StoreError::Conflict {
                message,
                violations: vec![Violation::new("name", "taken", message)],
            });
        }
        Ok(Publisher {
            id,
            name: name.to_owned(),
            followers: 0,
        })
    }

    /// A publisher.
    pub async fn publisher(&self, id: &str) -> Result<Publisher, StoreError> {
        let row: Option<PublisherRow> =
            sql::one(self.database().reader(), PUBLISHER, values![id]).await?;
        let row = row.ok_or(StoreError::NotFound)?;
        Ok(Publisher {
            id: row.id,
            name: row.name,
            followers: row.followers.unsigned_abs(),
        })
    }
}

/// Whether the publisher is there, and `keeper` may keep what it has.
pub(crate) async fn may_keep(
    db: &impl ConnectionTrait,
    keeper: Keeper<'_>,
    publisher: &str,
) -> Result<(), StoreError> {
    let row: Option<PublisherRow> = sql::one(db, PUBLISHER, values![publisher]).await?;
    let row = row.ok_or(StoreError::NotFound)?;
    match keeper {
        Keeper::Store => Ok(()),
        Keeper::Owner(user) if row.owner.as_deref() == Some(user.as_str()) => Ok(()),
        Keeper::Owner(_) => Err(StoreError::Forbidden("this publisher is somebody else's")),
    }
}
