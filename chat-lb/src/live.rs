//! What operators see at `/live`: who is behind the door, what they have, and how much comes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shared::{
    listener::Admission,
    live::{NodeFigures, Rates},
};

use crate::{gateway::Gateway, nodes::Pool};

/// The live view.
#[derive(Clone)]
pub struct Live {
    nodes: Arc<Pool>,
    stores: Arc<Pool>,
    gateway: Arc<Gateway>,
    admission: Admission,
    rates: Arc<Rates<3>>,
}

impl Live {
    /// A view of these.
    pub fn new(
        nodes: Arc<Pool>,
        stores: Arc<Pool>,
        gateway: Arc<Gateway>,
        admission: Admission,
    ) -> Self {
        Self {
            nodes,
            stores,
            gateway,
            admission,
            rates: Arc::default(),
        }
    }

    /// Looks each second how much came, for ever: so rates are those of the last ten seconds.
    pub async fn sample(self) {
        loop {
            self.rates();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// As of now.
    pub fn show(&self) -> Value {
        let nodes = self.nodes.view();
        let tunnels: usize = nodes.iter().map(|node| node.tunnels).sum();
        // Of nodes that say nothing nothing is known, and then the sum is none.
        let sum = |of: fn(&NodeFigures) -> u64| {
            let each = nodes.iter().map(|node| node.figures.as_ref().map(of));
            each.sum::<Option<u64>>()
        };
        let [requests, upgrades, refused] = self.rates();
        json!({
            "sessions": sum(|figures| figures.sessions),
            "rooms": sum(|figures| figures.rooms),
            "nodes": nodes,
            "stores": self.stores.view(),
            "connections": self.admission.connections(),
            "tunnels": tunnels,
            "per_second": {
                "requests": requests,
                "upgrades": upgrades,
                "refused": refused,
            },
        })
    }

    fn rates(&self) -> [f64; 3] {
        let counted = self.gateway.counts().now();
        let rates = self.rates.look(Instant::now(), counted);
        rates.unwrap_or_default()
    }
}
