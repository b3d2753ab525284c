//! What is unread for somebody who was away for long.

use loadtest::cluster::MongoServer;
use shared::protocol::room::RoomView;

use super::super::{HistoryFactory as _, Log, delete, mentioning, said, user};
use super::Database;

async fn view(log: &Log, who: &str) -> RoomView {
    let views = log.history.views(&user(who), Some(&log.id)).await.unwrap();
    views.into_iter().next().unwrap()
}

/// However much is unread, the server reads a bounded part of it; how many messages stand before that is
/// known without reading them.
#[tokio::test]
async fn who_was_away_for_long_is_told_about_how_much_and_soon_exactly() {
    MongoServer::shared().await.unwrap();
    let history = Database::new().open().await;
    let (a, b) = ("away-a", "away-b");
    let mut log = Log::group(&history, "away", &[a, b]).await;
    let own = log.put(b, (0..7).map(|_| said("mine")).collect()).await;
    let mut gone = vec![log.say(a, "gone").await];
    for _ in 0..10 {
        let words = (0..250).map(|n| said(&n.to_string())).collect();
        log.put(a, words).await;
    }
    let newest = log.one(a, mentioning("@b", &[b])).await;
    gone.push(log.say(a, "gone").await);
    log.put(a, gone.iter().map(|seq| delete(*seq)).collect())
        .await;
    let seen = view(&log, b).await;
    // The one that was deleted long ago counts.
    assert!((2_501..=2_502).contains(&seen.unread), "{}", seen.unread);
    assert_eq!(seen.mentions, 1);
    // Whoever has read on is told exactly.
    let far = own[0].seq.plus(1_000);
    history.mark_read(&log.id, &user(b), far).await.unwrap();
    let left = newest.get() - far.get();
    assert_eq!(view(&log, b).await.unread, left);
    assert_eq!(view(&log, a).await.unread, 7);
}
