//! What a transaction about money does last.

use std::collections::BTreeMap;

use sea_orm::DatabaseTransaction;

use crate::{
    error::StoreError,
    ledger::{self, Transfer},
    sql::{self, values},
};

/// Changes that are left to be made when everything else is written down.
///
/// All purchases change the same few rows, of the store's account and of publishers and games that many buy, and
/// whoever has changed one keeps the others waiting until the end of the transaction. So they are changed last, and all
/// together: accounts in order of their names, and then games in order of their ids, so that no two transactions can wait
/// for each other.
#[derive(Default)]
#[must_use = "nothing is paid"]
pub(crate) struct Due {
    transfers: Vec<Transfer>,
    games: BTreeMap<String, Tally>,
}

/// What is added to what is counted of a game.
#[derive(Default)]
struct Tally {
    sold: i64,
    ratings: i64,
    stars: i64,
}

impl Due {
    /// Money is to move.
    pub(crate) fn transfers(&mut self, transfers: impl IntoIterator<Item = Transfer>) {
        self.transfers.extend(transfers);
    }

    /// A game was sold so many times more.
    pub(crate) fn sold(&mut self, game: &str, more: i64) {
        self.tally(game).sold += more;
    }

    /// A review with so many stars is gone.
    pub(crate) fn unrated(&mut self, game: &str, stars: i64) {
        let tally = self.tally(game);
        tally.ratings -= 1;
        tally.stars -= stars;
    }

    fn tally(&mut self, game: &str) -> &mut Tally {
        self.games.entry(game.to_owned()).or_default()
    }

    /// Makes the changes. Refused where an account may not hold, or has not, what would move.
    pub(crate) async fn settle(self, tx: &DatabaseTransaction) -> Result<(), StoreError> {
        ledger::carry_out(tx, &self.transfers).await?;
        for (game, tally) in self.games {
            sql::execute(
                tx,
                "UPDATE games SET sold = sold + ?, rating_count = rating_count + ?, \
                 rating_sum = rating_sum + ? WHERE id = ?",
                values![tally.sold, tally.ratings, tally.stars, game],
            )
            .await?;
        }
        Ok(())
    }
}
