//! A friend bought a game that somebody wishes for: they are told, if the buyer shows their library
//! to friends.

use std::collections::BTreeMap;

use sea_orm::{DatabaseTransaction, FromQueryResult, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::id::UserId;

use super::{GameRow, Order};
use crate::{
    announcements::{PAGE, Progress, Told},
    error::StoreError,
    notices::{News, Topic},
    privacy::{Section, kept_from_all},
    sql::{self, values},
    store::{Store, stored_id},
};

/// Somebody bought games.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bought {
    buyer: UserId,
    order: String,
    /// Titles by ids.
    games: BTreeMap<String, String>,
}

#[derive(FromQueryResult)]
struct BuyerRow {
    name: Option<String>,
}

#[derive(FromQueryResult)]
struct FriendRow {
    other: String,
}

#[derive(FromQueryResult)]
struct WishRow {
    user_id: String,
    game: String,
}

impl Bought {
    pub(super) fn of(buyer: &UserId, order: &Order) -> Self {
        let game = |line: &super::OrderLine| (line.game.clone(), line.title.clone());
        Self {
            buyer: buyer.clone(),
            order: order.id.clone(),
            games: order.lines.iter().map(game).collect(),
        }
    }
}

impl Store {
    /// The next page of the buyer's friends, and what those are told who wish for one of the games.
    /// What they see of the buyer, and what the buyer has given back, is as it now stands.
    pub(crate) async fn friends_to_tell(
        &self,
        tx: &DatabaseTransaction,
        bought: &Bought,
        progress: &Progress,
    ) -> Result<Told, StoreError> {
        let buyer = bought.buyer.as_str();
        let shown = format!(
            "SELECT u.name FROM users u WHERE u.id = ? AND u.withdrawn_at IS NULL AND NOT {}",
            kept_from_all(Section::Library, "u.id")
        );
        let shown: Option<BuyerRow> = sql::one(tx, &shown, values![buyer]).await?;
        let owned: Vec<GameRow> = sql::all(
            tx,
            "SELECT game FROM library WHERE user_id = ? AND order_id = ?",
            values![buyer, bought.order.as_str()],
        )
        .await?;
        let Some(BuyerRow { name }) = shown.filter(|_| !owned.is_empty()) else {
            return Ok(Told::default());
        };
        let friends: Vec<FriendRow> = sql::all(
            tx,
            "SELECT other FROM relations WHERE owner = ? AND state = 'friend' AND other > ? \
             ORDER BY other LIMIT ?",
            values![buyer, progress.told_up_to.as_str(), PAGE as i64],
        )
        .await?;
        let friends: Vec<String> = friends.into_iter().map(|row| row.other).collect();
        if friends.is_empty() {
            return Ok(Told::default());
        }
        let text = format!(
            "SELECT user_id, game FROM marks WHERE list = 'wishlist' AND user_id IN {} AND game IN {} \
             ORDER BY user_id, game",
            sql::list(friends.len()),
            sql::list(owned.len())
        );
        let values = friends.iter().map(|friend| Value::from(friend.as_str()));
        let games = owned.iter().map(|row| Value::from(row.game.as_str()));
        let wishes: Vec<WishRow> = sql::all(tx, &text, values.chain(games).collect()).await?;
        let from = json!({"id": buyer, "name": name});
        let mut news = Vec::new();
        for wishes in wishes.chunk_by(|one, other| one.user_id == other.user_id) {
            let games = wishes.iter().map(|wish| {
                let title = bought.games.get(&wish.game);
                json!({"id": wish.game, "title": title})
            });
            news.push(News {
                user: stored_id(&wishes[0].user_id)?,
                topic: Topic::FriendBought,
                data: json!({"friend": from, "games": games.collect::<Vec<_>>()}),
            });
        }
        Ok(Told::page(news, &friends))
    }
}
