//! Taking users from a life that is over.
//!
//! Of two reapers one has the claim. It takes some users away, hears how they stand, and only then
//! has them out of the life's list: if it does not live to hear it, the next one is answered the same.

use shared::id::Timestamp;

use super::{Change, RedisPresence, holding, holding::Held, unreadable};
use crate::{
    presence::{PresenceError, Reaped},
    redis::Asked,
};

/// How many users are reaped with one round trip.
const PORTION: usize = 256;
/// The number of what ends a life: none is greater. Lua's numbers are exact up to here.
const LAST: u64 = (1 << 53) - 1;

impl RedisPresence {
    /// Empties an expired life that is claimed, as far as `at_most` users go.
    pub(super) async fn empty(
        &self,
        life: &str,
        at: Timestamp,
        at_most: usize,
    ) -> Result<Vec<Reaped>, (Vec<Reaped>, PresenceError)> {
        let mut reaped = Vec::new();
        while reaped.len() < at_most {
            match self.reap_portion(life, at).await {
                Ok(Some(portion)) => reaped.extend(portion),
                Ok(None) => break,
                Err(error) => return Err((reaped, error)),
            }
        }
        Ok(reaped)
    }

    /// Takes some users from a life; none when it held nobody any more, and is no more now.
    async fn reap_portion(
        &self,
        life: &str,
        at: Timestamp,
    ) -> Result<Option<Vec<Reaped>>, PresenceError> {
        let list = self.list(life);
        let portion = Asked::new("ZRANGE").arg(&list).arg(0).arg(PORTION - 1);
        let users = holding::users(self.ask_one(portion).await?);
        if users.is_empty() {
            let (leases, book) = (self.leases(), self.book());
            let ended = vec![
                Asked::new("ZREM").arg(leases).arg(life),
                Asked::new("HDEL").arg(book).arg(format!("reap:{life}")),
                Asked::new("UNLINK").arg(&list),
            ];
            self.ask(ended).await?;
            return Ok(None);
        }
        let changes: Vec<Change> = users.into_iter().map(Change::reaping).collect();
        let holds = changes
            .iter()
            .map(|change| self.hold(life, LAST, at, "0", change));
        let answers = self.ask(holds.collect()).await?;
        let mut reaped = Vec::new();
        let mut noted = Vec::new();
        for (change, answer) in changes.iter().zip(answers) {
            let held = Held::parse(answer).ok_or_else(|| unreadable("a holding"))?;
            noted.extend(held.noted(&change.user));
            if let Some(lost) = held.lost {
                reaped.push(Reaped {
                    user: change.user.clone(),
                    lost,
                    standing: held.standing,
                });
            }
        }
        self.note(noted);
        // Last: whoever is still listed is answered again to the next who asks.
        let listed = changes
            .iter()
            .fold(Asked::new("ZREM").arg(&list), |asked, change| {
                asked.arg(change.user.as_str())
            });
        self.ask_one(listed).await?;
        let users = reaped.iter_mut().map(|one| (&one.user, &mut one.standing));
        self.complete(users).await;
        Ok(Some(reaped))
    }
}
