//! The node tells balancers where it is.

use shared::{
    id::NodeId,
    lifecycle::{Lifecycle, Phase},
    nodes::{ANNOUNCE_EVERY, NodeEntry, NodeRegister},
};
use tokio_util::sync::CancellationToken;

use crate::settings::Advertised;

/// Keeps the node in the register from when it is ready until it drains. Whether it is fit in
/// between, a balancer asks the node itself.
pub(super) async fn announce(
    register: NodeRegister,
    id: NodeId,
    place: Advertised,
    lifecycle: Lifecycle,
    stop: CancellationToken,
) {
    let entry = NodeEntry {
        id,
        address: place.address,
        weight: place.weight,
    };
    lifecycle.reached(Phase::Ready).await;
    while lifecycle.phase() == Phase::Ready {
        if let Err(error) = register.announce(&entry).await {
            tracing::debug!(%error, "the node is not announced");
        }
        tokio::select! {
            () = tokio::time::sleep(ANNOUNCE_EVERY) => {}
            () = lifecycle.reached(Phase::Draining) => {}
            () = stop.cancelled() => {}
        }
    }
    if let Err(error) = register.withdraw(&entry.id).await {
        // Its announcement ends by itself.
        tracing::debug!(%error, "the node is not withdrawn");
    }
}
