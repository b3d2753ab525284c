//! Who sees what of somebody: each section of what the store knows of a person is for everybody,
//! for their friends, or for nobody else.
//!
//! Somebody who is blocked is no friend, and sees what strangers see. The rule is one expression,
//! [`shown`], that every statement about others has in it; what is decided elsewhere, is decided by
//! asking for it.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult, Value};
use shared::id::UserId;

use crate::{
    error::{StoreError, Violation},
    sql::{self, values},
    store::{Store, lock_users},
    users::Profile,
};

/// Something that may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// Picture and status line. The nickname is for everybody: people are found by it.
    Profile,
    /// Whose friend somebody is.
    Friends,
    /// The games they own.
    Library,
    /// The games they would like to have.
    Wishlist,
    /// How long and when they played.
    PlayTime,
    /// What is written in their guest book.
    GuestBook,
    /// Writing in it.
    GuestBookEntries,
}

/// Who sees it, or does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Everybody who has an account, and where no account is needed everybody.
    Public,
    /// Friends.
    Friends,
    /// Only the person.
    Nobody,
}

/// What somebody shows to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privacy(Vec<(Section, Audience)>);

#[derive(FromQueryResult)]
struct Row {
    section: String,
    audience: String,
}

#[derive(FromQueryResult)]
struct Shown {
    shown: i64,
}

#[derive(FromQueryResult)]
struct IdRow {
    id: String,
}

impl Section {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Profile,
        Self::Friends,
        Self::Library,
        Self::Wishlist,
        Self::PlayTime,
        Self::GuestBook,
        Self::GuestBookEntries,
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Friends => "friends",
            Self::Library => "library",
            Self::Wishlist => "wishlist",
            Self::PlayTime => "play_time",
            Self::GuestBook => "guest_book",
            Self::GuestBookEntries => "guest_book_entries",
        }
    }

    /// For whom it is while nothing was said.
    pub const fn by_default(self) -> Audience {
        match self {
            Self::Profile | Self::PlayTime | Self::GuestBook => Audience::Public,
            Self::Friends | Self::Library | Self::Wishlist | Self::GuestBookEntries => {
                Audience::Friends
            }
        }
    }
}

impl Audience {
    /// The audience of this word, said of `field`.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Violation> {
        let known = Self::stored(text);
        known.ok_or(Violation::new(
            field,
            "unknown",
            "`public`, `friends` or `nobody`",
        ))
    }

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Friends => "friends",
            Self::Nobody => "nobody",
        }
    }

    fn stored(text: &str) -> Option<Self> {
        [Self::Public, Self::Friends, Self::Nobody]
            .into_iter()
            .find(|audience| audience.word() == text)
    }
}

impl Privacy {
    /// For whom a section is.
    pub fn of(&self, section: Section) -> Audience {
        let said = self.0.iter().find(|(of, _)| *of == section);
        said.map_or(section.by_default(), |(_, audience)| *audience)
    }
}

/// An expression: whether the person whose id is the column `owner` shows a section to a viewer,
/// whose id takes both places; an empty one is somebody who is not logged in.
pub(crate) fn shown(section: Section, owner: &str) -> String {
    let (word, by_default) = (section.word(), section.by_default().word());
    format!(
        "(CASE COALESCE((SELECT v.audience FROM privacy v WHERE v.user_id = {owner} \
         AND v.section = '{word}'), '{by_default}') \
         WHEN 'public' THEN 1 WHEN 'friends' THEN (SELECT COUNT(*) FROM relations f \
         WHERE f.owner = {owner} AND f.other = ? AND f.state = 'friend') ELSE 0 END > 0 \
         OR {owner} = ?)"
    )
}

/// An expression: whether the person whose id is the column `owner` keeps a section from all.
pub(crate) fn kept_from_all(section: Section, owner: &str) -> String {
    let word = section.word();
    format!(
        "EXISTS (SELECT 1 FROM privacy v WHERE v.user_id = {owner} AND v.section = '{word}' \
         AND v.audience = 'nobody')"
    )
}

impl Store {
    /// What `me` shows to whom.
    pub async fn privacy(&self, me: &UserId) -> Result<Privacy, StoreError> {
        said(self.database().reader(), me).await
    }

    /// Shows sections of `me` to others than before, and answers what then holds.
    pub async fn change_privacy(
        &self,
        me: &UserId,
        changes: &[(Section, Audience)],
    ) -> Result<Privacy, StoreError> {
        let tx = self.database().begin().await?;
        let row = lock_users(&tx, &[me]).await?.pop();
        let row = row.ok_or(StoreError::Unauthenticated("the account is withdrawn"))?;
        let before = said(&tx, me).await?;
        for (section, audience) in changes {
            sql::execute(
                &tx,
                "INSERT INTO privacy (user_id, section, audience) VALUES (?, ?, ?) \
                 ON CONFLICT (user_id, section) DO UPDATE SET audience = excluded.audience",
                values![me.as_str(), section.word(), audience.word()],
            )
            .await?;
        }
        let after = said(&tx, me).await?;
        let to_friends = |privacy: &Privacy| privacy.of(Section::Profile) != Audience::Nobody;
        if to_friends(&before) != to_friends(&after) {
            let event = self.profile_changed(&tx, &row).await?;
            self.enqueue(&tx, [event]).await?;
        }
        self.commit(tx).await?;
        Ok(after)
    }

    /// Refuses unless `owner` shows a section to `viewer`.
    pub(crate) async fn require_shown(
        &self,
        viewer: &UserId,
        owner: &UserId,
        section: Section,
    ) -> Result<(), StoreError> {
        if shows(self.database().reader(), viewer, owner, section).await? {
            Ok(())
        } else {
            Err(StoreError::Forbidden("this is not shown to you"))
        }
    }
}

/// Whether `owner` shows a section to `viewer`; an error if there is no such account.
pub(crate) async fn shows(
    db: &impl ConnectionTrait,
    viewer: &UserId,
    owner: &UserId,
    section: Section,
) -> Result<bool, StoreError> {
    let row: Option<Shown> = sql::one(
        db,
        &format!(
            "SELECT CAST(CASE WHEN {} THEN 1 ELSE 0 END AS BIGINT) AS shown FROM users u \
             WHERE u.id = ? AND u.withdrawn_at IS NULL",
            shown(section, "u.id")
        ),
        values![viewer.as_str(), viewer.as_str(), owner.as_str()],
    )
    .await?;
    Ok(row.ok_or(StoreError::NotFound)?.shown > 0)
}

/// Whether what somebody says of themselves reaches their friends.
pub(crate) async fn told_to_friends(
    tx: &DatabaseTransaction,
    person: &UserId,
) -> Result<bool, StoreError> {
    Ok(said(tx, person).await?.of(Section::Profile) != Audience::Nobody)
}

/// Takes from these profiles what their owners do not show to `viewer`: one statement, however many
/// there are.
pub(crate) async fn veil(
    db: &impl ConnectionTrait,
    viewer: &UserId,
    profiles: impl IntoIterator<Item = &mut Profile>,
) -> Result<(), StoreError> {
    let profiles: Vec<&mut Profile> = profiles.into_iter().collect();
    if profiles.is_empty() {
        return Ok(());
    }
    let text = format!(
        "SELECT u.id FROM users u WHERE {} AND u.id IN {}",
        shown(Section::Profile, "u.id"),
        sql::list(profiles.len())
    );
    let mut values = values![viewer.as_str(), viewer.as_str()];
    values.extend(profiles.iter().map(|of| Value::from(of.id.as_str())));
    let rows: Vec<IdRow> = sql::all(db, &text, values).await?;
    let seen: HashSet<String> = rows.into_iter().map(|row| row.id).collect();
    for profile in profiles {
        if !seen.contains(profile.id.as_str()) {
            profile.avatar_url = None;
            profile.status_text = None;
        }
    }
    Ok(())
}

/// What somebody said; a word of another version of the store is as if nothing was said.
async fn said(db: &impl ConnectionTrait, person: &UserId) -> Result<Privacy, StoreError> {
    let rows: Vec<Row> = sql::all(
        db,
        "SELECT section, audience FROM privacy WHERE user_id = ?",
        values![person.as_str()],
    )
    .await?;
    let known = rows.iter().filter_map(|row| {
        let section = Section::ALL.into_iter().find(|of| of.word() == row.section);
        Some((section?, Audience::stored(&row.audience)?))
    });
    Ok(Privacy(known.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_said_has_its_default() {
        let privacy = Privacy(vec![(Section::Library, Audience::Nobody)]);
        assert_eq!(privacy.of(Section::Library), Audience::Nobody);
        assert_eq!(privacy.of(Section::Wishlist), Audience::Friends);
        assert_eq!(privacy.of(Section::GuestBook), Audience::Public);
    }

    #[test]
    fn a_viewer_takes_two_places() {
        for section in Section::ALL {
            assert_eq!(shown(section, "u.id").matches('?').count(), 2);
        }
        assert!(Audience::parse("library", "everybody").is_err());
    }
}
