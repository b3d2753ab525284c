//! An order in the books: the money, the lines, how often a game was sold.

use sea_orm::DatabaseTransaction;
use shared::id::UserId;

use super::{Order, pricing::Priced};
use crate::{
    error::StoreError,
    ledger::{Account, Cause, post},
    money::Money,
    sql::{self, values},
    store::Store,
};

impl Store {
    /// Takes what an order costs from the wallet of `payer`, and writes it down.
    pub(super) async fn book(
        &self,
        tx: &DatabaseTransaction,
        payer: &UserId,
        priced: &Priced,
    ) -> Result<(), StoreError> {
        let transfer = pay(tx, payer, priced).await?;
        write_down(tx, payer, priced, transfer).await
    }
}

/// Moves the money. Nothing moves for what costs nothing.
async fn pay(
    tx: &DatabaseTransaction,
    payer: &UserId,
    priced: &Priced,
) -> Result<Option<String>, StoreError> {
    let order = &priced.order;
    if order.total.minor() == 0 {
        return Ok(None);
    }
    let mut legs = vec![(Account::Wallet(payer.clone()), order.total.negated())];
    for (line, part) in order.lines.iter().zip(&priced.parts) {
        let earned = Money::new(line.price.minor() - part.kept, line.price.currency());
        legs.push((Account::Store, Money::new(part.kept, line.price.currency())));
        legs.push((Account::Publisher(part.publisher.clone()), earned));
    }
    let transfer = post(tx, order.at, Cause::Purchase, &order.id, &legs).await?;
    Ok(Some(transfer))
}

async fn write_down(
    tx: &DatabaseTransaction,
    payer: &UserId,
    priced: &Priced,
    transfer: Option<String>,
) -> Result<(), StoreError> {
    let order: &Order = &priced.order;
    sql::execute(
        tx,
        "INSERT INTO orders (id, buyer, country, currency, total, transfer, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        values![
            order.id.as_str(),
            payer.as_str(),
            order.country.code(),
            order.total.currency().code(),
            order.total.minor(),
            transfer,
            order.at.as_millis()
        ],
    )
    .await?;
    let lines = order.lines.iter().zip(&priced.parts).map(|(line, part)| {
        values![
            order.id.as_str(),
            line.game.as_str(),
            line.title.as_str(),
            line.price.minor(),
            line.discount.minor(),
            part.kept
        ]
    });
    let rows = vec![sql::list(6); order.lines.len()].join(", ");
    let insert = format!(
        "INSERT INTO order_lines (order_id, game, title, price, discount, store_share) VALUES {rows}"
    );
    sql::execute(tx, &insert, lines.flatten().collect()).await?;
    for line in &order.lines {
        // In order of their ids, so that two orders cannot wait for each other.
        let sold = "UPDATE games SET sold = sold + 1 WHERE id = ?";
        sql::execute(tx, sold, values![line.game.as_str()]).await?;
    }
    Ok(())
}
