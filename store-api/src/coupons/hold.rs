//! Coupons that wait for a payment: while their order can be paid they are for nothing else.

use sea_orm::DatabaseTransaction;
use shared::id::UserId;

use super::{Combination, Reason};
use crate::{
    error::StoreError,
    sql::{self, values},
};

/// Keeps these coupons of `me` for a payment.
pub(crate) async fn hold(
    tx: &DatabaseTransaction,
    me: &UserId,
    payment: &str,
    combination: &Combination,
) -> Result<(), StoreError> {
    for used in &combination.used {
        let held = sql::execute(
            tx,
            "UPDATE coupons SET held_by = ? \
             WHERE id = ? AND user_id = ? AND used_order IS NULL AND held_by IS NULL",
            values![payment, used.id.as_str(), me.as_str()],
        );
        if held.await? == 0 {
            return Err(Reason::Held.refused());
        }
    }
    Ok(())
}

/// Lets the coupons of a payment be used: it is paid, or comes to nothing. Answers how many it held.
pub(crate) async fn release(tx: &DatabaseTransaction, payment: &str) -> Result<u64, StoreError> {
    let text = "UPDATE coupons SET held_by = NULL WHERE held_by = ?";
    Ok(sql::execute(tx, text, values![payment]).await?)
}
