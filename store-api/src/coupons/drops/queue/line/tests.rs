//! What every line does: run on the one in memory and on the one in Redis.

use shared::id::Timestamp;
use ulid::Ulid;

use super::*;
use crate::test_redis::shared_redis;

/// Who was not seen for so long is unseen.
const GONE: Duration = Duration::from_secs(4);

async fn redis() -> RedisLine {
    RedisLine::new(shared_redis().await)
}

fn line_of_a_drop() -> LineOf {
    LineOf {
        drop: Ulid::new().to_string(),
        closes_at: Timestamp::now().as_millis() + 60_000,
    }
}

fn at(number: i64, ahead: u64) -> Standing {
    Standing::At { number, ahead }
}

macro_rules! conforms {
    ($($name:ident),+ $(,)?) => {
        mod local {
            $(#[tokio::test] async fn $name() { super::$name(super::LocalLine::default()).await; })+
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(super::redis().await).await; })+
        }
    };
}

conforms!(
    a_line_is_known_once_it_is_opened,
    people_stand_by_their_numbers_in_whatever_order_they_were_put,
    who_leaves_is_ahead_of_nobody,
    a_new_number_is_a_new_place,
    who_does_not_ask_is_unseen,
    lines_are_apart,
);

async fn a_line_is_known_once_it_is_opened(line: impl Line) {
    let of = line_of_a_drop();
    assert_eq!(line.ask(&of, "ann").await.unwrap(), Standing::Unknown);
    line.put(&of, &[("ann", 5)]).await.unwrap();
    assert_eq!(line.ask(&of, "ann").await.unwrap(), Standing::Unknown);
    assert!(
        line.unseen(&of, Duration::ZERO, 10)
            .await
            .unwrap()
            .is_empty()
    );
    for _ in 0..2 {
        line.open(&of).await.unwrap();
        assert_eq!(line.ask(&of, "ann").await.unwrap(), at(5, 0));
        assert_eq!(line.ask(&of, "bob").await.unwrap(), Standing::Absent);
    }
}

async fn people_stand_by_their_numbers_in_whatever_order_they_were_put(line: impl Line) {
    let of = line_of_a_drop();
    line.open(&of).await.unwrap();
    line.put(&of, &[("cat", 30), ("ann", 1)]).await.unwrap();
    line.put(&of, &[("bob", 9), ("dan", 2_000_000_000_000)])
        .await
        .unwrap();
    for _ in 0..2 {
        line.put(&of, &[("ann", 1)]).await.unwrap();
        assert_eq!(line.ask(&of, "ann").await.unwrap(), at(1, 0));
        assert_eq!(line.ask(&of, "bob").await.unwrap(), at(9, 1));
        assert_eq!(line.ask(&of, "cat").await.unwrap(), at(30, 2));
        let dan = line.ask(&of, "dan").await.unwrap();
        assert_eq!(dan, at(2_000_000_000_000, 3));
    }
}

async fn who_leaves_is_ahead_of_nobody(line: impl Line) {
    let of = line_of_a_drop();
    line.leave(&of, &["ann"]).await.unwrap();
    line.open(&of).await.unwrap();
    line.put(&of, &[("ann", 1), ("bob", 2), ("cat", 3)])
        .await
        .unwrap();
    for _ in 0..2 {
        line.leave(&of, &["ann", "nobody"]).await.unwrap();
        assert_eq!(line.ask(&of, "ann").await.unwrap(), Standing::Absent);
        assert_eq!(line.ask(&of, "cat").await.unwrap(), at(3, 1));
    }
    line.leave(&of, &["bob", "cat"]).await.unwrap();
    // A line in which nobody waits is known still.
    assert_eq!(line.ask(&of, "cat").await.unwrap(), Standing::Absent);
}

async fn a_new_number_is_a_new_place(line: impl Line) {
    let of = line_of_a_drop();
    line.open(&of).await.unwrap();
    line.put(&of, &[("ann", 1), ("bob", 2)]).await.unwrap();
    line.put(&of, &[("ann", 3)]).await.unwrap();
    assert_eq!(line.ask(&of, "bob").await.unwrap(), at(2, 0));
    assert_eq!(line.ask(&of, "ann").await.unwrap(), at(3, 1));
}

async fn who_does_not_ask_is_unseen(line: impl Line) {
    let of = line_of_a_drop();
    line.open(&of).await.unwrap();
    line.put(&of, &[("ann", 1), ("bob", 2), ("cat", 3)])
        .await
        .unwrap();
    assert!(line.unseen(&of, GONE, 10).await.unwrap().is_empty());
    tokio::time::sleep(GONE * 3 / 4).await;
    line.ask(&of, "bob").await.unwrap();
    // To be put again is not to be seen.
    line.put(&of, &[("ann", 1)]).await.unwrap();
    tokio::time::sleep(GONE / 2).await;
    let mut gone = line.unseen(&of, GONE, 10).await.unwrap();
    gone.sort_unstable();
    assert_eq!(gone, ["ann", "cat"]);
    assert_eq!(line.unseen(&of, GONE, 1).await.unwrap().len(), 1);
    line.leave(&of, &["ann"]).await.unwrap();
    assert_eq!(line.unseen(&of, GONE, 10).await.unwrap(), ["cat"]);
}

async fn lines_are_apart(line: impl Line) {
    let (one, other) = (line_of_a_drop(), line_of_a_drop());
    line.open(&one).await.unwrap();
    line.put(&one, &[("ann", 1)]).await.unwrap();
    assert_eq!(line.ask(&other, "ann").await.unwrap(), Standing::Unknown);
    line.open(&other).await.unwrap();
    assert_eq!(line.ask(&other, "ann").await.unwrap(), Standing::Absent);
    line.leave(&other, &["ann"]).await.unwrap();
    assert_eq!(line.ask(&one, "ann").await.unwrap(), at(1, 0));
}
