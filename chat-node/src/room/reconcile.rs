//! What lost hints hide, found by comparing with history.
//!
//! An entry that follows a lost one shows a hole; but the last entry of a quiet room leaves none,
//! and a node that dies between storing and telling tells nobody. So a node that is not alone
//! looks, from time to time and whenever the bus or a neighbour says that something may have been
//! lost:
//!
//! - at the **heads** of all rooms somebody here hears: where history has more than was delivered,
//!   the room reads it;
//! - at the **direct messages** of everybody here since the last complete look. Those rooms are in
//!   no list until somebody speaks in them; one that is not known here is delivered from where
//!   that time began, which may tell a client again what it knows (it drops by seq);
//! - after a loss that was noticed, at who **came into a room** since then.
//!
//! A look costs a node one question to history per [`PORTION`] of rooms and of people, spread out
//! unless something is known to be lost.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use shared::id::{RoomId, Seq, Timestamp};
use tokio::sync::Notify;

use super::{RoomNews, directory::Directory};
use crate::history::{HistoryError, Stirred};

/// How far a look reaches back beyond the last complete one: clocks of nodes differ, an entry may
/// be stored a while after it got its time, and a broken link is noticed late.
pub(super) const MARGIN: Duration = Duration::from_mins(1);
/// About how many rooms, or people, history is asked at once.
const PORTION: usize = 500;
/// Between two portions of a look that nobody waits for.
const PAUSE: Duration = Duration::from_millis(20);
/// After a look that failed, and between two that were asked for.
const RETRY: Duration = Duration::from_secs(1);
/// How much more often a node looks whose link to the others is broken.
const HURRY: u32 = 6;

/// Looks every `every`, and whenever `asked`.
pub(super) async fn run(directory: Weak<Directory>, asked: Arc<Notify>, every: Duration) {
    let Some(mut complete) = directory.upgrade().map(|directory| directory.parts().now()) else {
        return;
    };
    let mut linked = true;
    loop {
        let pause = if linked { every } else { every / HURRY };
        let urgent = tokio::select! {
            () = asked.notified() => true,
            () = tokio::time::sleep(pause) => false,
        };
        let Some(directory) = directory.upgrade() else {
            return;
        };
        let began = directory.parts().now();
        let bridge = &directory.parts().bridge;
        linked = bridge.linked();
        if bridge.alone() && !urgent {
            complete = began;
            continue;
        }
        let since = complete.plus_millis(-(MARGIN.as_millis() as i64));
        match directory.look(since, urgent).await {
            Ok(()) => complete = began,
            Err(error) => {
                tracing::warn!(%error, "what may have been missed is looked for again");
                asked.notify_one();
            }
        }
        drop(directory);
        if urgent {
            tokio::time::sleep(RETRY).await;
        }
    }
}

impl Directory {
    async fn look(self: &Arc<Self>, since: Timestamp, urgent: bool) -> Result<(), HistoryError> {
        let parts = self.parts();
        for portion in self.known_rooms().chunks(PORTION) {
            let heads = parts.history.heads(portion).await?;
            let heads: HashMap<RoomId, Seq> = heads.into_iter().collect();
            for (room, head) in heads {
                if self.delivered(&room).is_some_and(|seq| seq < head) {
                    self.found_missing(&room);
                }
            }
            rest(urgent).await;
        }
        for portion in parts.relays.people().chunks(PORTION) {
            let missed = parts.history.since(portion, since).await?;
            for stirred in missed.direct {
                self.compare(&stirred);
            }
            // Whoever was told already is told again: only where something is known to be lost.
            let joined = missed.joined.into_iter().filter(|_| urgent);
            for (user, room, seq) in joined {
                self.hear(RoomNews::Added { user, room, seq });
            }
            rest(urgent).await;
        }
        Ok(())
    }

    fn compare(self: &Arc<Self>, stirred: &Stirred) {
        if self.lacks(&stirred.room, stirred.before, stirred.head) {
            self.found_missing(&stirred.room);
        }
    }

    fn found_missing(self: &Arc<Self>, room: &RoomId) {
        self.parts().gauges.found_missing.increment(1);
        self.doubt(room);
    }
}

async fn rest(urgent: bool) {
    if urgent {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(PAUSE).await;
    }
}
