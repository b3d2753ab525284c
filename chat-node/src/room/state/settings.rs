//! A room's name, topic and slow mode.

use shared::protocol::{
    command::RoomUpdate,
    room::{EntryBody, RoomChange},
};

use super::{Decided, Decision, RoomState, one};
use crate::room::{
    Caller,
    rules::{self, Act},
};

impl RoomState {
    pub(super) fn update(&self, caller: &Caller, update: &RoomUpdate) -> Decided {
        self.may(caller, Act::Update)?;
        if let Some(name) = &update.name {
            rules::check_name(name)?;
        }
        if let Some(topic) = &update.topic {
            rules::check_topic(topic)?;
        }
        if update
            .slow_mode_ms
            .is_some_and(|ms| ms > rules::MAX_SLOW_MODE_MS)
        {
            return Err(rules::invalid("slow mode goes up to six hours"));
        }
        // Only what differs from how it is goes into the log.
        let change = RoomChange {
            name: update
                .name
                .clone()
                .filter(|name| Some(&**name) != self.name()),
            topic: update
                .topic
                .clone()
                .filter(|topic| topic != self.topic().unwrap_or_default()),
            slow_mode_ms: update.slow_mode_ms.filter(|ms| *ms != self.slow_mode_ms),
            ..RoomChange::default()
        };
        if change == RoomChange::default() {
            return Ok(Decision::Already);
        }
        Ok(one(EntryBody::Room(change)))
    }
}
