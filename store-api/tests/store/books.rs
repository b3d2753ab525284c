//! The check of the books finds what is wrong with them: each rule, broken by hand.

use reqwest::Method;
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::json;

use crate::{
    app::{Backend, SERVICE_TOKEN, TestApp, run},
    campaigns::coupon,
    payments::{paid, set_up},
    simulator::Simulator,
};

/// What somebody with access to the database might do, and a word of the rule it breaks.
const PLANTED: &[(&str, &str)] = &[
    (
        "UPDATE postings SET amount = amount + 1 WHERE id = 1",
        "sums to zero",
    ),
    (
        "UPDATE ledger_accounts SET balance = balance + 1 WHERE kind = 'store'",
        "sum of its postings",
    ),
    (
        "UPDATE postings SET balance = balance + 1 WHERE id = 1",
        "sum up to it",
    ),
    (
        "UPDATE gift_cards SET redeemed_by = NULL, redeemed_at = NULL",
        "nobody redeemed",
    ),
    (
        "UPDATE gift_cards SET voided_at = 1 WHERE redeemed_at IS NULL AND voided_at IS NULL",
        "nor took back",
    ),
    (
        "UPDATE gift_cards SET voided_at = NULL WHERE voided_at IS NOT NULL",
        "is one transfer to the world outside",
    ),
    (
        "UPDATE transfers SET reference = reference || 'x' WHERE cause = 'gift_cards_voided'",
        "is one transfer to the world outside",
    ),
    (
        "UPDATE gift_cards SET redeemed_by = 'somebody else' WHERE redeemed_by IS NOT NULL",
        "redeemer's wallet",
    ),
    (
        "UPDATE orders SET total = total + 1 WHERE total > 0",
        "its total is that of its lines",
    ),
    (
        "UPDATE orders SET transfer = (SELECT MIN(id) FROM transfers) WHERE transfer IS NOT NULL",
        "a purchase is of one order",
    ),
    ("DELETE FROM library", "a line of an order is a licence"),
    (
        "INSERT INTO library (user_id, game, order_id, acquired_at) SELECT giver, game, gifts.order_id, 1 FROM gifts \
      JOIN order_lines l ON l.order_id = gifts.order_id WHERE state = 'waiting' LIMIT 1",
        "is a line of an order for its owner",
    ),
    (
        "UPDATE gifts SET state = 'accepted', answered_at = 1 WHERE state = 'waiting'",
        "a line of an order is a licence",
    ),
    (
        "UPDATE gifts SET state = 'declined', answered_at = 1 WHERE state = 'waiting'",
        "a line of an order is a licence",
    ),
    (
        "UPDATE gifts SET state = 'accepted' WHERE state = 'declined'",
        "a line of an order is a licence",
    ),
    (
        "UPDATE order_lines SET refunded_at = 1 WHERE refunded_at IS NULL",
        "given back is one transfer",
    ),
    (
        "UPDATE order_lines SET refunded_at = NULL WHERE refunded_at IS NOT NULL",
        "given back is one transfer",
    ),
    (
        "UPDATE transfers SET reference = reference || 'x' WHERE cause = 'refund'",
        "a refund is of one line",
    ),
    (
        "UPDATE library SET game = (SELECT MIN(id) FROM games WHERE slug = 'other')",
        "is a line of an order for its owner",
    ),
    (
        "UPDATE payments SET state = 'ready' WHERE state = 'paid'",
        "is one transfer from its provider",
    ),
    (
        "UPDATE payments SET state = 'paid' WHERE state = 'ready'",
        "is one transfer from its provider",
    ),
    (
        "UPDATE transfers SET reference = reference || 'x' WHERE cause = 'top_up'",
        "a top-up is of one payment",
    ),
    (
        "UPDATE payment_cancels SET state = 'refused' WHERE state = 'done'",
        "goes to the provider or comes back",
    ),
    (
        "UPDATE transfers SET reference = reference || 'x' WHERE cause = 'payment_cancelled'",
        "is of one cancel",
    ),
    (
        "UPDATE payments SET cancelling = 1 WHERE state = 'paid'",
        "what leaves is what",
    ),
    (
        "UPDATE payments SET order_id = (SELECT MIN(id) FROM orders) WHERE state = 'paid'",
        "a payment for an order bought it",
    ),
    (
        "UPDATE payments SET purpose = 'order' WHERE state = 'paid'",
        "or says why not",
    ),
    (
        "UPDATE payments SET state = 'cancelled' WHERE state = 'partly_cancelled'",
        "its state says so",
    ),
    (
        "UPDATE order_coupons SET discount = discount + 1",
        "what its lines cost less",
    ),
    (
        "UPDATE order_lines SET discount = 5 WHERE discount = 0",
        "what its lines cost less",
    ),
    (
        "UPDATE coupons SET used_order = NULL, used_at = NULL WHERE used_order IS NOT NULL",
        "used by one order",
    ),
    (
        "UPDATE coupons SET used_order = (SELECT MIN(id) FROM orders), used_at = 1 WHERE used_order IS NULL",
        "used by one order",
    ),
    (
        "UPDATE coupons SET held_by = (SELECT id FROM payments WHERE state = 'ready') WHERE used_order IS NOT NULL",
        "used by nothing meanwhile",
    ),
    (
        "UPDATE coupons SET held_by = (SELECT MIN(id) FROM payments WHERE state = 'paid') WHERE used_order IS NULL",
        "held by a payment",
    ),
    (
        "UPDATE campaigns SET issued = issued - 1 WHERE issued > 0",
        "than were given out",
    ),
];

#[test]
fn every_rule_is_found_broken() {
    run(Backend::Sqlite, every_rule);
}

async fn every_rule(mut app: TestApp) -> TestApp {
    // Something of everything: payments that wait, are paid and partly paid back, a card that waits, a
    // purchase, a refund, gifts that wait and came back.
    let simulator = Simulator::start(&[]);
    let payer = set_up(&mut app, &simulator).await;
    let mut paid_for = Vec::new();
    for key in ["paid-and-kept", "paid-and-returned"] {
        paid_for.push(paid(&app, &simulator, &payer, ("toss", key), 5000).await);
    }
    let path = format!("/v1/payments/{}/cancel", paid_for[1]);
    let part = json!({"amount": 2000});
    app.named(&path, &payer.access, "paid-back", &part)
        .await
        .expect(200);
    let waiting = json!({"provider": "toss", "amount": 10});
    app.named("/v1/payments", &payer.access, "not-paid-yet", &waiting)
        .await
        .expect(201);
    let publisher = app.publisher("Oak").await;
    let mut games = Vec::new();
    for slug in ["star", "moon", "other"] {
        games.push(app.game(&publisher, slug, |_| ()).await);
    }
    let (ann, bob) = (app.rich_user("Ann", 50).await, app.user("Bob").await);
    app.befriend(&ann, &bob).await;
    app.gift_cards(500, "USD", 1).await;
    let cards = json!({"amount": 300, "currency": "USD", "cards": 2});
    let batch = app.named("/v1/gift-cards", SERVICE_TOKEN, "taken-back", &cards);
    let batch = batch.await.expect(201)["batch"].clone();
    let path = format!("/v1/gift-cards/{}", batch.as_str().unwrap());
    app.service(Method::DELETE, &path).await.expect(200);
    let part = coupon(&app, &ann, |_| ()).await;
    coupon(&app, &ann, |_| ()).await;
    let body = json!({"games": [games[0]], "coupons": [part]});
    app.named("/v1/orders", &ann.access, "bought-to-keep", &body)
        .await
        .expect(201);
    let order = app.buy(&ann, "bought-to-return", &[&games[1]]).await;
    let order = order.expect(201);
    let path = format!("/v1/orders/{}/refund", order["id"].as_str().unwrap());
    app.named(&path, &ann.access, "given-back", &json!({}))
        .await
        .expect(200);
    for key in ["declined-gift", "waiting-gift"] {
        let body = json!({"recipient": bob.id, "games": [games[1]]});
        let gift = app.named("/v1/gifts", &ann.access, key, &body).await;
        let gift = gift.expect(201);
        if key == "declined-gift" {
            let path = format!("/v1/gifts/{}/decline", gift["id"].as_str().unwrap());
            app.put(&path, &bob).await.expect(200);
        }
    }
    app.check_ledger().await;

    let url = format!("sqlite:{}", app.data_dir.path().join("store.db").display());
    let database = Database::connect(url).await.unwrap();
    database
        .execute_unprepared("PRAGMA foreign_keys = OFF; PRAGMA busy_timeout = 5000")
        .await
        .unwrap();
    for (statement, rule) in PLANTED {
        let copy = app.data_dir.path().join("before.db");
        let _ = std::fs::remove_file(&copy);
        let keep = format!("VACUUM INTO '{}'", copy.display());
        database.execute_unprepared(&keep).await.unwrap();
        let tables = "ledger_accounts transfers postings gift_cards orders order_lines library gifts payments payment_cancels \
             campaigns coupons order_coupons";
        let changed = database.execute_unprepared(statement).await.unwrap();
        assert!(changed.rows_affected() > 0, "{statement}");
        let report = app.store().check_ledger().await.unwrap();
        let found = report.faults.iter().any(|fault| fault.rule.contains(rule));
        assert!(found, "{statement}: {report:?}");
        // And back.
        let mut undo = format!("ATTACH '{}' AS kept;", copy.display());
        for table in tables.split(' ') {
            undo.push_str(
                &[
                    "DELETE FROM main.",
                    table,
                    "; INSERT INTO main.",
                    table,
                    " SELECT * FROM kept.",
                    table,
                    ";",
                ]
                .concat(),
            );
        }
        undo += "DETACH kept;";
        database.execute_unprepared(&undo).await.unwrap();
        app.check_ledger().await;
    }
    database.close().await.unwrap();
    app
}
