//! What every keeper of attempts does: run on the one in memory and on the one in Redis.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use ulid::Ulid;

use super::*;
use crate::test_redis::shared_redis;

const LONG: Duration = Duration::from_mins(1);

async fn redis() -> RedisAttempts {
    RedisAttempts::new(shared_redis().await)
}

fn key() -> String {
    Ulid::new().to_string()
}

macro_rules! conforms {
    ($($name:ident),+ $(,)?) => {
        mod local {
            $(#[tokio::test] async fn $name() { super::$name(super::LocalAttempts::default()).await; })+
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(super::redis().await).await; })+
        }
    };
}

conforms!(
    an_attempt_is_taken_once,
    attempts_are_apart,
    an_attempt_ends,
    of_many_at_once_one_gets_it,
);

async fn an_attempt_is_taken_once(attempts: impl Attempts) {
    let key = key();
    assert_eq!(attempts.take(&key).await.unwrap(), None);
    attempts.put(&key, "{\"ä\": 1}", LONG).await.unwrap();
    let taken = attempts.take(&key).await.unwrap();
    assert_eq!(taken.as_deref(), Some("{\"ä\": 1}"));
    assert_eq!(attempts.take(&key).await.unwrap(), None);
}

async fn attempts_are_apart(attempts: impl Attempts) {
    let keys = [key(), key()];
    for key in &keys {
        attempts.put(key, key, LONG).await.unwrap();
    }
    for key in &keys {
        assert_eq!(attempts.take(key).await.unwrap().as_ref(), Some(key));
    }
}

async fn an_attempt_ends(attempts: impl Attempts) {
    let key = key();
    let short = Duration::from_millis(50);
    attempts.put(&key, "x", short).await.unwrap();
    tokio::time::sleep(3 * short).await;
    assert_eq!(attempts.take(&key).await.unwrap(), None);
}

async fn of_many_at_once_one_gets_it(attempts: impl Attempts + 'static) {
    let (key, attempts) = (key(), Arc::new(attempts));
    attempts.put(&key, "x", LONG).await.unwrap();
    let mut takers = JoinSet::new();
    for _ in 0..20 {
        let (key, attempts) = (key.clone(), attempts.clone());
        takers.spawn(async move { attempts.take(&key).await.unwrap() });
    }
    let taken = takers.join_all().await;
    assert_eq!(taken.iter().flatten().count(), 1);
}
