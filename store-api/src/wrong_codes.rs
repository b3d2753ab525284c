//! Codes that people enter, of gift cards and of coupons, and how many each may get wrong.

use std::time::Duration;

use sea_orm::{DatabaseTransaction, FromQueryResult};
use shared::id::UserId;

use crate::{
    error::StoreError,
    sql::{self, values},
    store::Store,
};

/// Codes that one person may get wrong within [`WINDOW`].
const ATTEMPTS: i64 = 10;
const WINDOW: Duration = Duration::from_hours(1);

#[derive(FromQueryResult)]
struct Attempts {
    failures: i64,
    began_at: i64,
}

impl Store {
    /// Counts an attempt of `me` at a code, and refuses it if there were too many. The row stays
    /// locked, so that attempts of one person take turns and none slips by.
    pub(crate) async fn count_code(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
    ) -> Result<(), StoreError> {
        let now = self.now().as_millis();
        let window = WINDOW.as_millis() as i64;
        let attempts: Option<Attempts> = sql::one(
            tx,
            "INSERT INTO gift_card_attempts (user_id, failures, began_at) VALUES (?, 1, ?) \
             ON CONFLICT (user_id) DO UPDATE SET \
             failures = CASE WHEN gift_card_attempts.began_at <= ? THEN 1 ELSE gift_card_attempts.failures + 1 END, \
             began_at = CASE WHEN gift_card_attempts.began_at <= ? THEN ? ELSE gift_card_attempts.began_at END \
             RETURNING failures, began_at",
            values![me.as_str(), now, now - window, now - window, now],
        )
        .await?;
        match attempts {
            Some(attempts) if attempts.failures > ATTEMPTS => {
                let wait = (attempts.began_at + window - now).max(1);
                Err(StoreError::TooOften(Duration::from_millis(
                    wait.unsigned_abs(),
                )))
            }
            _ => Ok(()),
        }
    }

    /// Takes an attempt back: the code was right.
    pub(crate) async fn forgive_code(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
    ) -> Result<(), StoreError> {
        sql::execute(
            tx,
            "UPDATE gift_card_attempts SET failures = failures - 1 WHERE user_id = ?",
            values![me.as_str()],
        )
        .await?;
        Ok(())
    }
}
