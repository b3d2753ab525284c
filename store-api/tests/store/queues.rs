//! Queues before drops: first come, first admitted, at the rate that was set; and what a pass is good for.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use loadtest::cluster::RedisServer;
use reqwest::Method;
use serde_json::{Value, json};
use shared::id::Timestamp;

use crate::{
    app::{Answer, Backend, TestApp, User, run},
    both,
    campaigns::campaign,
    drops::link,
    orders::rule,
};

both!(
    people_are_admitted_in_their_order_and_at_the_rate,
    a_pass_is_for_its_owner_and_its_drop,
    nobody_waits_for_what_is_gone,
    a_pass_that_lapsed_is_a_place_lost,
    who_leaves_or_does_not_ask_waits_no_more,
    whoever_is_there_is_told_their_rank,
    a_restart_changes_nobodys_place,
);

/// A drop that opens in five minutes and has a queue, or what `change` makes of it.
async fn queue(app: &TestApp, rate: i64, change: impl FnOnce(&mut Value)) -> String {
    campaign(app, |body| {
        body["drop"] = json!(true);
        body["quantity"] = json!(1000);
        body["queue_rate"] = json!(rate);
        body["opens_at"] = json!(Timestamp::now().as_millis() + SOON.as_millis() as i64);
        change(body);
    })
    .await
}

/// The numbers of those whose turn it is or was.
const ADMITTED: &str =
    "SELECT number FROM drop_tickets WHERE admitted_until IS NOT NULL ORDER BY number";
/// When a drop opens, as long as access tokens are good.
const SOON: Duration = Duration::from_mins(5);

/// One that is open.
async fn open_queue(app: &TestApp, rate: i64) -> String {
    queue(app, rate, |body| body["opens_at"] = json!(null)).await
}

async fn join(app: &TestApp, user: &User, drop: &str) -> Value {
    let answer = app.put(&format!("/v1/drops/{drop}/queue"), user).await;
    answer.expect(200)
}

async fn ask(app: &TestApp, user: &User, drop: &str) -> Answer {
    app.get(&format!("/v1/drops/{drop}/queue"), user).await
}

async fn leave(app: &TestApp, user: &User, drop: &str) -> Answer {
    app.delete(&format!("/v1/drops/{drop}/queue"), user).await
}

async fn claim(app: &TestApp, user: &User, drop: &str, pass: Option<&str>) -> Answer {
    let path = format!("/v1/drops/{drop}/claim");
    let mut request = app.request(Method::POST, &path, Some(&user.access));
    if let Some(pass) = pass {
        request = request.header("Drop-Pass", pass);
    }
    app.send(request).await
}

async fn people(app: &TestApp, how_many: usize) -> Vec<User> {
    let mut people = Vec::new();
    for _ in 0..how_many {
        people.push(app.user("Ann").await);
    }
    people
}

/// The pass of somebody whose turn comes soon.
async fn pass(app: &TestApp, user: &User, drop: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let place = ask(app, user, drop).await.expect(200);
        if place["state"] == "admitted" {
            return place["pass"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "{place}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn people_are_admitted_in_their_order_and_at_the_rate(app: TestApp) -> TestApp {
    const RATE: i64 = 90;
    let people = people(&app, 6).await;
    let now = Timestamp::now().as_millis();
    let drop = queue(&app, RATE, |_| ()).await;
    // Twice is once; nobody is admitted before it opens.
    for _ in 0..2 {
        for (before, user) in people.iter().enumerate() {
            let place = join(&app, user, &drop).await;
            assert_eq!(place["number"], before + 1);
            assert_eq!(place["ahead"], before, "{place}");
            assert_eq!(place["state"], "waiting");
        }
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(
        ask(&app, &people[0], &drop).await.expect(200)["state"],
        "waiting"
    );
    // It has been open for a moment that allows for one.
    app.advance(SOON + Duration::from_secs(1));
    let opened = now + SOON.as_millis() as i64;
    let mut passes = BTreeSet::new();
    let began = Instant::now();
    loop {
        let places = people.iter().map(|user| ask(&app, user, &drop));
        let places = join_all(places).await;
        let places: Vec<Value> = places.into_iter().map(|place| place.expect(200)).collect();
        let since = Timestamp::now().as_millis() + SOON.as_millis() as i64 + 1000 - opened;
        let admitted = places.iter().filter(|place| place["state"] == "admitted");
        let admitted = admitted.count();
        assert!(admitted as i64 <= since * RATE / 60_000, "{places:#?}");
        for place in &places {
            if place["state"] == "admitted" {
                passes.insert(place["pass"].as_str().unwrap().to_owned());
            }
        }
        let numbers = app.numbers(ADMITTED).await;
        let first: Vec<i64> = (1..=numbers.len() as i64).collect();
        assert_eq!(numbers, first, "in their order");
        if admitted == people.len() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{places:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        passes.len(),
        people.len(),
        "one pass each, and always the same"
    );
    // And everybody is told once.
    let told = "SELECT user_id FROM notices WHERE topic = 'queue_admitted'";
    assert_eq!(app.count(&format!("({told}) t")).await, people.len() as i64);
    app
}

async fn a_pass_is_for_its_owner_and_its_drop(app: TestApp) -> TestApp {
    let [ann, bob] = [app.user("Ann").await, app.user("Bob").await];
    let [drop, other] = [open_queue(&app, 6000).await, open_queue(&app, 6000).await];
    join(&app, &ann, &drop).await;
    join(&app, &bob, &drop).await;
    join(&app, &ann, &other).await;
    let anns = pass(&app, &ann, &drop).await;
    let bobs = pass(&app, &bob, &drop).await;
    let elsewhere = pass(&app, &ann, &other).await;
    let refused = async |pass: Option<&str>| {
        rule(&claim(&app, &ann, &drop, pass).await.expect(409)).to_owned()
    };
    assert_eq!(refused(None).await, "no_pass");
    let mut forged = anns.clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    for wrong in ["", "x", &bobs, &elsewhere, &ann.access, &forged] {
        assert_eq!(refused(Some(wrong)).await, "wrong_pass", "{wrong}");
    }
    assert_eq!(app.count("coupons").await, 0);
    let first = claim(&app, &ann, &drop, Some(&anns)).await.expect(200);
    assert_eq!(first["held"], false);
    // Used twice it is good for the same coupon; and that is told without it, too.
    for pass in [Some(anns.as_str()), None] {
        let again = claim(&app, &ann, &drop, pass).await.expect(200);
        assert_eq!(again["held"], true);
        assert_eq!(again["coupon"]["id"], first["coupon"]["id"]);
    }
    assert_eq!(app.count("coupons").await, 1);
    // A pass opens no other door.
    assert_eq!(app.me_status(&anns).await, 401);
    // A drop without a queue has none, and asks for no pass.
    let plain = campaign(&app, |body| {
        body["drop"] = json!(true);
        body["quantity"] = json!(1);
    })
    .await;
    assert_eq!(ask(&app, &ann, &plain).await.problem(404), "not_found");
    claim(&app, &ann, &plain, None).await.expect(200);
    app
}

async fn nobody_waits_for_what_is_gone(app: TestApp) -> TestApp {
    let people = people(&app, 3).await;
    let [ann, bob, cat] = [&people[0], &people[1], &people[2]];
    let drop = queue(&app, 6000, |body| {
        body["quantity"] = json!(1);
        body["opens_at"] = json!(null);
    })
    .await;
    join(&app, ann, &drop).await;
    join(&app, bob, &drop).await;
    let anns = pass(&app, ann, &drop).await;
    let bobs = pass(&app, bob, &drop).await;
    claim(&app, ann, &drop, Some(&anns)).await.expect(200);
    assert_eq!(ask(&app, bob, &drop).await.problem(404), "not_found");
    let late = app.put(&format!("/v1/drops/{drop}/queue"), cat).await;
    assert_eq!(rule(&late.expect(409)), "sold_out");
    let late = claim(&app, bob, &drop, Some(&bobs)).await.expect(409);
    assert_eq!(rule(&late), "sold_out");
    // And what they waited in is cleared away.
    let began = Instant::now();
    while app.count("drop_tickets").await > 0 {
        assert!(began.elapsed() < Duration::from_secs(15));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app
}

async fn a_pass_that_lapsed_is_a_place_lost(app: TestApp) -> TestApp {
    let [ann, bob] = [app.user("Ann").await, app.user("Bob").await];
    let drop = open_queue(&app, 6000).await;
    join(&app, &ann, &drop).await;
    join(&app, &bob, &drop).await;
    let [anns, bobs] = [pass(&app, &ann, &drop).await, pass(&app, &bob, &drop).await];
    claim(&app, &bob, &drop, Some(&bobs)).await.expect(200);
    app.advance(app.settings.queue_pass_lifetime + Duration::from_secs(1));
    let late = claim(&app, &ann, &drop, Some(&anns)).await.expect(409);
    assert_eq!(rule(&late), "pass_expired");
    assert_eq!(ask(&app, &ann, &drop).await.problem(404), "not_found");
    let again = join(&app, &ann, &drop).await;
    assert_eq!(again["number"], 3);
    let anew = pass(&app, &ann, &drop).await;
    assert_ne!(anew, anns);
    claim(&app, &ann, &drop, Some(&anew)).await.expect(200);
    // Who has a coupon has it, whatever becomes of the pass.
    let held = claim(&app, &bob, &drop, Some(&bobs)).await.expect(200);
    assert_eq!(held["held"], true);
    // When the drop is over, so is the queue.
    app.advance(Duration::from_hours(24 * 8));
    let [ann, cat] = [
        User::of(
            &app.login(&ann.email, crate::app::PASSWORD)
                .await
                .expect(200),
            ann.email,
        ),
        app.user("Cat").await,
    ];
    let late = app.put(&format!("/v1/drops/{drop}/queue"), &cat).await;
    assert_eq!(rule(&late.expect(409)), "over");
    assert_eq!(ask(&app, &ann, &drop).await.problem(404), "not_found");
    app
}

async fn who_leaves_or_does_not_ask_waits_no_more(mut app: TestApp) -> TestApp {
    // Several stores know who was seen by Redis; one alone needs none.
    let server = RedisServer::shared().await.unwrap();
    app.redis = Some(link(server).await);
    app.settings.queue_timeout = Duration::from_secs(5);
    app.restart().await;
    let people = people(&app, 3).await;
    let [ann, bob, cat] = [&people[0], &people[1], &people[2]];
    let drop = queue(&app, 60, |_| ()).await;
    for user in &people {
        join(&app, user, &drop).await;
    }
    for _ in 0..2 {
        leave(&app, bob, &drop).await.expect(204);
    }
    assert_eq!(ask(&app, bob, &drop).await.problem(404), "not_found");
    let place = ask(&app, cat, &drop).await.expect(200);
    assert_eq!(place["ahead"], 1);
    // Only one of them goes on asking.
    let began = Instant::now();
    loop {
        let place = ask(&app, cat, &drop).await.expect(200);
        assert_eq!(place["number"], 3);
        if place["ahead"] == 0 {
            break;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{place}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(4));
    assert_eq!(ask(&app, ann, &drop).await.problem(404), "not_found");
    // Who comes again comes last.
    for (user, number) in [(ann, 4), (bob, 5)] {
        assert_eq!(join(&app, user, &drop).await["number"], number);
    }
    app
}

async fn whoever_is_there_is_told_their_rank(app: TestApp) -> TestApp {
    let people = people(&app, 2).await;
    let [ann, bob] = [&people[0], &people[1]];
    let drop = queue(&app, 6000, |_| ()).await;
    for user in &people {
        join(&app, user, &drop).await;
    }
    let node = &app.nodes[0];
    let rank = |user: &User, ahead: u64| {
        let user = user.id.clone();
        move |event: &Value| {
            event["topic"] == "queue_rank"
                && event["user"] == user.as_str()
                && event["data"]["ahead"] == ahead
        }
    };
    let (told, _) = node.wait_for(rank(bob, 1)).await;
    assert_eq!(told["data"], json!({"drop": drop, "number": 2, "ahead": 1}));
    leave(&app, ann, &drop).await.expect(204);
    node.wait_for(rank(bob, 0)).await;
    app.advance(SOON + Duration::from_secs(1));
    let (told, _) = node
        .wait_for(|event| event["topic"] == "queue_admitted")
        .await;
    assert_eq!(told["user"], bob.id.as_str());
    assert_eq!(told["data"]["drop"], drop.as_str());
    // That it is their turn is kept for them; their ranks are not. What did not change is not told again.
    let kept = app.get("/v1/notices", bob).await.expect(200);
    assert_eq!(kept["items"].as_array().unwrap().len(), 1, "{kept}");
    assert_eq!(kept["items"][0]["topic"], "queue_admitted");
    let events = node.events();
    let ranks = events.iter().filter(|event| rank(bob, 1)(event));
    assert_eq!(ranks.count(), 1);
    app
}

async fn a_restart_changes_nobodys_place(mut app: TestApp) -> TestApp {
    let people = people(&app, 5).await;
    let drop = queue(&app, 60, |_| ()).await;
    for user in &people {
        join(&app, user, &drop).await;
    }
    // The line of a store that is alone is in its memory.
    app.restart().await;
    for (before, user) in people.iter().enumerate().rev() {
        let place = ask(&app, user, &drop).await.expect(200);
        assert_eq!(
            (&place["number"], &place["ahead"]),
            (&json!(before + 1), &json!(before))
        );
    }
    let late = app.user("Cat").await;
    assert_eq!(join(&app, &late, &drop).await["number"], 6);
    app.advance(SOON + Duration::from_secs(2));
    // Nobody has come to this store since it was started again.
    app.restart().await;
    pass(&app, &people[0], &drop).await;
    app
}

#[test]
fn two_stores_admit_everybody_once_and_no_faster() {
    run(Backend::Postgres, async |mut app: TestApp| {
        const RATE: i64 = 300;
        let mut server = RedisServer::start().await.unwrap();
        app.redis = Some(link(&server).await);
        app.restart().await;
        let twin = app.twin().await;
        let people = people(&app, 24).await;
        let now = Timestamp::now().as_millis();
        let drop = queue(&app, RATE, |_| ()).await;
        let joins = people.iter().enumerate().flat_map(|(number, user)| {
            let (one, other) = [(&app, &twin), (&twin, &app)][number % 2];
            [join(one, user, &drop), join(other, user, &drop)]
        });
        let places = join_all(joins).await;
        let numbers: BTreeSet<i64> = places
            .iter()
            .map(|place| place["number"].as_i64().unwrap())
            .collect();
        assert_eq!(numbers, (1..=24).collect(), "one ticket each");
        // Redis forgets everything, and is away for a while.
        server.kill().unwrap();
        server.restart_empty().await.unwrap();
        app.advance(SOON);
        let began = Instant::now();
        let mut away = false;
        loop {
            let admitted = app.numbers(ADMITTED).await;
            let since = Timestamp::now().as_millis() - now;
            assert!(admitted.len() as i64 <= since * RATE / 60_000);
            let expected: Vec<i64> = (1..=admitted.len() as i64).collect();
            assert_eq!(admitted, expected, "in their order");
            if admitted.len() == people.len() {
                break;
            }
            if admitted.len() > 5 && !away {
                away = true;
                server.kill().unwrap();
            }
            assert!(began.elapsed() < Duration::from_secs(40));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(away);
        for (number, user) in people.iter().enumerate() {
            let place = ask([&app, &twin][number % 2], user, &drop).await;
            assert_eq!(place.expect(200)["state"], "admitted");
        }
        assert_eq!(app.count("notices").await, people.len() as i64);
        twin.end().await;
        app
    });
}
