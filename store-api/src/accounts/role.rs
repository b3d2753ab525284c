//! What somebody may do beyond their own things.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter,
};
use serde_json::json;
use shared::{auth::Claims, id::UserId};

use super::rules::Email;
use crate::{
    audit::{By, Deed},
    entity::user,
    error::{StoreError, Violation},
    money::Country,
    store::{Store, lock_users},
};

/// A person's role. Asked of the database on every request, so a change of it holds at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Plays, and buys.
    Player,
    /// Sells games too: those of the publishers they own.
    Publisher,
    /// Runs the store.
    Operator,
}

impl Role {
    /// The role of this word.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        [Self::Player, Self::Publisher, Self::Operator]
            .into_iter()
            .find(|role| role.word() == text)
            .ok_or(Violation::new(
                "role",
                "unknown",
                "`player`, `publisher` or `operator`",
            ))
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Player => "player",
            Self::Publisher => "publisher",
            Self::Operator => "operator",
        }
    }

    /// What a row says; a word of a newer store gives no rights here.
    pub(crate) fn stored(text: &str) -> Self {
        Self::parse(text).unwrap_or(Self::Player)
    }
}

/// What every request needs to know of whoever makes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    /// Where they buy.
    pub(crate) country: Country,
}

impl Store {
    /// The role and the country of whoever shows a token that verified; none if it has been taken back, or its
    /// account withdrawn.
    pub(crate) async fn standing(&self, claims: &Claims) -> Result<Option<Standing>, StoreError> {
        let row = self.bearer(claims).await?;
        Ok(row.map(|row| Standing {
            role: Role::stored(&row.role),
            country: self.country_said(row.country.as_deref()),
        }))
    }

    /// Gives `user` a role, in the name of the operator `by`.
    pub async fn set_role(&self, by: &UserId, user: &UserId, role: Role) -> Result<(), StoreError> {
        self.give_role(By::User(by.as_str()), user, role).await
    }

    async fn give_role(&self, by: By<'_>, user: &UserId, role: Role) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        let row = lock_users(&tx, &[user]).await?.pop();
        let row = row.ok_or(StoreError::NotFound)?;
        let details = json!({"from": row.role, "to": role.word()});
        let mut row = row.into_active_model();
        row.role = Set(role.word().to_owned());
        row.update(&tx).await?;
        self.record(&tx, Deed::RoleChanged, by, Some(user.as_str()), details)
            .await?;
        self.database().commit(tx).await?;
        tracing::info!(%user, role = role.word(), "has another role");
        Ok(())
    }

    /// Gives a role to whoever logs in with this e-mail address. For the person at the machine, who
    /// makes the first operator.
    pub async fn set_role_of(&self, email: &str, role: Role) -> Result<UserId, StoreError> {
        let email = Email::parse(email)?;
        let row = user::Entity::find()
            .filter(user::Column::Email.eq(email.as_str()))
            .one(self.database().reader())
            .await?;
        let id = crate::store::stored_id(&row.ok_or(StoreError::NotFound)?.id)?;
        self.give_role(By::Machine, &id, role).await?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_nobody_knows_gives_no_rights() {
        for role in [Role::Player, Role::Publisher, Role::Operator] {
            assert_eq!(Role::stored(role.word()), role);
        }
        assert_eq!(Role::stored("owner"), Role::Player);
        assert!(Role::parse("owner").is_err());
    }
}
