//! Wishlist, cart and likes: games somebody marked; and publishers they follow.

use sea_orm::FromQueryResult;
use shared::id::{Timestamp, UserId};

use crate::{
    catalogue::{GameCard, Publisher, cards},
    error::{StoreError, Violation},
    money::Country,
    paging::{Page, PageRequest},
    sql::{self, values},
    store::{Store, lock_users},
};

/// A list of games that somebody keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// What they would like to have.
    Wishlist,
    /// What they are about to buy.
    Cart,
    /// What they like.
    Likes,
}

/// A game on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The game, as it is sold where its owner buys.
    pub game: GameCard,
    /// Since when it stands there.
    pub since: Timestamp,
}

#[derive(FromQueryResult)]
struct Row {
    game: String,
    since: i64,
}

#[derive(FromQueryResult)]
struct Standing {
    state: String,
    owned: i64,
    listed: i64,
}

#[derive(FromQueryResult)]
struct Followed {
    id: String,
    name: String,
    followers: i64,
}

impl List {
    /// The list of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Wishlist, Self::Cart, Self::Likes]
            .into_iter()
            .find(|list| list.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Wishlist => "wishlist",
            Self::Cart => "cart",
            Self::Likes => "likes",
        }
    }

    /// How many games it holds. An order is never larger than a cart.
    pub(crate) fn bound(self) -> i64 {
        match self {
            Self::Cart => 50,
            Self::Wishlist | Self::Likes => 1000,
        }
    }
}

impl Store {
    /// Puts a game on a list of `me`.
    pub async fn mark(&self, me: &UserId, list: List, game: &str) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        lock_users(&tx, &[me]).await?;
        let standing: Option<Standing> = sql::one(
            &tx,
            "SELECT g.state, (SELECT COUNT(*) FROM library l WHERE l.user_id = ? AND l.game = g.id) AS owned, \
             (SELECT COUNT(*) FROM marks k WHERE k.user_id = ? AND k.list = ? AND k.game <> g.id) AS listed \
             FROM games g WHERE g.id = ?",
            values![me.as_str(), me.as_str(), list.word(), game],
        )
        .await?;
        let standing = standing.ok_or(StoreError::NotFound)?;
        if standing.state != "published" && standing.owned == 0 {
            return Err(StoreError::NotFound);
        }
        if standing.owned > 0 && list != List::Likes {
            return Err(refusal("already_owned", "you have this game"));
        }
        if standing.listed >= list.bound() {
            return Err(refusal("full", "the list is full"));
        }
        sql::execute(
            &tx,
            "INSERT INTO marks (user_id, list, game, since) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            values![me.as_str(), list.word(), game, self.now().as_millis()],
        )
        .await?;
        self.database().commit(tx).await?;
        if list == List::Likes {
            self.edition().change();
        }
        Ok(())
    }

    /// Takes a game off a list of `me`.
    pub async fn unmark(&self, me: &UserId, list: List, game: &str) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        sql::execute(
            &tx,
            "DELETE FROM marks WHERE user_id = ? AND list = ? AND game = ?",
            values![me.as_str(), list.word(), game],
        )
        .await?;
        self.database().commit(tx).await?;
        if list == List::Likes {
            self.edition().change();
        }
        Ok(())
    }

    /// The games on a list of `me`, in order of their ids. What is not sold where `me` buys stands
    /// on it and is not shown.
    pub async fn marked(
        &self,
        me: &UserId,
        list: List,
        page: &PageRequest,
    ) -> Result<Page<Marked>, StoreError> {
        let country = self.country_of(self.database().reader(), me).await?;
        self.marked_in(country, me, list, page).await
    }

    /// The games on a list of `owner` that are sold in a country.
    pub(super) async fn marked_in(
        &self,
        country: Country,
        owner: &UserId,
        list: List,
        page: &PageRequest,
    ) -> Result<Page<Marked>, StoreError> {
        let db = self.database().reader();
        let rows: Vec<Row> = sql::all(
            db,
            "SELECT game, since FROM marks WHERE user_id = ? AND list = ? AND game > ? ORDER BY game LIMIT ?",
            values![owner.as_str(), list.word(), page.after(), page.fetch() as i64],
        )
        .await?;
        let page = page.cut(rows, |row| row.game.clone());
        let ids: Vec<_> = page.items.iter().map(|row| row.game.clone()).collect();
        let mut cards = cards(db, &ids, country, self.now()).await?;
        Ok(page.filter_map(|row| {
            Some(Marked {
                game: cards.remove(&row.game)?,
                since: Timestamp::from_millis(row.since),
            })
        }))
    }

    /// Follows a publisher.
    pub async fn follow(&self, me: &UserId, publisher: &str) -> Result<(), StoreError> {
        self.publisher(publisher).await?;
        let tx = self.database().begin().await?;
        sql::execute(
            &tx,
            "INSERT INTO follows (user_id, publisher, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            values![me.as_str(), publisher, self.now().as_millis()],
        )
        .await?;
        self.database().commit(tx).await?;
        Ok(())
    }

    /// Follows a publisher no longer.
    pub async fn unfollow(&self, me: &UserId, publisher: &str) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        sql::execute(
            &tx,
            "DELETE FROM follows WHERE user_id = ? AND publisher = ?",
            values![me.as_str(), publisher],
        )
        .await?;
        self.database().commit(tx).await?;
        Ok(())
    }

    /// The publishers that `me` follows, in order of their ids.
    pub async fn followed(
        &self,
        me: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Publisher>, StoreError> {
        let rows: Vec<Followed> = sql::all(
            self.database().reader(),
            "SELECT b.id, b.name, (SELECT COUNT(*) FROM follows o WHERE o.publisher = b.id) AS followers \
             FROM follows f JOIN publishers b ON b.id = f.publisher \
             WHERE f.user_id = ? AND b.id > ? ORDER BY b.id LIMIT ?",
            values![me.as_str(), page.after(), page.fetch() as i64],
        )
        .await?;
        let page = page.cut(rows, |row| row.id.clone());
        Ok(page.map(|row| Publisher {
            id: row.id,
            name: row.name,
            followers: row.followers.unsigned_abs(),
        }))
    }
}

fn refusal(rule: &'static str, message: &'static str) -> StoreError {
    StoreError::Conflict {
        message,
        violations: vec![Violation::new("game", rule, message)],
    }
}
