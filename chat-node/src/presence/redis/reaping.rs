//! Taking users from a life that is over.
//!
//! Of two reapers one has the claim. It takes some users away, hears how they stand, notes that its own
//! life has to tell of them, and only then has them out of the dead one's lists: if it does not
//! live to hear it, the next one is answered the same, and if it does not live to tell, whoever reaps
//! it is.

use ::redis::Value;
use shared::id::{Timestamp, UserId};

use super::{Change, RedisPresence, holding, holding::Held, scripts, unreadable};
use crate::{
    presence::{PresenceError, Reaped},
    redis::Asked,
};

/// How many users are reaped with one round trip.
const PORTION: usize = 256;
/// The number of what ends a life: none is greater. Lua's numbers are exact up to here.
const LAST: u64 = (1 << 53) - 1;

/// Somebody whom a life leaves behind.
struct Left {
    user: UserId,
    /// What it changed from this number on may be untold.
    since: Option<u64>,
}

impl RedisPresence {
    /// Empties an expired life that is claimed, as far as `at_most` users go; `own` has to tell of
    /// them.
    pub(super) async fn empty(
        &self,
        life: &str,
        own: Option<&str>,
        at: Timestamp,
        at_most: usize,
    ) -> Result<Vec<Reaped>, (Vec<Reaped>, PresenceError)> {
        let mut reaped = Vec::new();
        while reaped.len() < at_most {
            match self.reap_portion(life, own, at, &mut reaped).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err((reaped, error)),
            }
        }
        Ok(reaped)
    }

    /// Takes some users from a life; `false` when it left nobody any more, and is no more now.
    async fn reap_portion(
        &self,
        life: &str,
        own: Option<&str>,
        at: Timestamp,
        reaped: &mut Vec<Reaped>,
    ) -> Result<bool, PresenceError> {
        let (list, untold) = (self.list(life), self.untold(life));
        let portion = scripts::PORTION.call().key(&list).key(&untold);
        let portion = self.ask_one(portion.arg(PORTION).into()).await?;
        let left = left(portion).ok_or_else(|| unreadable("a list"))?;
        if left.is_empty() {
            let (leases, book) = (self.leases(), self.book());
            let ended = vec![
                Asked::new("ZREM").arg(leases).arg(life),
                Asked::new("HDEL").arg(book).arg(format!("reap:{life}")),
                Asked::new("UNLINK").arg(&list),
                Asked::new("UNLINK").arg(&untold),
            ];
            self.ask(ended).await?;
            return Ok(false);
        }
        let mut some = self.take_away(life, at, &left).await?;
        let standings = some.iter_mut().map(|one| (&one.user, &mut one.standing));
        self.complete(standings).await;
        let to_tell = || some.iter().filter(|one| one.is_to_be_told());
        if let Some(own) = own.filter(|_| to_tell().next().is_some()) {
            // Whatever this life itself changed of them.
            let users = to_tell().map(|one| (&one.user, 0));
            self.ask(self.note_untold(own, users).into()).await?;
        }
        reaped.extend(some);
        // Last: whoever is still listed is answered again to the next who asks.
        let out = |list: &str| {
            left.iter()
                .fold(Asked::new("ZREM").arg(list), |asked, left| {
                    asked.arg(left.user.as_str())
                })
        };
        self.ask(vec![out(&list), out(&untold)]).await?;
        Ok(true)
    }

    async fn take_away(
        &self,
        life: &str,
        at: Timestamp,
        left: &[Left],
    ) -> Result<Vec<Reaped>, PresenceError> {
        let holds = left.iter().map(|left| {
            let change = Change::reaping(left.user.clone());
            self.hold(life, LAST, at, "0", &change)
        });
        let answers = self.ask(holds.collect()).await?;
        let mut reaped = Vec::new();
        let mut noted = Vec::new();
        for (left, answer) in left.iter().zip(answers) {
            let held = Held::parse(answer).ok_or_else(|| unreadable("a holding"))?;
            noted.extend(held.noted(&left.user));
            let untold = left.since.is_some_and(|since| held.shown >= since);
            if held.lost.is_some() || untold {
                reaped.push(Reaped {
                    user: left.user.clone(),
                    lost: held.lost,
                    untold,
                    standing: held.standing,
                });
            }
        }
        self.note(noted);
        Ok(reaped)
    }
}

/// What `portion.lua` answers.
fn left(answer: Value) -> Option<Vec<Left>> {
    let Value::Array(all) = answer else {
        return None;
    };
    let left = all.into_iter().filter_map(|one| {
        let Value::Array(one) = one else {
            return None;
        };
        let [user, since] = one.as_slice() else {
            return None;
        };
        Some(Left {
            user: UserId::parse(holding::text(user)?).ok()?,
            since: holding::number(since),
        })
    });
    Some(left.collect())
}
