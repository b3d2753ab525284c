//! For whom a life has to answer until they are told.
//!
//! They are listed before anything about them is changed, so none is missed; who was told is said with
//! the next put or renewal, so it costs no round trip, and when that is lost they are told twice. But of
//! whoever is listed only what others may see counts: to tell again of somebody who hides that
//! they are not there would say that they are.

use std::{collections::HashMap, sync::atomic::Ordering::Relaxed};

use shared::id::UserId;

use super::{KEEP, RedisPresence, millis, scripts};
use crate::redis::Asked;

/// Users who were told, each up to a number.
pub(super) type Told = HashMap<UserId, u64>;

impl RedisPresence {
    /// Commands that note users whom `life` has to tell of.
    pub(super) fn note_untold<'a>(
        &self,
        life: &str,
        users: impl Iterator<Item = (&'a UserId, u64)>,
    ) -> [Asked; 2] {
        let untold = self.untold(life);
        let kept = Asked::new("PEXPIRE").arg(&untold).arg(millis(KEEP));
        // With the first number since they were told.
        [listing(&untold, "LT", users), kept]
    }

    /// Keeps in mind that these were told, until it is said.
    pub(super) fn keep_as_told(&self, life: &str, users: &[UserId]) {
        // None of them is being put, so none is listed with a greater number.
        let number = self.asked.load(Relaxed);
        let mut taken = self.lease.lock();
        if taken.life.as_deref() == Some(life) {
            let told = users.iter().map(|user| (user.clone(), number));
            taken.told.extend(told);
        }
    }

    /// Who was told under `life`, as far as the store does not know it.
    pub(super) fn to_be_said(&self, life: &str) -> Told {
        let taken = self.lease.lock();
        if taken.life.as_deref() == Some(life) {
            taken.told.clone()
        } else {
            Told::new()
        }
    }

    /// The call that says so.
    pub(super) fn saying(&self, life: &str, told: &Told) -> Option<Asked> {
        let users = told.iter().map(|(user, number)| (user, *number));
        (!told.is_empty()).then(|| unlisting(&self.untold(life), users))
    }

    /// It was said.
    pub(super) fn said(&self, told: &Told) {
        let mut taken = self.lease.lock();
        taken
            .told
            .retain(|user, number| told.get(user) != Some(number));
    }
}

/// A command that lists users with their numbers, the greatest or (`LT`) the least.
pub(super) fn listing<'a>(
    list: &str,
    which: &str,
    users: impl Iterator<Item = (&'a UserId, u64)>,
) -> Asked {
    let asked = Asked::new("ZADD").arg(list).arg(which);
    users.fold(asked, |asked, (user, number)| {
        asked.arg(number).arg(user.as_str())
    })
}

/// A call that takes users out of a list, but for those listed with a greater number.
pub(super) fn unlisting<'a>(list: &str, users: impl Iterator<Item = (&'a UserId, u64)>) -> Asked {
    let call = scripts::UNLIST.call().key(list);
    let call = users.fold(call, |call, (user, number)| {
        call.arg(user.as_str()).arg(number)
    });
    call.into()
}
