//! A node that falls and rises, and what the door makes of it.

use std::time::Duration;

use loadtest::Connector;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    chat::{House, until_stopped},
    rig::token,
};

/// With what a probe may take by default a node that is stuck is known to be within 3 s, on a machine that has time
/// for it.
const SOON: Duration = Duration::from_secs(10);
/// So often within a minute, and it is ejected.
const FLAPS: usize = 3;

/// What the live view says of a node.
fn of<'a>(live: &'a Value, node: &str) -> &'a Value {
    let nodes = live["nodes"].as_array().unwrap();
    nodes.iter().find(|one| one["name"] == *node).unwrap()
}

impl House {
    /// To which node each of these people's upgrades goes.
    async fn nodes_of(&self, people: std::ops::Range<usize>) -> Vec<String> {
        let mut nodes = Vec::new();
        for n in people {
            let door = Connector::new(self.door.address());
            let _socket = door
                .token(&token(&format!("u{n}")))
                .connect()
                .await
                .unwrap();
            nodes.push(self.last_node());
        }
        nodes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_node_is_given_nobody_then_few_and_then_nobody() {
    let mut house = House::build_with(&[
        // Longer than the test: what it looks at does not pass.
        ("FIRESIDE_EJECT_FOR", "5m"),
        ("FIRESIDE_SLOW_START", "10m"),
    ])
    .await;
    // Both are there from the first on, so that neither has to rise.
    assert!(house.door.terminate().await.unwrap().success());
    house.door.start().await.unwrap();
    house
        .until("both have their share", |live| {
            let nodes = live["nodes"].as_array().unwrap();
            nodes.len() == 2 && nodes.iter().all(|node| node["risen"] == 1.0)
        })
        .await;
    let nodes = house.nodes_of(0..16).await;
    let flapping = nodes[0].clone();
    let other = nodes.iter().find(|node| **node != flapping).unwrap();
    let at: usize = flapping.strip_prefix("node-").unwrap().parse().unwrap();
    let process = house.cluster.nodes()[at].program.process();
    for flap in 1..=FLAPS {
        process.pause().unwrap();
        until_stopped(process.pid().unwrap()).await;
        let since = Instant::now();
        house
            .until("it is down", |live| of(live, &flapping)["state"] == "down")
            .await;
        println!("down after {:?}", since.elapsed());
        assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
        if flap == 1 {
            // It is not even tried.
            let fall_overs = || house.door.metric("fireside_lb_fall_overs_total");
            let before = fall_overs().await;
            let nodes = house.nodes_of(0..16).await;
            assert!(nodes.iter().all(|node| node == other), "{nodes:?}");
            assert_eq!(fall_overs().await, before);
        }
        process.resume().unwrap();
        house
            .until("it answers", |live| of(live, &flapping)["state"] != "down")
            .await;
        if flap == 1 {
            // It has a tenth of its share for the first minute: some four of 48.
            let live = house.door.live().await.unwrap();
            let view = of(&live, &flapping);
            assert_eq!(
                (&view["state"], &view["ejections"]),
                (&"fit".into(), &0.into())
            );
            assert!(view["risen"].as_f64().unwrap() < 0.25, "{view}");
            let nodes = house.nodes_of(16..64).await;
            let few = nodes.iter().filter(|node| **node == flapping).count();
            assert!(few < 16, "{few} of 48");
        }
    }
    let live = house.door.live().await.unwrap();
    let view = of(&live, &flapping);
    assert_eq!(
        (&view["state"], &view["ejections"]),
        (&"ejected".into(), &1.into())
    );
    let nodes = house.nodes_of(0..16).await;
    assert!(nodes.iter().all(|node| node == other), "{nodes:?}");
}
