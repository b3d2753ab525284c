//! What sessions need of the node around them.

use std::sync::Arc;

use shared::{auth::Auth, id::NodeId, protocol::reply::Limits as Allowed};

use super::{SessionSettings, Sessions, actor::Session};
use crate::{
    bridge::Bridge,
    friends::FriendCache,
    limits::Limits,
    overload::Overload,
    presence::Presence,
    room::{Rooms, rules},
    upgrade::Upgraded,
};

/// The neighbours of every session of a node. Shared behind an [`Arc`].
pub struct Surroundings {
    /// This node.
    pub node: NodeId,
    /// What the operator decides.
    pub settings: SessionSettings,
    /// Judges tokens.
    pub auth: Auth,
    /// Every session of this node.
    pub sessions: Sessions,
    /// Where commands about rooms go.
    pub rooms: Rooms,
    /// Who is whose friend.
    pub friends: Arc<FriendCache>,
    /// The other nodes.
    pub bridge: Arc<Bridge>,
    /// Who is there.
    pub presence: Presence,
    /// How much a user may ask.
    pub limits: Arc<Limits>,
    /// What is shed now.
    pub overload: Overload,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Greets a socket that was let in: what [`crate::upgrade::Upgrades`] calls. Runs on the
    /// worker whose socket it is.
    pub fn greet(self: &Arc<Self>, upgraded: Upgraded) {
        Session::greet(self, upgraded);
    }

    /// What a client is told it may do.
    pub(super) fn allowed(&self) -> Allowed {
        use shared::protocol::room::RoomKind;
        Allowed {
            max_frame_bytes: self.settings.max_frame.as_usize() as u32,
            max_text_chars: rules::MAX_TEXT_CHARS as u32,
            max_data_bytes: rules::MAX_DATA_BYTES as u32,
            session_ttl_ms: self.settings.session_ttl.as_millis() as u32,
            max_group_members: rules::max_members(RoomKind::Group) as u32,
        }
    }
}
