//! What others see of somebody's games.

use shared::id::{Timestamp, UserId};

use super::{List, Marked};
use crate::{
    error::StoreError,
    paging::{Page, PageRequest},
    privacy::{Section, shows},
    store::Store,
};

/// A game that somebody else owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownGame {
    /// The game.
    pub id: String,
    /// Its name in addresses.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// Its first picture.
    pub cover: Option<String>,
    /// How long it was played in seconds, and when last, if its owner shows that.
    pub played: Option<(u64, Option<Timestamp>)>,
}

impl Store {
    /// The games that `owner` owns, in order of their ids, if they are shown to `viewer`.
    pub async fn library_of(
        &self,
        viewer: &UserId,
        owner: &UserId,
        page: &PageRequest,
    ) -> Result<Page<ShownGame>, StoreError> {
        self.require_shown(viewer, owner, Section::Library).await?;
        let played = shows(self.database().reader(), viewer, owner, Section::PlayTime).await?;
        let page = self.library(owner, page).await?;
        Ok(page.map(|game| ShownGame {
            id: game.id,
            slug: game.slug,
            title: game.title,
            cover: game.cover,
            played: played.then_some((game.played_seconds, game.played_at)),
        }))
    }

    /// The games that `owner` would like to have, in order of their ids, if they are shown to
    /// `viewer`; as they are sold where the viewer buys, who may want to give one.
    pub async fn wishlist_of(
        &self,
        viewer: &UserId,
        owner: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Marked>, StoreError> {
        self.require_shown(viewer, owner, Section::Wishlist).await?;
        let country = self.country_of(self.database().reader(), viewer).await?;
        self.marked_in(country, owner, List::Wishlist, page).await
    }
}
