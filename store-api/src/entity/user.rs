//! A person's account. A withdrawn one keeps its id and nothing else.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub email: Option<String>,
    pub name: Option<String>,
    /// The name folded for comparison, see [`crate::accounts::Name`].
    pub name_key: Option<String>,
    pub password_hash: Option<String>,
    pub avatar_url: Option<String>,
    pub status_text: Option<String>,
    /// Access tokens issued before this, in milliseconds since the epoch, do not hold.
    pub tokens_not_before: i64,
    pub created_at: i64,
    pub withdrawn_at: Option<i64>,
    /// See [`crate::accounts::Role`].
    pub role: String,
    /// Where they buy; the store's own country when they never said.
    pub country: Option<String>,
    /// When its owner was last seen to read the mail of the address; none if never.
    pub email_verified_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
