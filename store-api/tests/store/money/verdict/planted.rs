//! The verdict finds what is wrong: each thing, planted.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;

use super::{Licence, Line, Payment, Verdict, differences};
use crate::money::shop::Shop;

type Plant = fn(&mut Verdict);

/// What is wrong, and how it comes about.
const PLANTED: &[(&str, Plant)] = &[
    ("money that came from nowhere", |verdict| {
        *verdict.balances.get_mut("wallet:ann:KRW").unwrap() += 1;
    }),
    ("a provider that owes less than it took", |verdict| {
        *verdict.balances.get_mut("outside:toss:KRW").unwrap() += 1;
    }),
    ("paid for, and not owned", |verdict| {
        verdict.library.pop();
    }),
    ("owned, and not paid for", |verdict| {
        verdict.library.push(licence("bob", "g9", "o1"));
    }),
    ("owned by another than whom it was given to", |verdict| {
        verdict.library[1] = licence("ann", "g2", "o2");
    }),
    ("paid for twice", |verdict| {
        verdict.lines.push(line(("o4", None), "ann", "g1", 0, None));
        verdict.library.push(licence("ann", "g1", "o4"));
    }),
    ("a gift that was declined, and not paid back", |verdict| {
        verdict.lines[2].refunded_at = None;
        *verdict.balances.get_mut("wallet:ann:KRW").unwrap() -= 100;
    }),
    ("a payment that bought nothing", |verdict| {
        verdict.payments[1].order_id = None;
    }),
    ("an order that was told, and is not there", |verdict| {
        verdict.lines.remove(2);
    }),
    ("a gift that stands as nobody was told", |verdict| {
        verdict.lines[2].gift = Some("taken_back".to_owned());
    }),
];

fn licence(user: &str, game: &str, order: &str) -> Licence {
    Licence {
        user_id: user.to_owned(),
        game: game.to_owned(),
        order_id: order.to_owned(),
    }
}

/// What Ann bought, for herself or somebody else.
fn line(
    (order, gift): (&str, Option<&str>),
    owner: &str,
    game: &str,
    price: i64,
    refunded_at: Option<i64>,
) -> Line {
    Line {
        order_id: order.to_owned(),
        buyer: "ann".to_owned(),
        owner: owner.to_owned(),
        gift: gift.map(str::to_owned),
        game: game.to_owned(),
        price,
        refunded_at,
    }
}

fn payment(id: &str, state: &str, order: Option<&str>, amount: i64, cancelled: i64) -> Payment {
    Payment {
        id: id.to_owned(),
        user_id: "ann".to_owned(),
        state: state.to_owned(),
        purpose: order.map_or("top_up", |_| "order").to_owned(),
        failure: None,
        amount,
        cancelled,
        cancelling: 0,
        order_id: order.map(str::to_owned),
    }
}

/// Ann charged her wallet, of which some went back; she had a provider be paid for a game, and gave Bob two from
/// her wallet, of which he took one. He redeemed a card.
fn sound() -> Verdict {
    let books = json!({"payments": [
        {"provider": "toss", "order": "p1", "taken": 1000, "cancelled": 300},
        {"provider": "kakao_pay", "order": "p2", "taken": 500, "cancelled": 0},
    ]});
    let balances = [
        ("outside:toss:KRW", -700),
        ("outside:kakao_pay:KRW", -500),
        ("wallet:ann:KRW", 500),
        ("wallet:bob:KRW", 50),
    ];
    Verdict {
        books,
        payments: vec![
            payment("p1", "partly_cancelled", None, 1000, 300),
            payment("p2", "paid", Some("o1"), 500, 0),
        ],
        lines: vec![
            line(("o1", None), "ann", "g1", 500, None),
            line(("o2", Some("accepted")), "bob", "g2", 200, None),
            line(("o3", Some("declined")), "bob", "g3", 100, Some(1)),
        ],
        library: vec![licence("ann", "g1", "o1"), licence("bob", "g2", "o2")],
        balances: balances.map(|(name, sum)| (name.to_owned(), sum)).into(),
        cards: [("bob".to_owned(), 50)].into(),
        cheaper: 0,
    }
}

#[test]
fn what_is_wrong_in_the_end_is_found() {
    let shop = Shop::new(String::new());
    {
        let mut told = shop.told.lock();
        told.orders = ["o1", "o2", "o3"].map(str::to_owned).into();
        told.gifts = [("o2", "accepted"), ("o3", "declined")]
            .map(|(gift, state)| (gift.to_owned(), state.to_owned()))
            .into();
    }
    sound().hold(&shop);
    for (what, plant) in PLANTED {
        let mut verdict = sound();
        plant(&mut verdict);
        let held = catch_unwind(AssertUnwindSafe(|| verdict.hold(&shop)));
        assert!(held.is_err(), "not found: {what}");
    }
}

#[test]
fn payments_that_differ_from_the_providers_are_found() {
    let of = |change: Plant| {
        let mut verdict = sound();
        change(&mut verdict);
        differences(&verdict.books, &verdict.payments).len()
    };
    assert_eq!(of(|_| ()), 0);
    assert_eq!(of(|verdict| verdict.payments[0].cancelled = 0), 1);
    assert_eq!(of(|verdict| verdict.payments[0].cancelling = 1), 1);
    assert_eq!(
        of(|verdict| verdict.payments[1].state = "expired".to_owned()),
        1
    );
    assert_eq!(
        of(|verdict| verdict.payments[1].state = "approving".to_owned()),
        1
    );
    // Taken by a provider for nobody.
    assert_eq!(of(|verdict| drop(verdict.payments.pop())), 1);
}
