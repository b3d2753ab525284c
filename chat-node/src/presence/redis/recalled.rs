//! When users were last seen, of those whom Redis knows no more.
//!
//! Bound: [`MOST`] users, then all are forgotten. What was recalled is believed for a time: shorter than
//! Redis keeps who came and went meanwhile, so that it never hides something newer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use shared::id::{Timestamp, UserId};
use tokio::time::Instant;

use crate::presence::{Availability, Seen, SeenTimes, Standing};

/// Of how many users it is kept.
const MOST: usize = 100_000;
/// For how long a time is believed.
const BELIEVED: Duration = Duration::from_hours(1);
/// For how long it is believed that there is none; shorter, because it may just not have been readable.
const NONE_BELIEVED: Duration = Duration::from_mins(1);

pub(super) struct Recalled {
    seen: Arc<dyn SeenTimes>,
    known: Mutex<HashMap<UserId, (Option<Timestamp>, Instant)>>,
}

impl Recalled {
    pub(super) fn new(seen: Arc<dyn SeenTimes>) -> Self {
        Self {
            seen,
            known: Mutex::default(),
        }
    }

    pub(super) fn note(&self, seen: Vec<Seen>) {
        self.seen.note(seen);
    }

    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }

    /// Fills in when those were last seen who are not visible and of whom Redis does not know.
    pub(super) async fn complete<'a>(
        &self,
        standings: impl Iterator<Item = (&'a UserId, &'a mut Standing)>,
    ) {
        let visible = |standing: &Standing| {
            let merged = standing.merged();
            merged.is_some_and(|state| state.availability != Availability::Invisible)
        };
        let mut open: Vec<_> = standings
            .filter(|(_, standing)| standing.last_seen.is_none() && !visible(standing))
            .collect();
        if open.is_empty() {
            return;
        }
        let now = Instant::now();
        {
            let known = self.known.lock();
            open.retain_mut(|(user, standing)| match known.get(*user) {
                Some((at, until)) if *until > now => {
                    standing.last_seen = *at;
                    false
                }
                _ => true,
            });
        }
        if open.is_empty() {
            return;
        }
        let users = open.iter().map(|(user, _)| (*user).clone()).collect();
        let recalled = self.seen.recall(users).await;
        let mut known = self.known.lock();
        if known.len() + open.len() > MOST {
            known.clear();
        }
        for (user, standing) in open {
            standing.last_seen = recalled.get(user).copied();
            let believed = match standing.last_seen {
                Some(_) => BELIEVED,
                None => NONE_BELIEVED,
            };
            known.insert(user.clone(), (standing.last_seen, now + believed));
        }
    }
}
