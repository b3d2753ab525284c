//! What a session's being here means to others: its user's topic is heard, the user's friends are
//! kept at hand, the device counts in the user's presence. Undone exactly once, however the
//! session ends, even half-way through its start.

use std::sync::Arc;

use metrics::gauge;
use shared::id::UserId;

use super::Surroundings;
use crate::{friends::Graph, presence::DeviceState, transport::SessionKey};

/// Held from the start of a session to its end.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
pub(super) struct Residence {
    around: Arc<Surroundings>,
    key: SessionKey,
    user: UserId,
    topic_heard: bool,
    friends_kept: bool,
    present: bool,
    detached: bool,
}

impl Residence {
    pub(super) fn new(around: &Arc<Surroundings>, key: SessionKey, user: &UserId) -> Self {
        Self {
            around: around.clone(),
            key,
            user: user.clone(),
            topic_heard: false,
            friends_kept: false,
            present: false,
            detached: false,
        }
    }

    /// From here on what other nodes say to the user arrives.
    pub(super) async fn hear(&mut self) {
        self.topic_heard = true;
        self.around.bridge.online(&self.user).await;
    }

    /// The device counts from here on.
    pub(super) fn appear(&mut self, state: DeviceState) {
        self.present = true;
        self.around.presence.connected(self.key, &self.user, state);
    }

    /// The user's friends are known from here on.
    pub(super) async fn befriend(&mut self) -> Arc<Graph> {
        self.friends_kept = true;
        self.around.friends.online(&self.user).await
    }

    /// The session has no socket for now.
    pub(super) fn detached(&mut self) {
        if !std::mem::replace(&mut self.detached, true) {
            gauge!("fireside_sessions_detached").increment(1.0);
            self.around.presence.disconnected(self.key, &self.user);
        }
    }

    /// It has one again, or another one.
    pub(super) fn attached(&mut self) {
        if std::mem::replace(&mut self.detached, false) {
            gauge!("fireside_sessions_detached").decrement(1.0);
            self.around.presence.resumed(self.key, &self.user);
        } else {
            // What the one before was told lately may have gone nowhere: nobody had noticed that it was dead.
            self.around.presence.missed(&self.user);
        }
    }
}

impl Drop for Residence {
    fn drop(&mut self) {
        if self.detached {
            gauge!("fireside_sessions_detached").decrement(1.0);
        }
        if self.present {
            self.around.presence.ended(self.key, &self.user);
        }
        if self.friends_kept {
            self.around.friends.offline(&self.user);
        }
        if self.topic_heard {
            self.around.bridge.offline(&self.user);
        }
    }
}
