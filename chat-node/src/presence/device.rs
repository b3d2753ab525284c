//! What one device says, checked, or several merged.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::{
    codes::ErrorCode,
    id::Timestamp,
    protocol::{
        command::PresenceSet,
        presence::{Activity, Status},
        reply::ErrorBody,
    },
};

/// The longest text of an activity, in characters.
const MAX_TEXT: usize = 128;
/// The largest party.
const MAX_PARTY: u32 = 10_000;

/// What a connected device may say of itself, lowest first: of two devices the higher counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Not looking; counts only when every device says so.
    Away,
    /// There.
    #[default]
    Online,
    /// Not to be disturbed.
    Busy,
    /// Shown as offline.
    Invisible,
}

impl Availability {
    /// The status on the wire, as the user sees it.
    pub fn status(self) -> Status {
        match self {
            Self::Away => Status::Away,
            Self::Online => Status::Online,
            Self::Busy => Status::Busy,
            Self::Invisible => Status::Invisible,
        }
    }
}

/// The state of a connected device, or of several merged. By default there, without an activity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct DeviceState {
    /// The availability.
    pub availability: Availability,
    /// What the person does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Arc<Activity>>,
}

impl DeviceState {
    /// Checks what a client sets. No activity begins later than now; one without a beginning
    /// gets it when it is taken in.
    pub fn parse(set: &PresenceSet, now: Timestamp) -> Result<Self, ErrorBody> {
        let availability = match set.status {
            Status::Online => Availability::Online,
            Status::Away => Availability::Away,
            Status::Busy => Availability::Busy,
            Status::Invisible => Availability::Invisible,
            Status::Offline | Status::Unknown => {
                return Err(invalid("status is online, away, busy or invisible"));
            }
        };
        let activity = match &set.activity {
            Some(activity) => Some(Arc::new(check(activity, now)?)),
            None => None,
        };
        Ok(Self {
            availability,
            activity,
        })
    }

    /// Fills in when the activity began, if the client did not say: when `before`, the device's
    /// state so far, is of the same game, then when that began (changing the map is not starting the game
    /// anew), otherwise now.
    #[must_use]
    pub(super) fn begun(mut self, before: Option<&Self>, now: Timestamp) -> Self {
        if let Some(activity) = &mut self.activity
            && activity.since.is_none()
        {
            let before = before.and_then(|before| before.activity.as_ref());
            let same = before.filter(|before| before.game == activity.game);
            let since = same.and_then(|same| same.since).unwrap_or(now);
            Arc::make_mut(activity).since = Some(since);
        }
        self
    }
}

fn invalid(message: &str) -> ErrorBody {
    ErrorBody::new(ErrorCode::Invalid, message)
}

fn check(activity: &Activity, now: Timestamp) -> Result<Activity, ErrorBody> {
    let mut activity = activity.clone();
    text("game", &activity.game, 1)?;
    text("state", activity.state.as_deref().unwrap_or_default(), 0)?;
    let details = activity.details.as_deref().unwrap_or_default();
    text("details", details, 0)?;
    if let Some(party) = &activity.party {
        text("party.id", &party.id, 1)?;
        if party.size < 1 || party.size > party.max || party.max > MAX_PARTY {
            return Err(invalid(
                "party: 1 ≤ size ≤ max ≤ 10000 is what it has to be",
            ));
        }
    }
    activity.since = activity
        .since
        .map(|since| since.min(now).max(Timestamp::from_millis(0)));
    Ok(activity)
}

fn text(field: &str, text: &str, least: usize) -> Result<(), ErrorBody> {
    let chars = text.chars().count();
    if chars < least || chars > MAX_TEXT {
        return Err(invalid(&format!(
            "activity.{field} has {least} to {MAX_TEXT} characters"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(&format!(
            "activity.{field} has no control characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(set: serde_json::Value) -> Result<DeviceState, ErrorBody> {
        DeviceState::parse(
            &serde_json::from_value(set).unwrap(),
            Timestamp::from_millis(1000),
        )
    }

    #[test]
    fn what_a_client_sets_is_checked() {
        let game = |extra: serde_json::Value| {
            let mut activity = json!({"kind": "game", "game": "chess"});
            activity
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            json!({"status": "online", "activity": activity})
        };
        for good in [
            json!({"status": "invisible"}),
            game(json!({})),
            game(
                json!({"party": {"id": "p", "size": 4, "max": 4}, "state": "é".repeat(128), "joinable": true}),
            ),
        ] {
            assert!(parse(good.clone()).is_ok(), "{good}");
        }
        for bad in [
            game(json!({"game": ""})),
            game(json!({"game": "x".repeat(129)})),
            game(json!({"details": "a\u{0}b"})),
            game(json!({"party": {"id": "p", "size": 0, "max": 4}})),
            game(json!({"party": {"id": "p", "size": 5, "max": 4}})),
            game(json!({"party": {"id": "", "size": 1, "max": 4}})),
            game(json!({"party": {"id": "p", "size": 1, "max": 10_001}})),
        ] {
            assert_eq!(
                parse(bad.clone()).unwrap_err().code,
                ErrorCode::Invalid,
                "{bad}"
            );
        }
    }

    #[test]
    fn the_server_knows_when_an_activity_began() {
        let at = Timestamp::from_millis;
        let chess = |since: serde_json::Value| {
            parse(json!({"status": "busy", "activity": {"kind": "game", "game": "chess", "since": since}}))
                .unwrap()
        };
        let since = |state: DeviceState| state.activity.unwrap().since;
        assert_eq!(
            since(chess(json!(400)).begun(None, at(1000))),
            Some(at(400))
        );
        assert_eq!(
            since(chess(json!(9999))),
            Some(at(1000)),
            "no game begins tomorrow"
        );
        let first = chess(json!(null)).begun(None, at(1000));
        assert_eq!(since(first.clone()), Some(at(1000)));
        let next = chess(json!(null)).begun(Some(&first), at(2000));
        assert_eq!(since(next), Some(at(1000)), "the same game goes on");
        let said = chess(json!(400)).begun(Some(&first), at(2000));
        assert_eq!(since(said), Some(at(400)));
    }
}
