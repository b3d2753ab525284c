//! People as others see them: profiles, names, search.

use sea_orm::{
    ActiveModelTrait, ActiveValue, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};
use shared::{
    events::{self, StoreEventKind},
    id::UserId,
};

use crate::{
    accounts::{Name, Role, fold},
    entity::user,
    error::{StoreError, Violation},
    paging::{Page, PageRequest},
    privacy::{told_to_friends, veil},
    store::{Store, lock_users, stored_id},
};
pub(crate) use profile::{AvatarUrl, StatusText, line};

mod export;
mod profile;

/// What everybody may see of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The account.
    pub id: UserId,
    /// The nickname.
    pub name: String,
    /// Where a picture is to be had.
    pub avatar_url: Option<String>,
    /// A line of their own.
    pub status_text: Option<String>,
}

/// What a person sees of their own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnProfile {
    /// What everybody sees.
    pub profile: Profile,
    /// The address they log in with, if they have one.
    pub email: Option<String>,
    /// Whether they have shown that they read its mail.
    pub email_verified: bool,
    /// Whether there is a password to log in with.
    pub has_password: bool,
    /// When the account was made, in milliseconds since the epoch.
    pub created_at: i64,
    /// What they may do beyond their own things.
    pub role: Role,
}

/// Changes to one's own profile.
#[derive(Debug, Clone, Default)]
pub struct ProfileChange {
    /// A new nickname.
    pub name: Option<String>,
    /// The picture.
    pub avatar_url: Change<String>,
    /// The status line.
    pub status_text: Change<String>,
}

/// What to do with a thing that one may have or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// Leave it.
    #[default]
    Keep,
    /// Have it no more.
    Clear,
    /// Have this one.
    Set(T),
}

impl<T> Change<T> {
    /// Turns the new thing into what is kept; where that fails there is nothing to set.
    fn and_then<U>(self, f: impl FnOnce(T) -> Option<U>) -> Change<U> {
        match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(thing) => f(thing).map_or(Change::Keep, Change::Set),
        }
    }

    fn apply(self, to: &mut ActiveValue<Option<T>>)
    where
        Option<T>: Into<sea_orm::Value>,
    {
        match self {
            Self::Keep => {}
            Self::Clear => *to = Set(None),
            Self::Set(thing) => *to = Set(Some(thing)),
        }
    }
}

impl Profile {
    pub(crate) fn of(row: user::Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: stored_id(&row.id)?,
            name: row.name.unwrap_or_default(),
            avatar_url: row.avatar_url,
            status_text: row.status_text,
        })
    }
}

impl Store {
    /// The profile of anybody, as `viewer` sees it.
    pub async fn profile(&self, viewer: &UserId, id: &UserId) -> Result<Profile, StoreError> {
        let row = self.active_user(id).await?.ok_or(StoreError::NotFound)?;
        let mut profile = Profile::of(row)?;
        veil(self.database().reader(), viewer, [&mut profile]).await?;
        Ok(profile)
    }

    /// The caller's own account.
    pub async fn own_profile(&self, id: &UserId) -> Result<OwnProfile, StoreError> {
        let row = self.active_user(id).await?.ok_or(StoreError::NotFound)?;
        OwnProfile::of(row)
    }

    /// Names of the accounts among `ids` that exist, in no order.
    pub async fn names(&self, ids: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError> {
        let rows: Vec<(String, Option<String>)> = user::Entity::find()
            .select_only()
            .columns([user::Column::Id, user::Column::Name])
            .filter(user::Column::Id.is_in(ids.iter().map(UserId::as_str)))
            .into_tuple()
            .all(self.database().reader())
            .await?;
        rows.into_iter()
            .filter_map(|(id, name)| Some((id, name?)))
            .map(|(id, name)| Ok((stored_id(&id)?, name)))
            .collect()
    }

    /// People whose name begins with `prefix`, whatever the case, in order of their names.
    pub async fn search_users(
        &self,
        viewer: &UserId,
        prefix: &str,
        page: &PageRequest,
    ) -> Result<Page<Profile>, StoreError> {
        let prefix = search_key(prefix)?;
        let mut query = user::Entity::find()
            .filter(user::Column::NameKey.gte(&prefix))
            .filter(user::Column::NameKey.gt(page.after()))
            .order_by_asc(user::Column::NameKey)
            .limit(page.fetch());
        // A range of the index rather than a pattern over all: everything from the prefix up to
        // the prefix followed by the greatest character there is.
        query = query.filter(user::Column::NameKey.lt(format!("{prefix}{}", char::MAX)));
        let rows = query.all(self.database().reader()).await?;
        let rows = page.cut(rows, |row| row.name_key.clone().unwrap_or_default());
        let mut found = rows.filter_map(|row| Profile::of(row).ok());
        veil(self.database().reader(), viewer, &mut found.items).await?;
        Ok(found)
    }

    /// Changes the caller's own profile.
    pub async fn change_profile(
        &self,
        me: &UserId,
        change: ProfileChange,
    ) -> Result<OwnProfile, StoreError> {
        let parsed = Parsed::of(change)?;
        let tx = self.database().begin().await?;
        let Some(row) = lock_users(&tx, &[me]).await?.pop() else {
            return Err(StoreError::NotFound);
        };
        let before = row.clone();
        let mut row = row.into_active_model();
        if let Some(name) = &parsed.name {
            row.name = Set(Some(name.shown().to_owned()));
            row.name_key = Set(Some(name.key().to_owned()));
        }
        parsed.avatar_url.apply(&mut row.avatar_url);
        parsed.status_text.apply(&mut row.status_text);
        let row = match row.update(&tx).await.map_err(StoreError::from) {
            Err(error) if error.is_unique_violation() => return Err(name_taken()),
            row => row?,
        };
        if row != before {
            let event = self.profile_changed(&tx, &row).await?;
            self.enqueue(&tx, [event]).await?;
        }
        self.commit(tx).await?;
        OwnProfile::of(row)
    }

    /// What friends hear of a profile that is another one now: only the name, of somebody who keeps
    /// the rest from all.
    pub(crate) async fn profile_changed(
        &self,
        tx: &DatabaseTransaction,
        row: &user::Model,
    ) -> Result<StoreEventKind, StoreError> {
        let user = stored_id(&row.id)?;
        let told = told_to_friends(tx, &user).await?;
        Ok(StoreEventKind::ProfileChanged(events::Profile {
            user,
            name: row.name.clone().unwrap_or_default(),
            avatar_url: row.avatar_url.clone().filter(|_| told),
            status_text: row.status_text.clone().filter(|_| told),
        }))
    }

    pub(crate) async fn active_user(&self, id: &UserId) -> Result<Option<user::Model>, StoreError> {
        Ok(user::Entity::find_by_id(id.as_str())
            .filter(user::Column::WithdrawnAt.is_null())
            .one(self.database().reader())
            .await?)
    }
}

impl OwnProfile {
    pub(crate) fn of(mut row: user::Model) -> Result<Self, StoreError> {
        let email = row.email.take();
        let email_verified = row.email_verified_at.is_some();
        let has_password = row.password_hash.is_some();
        let created_at = row.created_at;
        let role = Role::stored(&row.role);
        Ok(Self {
            profile: Profile::of(row)?,
            email,
            email_verified,
            has_password,
            created_at,
            role,
        })
    }
}

struct Parsed {
    name: Option<Name>,
    avatar_url: Change<String>,
    status_text: Change<String>,
}

impl Parsed {
    /// Checks everything, so that the answer names every rule broken and not only the first.
    fn of(change: ProfileChange) -> Result<Self, StoreError> {
        let mut violations = Vec::new();
        let mut note = |violation| violations.push(violation);
        let name = change
            .name
            .and_then(|text| Name::parse(&text).map_err(&mut note).ok());
        let avatar_url = change.avatar_url.and_then(|text| {
            AvatarUrl::parse(&text)
                .map_err(&mut note)
                .ok()
                .map(AvatarUrl::into_string)
        });
        let status_text = match change.status_text {
            // A form's way to say "none".
            Change::Set(text) if text.trim().is_empty() => Change::Clear,
            other => other.and_then(|text| {
                StatusText::parse(&text)
                    .map_err(&mut note)
                    .ok()
                    .map(StatusText::into_string)
            }),
        };
        if violations.is_empty() {
            Ok(Self {
                name,
                avatar_url,
                status_text,
            })
        } else {
            Err(StoreError::Invalid(violations))
        }
    }
}

fn name_taken() -> StoreError {
    StoreError::Conflict {
        message: "the name is taken",
        violations: vec![Violation::new("name", "taken", "somebody has this name")],
    }
}

fn search_key(prefix: &str) -> Result<String, StoreError> {
    let refuse = |rule, message| Err(Violation::new("q", rule, message).into());
    if prefix.len() > 256 {
        return refuse("too_long", "at most 32 characters");
    }
    let key = fold(prefix.trim_start());
    if key.contains('\0') {
        return refuse("characters", "no control characters");
    }
    match key.chars().count() {
        0..=1 => refuse("too_short", "at least 2 characters"),
        2..=64 => Ok(key),
        _ => refuse("too_long", "at most 32 characters"),
    }
}
