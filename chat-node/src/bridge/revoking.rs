//! What is revoked, made to hold here, and on every node.
//!
//! It comes from store-api, from other nodes and from the set that all nodes share. Whichever node
//! hears of something first puts it there; each reads there what it missed: at its start, when the bus
//! is restored, and every [`LOOK`]. So a node denies what it ought to though store-api is down
//! and the bus lost the hint.
//!
//! Queue: what is still to be put into the set; bounded by [`WAITING`], past which everything known is put
//! there instead; gauge `fireside_revocations_unshared`.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use shared::{
    auth::{Revocation, Revocations},
    id::{Timestamp, UserId},
};
use tokio::sync::Notify;

use super::SessionControl;
use crate::{
    friends::FriendCache,
    revoked::{Mark, Revoked, RevokedError, RevokedSet},
};

/// How often the set is looked into.
const LOOK: Duration = Duration::from_secs(30);
/// How many may wait to be put into the set.
const WAITING: usize = 4096;
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often revocations are looked through for those that have had their time.
const TIDY: Duration = Duration::from_mins(1);

pub(super) struct Revoking {
    revocations: Revocations,
    sessions: Arc<dyn SessionControl>,
    friends: Arc<FriendCache>,
    set: Option<Arc<dyn RevokedSet>>,
    unshared: Mutex<Unshared>,
    /// Store-api is to be asked, the set to be looked into.
    reread: Notify,
    look: Notify,
}

#[derive(Default)]
struct Unshared {
    waiting: Vec<Revoked>,
    /// Everything known is to be put into the set.
    all: bool,
}

impl Revoking {
    pub(super) fn new(
        revocations: Revocations,
        sessions: Arc<dyn SessionControl>,
        friends: Arc<FriendCache>,
    ) -> Self {
        Self {
            revocations,
            sessions,
            friends,
            set: None,
            unshared: Mutex::default(),
            reread: Notify::new(),
            look: Notify::new(),
        }
    }

    pub(super) fn share_in(&mut self, set: Arc<dyn RevokedSet>) {
        self.set = Some(set);
    }

    /// Denies from now on, and ends sessions that live on it.
    pub(super) fn revoke(&self, revocation: Revocation) {
        if self.deny(&revocation) {
            self.share(Revoked::Tokens(revocation));
        }
    }

    /// Ends the sessions of a user that have begun, here; answers what other nodes need to know.
    pub(super) fn disconnect(&self, user: &UserId) -> Timestamp {
        let now = Timestamp::now();
        self.sessions.disconnect(user, now);
        self.share(Revoked::Sessions {
            user: user.clone(),
            begun_at_or_before: now,
        });
        now
    }

    /// Something may have been missed: everybody who knows is asked.
    pub(super) fn doubt(&self) {
        self.reread.notify_one();
        self.look.notify_one();
    }

    /// Keeps what is known true, for ever.
    pub(super) async fn run(&self) {
        self.doubt();
        tokio::join!(self.keep_asking(), self.keep_sharing(), self.keep_tidy());
    }

    /// Answers whether it was news.
    fn deny(&self, revocation: &Revocation) -> bool {
        let news = self.revocations.apply(revocation.clone());
        // Also when it was not: a session may have begun while it became so.
        match revocation {
            Revocation::Token { jti, .. } => self.sessions.close_by_token(jti),
            Revocation::User {
                user,
                issued_at_or_before,
            } => self.sessions.close_by_user(user, *issued_at_or_before),
        }
        news
    }

    fn share(&self, revoked: Revoked) {
        if self.set.is_none() {
            return;
        }
        let mut unshared = self.unshared.lock();
        if unshared.waiting.len() < WAITING {
            unshared.waiting.push(revoked);
        } else {
            unshared.all = true;
        }
        drop(unshared);
        self.look.notify_one();
    }

    async fn keep_asking(&self) {
        loop {
            self.reread.notified().await;
            loop {
                match self.friends.revocations().await {
                    Ok(all) => {
                        for revocation in all {
                            self.revoke(revocation);
                        }
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "store-api does not say what is revoked");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
    }

    async fn keep_sharing(&self) {
        let Some(set) = &self.set else {
            return;
        };
        let mut mark = None;
        let mut away = false;
        loop {
            match self.exchange(set.as_ref(), &mut mark).await {
                Ok(()) => {
                    away = false;
                    tokio::select! {
                        () = self.look.notified() => {}
                        () = tokio::time::sleep(LOOK) => {}
                    }
                }
                Err(error) => {
                    if !away {
                        tracing::warn!(%error, "what is revoked is not shared");
                    }
                    away = true;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Puts what is known into the set, and reads what others put there.
    async fn exchange(
        &self,
        set: &dyn RevokedSet,
        mark: &mut Option<Mark>,
    ) -> Result<(), RevokedError> {
        let since = set.since(mark.as_ref()).await?;
        for revoked in since.revoked {
            match revoked {
                Revoked::Tokens(revocation) => {
                    self.deny(&revocation);
                }
                Revoked::Sessions {
                    user,
                    begun_at_or_before,
                } => self.sessions.disconnect(&user, begun_at_or_before),
            }
        }
        let mut waiting = {
            let mut unshared = self.unshared.lock();
            unshared.all |= since.lost;
            if unshared.all {
                let all = self.revocations.all().into_iter();
                // Of sessions to be ended only those remain that wait.
                unshared
                    .waiting
                    .retain(|one| matches!(one, Revoked::Sessions { .. }));
                unshared.waiting.extend(all.map(Revoked::Tokens));
                unshared.all = false;
            }
            std::mem::take(&mut unshared.waiting)
        };
        *mark = Some(since.mark);
        let outcome = set.add(&waiting).await;
        let mut unshared = self.unshared.lock();
        if outcome.is_err() {
            waiting.append(&mut unshared.waiting);
            unshared.waiting = waiting;
        }
        metrics::gauge!("fireside_revocations_unshared").set(unshared.waiting.len() as f64);
        outcome
    }

    async fn keep_tidy(&self) {
        loop {
            self.revocations.purge(Timestamp::now());
            metrics::gauge!("fireside_revocations").set(self.revocations.len() as f64);
            tokio::time::sleep(TIDY).await;
        }
    }
}
