//! A friend bought a game that somebody wishes for: they are told, if the buyer shows their library
//! to friends.

use std::collections::BTreeMap;

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::id::UserId;

use super::Order;
use crate::{
    announcements::{PAGE, Progress, Told},
    error::StoreError,
    notices::{News, Topic},
    privacy::{Section, kept_from_all},
    sql::{self, values},
    store::{Store, stored_id},
};

/// How many wishes a page reads at most, and so how many people it tells.
const WISHES: usize = PAGE;
/// How many values say what somebody bought.
const COLUMNS: usize = 5;

/// Somebody bought games.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bought {
    buyer: UserId,
    order: String,
    /// Titles by ids.
    games: BTreeMap<String, String>,
}

/// A friend's wish for a game that somebody bought.
#[derive(FromQueryResult)]
struct WishRow {
    /// Which of the purchases, from 0.
    place: i64,
    name: Option<String>,
    friend: String,
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
    /// The next page of the buyers' friends, and what those are told who wish for one of the games; all of it is one
    /// statement, however many purchases there are. What they see of a buyer, and what the buyer has given back, is as it now stands.
    pub(crate) async fn friends_to_tell(
        &self,
        tx: &DatabaseTransaction,
        purchases: &[(Bought, Progress)],
    ) -> Result<Told, StoreError> {
        let mut values = Vec::new();
        for (place, (bought, progress)) in purchases.iter().enumerate() {
            for game in bought.games.keys() {
                values.extend(values![
                    place as i64,
                    bought.buyer.as_str(),
                    bought.order.as_str(),
                    game.as_str(),
                    progress.told_up_to.as_str()
                ]);
            }
        }
        if values.is_empty() {
            return Ok(Told {
                done: purchases.len(),
                ..Told::default()
            });
        }
        let rows = vec![sql::list(COLUMNS); values.len() / COLUMNS].join(", ");
        let text = format!(
            "WITH sold (place, buyer, order_id, game, told_up_to) AS (VALUES {rows}) \
             SELECT s.place, u.name, r.other AS friend, s.game FROM sold s \
             JOIN library l ON l.user_id = s.buyer AND l.game = s.game AND l.order_id = s.order_id \
             JOIN users u ON u.id = s.buyer AND u.withdrawn_at IS NULL AND NOT {} \
             JOIN relations r ON r.owner = s.buyer AND r.state = 'friend' AND r.other > s.told_up_to \
             JOIN marks m ON m.user_id = r.other AND m.list = 'wishlist' AND m.game = s.game \
             ORDER BY s.place, r.other, s.game LIMIT ?",
            kept_from_all(Section::Library, "u.id")
        );
        values.push((WISHES as i64).into());
        let wishes: Vec<WishRow> = sql::all(tx, &text, values).await?;
        let mut told = Told::default();
        let full = wishes.len() >= WISHES;
        let mut friends = wishes
            .chunk_by(|one, other| (one.place, &one.friend) == (other.place, &other.friend))
            .peekable();
        while let Some(wishes) = friends.next() {
            // Of the last there may be more, and whoever is the only one has more wishes than a page.
            if full && friends.peek().is_none() && !told.news.is_empty() {
                break;
            }
            let WishRow {
                place,
                name,
                friend,
                ..
            } = &wishes[0];
            let (bought, _) = &purchases[*place as usize];
            let games = wishes.iter().map(|wish| {
                let title = bought.games.get(&wish.game);
                json!({"id": wish.game, "title": title})
            });
            told.news.push(News {
                user: stored_id(friend)?,
                topic: Topic::FriendBought,
                data: json!({
                    "friend": {"id": bought.buyer, "name": name},
                    "games": games.collect::<Vec<_>>(),
                }),
            });
            told.done = *place as usize;
            told.up_to = Some(friend.clone());
        }
        if !full {
            told.done = purchases.len();
            told.up_to = None;
        }
        Ok(told)
    }
}
