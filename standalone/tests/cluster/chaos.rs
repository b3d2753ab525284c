//! Every fault at random, for `FIRESIDE_CHAOS_SECONDS` (120).

use std::time::Duration;

use loadtest::cluster::{Direction, Flow, Links};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use shared::id::Timestamp;
use tokio::time::Instant;

use crate::town::Town;

/// How long without the variable.
const SECONDS: u64 = 120;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let value = std::env::var_os(name)?;
    let value = value.to_string_lossy().into_owned();
    if value.is_empty() {
        return None;
    }
    Some(value.parse().unwrap_or_else(|_| panic!("{name}: {value}")))
}

/// A pause of so many seconds, not whole ones.
async fn rest(random: &mut StdRng, from: f64, to: f64) {
    let pause = Duration::from_secs_f64(random.random_range(from..to));
    tokio::time::sleep(pause).await;
}

/// One fault and its end; answers what it was.
async fn fault(town: &mut Town, random: &mut StdRng) -> String {
    let node = random.random_range(0..town.cluster.nodes().len());
    match random.random_range(0..11) {
        0 | 1 => {
            let kill = |town: &mut Town| {
                let program = &mut town.cluster.node_mut(node).program;
                program.process_mut().kill().unwrap();
            };
            kill(town);
            rest(random, 0.0, 5.0).await;
            town.cluster.node_mut(node).program.start().await.unwrap();
            format!("kill -9 of node {node}")
        }
        2 => {
            let empty = random.random_bool(0.5);
            let redis = town.cluster.redis_mut().unwrap();
            redis.kill().unwrap();
            rest(random, 0.0, 4.0).await;
            if empty {
                redis.restart_empty().await.unwrap();
            } else {
                redis.restart().await.unwrap();
            }
            format!("kill -9 of Redis, back empty: {empty}")
        }
        3 => {
            let mongo = town.cluster.mongo_mut().unwrap();
            mongo.kill().unwrap();
            rest(random, 0.0, 4.0).await;
            mongo.restart().await.unwrap();
            "kill -9 of the stand-in".to_owned()
        }
        4 => {
            let process = town.cluster.nodes()[node].program.process();
            process.pause().unwrap();
            rest(random, 1.0, 6.0).await;
            process.resume().unwrap();
            format!("SIGSTOP of node {node}")
        }
        5 => {
            let redis = town.cluster.redis().unwrap();
            redis.pause().unwrap();
            rest(random, 1.0, 6.0).await;
            redis.resume().unwrap();
            "SIGSTOP of Redis".to_owned()
        }
        6 => {
            let mongo = town.cluster.mongo();
            mongo.pause().unwrap();
            rest(random, 1.0, 6.0).await;
            mongo.resume().unwrap();
            "SIGSTOP of the stand-in".to_owned()
        }
        7 => {
            let store = town.cluster.store_mut();
            store.process_mut().kill().unwrap();
            rest(random, 0.0, 5.0).await;
            store.start().await.unwrap();
            "kill -9 of store-api".to_owned()
        }
        _ => {
            let links = town.cluster.nodes()[node].links().unwrap();
            break_a_link(links, random, node).await
        }
    }
}

/// One of a node's links misbehaves for a while.
async fn break_a_link(links: &Links, random: &mut StdRng, node: usize) -> String {
    let (name, link) = match random.random_range(0..5) {
        0 | 1 => ("Redis", links.redis.as_ref().unwrap()),
        2 | 3 => ("MongoDB", &links.mongo),
        _ => ("store-api", &links.store),
    };
    let direction = if random.random_bool(0.5) {
        Direction::ToServer
    } else {
        Direction::ToClient
    };
    let what = match random.random_range(0..6) {
        0 => {
            link.cut().await;
            "cut".to_owned()
        }
        1 => {
            link.half_open();
            "half open".to_owned()
        }
        2 => {
            link.flow(direction, Flow::Hold);
            format!("held {direction:?}")
        }
        3 => {
            let late = Duration::from_millis(random.random_range(20..400));
            link.flow(direction, Flow::Delay(late));
            format!("late by {late:?} {direction:?}")
        }
        4 => {
            link.flow(direction, Flow::Throttle(20_000));
            format!("slow {direction:?}")
        }
        _ => {
            link.scatter(Duration::from_millis(500));
            link.cut().await;
            "cut, and its connections out of order".to_owned()
        }
    };
    rest(random, 1.0, 9.0).await;
    link.heal().await;
    format!("node {node}'s link to {name} {what}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_fails_at_random() {
    let seconds = number("FIRESIDE_CHAOS_SECONDS").unwrap_or(SECONDS);
    let seed = number("FIRESIDE_CHAOS_SEED").unwrap_or_else(rand::random);
    println!("FIRESIDE_CHAOS_SECONDS={seconds} FIRESIDE_CHAOS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut town = Town::settle(seed).await;
    let began = Instant::now();
    let (mut faults, mut worst) = (0, Duration::ZERO);
    while began.elapsed() < Duration::from_secs(seconds) {
        let at = began.elapsed().as_secs();
        let what = fault(&mut town, &mut random).await;
        faults += 1;
        // Now and then the next fault meets what the last one left.
        if random.random_bool(0.7) {
            let took = town.recovered(Timestamp::now()).await;
            worst = worst.max(took);
            println!("{at:>4} s: {what}; everybody served again after {took:?}");
        } else {
            println!("{at:>4} s: {what}; and on");
        }
    }
    town.recovered(Timestamp::now()).await;
    let verdict = town.judge().await;
    println!("{faults} faults, the longest recovery {worst:?}");
    // Which of the two a fault leads to is chance.
    let felt = verdict.seen.retried > 0 || verdict.seen.synced > 0;
    assert!(felt, "nobody noticed a fault: {verdict}");
}
