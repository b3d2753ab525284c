//! What operators see at `/live`: who is behind the door, what they have, and how much comes.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use shared::listener::Admission;

use crate::{gateway::Gateway, nodes::Pool};

/// Over how long rates are taken.
const WINDOW: usize = 10;

/// What was counted when, the oldest first.
type Samples = VecDeque<(Instant, [u64; 3])>;

/// The live view.
#[derive(Clone)]
pub struct Live {
    nodes: Arc<Pool>,
    stores: Arc<Pool>,
    gateway: Arc<Gateway>,
    admission: Admission,
    samples: Arc<Mutex<Samples>>,
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
            samples: Arc::default(),
        }
    }

    /// Takes a sample each second, for ever.
    pub async fn sample(self) {
        loop {
            {
                let mut samples = self.samples.lock();
                samples.push_back((Instant::now(), self.gateway.counts().now()));
                while samples.len() > WINDOW + 1 {
                    samples.pop_front();
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// As of now.
    pub fn show(&self) -> Value {
        let nodes = self.nodes.view();
        let tunnels: usize = nodes.iter().map(|node| node.tunnels).sum();
        let [requests, upgrades, refused] = tenths(&self.samples.lock()).map(|n| n as f64 / 10.0);
        json!({
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
}

/// How many in ten seconds, over the samples.
fn tenths(samples: &Samples) -> [u64; 3] {
    let (Some((since, before)), Some((until, after))) = (samples.front(), samples.back()) else {
        return [0; 3];
    };
    let seconds = until.duration_since(*since).as_secs_f64();
    if seconds <= 0.0 {
        return [0; 3];
    }
    let rate = |n: usize| ((after[n] - before[n]) as f64 / seconds * 10.0).round() as u64;
    [rate(0), rate(1), rate(2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_window() {
        let start = Instant::now();
        let mut samples = VecDeque::new();
        assert_eq!(tenths(&samples), [0; 3]);
        samples.push_back((start, [5, 1, 0]));
        assert_eq!(tenths(&samples), [0; 3]);
        samples.push_back((start + Duration::from_secs(4), [25, 2, 1]));
        assert_eq!(tenths(&samples), [50, 3, 3]);
    }
}
