//! Statuses and activities as they travel.

use serde::{Deserialize, Serialize};

use super::codec::optional_object;
use crate::id::Timestamp;

/// How a person is, or wishes to seem.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema, Default,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There.
    #[default]
    Online,
    /// Connected but not looking.
    Away,
    /// Not to be disturbed.
    Busy,
    /// Connected and shown as offline to everybody else.
    Invisible,
    /// Not connected.
    Offline,
    /// The truth is not known right now; never shown as offline.
    Unknown,
}

/// What a person is doing. The only kind so far is a game.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Activity {
    /// The kind of activity.
    pub kind: ActivityKind,
    /// The game's name or id, 1–128 characters.
    pub game: String,
    /// Where in the game: "In the lobby", up to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// More of the same, up to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// The party the person plays in.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_object"
    )]
    pub party: Option<Party>,
    /// Whether friends may join.
    #[serde(default, skip_serializing_if = "is_false")]
    pub joinable: bool,
    /// When it began; the server fills it in when the client does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Kinds of [`Activity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivityKind {
    /// In a game.
    Game,
}

/// A party of players.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Party {
    /// The game's id for the party, up to 128 characters.
    pub id: String,
    /// How many are in it.
    pub size: u32,
    /// How many fit.
    pub max: u32,
}

/// A person's presence as one viewer may see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PresenceView {
    /// The status.
    pub status: Status,
    /// The activity, while connected and not invisible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
    /// When the person was last seen, while offline and known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn is_false(flag: &bool) -> bool {
    !*flag
}
