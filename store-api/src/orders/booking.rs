//! An order in the books: the money and the lines.

use sea_orm::DatabaseTransaction;
use shared::id::UserId;

use super::{Due, Order, pricing::Priced};
use crate::{
    error::StoreError,
    ledger::{Account, Cause, Transfer},
    money::Money,
    sql::{self, values},
};

/// Writes an order of `payer` down.
pub(super) async fn book(
    tx: &DatabaseTransaction,
    payer: &UserId,
    priced: &Priced,
) -> Result<Due, StoreError> {
    let transfer = transfer(tx, payer, priced).await?;
    let id = transfer.as_ref().map(|transfer| transfer.id().to_owned());
    write_down(tx, payer, priced, id).await?;
    let mut due = Due::default();
    due.transfers(transfer);
    for line in &priced.order.lines {
        due.sold(&line.game, 1);
    }
    Ok(due)
}

/// How the money is to move. Nothing moves for what costs nothing.
async fn transfer(
    tx: &DatabaseTransaction,
    payer: &UserId,
    priced: &Priced,
) -> Result<Option<Transfer>, StoreError> {
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
    let transfer = Transfer::write(tx, order.at, Cause::Purchase, &order.id, &legs).await?;
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
    Ok(())
}
