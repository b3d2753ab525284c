//! What a person who leaves takes along.

use sea_orm::{DatabaseTransaction, FromQueryResult};
use shared::id::UserId;

use crate::{
    error::StoreError,
    orders::Due,
    sql::{self, values},
};

#[derive(FromQueryResult)]
struct Rated {
    game: String,
    stars: i64,
}

/// Removes what `leaving` said and kept: reviews, votes, lists, searches, their guest book and what
/// they wrote in others, what they showed to whom, who they are at other providers, how long they played, what their gifts said, coupons;
/// publishers stay, without them and their webhooks. What was paid and owned stays in the books, under an id that is
/// nobody's any more.
///
/// That games are no longer rated by them is due then.
pub(crate) async fn leave(
    tx: &DatabaseTransaction,
    leaving: &UserId,
    due: &mut Due,
) -> Result<(), StoreError> {
    let rated = "SELECT game, stars FROM reviews WHERE author = ?";
    let rated: Vec<Rated> = sql::all(tx, rated, values![leaving.as_str()]).await?;
    for review in rated {
        due.unrated(&review.game, review.stars);
    }
    for statement in [
        "UPDATE reviews SET helpful = helpful - 1 WHERE EXISTS (SELECT 1 FROM review_votes v \
         WHERE v.voter = ? AND v.game = reviews.game AND v.author = reviews.author)",
        "DELETE FROM review_votes WHERE voter = ?",
        "DELETE FROM reviews WHERE author = ?",
        "DELETE FROM marks WHERE user_id = ?",
        "DELETE FROM follows WHERE user_id = ?",
        "DELETE FROM recent_searches WHERE user_id = ?",
        "DELETE FROM notices WHERE user_id = ?",
        "DELETE FROM announcements WHERE actor = ?",
        "DELETE FROM guest_book WHERE owner = ? OR author = ?",
        "DELETE FROM privacy WHERE user_id = ?",
        "DELETE FROM codes WHERE user_id = ?",
        "DELETE FROM identities WHERE user_id = ?",
        "DELETE FROM gift_card_attempts WHERE user_id = ?",
        // What was used is in the books.
        "DELETE FROM coupons WHERE user_id = ? AND used_order IS NULL",
        "DELETE FROM drop_tickets WHERE user_id = ?",
        // What a gift said; that it was given is in the books.
        "UPDATE gifts SET message = NULL WHERE giver = ?",
        "DELETE FROM play_sessions WHERE user_id = ?",
        "UPDATE library SET played_seconds = 0, played_at = NULL, installed = FALSE WHERE user_id = ?",
        // They lead to the one who leaves.
        "DELETE FROM webhooks WHERE publisher IN (SELECT id FROM publishers WHERE owner = ?)",
        "UPDATE publishers SET owner = NULL WHERE owner = ?",
    ] {
        // Each value is the same person.
        let marks = statement.matches('?').count();
        let values = vec![sea_orm::Value::from(leaving.as_str()); marks];
        sql::execute(tx, statement, values).await?;
    }
    Ok(())
}
