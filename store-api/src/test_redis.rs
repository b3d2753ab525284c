//! The Redis of the unit tests.

use std::time::Duration;

use loadtest::cluster::RedisServer;
use shared::{
    redis::{RedisLink, RedisSettings},
    settings::Secret,
};

/// A link to the server that tests share, as patient as a busy machine needs. Tests tell their keys apart themselves.
pub(crate) async fn shared_redis() -> RedisLink {
    let server = RedisServer::shared().await.unwrap();
    let settings = RedisSettings {
        redis_url: Some(Secret::new(server.url().to_owned())),
        redis_timeout: Duration::from_secs(10),
        ..RedisSettings::default()
    };
    let link = RedisLink::connect(&settings).unwrap();
    assert!(link.wait_up(Duration::from_mins(1)).await);
    link
}
