//! What an orchestrator does to a chat, without one: nodes, balancers, a store, Redis and the MongoDB
//! stand-in as processes in network namespaces with addresses of their own, on a bridge that nobody else
//! sees. Nodes are deployed one after the other, added and taken away, killed and cut off, while
//! people chat through the balancers; the checker judges what they saw. What is planned nobody is to notice: every session
//! of those who stay goes on, and their friends see nobody come or go.
//!
//! It takes root, or says so.

#![allow(clippy::unwrap_used)]

#[path = "../cluster/interruptions.rs"]
mod interruptions;
mod people;
#[path = "../cluster/recovery.rs"]
mod recovery;
#[path = "../cluster/resident.rs"]
mod resident;
#[path = "../cluster/steady.rs"]
mod steady;
mod street;

use loadtest::cluster::Network;

use crate::{
    people::STEADY_DEVICES,
    street::{Stage, Street},
};

/// How many nodes there are when nothing is done to them.
const NODES: usize = 3;
/// How many there are at most.
const MOST: usize = 5;

#[test]
fn a_deploy_a_scale_a_loss_and_a_partition_cost_nobody_a_message() {
    let rehearsal = std::thread::spawn(|| {
        let network = Network::lay().unwrap();
        // Its threads inherit the network.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(rehearse(network));
    });
    if let Err(panic) = rehearsal.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn rehearse(network: Network) {
    let mut street = Street::settle(network, NODES, MOST).await;

    let stage = Stage::begin("rolling deploy of three nodes");
    for node in 0..NODES {
        street.leave(node).await;
        street.join(node).await;
        street.at_rest().await;
    }
    let felt = street.end_unnoticed(&stage).await;
    // Everybody's node went.
    assert!(felt.resumed >= STEADY_DEVICES, "{felt}");

    let stage = Stage::begin("scale from three nodes to two and to five");
    street.leave(2).await;
    for node in 2..MOST {
        street.join(node).await;
    }
    street.at_rest().await;
    street.end_unnoticed(&stage).await;

    let stage = Stage::begin("scale from five nodes to two");
    for node in (2..MOST).rev() {
        street.leave(node).await;
    }
    street.end_unnoticed(&stage).await;
    street.join(2).await;
    street.at_rest().await;

    let stage = Stage::begin("deploy of a balancer beside another");
    street.replace_door(0).await;
    let felt = street.end_unnoticed(&stage).await;
    // Half of them came through it.
    assert!(felt.resumed >= STEADY_DEVICES / 2, "{felt}");

    let stage = Stage::begin("kill -9 of a node");
    street.kill(0).await;
    street.end(&stage).await;
    street.join(0).await;

    let stage = Stage::begin("a node cut off from everybody, and back");
    street.cut_off(1).await;
    street.end(&stage).await;

    let stage = Stage::begin("kill -9 of a balancer");
    street.kill_door().await;
    street.end(&stage).await;

    street.judge().await;
}
