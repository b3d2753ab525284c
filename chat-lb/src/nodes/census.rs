//! What the nodes have to do, as they say themselves: for the live view alone, nobody is sent anywhere for it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use shared::live::NodeFigures;
use tokio::time::sleep;

use super::{Backend, Pool, Service};

/// How often they are asked.
const EVERY: Duration = Duration::from_secs(2);

/// Asks every node of the pool, those that are leaving too, for ever.
pub async fn census(pool: Arc<Pool>, service: Service) {
    loop {
        let nodes = pool.everybody();
        join_all(nodes.iter().map(|node| ask(node, &service))).await;
        sleep(EVERY).await;
    }
}

/// Whoever does not answer has nothing that is known.
async fn ask(node: &Backend, service: &Service) {
    let answer = service.get(node, "/v1/server/live").await.ok();
    let figures = answer.and_then(|answer| serde_json::from_slice::<NodeFigures>(&answer).ok());
    node.says(figures);
}
