//! Answers about the catalogue that are given again: what changes is seen at once where it was changed, and elsewhere
//! when the while is over; and nobody pays what a kept answer says.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Backend, SERVICE_TOKEN, TestApp, User, game, run},
    both,
    orders::rule,
};

both!(
    what_is_asked_again_is_not_read_again,
    what_a_store_changes_it_shows_at_once,
    what_somebody_has_is_shown_to_them_only,
    nothing_is_sold_for_what_was_kept,
    nobody_waits_while_it_is_asked_anew,
    a_change_is_not_undone_by_what_was_asked_before,
);

/// So long that it is not over before the test is.
const WHILE: Duration = Duration::from_hours(1);
const STAR: &str = "/v1/games/star";

async fn keeping(app: &mut TestApp) {
    app.settings.catalogue_kept = WHILE;
    // Who delivers reads the database too.
    app.nodes.clear();
    app.restart().await;
    app.quiet().await;
}

async fn look(app: &TestApp, path: &str) -> Value {
    let request = app.request(Method::GET, path, None);
    app.send(request).await.expect(200)
}

async fn price(app: &TestApp, path: &str) -> Value {
    let body = look(app, path).await;
    let game = body.get("items").map_or(&body, |items| &items[0]);
    game["price"]["minor"].clone()
}

/// Changes a game as its publisher would.
async fn put(app: &TestApp, publisher: &str, change: impl FnOnce(&mut Value)) {
    let path = format!("/v1/publishers/{publisher}/games/star");
    let request = app.request(Method::PUT, &path, Some(SERVICE_TOKEN));
    app.send(request.json(&game(change))).await.expect(200);
}

async fn what_is_asked_again_is_not_read_again(mut app: TestApp) -> TestApp {
    keeping(&mut app).await;
    let publisher = app.publisher("Oak").await;
    app.game(&publisher, "star", |_| ()).await;
    let paths = [
        "/v1/games",
        "/v1/games?q=star",
        "/v1/games/suggestions?q=st",
        "/v1/games/categories",
        STAR,
    ];
    for path in paths {
        let before = app.store().reads();
        let first = look(&app, path).await;
        let read = app.store().reads() - before;
        assert!(read > 0, "{path}");
        // The store has other things to do as well: of many times one is undisturbed.
        let mut least = u64::MAX;
        for _ in 0..50 {
            let before = app.store().reads();
            assert_eq!(look(&app, path).await, first, "{path}");
            least = least.min(app.store().reads() - before);
            if least == 0 {
                break;
            }
        }
        assert_eq!(least, 0, "{path}");
    }
    // Of another country something else is told.
    assert_eq!(price(&app, STAR).await, 1000);
    assert_eq!(price(&app, &format!("{STAR}?country=KR")).await, 12_000);
    assert_eq!(price(&app, "/v1/games?country=KR").await, 12_000);
    app
}

async fn what_a_store_changes_it_shows_at_once(mut app: TestApp) -> TestApp {
    keeping(&mut app).await;
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    for path in ["/v1/games", STAR] {
        assert_eq!(price(&app, path).await, 1000);
    }
    put(&app, &publisher, |game| game["prices"] = json!({"US": 700})).await;
    for path in ["/v1/games", STAR] {
        assert_eq!(price(&app, path).await, 700);
    }
    let ann = app.rich_user("Ann", 100).await;
    app.put(&format!("/v1/lists/likes/{star}"), &ann)
        .await
        .expect(204);
    assert_eq!(look(&app, STAR).await["likes"], 1);
    app.buy(&ann, "order-number-1", &[&star]).await.expect(201);
    let stars = json!({"stars": 4});
    let review = format!("/v1/games/{star}/review");
    app.with_body(Method::PUT, &review, &ann, stars)
        .await
        .expect(204);
    assert_eq!(look(&app, STAR).await["rating"]["sum"], 4);
    app.delete(&review, &ann).await.expect(204);
    assert_eq!(look(&app, STAR).await["rating"]["sum"], 0);
    put(&app, &publisher, |game| game["state"] = json!("withdrawn")).await;
    let items = look(&app, "/v1/games").await;
    assert_eq!(items["items"], json!([]));
    let request = app.request(Method::GET, STAR, None);
    assert_eq!(app.send(request).await.problem(404), "not_found");
    // Who owns it sees it still.
    let seen = app.get(STAR, &ann).await.expect(200);
    assert_eq!(
        (&seen["state"], &seen["mine"]),
        (&json!("withdrawn"), &json!(["library", "likes"]))
    );
    // What was bought is counted when the while is over.
    put(&app, &publisher, |_| ()).await;
    let bob = app.rich_user("Bob", 100).await;
    let sold = look(&app, STAR).await["sold"].clone();
    app.buy(&bob, "order-number-2", &[&star]).await.expect(201);
    assert_eq!(look(&app, STAR).await["sold"], sold);
    app.advance(WHILE);
    assert_eq!(look(&app, STAR).await["sold"], 2);
    app
}

async fn what_somebody_has_is_shown_to_them_only(mut app: TestApp) -> TestApp {
    keeping(&mut app).await;
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let [ann, bob] = [app.user("Ann").await, app.user("Bob").await];
    let mine = async |user: &User| app.get(STAR, user).await.expect(200)["mine"].clone();
    for _ in 0..2 {
        assert_eq!(mine(&ann).await, json!([]));
        assert_eq!(look(&app, STAR).await["mine"], json!([]));
        app.put(&format!("/v1/lists/wishlist/{star}"), &ann)
            .await
            .expect(204);
        assert_eq!(mine(&ann).await, json!(["wishlist"]));
        assert_eq!(mine(&bob).await, json!([]));
        assert_eq!(look(&app, STAR).await["mine"], json!([]));
        app.delete(&format!("/v1/lists/wishlist/{star}"), &ann)
            .await
            .expect(204);
    }
    app
}

async fn nothing_is_sold_for_what_was_kept(mut app: TestApp) -> TestApp {
    keeping(&mut app).await;
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let ann = app.rich_user("Ann", 100).await;
    assert_eq!(price(&app, STAR).await, 1000);
    // As another process on the database would change it.
    app.write(&[&format!(
        "UPDATE game_prices SET minor = 1500 WHERE game = '{star}' AND country = 'US'"
    )])
    .await;
    assert_eq!(price(&app, STAR).await, 1000);
    let told = json!({"games": [star], "expected_total": 1000});
    let order = app
        .named("/v1/orders", &ann.access, "as-it-was-told", &told)
        .await;
    assert_eq!(rule(&order.expect(409)), "price_changed");
    let order = app.buy(&ann, "whatever-it-costs", &[&star]).await;
    assert_eq!(order.expect(201)["total"]["minor"], 1500);
    app.advance(WHILE);
    assert_eq!(price(&app, STAR).await, 1500);
    app
}

#[test]
fn another_store_shows_a_change_when_the_while_is_over() {
    run(Backend::Postgres, async |mut app: TestApp| {
        keeping(&mut app).await;
        let twin = app.twin().await;
        let publisher = app.publisher("Oak").await;
        app.game(&publisher, "star", |_| ()).await;
        assert_eq!(price(&twin, STAR).await, 1000);
        put(&app, &publisher, |game| game["prices"] = json!({"US": 700})).await;
        assert_eq!(
            (price(&app, STAR).await, price(&twin, STAR).await),
            (json!(700), json!(1000))
        );
        app.advance(WHILE);
        assert_eq!(price(&twin, STAR).await, 700);
        twin.end().await;
        app
    });
}

async fn nobody_waits_while_it_is_asked_anew(mut app: TestApp) -> TestApp {
    keeping(&mut app).await;
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let now_costs = async |app: &TestApp, minor: u32| {
        app.write(&[&format!(
            "UPDATE game_prices SET minor = {minor} WHERE game = '{star}' AND country = 'US'"
        )])
        .await;
    };
    assert_eq!(price(&app, STAR).await, 1000);
    now_costs(&app, 1500).await;
    // In the first half it is not asked anew.
    app.advance(Duration::from_mins(29));
    for _ in 0..2 {
        assert_eq!(price(&app, STAR).await, 1000);
        app.quiet().await;
    }
    // In the second half those who ask are told what is known, and the database is asked once.
    app.advance(Duration::from_mins(2));
    app.quiet().await;
    let before = app.store().reads();
    let told = join_all((0..30).map(|_| price(&app, STAR))).await;
    let old_or_new = |price: &Value| *price == 1000 || *price == 1500;
    assert!(told.iter().all(old_or_new), "{told:?}");
    assert!(told.contains(&json!(1000)), "{told:?}");
    becomes(&app, STAR, 1500).await;
    assert!(
        app.store().reads() - before < 15,
        "{}",
        app.store().reads() - before
    );
    // What nobody asked for is asked for by whoever comes.
    assert_eq!(price(&app, "/v1/games").await, 1500);
    now_costs(&app, 900).await;
    app.advance(WHILE);
    assert_eq!(price(&app, STAR).await, 900);
    app
}

/// Asks until it costs so much, which it does soon.
async fn becomes(app: &TestApp, path: &str, minor: u32) {
    let soon = tokio::time::timeout(Duration::from_secs(10), async {
        while price(app, path).await != minor {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    soon.await.expect("it is asked anew");
}

async fn a_change_is_not_undone_by_what_was_asked_before(mut app: TestApp) -> TestApp {
    keeping(&mut app).await;
    let publisher = app.publisher("Oak").await;
    app.game(&publisher, "star", |_| ()).await;
    assert_eq!(price(&app, STAR).await, 1000);
    // Each time it is asked anew while it changes.
    for minor in 1001..1030 {
        app.advance(WHILE / 2);
        let change = put(&app, &publisher, |game| {
            game["prices"] = json!({"US": minor});
        });
        let (told, ()) = tokio::join!(price(&app, STAR), change);
        assert!(told == minor - 1 || told == minor, "{told} and {minor}");
        for _ in 0..5 {
            assert_eq!(price(&app, STAR).await, minor);
        }
    }
    app
}
