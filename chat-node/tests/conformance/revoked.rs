//! What every backend of the set of what is revoked has to do.

use std::time::Duration;

use chat_node::{
    redis::{RedisLink, RedisSettings},
    revoked::{RedisRevoked, Revoked, RevokedSet},
};
use loadtest::cluster::{RedisCluster, RedisServer};
use shared::{
    auth::Revocation,
    id::{Timestamp, UserId},
    settings::Secret,
};

/// Runs the suite on two handles of one empty set.
async fn conforms(a: &impl RevokedSet, b: &impl RevokedSet) {
    let empty = a.since(None).await.unwrap();
    assert!(empty.revoked.is_empty() && empty.lost);
    a.add(&[]).await.unwrap();
    a.add(&[token("j1"), of_user("u", 5), sessions("u", 7)])
        .await
        .unwrap();
    b.add(&[token("j1")]).await.unwrap();
    let mut all = b.since(None).await.unwrap();
    assert!(all.lost, "who comes with no mark knows nothing");
    let key = |one: &Revoked| format!("{one:?}");
    all.revoked.sort_by_key(key);
    let mut expected = vec![token("j1"), of_user("u", 5), sessions("u", 7)];
    expected.sort_by_key(key);
    assert_eq!(all.revoked, expected, "each once");
    let more: Vec<Revoked> = (0..1200).map(|n| token(&format!("n{n}"))).collect();
    b.add(&more).await.unwrap();
    let news = a.since(Some(&empty.mark)).await.unwrap();
    assert!(!news.lost);
    assert!(more.iter().all(|one| news.revoked.contains(one)));
    let other = chat_node::revoked::Mark {
        set: "another".into(),
        at: empty.mark.at,
    };
    let again = a.since(Some(&other)).await.unwrap();
    assert!(again.lost);
    assert_eq!(again.revoked.len(), 1203);
    assert_eq!(again.mark.set, news.mark.set);
}

fn token(jti: &str) -> Revoked {
    Revoked::Tokens(Revocation::Token {
        jti: jti.to_owned(),
        expires: Timestamp::from_millis(1_795_267_563_731),
    })
}

fn of_user(name: &str, ms: i64) -> Revoked {
    Revoked::Tokens(Revocation::User {
        user: UserId::parse(name).unwrap(),
        issued_at_or_before: Timestamp::from_millis(ms),
    })
}

fn sessions(name: &str, ms: i64) -> Revoked {
    Revoked::Sessions {
        user: UserId::parse(name).unwrap(),
        begun_at_or_before: Timestamp::from_millis(ms),
    }
}

/// Two handles of a set of its own, each with its link.
async fn handles(url: &str) -> [RedisRevoked; 2] {
    let settings = RedisSettings {
        redis_url: Some(Secret::new(url.to_owned())),
        redis_prefix: format!("test-{}:", ulid::Ulid::new()),
        ..RedisSettings::default()
    };
    let set = async || {
        let link = RedisLink::connect(&settings).unwrap();
        assert!(link.wait_up(Duration::from_secs(10)).await);
        RedisRevoked::new(link)
    };
    [set().await, set().await]
}

#[tokio::test]
async fn redis_conforms() {
    let server = RedisServer::shared().await.unwrap();
    let [a, b] = handles(server.url()).await;
    conforms(&a, &b).await;
}

#[tokio::test]
async fn a_cluster_of_redis_conforms() {
    let cluster = RedisCluster::start(3, false).await.unwrap();
    let [a, b] = handles(&cluster.url().unwrap()).await;
    conforms(&a, &b).await;
}
