//! Several processes on one PostgreSQL: what one does holds in the others at once.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shared::{auth::SigningKey, settings::Secret};
use store_api::Store;

use crate::{
    app::{Backend, PASSWORD, TestApp, User, run},
    campaigns::coupon,
    notices::{is_price, told_of_a_price},
    postgres,
    receiver::Receiver,
    webhooks::{buy, open, subscribe},
};

#[test]
fn what_one_revokes_the_other_denies_at_once() {
    run(Backend::Postgres, async |app: TestApp| {
        let twin = app.twin().await;
        let ann = app.user("Ann").await;
        assert_eq!(twin.me_status(&ann.access).await, 200);
        twin.send(twin.request(Method::POST, "/v1/auth/logout", Some(&ann.access)))
            .await
            .expect(204);
        assert_eq!(app.me_status(&ann.access).await, 401);
        let again = User::of(
            &twin.login(&ann.email, PASSWORD).await.expect(200),
            ann.email,
        );
        app.send(app.request(Method::POST, "/v1/auth/logout-all", Some(&again.access)))
            .await
            .expect(204);
        assert_eq!(twin.me_status(&again.access).await, 401);
        twin.end().await;
        app
    });
}

#[test]
fn of_two_processes_that_exchange_one_token_one_wins() {
    run(Backend::Postgres, async |app: TestApp| {
        let twin = app.twin().await;
        for _ in 0..5 {
            let ann = app.user("Ann").await;
            let (one, other) = tokio::join!(app.refresh(&ann.refresh), twin.refresh(&ann.refresh));
            let won = [one, other]
                .into_iter()
                .filter(|answer| answer.status == 200)
                .count();
            assert!(won <= 1, "{won}");
        }
        twin.end().await;
        app
    });
}

#[test]
fn requests_that_cross_between_processes_become_one_friendship() {
    run(Backend::Postgres, async |app: TestApp| {
        let twin = app.twin().await;
        for _ in 0..5 {
            let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
            let (to_bob, to_ann) = (
                format!("/v1/friends/{}", bob.id),
                format!("/v1/friends/{}", ann.id),
            );
            let (one, other) = tokio::join!(app.put(&to_bob, &ann), twin.put(&to_ann, &bob));
            one.expect(200);
            other.expect(200);
            assert_eq!(app.sees(&ann, &bob).await.as_deref(), Some("friend"));
            assert_eq!(twin.sees(&bob, &ann).await.as_deref(), Some("friend"));
        }
        twin.end().await;
        app
    });
}

#[test]
fn events_of_one_pair_keep_their_order_whoever_delivers() {
    // Two relays read one table: neither may pass a batch on while the other still holds an
    // earlier one.
    run(Backend::Postgres, async |app: TestApp| {
        let twin = app.twin().await;
        let mut pairs = Vec::new();
        for _ in 0..4 {
            pairs.push((app.user("Ann").await, app.user("Bob").await));
        }
        let turns = pairs.iter().map(async |(ann, bob)| {
            let path = format!("/v1/friends/{}", bob.id);
            for _ in 0..10 {
                app.put(&path, ann).await.expect(200);
                twin.delete(&path, ann).await.expect(204);
            }
        });
        join_all(turns).await;
        let node = &app.nodes[0];
        let states = |ann: &User| -> Vec<Value> {
            let events = node.events();
            let of_ann = events
                .iter()
                .filter(|event| event["a"]["id"] == ann.id.as_str());
            of_ann.map(|event| event["state"].clone()).collect()
        };
        for (ann, bob) in &pairs {
            node.wait_for(|_| states(ann).len() >= 20).await;
            assert_eq!(states(ann), ["outgoing", "none"].repeat(10), "{}", bob.name);
        }
        twin.end().await;
        app
    });
}

#[test]
fn two_processes_sell_a_game_and_redeem_a_card_once() {
    run(Backend::Postgres, async |app: TestApp| {
        let twin = app.twin().await;
        let publisher = app.publisher("Oak").await;
        let mut games = Vec::new();
        for number in 0..3 {
            games.push(
                app.game(&publisher, &format!("game-{number}"), |_| ())
                    .await,
            );
        }
        let codes = app.gift_cards(2000, "USD", 3).await;
        let mut owned = 0;
        for code in &codes {
            let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
            let (one, other) = tokio::join!(app.redeem(&ann, code), twin.redeem(&bob, code));
            let statuses = [one.status.as_u16(), other.status.as_u16()];
            assert!(
                statuses == [200, 404] || statuses == [404, 200],
                "{statuses:?}"
            );
            let winner = if statuses[0] == 200 { ann } else { bob };
            // 20.00 is enough for two of three that cost 10.00 each; each is tried by both.
            let tries = games.iter().enumerate().flat_map(|(number, game)| {
                let (winner, app, twin) = (&winner, &app, &twin);
                [app, twin].into_iter().enumerate().map(move |(at, store)| {
                    let key = format!("process-{at}-game-{number}");
                    async move { store.buy(winner, &key, &[game]).await.status.as_u16() }
                })
            });
            let bought = join_all(tries).await;
            assert_eq!(bought.iter().filter(|status| **status == 201).count(), 2);
            assert!(
                bought.iter().all(|status| [201, 409].contains(status)),
                "{bought:?}"
            );
            assert_eq!(twin.balance(&winner).await, 0);
            owned += 2;
        }
        let sold = app
            .send(app.request(Method::GET, "/v1/games", None))
            .await
            .expect(200);
        let sold = sold["items"].as_array().unwrap().iter();
        assert_eq!(
            sold.map(|game| game["sold"].as_i64().unwrap()).sum::<i64>(),
            owned
        );
        app.check_ledger().await;
        twin.end().await;
        app
    });
}

#[tokio::test]
async fn processes_that_start_together_make_one_schema() {
    let url = postgres::database().await;
    let mut settings = crate::app::settings();
    settings.database_url = Some(Secret::new(url.clone()));
    settings.database_connections = 2;
    let key = SigningKey::from_secret(&[7; 32]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let opened =
        join_all((0..4).map(|_| Store::open(&settings, dir.path(), &key, "fireside"))).await;
    for store in opened {
        store.unwrap().close().await;
    }
    postgres::drop(&url).await;
}

#[test]
fn two_processes_tell_many_of_a_price_and_each_once() {
    run(Backend::Postgres, async |app: TestApp| {
        let twin = app.twin().await;
        let publisher = app.publisher("Oak").await;
        let node = app.nodes[0].clone();
        let star = app.game(&publisher, "star", |_| ()).await;
        app.wishers(&star, 600).await;
        // From both, one after the other: each wakes its own.
        for (store, price, told) in [(&app, 900, 600), (&twin, 800, 1200), (&app, 700, 1800)] {
            let change = |game: &mut Value| game["prices"] = json!({"US": price});
            store.game(&publisher, "star", change).await;
            let events = node.wait_for_all(told, is_price).await;
            assert_eq!(told_of_a_price(&events[told - 600..]).len(), 600);
        }
        twin.end().await;
        app
    });
}

#[test]
fn two_processes_send_each_event_once() {
    run(Backend::Postgres, async |mut app: TestApp| {
        let operator = open(&mut app).await;
        let twin = app.twin().await;
        let receiver = Receiver::start().await;
        let hook = subscribe(&app, &operator, &receiver, &["order.paid"]).await;
        let publisher = app.publisher("Oak").await;
        let free = |game: &mut Value| game["prices"] = json!({"US": 0});
        let star = app.game(&publisher, "star", free).await;
        let mut people = Vec::new();
        for _ in 0..40 {
            people.push(app.user("Ann").await);
        }
        let purchases = people.iter().enumerate().map(|(number, user)| {
            let store = if number % 2 == 0 { &app } else { &twin };
            let star = star.as_str();
            async move { buy(store, user, "the-only-order", &[star]).await }
        });
        join_all(purchases).await;
        receiver.wait_for(40).await;
        // Long enough for either to look again.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(receiver.letters().len(), 40);
        let events = receiver.events();
        assert_eq!(events.len(), 40, "each by one of them");
        for event in &events {
            event.check(&hook.secret);
        }
        twin.end().await;
        app
    });
}

#[test]
fn of_two_processes_one_uses_a_coupon() {
    run(Backend::Postgres, async |app: TestApp| {
        let twin = app.twin().await;
        let publisher = app.publisher("Oak").await;
        let ann = app.rich_user("Ann", 100).await;
        for round in 0..5 {
            let mut games = Vec::new();
            for number in 0..2 {
                let slug = format!("game-{round}-{number}");
                games.push(app.game(&publisher, &slug, |_| ()).await);
            }
            let part = coupon(&app, &ann, |_| ()).await;
            let buy = async |store: &TestApp, game: &String| {
                let body = json!({"games": [game], "coupons": [part]});
                let answer = store.named("/v1/orders", &ann.access, game, &body).await;
                answer.status.as_u16()
            };
            let mut statuses: [u16; 2] =
                tokio::join!(buy(&app, &games[0]), buy(&twin, &games[1])).into();
            statuses.sort_unstable();
            assert_eq!(statuses, [201, 409]);
        }
        app.check_ledger().await;
        twin.end().await;
        app
    });
}
