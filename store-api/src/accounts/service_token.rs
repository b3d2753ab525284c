//! Tokens for services, each for what its scopes say and no more.
//!
//! They are no JWTs: nothing but this store believes them, so one with a scope of the store cannot
//! pass for a person's token at a chat node, and taking one back needs no list of revocations.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sea_orm::FromQueryResult;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use shared::{
    id::{Timestamp, UserId},
    text::is_unseen,
};
use std::time::Duration;
use ulid::Ulid;

use super::secret::{hex, random};
use crate::{
    audit::{By, Deed},
    error::{StoreError, Violation},
    sql::{self, values},
    store::Store,
};

/// How such a token begins.
const PREFIX: &str = shared::auth::STORE_TOKEN;
/// Bytes of its secret.
const SECRET_BYTES: usize = 32;
/// The most of them.
const MAX_TOKENS: i64 = 100;

/// What a service may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Keep publishers and games.
    Catalogue,
    /// Issue gift cards.
    Wallet,
    /// Give out coupons.
    Coupons,
}

/// What one service may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

/// A token that an operator wants.
#[derive(Debug, Clone)]
pub struct NewServiceToken {
    /// Whose it is to be, for people.
    pub name: String,
    /// What it is to be good for.
    pub scopes: Scopes,
    /// For how long.
    pub lifetime: Duration,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceToken {
    /// Its name in the list.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What it is good for.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    name: String,
    scopes: String,
    created_at: i64,
    expires_at: i64,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Catalogue, Self::Wallet, Self::Coupons];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Wallet => "wallet",
            Self::Coupons => "coupons",
        }
    }
}

impl Scopes {
    /// Reads words; at least one, each known.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, Violation> {
        let mut scopes = Vec::new();
        for word in words {
            let known = Scope::ALL.into_iter().find(|scope| scope.word() == word);
            let scope = known.ok_or(Violation::new(
                "scopes",
                "unknown",
                "`catalogue`, `wallet` and `coupons` are scopes",
            ))?;
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        if scopes.is_empty() {
            return Err(Violation::new("scopes", "required", "at least one"));
        }
        Ok(Self(scopes))
    }

    /// Everything that is not for operators only.
    pub(crate) fn all() -> Self {
        Self(Scope::ALL.to_vec())
    }

    /// Whether `scope` is among them.
    pub fn has(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Their words.
    pub fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|scope| scope.word()).collect()
    }
}

/// Whether a bearer token looks like one of these.
pub(crate) fn is_service_token(token: &str) -> bool {
    token.starts_with(PREFIX)
}

impl Store {
    /// Makes a token in the name of the operator `by`. Its secret is told here and never again.
    pub async fn make_service_token(
        &self,
        by: &UserId,
        new: NewServiceToken,
    ) -> Result<(ServiceToken, String), StoreError> {
        let name = new.name.trim().to_owned();
        let length = name.chars().count();
        if !(1..=64).contains(&length) || name.chars().any(is_unseen) {
            let message = "1 to 64 characters that can be seen";
            return Err(Violation::new("name", "malformed", message).into());
        }
        let hour = Duration::from_hours(1);
        if !(hour..=24 * 366 * hour).contains(&new.lifetime) {
            let message = "from an hour to 366 days";
            return Err(Violation::new("lifetime_hours", "range", message).into());
        }
        let secret = format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?)
        );
        let now = self.now();
        let token = ServiceToken {
            id: Ulid::new().to_string(),
            name,
            scopes: new.scopes,
            created_at: now,
            expires_at: super::tokens::after(now, new.lifetime),
        };
        let tx = self.database().begin().await?;
        let count: Option<Count> = sql::one(
            &tx,
            "SELECT COUNT(*) AS count FROM service_tokens WHERE expires_at > ?",
            values![now.as_millis()],
        )
        .await?;
        if count.is_some_and(|row| row.count >= MAX_TOKENS) {
            return Err(StoreError::conflict(
                "there are 100 tokens of services already",
            ));
        }
        sql::execute(
            &tx,
            "INSERT INTO service_tokens (id, name, hash, scopes, created_by, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            values![
                token.id.as_str(),
                token.name.as_str(),
                hash(&secret),
                token.scopes.words().join(" "),
                by.as_str(),
                now.as_millis(),
                token.expires_at.as_millis()
            ],
        )
        .await?;
        let details =
            json!({"token": token.id, "name": token.name, "scopes": token.scopes.words()});
        let by = By::User(by.as_str());
        self.record(&tx, Deed::ServiceTokenMade, by, None, details)
            .await?;
        self.database().commit(tx).await?;
        Ok((token, secret))
    }

    /// The tokens that hold, in order of their making.
    pub async fn service_tokens(&self) -> Result<Vec<ServiceToken>, StoreError> {
        let rows: Vec<Row> = sql::all(
            self.database().reader(),
            "SELECT id, name, scopes, created_at, expires_at FROM service_tokens \
             WHERE expires_at > ? ORDER BY id",
            values![self.now().as_millis()],
        )
        .await?;
        rows.into_iter().map(read).collect()
    }

    /// Takes a token back in the name of the operator `by`; it holds nowhere from then on.
    pub async fn revoke_service_token(&self, by: &UserId, id: &str) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        let delete = "DELETE FROM service_tokens WHERE id = ?";
        if sql::execute(&tx, delete, values![id]).await? > 0 {
            let by = By::User(by.as_str());
            let details = json!({"token": id});
            self.record(&tx, Deed::ServiceTokenRevoked, by, None, details)
                .await?;
        }
        self.database().commit(tx).await?;
        Ok(())
    }

    /// What a token says, if it holds.
    pub(crate) async fn service(&self, token: &str) -> Result<Option<ServiceToken>, StoreError> {
        let row: Option<Row> = sql::one(
            self.database().reader(),
            "SELECT id, name, scopes, created_at, expires_at FROM service_tokens \
             WHERE hash = ? AND expires_at > ?",
            values![hash(token), self.now().as_millis()],
        )
        .await?;
        row.map(read).transpose()
    }

    /// Lets go of those that have ended.
    pub(crate) async fn forget_old_service_tokens(&self) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        sql::execute(
            &tx,
            "DELETE FROM service_tokens WHERE expires_at < ?",
            values![self.now().as_millis()],
        )
        .await?;
        self.database().commit(tx).await?;
        Ok(())
    }
}

fn hash(token: &str) -> String {
    // Fast on purpose: the secret has 256 bits, there is nothing to try out.
    hex(&Sha256::digest(token))
}

fn read(row: Row) -> Result<ServiceToken, StoreError> {
    Ok(ServiceToken {
        scopes: Scopes::parse(row.scopes.split(' '))?,
        id: row.id,
        name: row.name,
        created_at: Timestamp::from_millis(row.created_at),
        expires_at: Timestamp::from_millis(row.expires_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_known_words() {
        let scopes = Scopes::parse(["wallet", "wallet"]).unwrap();
        assert_eq!(scopes.words(), ["wallet"]);
        assert!(!scopes.has(Scope::Catalogue));
        assert_eq!(Scopes::parse(["server"]).unwrap_err().rule, "unknown");
        assert_eq!(Scopes::parse([]).unwrap_err().rule, "required");
    }
}
