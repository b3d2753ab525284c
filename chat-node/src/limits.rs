//! How much is too much: token buckets of users and of rooms for what comes over sockets.
//!
//! A command that finds its bucket empty is refused with `rate_limited` and the time after which
//! it may be tried again; whoever keeps sending what is refused empties the flood bucket too,
//! and the socket closes with 4201. How often an address or a user may *connect* is limited
//! before the upgrade ([`crate::upgrade`]), and REST has buckets of its own.
//!
//! Bound: [`MAX_USERS`] and [`MAX_ROOMS`] buckets of each kind; past that newcomers share some.

use std::time::Duration;

use shared::{
    codes::ErrorCode,
    id::{RoomId, UserId},
    limits::{Limiter, Quota},
    protocol::{command::Command, reply::ErrorBody},
    settings::{Report, Settings},
    telemetry::Metric,
};
use tokio_util::sync::CancellationToken;

/// Users whose buckets are kept apart.
const MAX_USERS: usize = 200_000;
/// Rooms whose buckets are kept apart.
const MAX_ROOMS: usize = 100_000;
/// How often full buckets are let go of.
const PURGE_EVERY: Duration = Duration::from_secs(30);

/// How often each user, and each room, may have something done.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitSettings {
    /// How often one user may send, edit, delete or react, over all devices
    #[arg(long, default_value = "20/s burst 60")]
    pub limit_sends: Quota,
    /// How often one user may say to be typing, or to have read
    #[arg(long, default_value = "10/s burst 40")]
    pub limit_typing: Quota,
    /// How often one user may set a presence; it is published at most every 2 s anyway
    #[arg(long, default_value = "1/s burst 10")]
    pub limit_presence: Quota,
    /// How often one user may start or resume a session
    #[arg(long, default_value = "1/s burst 20")]
    pub limit_starts: Quota,
    /// How often one user may do anything else
    #[arg(long, default_value = "30/s burst 120")]
    pub limit_commands: Quota,
    /// How many messages one room takes, whoever sends them
    #[arg(long, default_value = "500/s burst 1000")]
    pub limit_room_sends: Quota,
    /// How many refused commands a user may go on with before the socket closes with 4201
    #[arg(long, default_value = "5/s burst 100")]
    pub limit_flood: Quota,
}

impl Settings for LimitSettings {
    fn validate(&self, _: &mut Report) {}
}

/// What sort of command it is; each has its own bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandClass {
    /// Appends to a room.
    Send,
    /// Typing and read markers.
    Typing,
    /// Presence.
    Presence,
    /// Session starts and resumptions, which cost a snapshot or a replay.
    Start,
    /// Everything else.
    Other,
}

impl CommandClass {
    /// The class of a command.
    pub fn of(command: &Command) -> Self {
        match command {
            Command::MessageSend(_)
            | Command::MessageEdit(_)
            | Command::MessageDelete(_)
            | Command::ReactionAdd(_)
            | Command::ReactionRemove(_) => Self::Send,
            Command::Typing(_) | Command::Read(_) => Self::Typing,
            Command::PresenceSet(_) => Self::Presence,
            Command::SessionStart(_) | Command::SessionResume(_) => Self::Start,
            _ => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Typing => "typing",
            Self::Presence => "presence",
            Self::Start => "start",
            Self::Other => "other",
        }
    }
}

/// A command that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The answer to it.
    pub error: ErrorBody,
    /// It is one too many: the socket closes with 4201.
    pub flood: bool,
}

/// The buckets. Share them behind an [`Arc`](std::sync::Arc).
#[derive(Debug)]
pub struct Limits {
    sends: Limiter<UserId>,
    typing: Limiter<UserId>,
    presence: Limiter<UserId>,
    starts: Limiter<UserId>,
    commands: Limiter<UserId>,
    rooms: Limiter<RoomId>,
    flood: Limiter<UserId>,
}

impl Limits {
    /// Buckets of these sizes, full.
    pub fn new(settings: &LimitSettings) -> Self {
        let users = |quota| Limiter::new(quota, MAX_USERS);
        Self {
            sends: users(settings.limit_sends),
            typing: users(settings.limit_typing),
            presence: users(settings.limit_presence),
            starts: users(settings.limit_starts),
            commands: users(settings.limit_commands),
            rooms: Limiter::new(settings.limit_room_sends, MAX_ROOMS),
            flood: users(settings.limit_flood),
        }
    }

    /// Takes a command of `user` into account.
    pub fn command(&self, user: &UserId, class: CommandClass) -> Result<(), Refusal> {
        let limiter = match class {
            CommandClass::Send => &self.sends,
            CommandClass::Typing => &self.typing,
            CommandClass::Presence => &self.presence,
            CommandClass::Start => &self.starts,
            CommandClass::Other => &self.commands,
        };
        let Some(wait) = limiter.check(user).retry_after() else {
            return Ok(());
        };
        let flood = !self.flood.check(user).is_allowed();
        Err(Refusal {
            error: refusal(class.name(), wait),
            flood,
        })
    }

    /// Takes a message to `room` into account.
    pub fn room_send(&self, room: &RoomId) -> Result<(), ErrorBody> {
        let wait = self.rooms.check(room).retry_after();
        wait.map_or(Ok(()), |wait| Err(refusal("room", wait)))
    }

    /// Messages that another node took for `room` count here too, so that all nodes together let
    /// through what one would, but for what is on its way between them.
    pub fn taken_elsewhere(&self, room: &RoomId, messages: usize) {
        for _ in 0..messages {
            if !self.rooms.check(room).is_allowed() {
                return;
            }
        }
    }

    /// Lets go of full buckets now and then, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PURGE_EVERY) => {}
                () = stop.cancelled() => return,
            }
            self.purge();
        }
    }

    fn purge(&self) {
        let users = [
            ("send", &self.sends),
            ("typing", &self.typing),
            ("presence", &self.presence),
            ("start", &self.starts),
            ("other", &self.commands),
            ("flood", &self.flood),
        ];
        for (limit, limiter) in users {
            limiter.purge();
            metrics::gauge!("fireside_limit_buckets", "limit" => limit).set(limiter.keys() as f64);
        }
        self.rooms.purge();
        let rooms = self.rooms.keys() as f64;
        metrics::gauge!("fireside_limit_buckets", "limit" => "room").set(rooms);
    }
}

fn refusal(limit: &'static str, wait: Duration) -> ErrorBody {
    metrics::counter!("fireside_limit_refused_total", "limit" => limit).increment(1);
    // Up, so that whoever waits as long as told is let in.
    let wait = wait.as_millis().saturating_add(1).min(u128::from(u64::MAX)) as u64;
    ErrorBody::new(ErrorCode::RateLimited, "too much at once").retry_after(wait)
}

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "fireside_limit_refused_total",
        "Commands refused with `rate_limited`",
    )
    .by(&["limit"]),
    Metric::gauge(
        "fireside_limit_buckets",
        "Token buckets that are not full, of users or rooms",
    )
    .by(&["limit"]),
];

#[cfg(test)]
mod tests {
    use shared::protocol::codec::RawBody;

    use super::*;

    fn limits() -> Limits {
        let quota = |text: &str| text.parse().unwrap();
        Limits::new(&LimitSettings {
            limit_sends: quota("1/h burst 3"),
            limit_typing: quota("1/h burst 2"),
            limit_presence: quota("1/h burst 1"),
            limit_starts: quota("1/h burst 1"),
            limit_commands: quota("1/h burst 1"),
            limit_room_sends: quota("1/h burst 2"),
            limit_flood: quota("1/h burst 2"),
        })
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[test]
    fn each_class_of_each_user_has_its_own_bucket() {
        let limits = limits();
        let allowed = |user: &UserId, class| {
            (0..10)
                .filter(|_| limits.command(user, class).is_ok())
                .count()
        };
        assert_eq!(allowed(&user("a"), CommandClass::Send), 3);
        assert_eq!(allowed(&user("a"), CommandClass::Typing), 2);
        assert_eq!(allowed(&user("b"), CommandClass::Send), 3);
    }

    #[test]
    fn who_goes_on_after_being_refused_floods() {
        let limits = limits();
        let a = user("a");
        assert_eq!(limits.command(&a, CommandClass::Presence), Ok(()));
        let refused: Vec<bool> = (0..4)
            .map(|_| {
                limits
                    .command(&a, CommandClass::Presence)
                    .unwrap_err()
                    .flood
            })
            .collect();
        assert_eq!(refused, [false, false, true, true]);
        let error = limits
            .command(&a, CommandClass::Presence)
            .unwrap_err()
            .error;
        assert_eq!((error.code, error.retry), (ErrorCode::RateLimited, true));
        assert!(error.retry_after_ms.unwrap() > 3_000_000);
    }

    #[test]
    fn a_room_takes_so_much_whoever_sends() {
        let limits = limits();
        let (r, q) = (RoomId::parse("r").unwrap(), RoomId::parse("q").unwrap());
        assert!(limits.room_send(&r).is_ok() && limits.room_send(&r).is_ok());
        assert_eq!(
            limits.room_send(&r).unwrap_err().code,
            ErrorCode::RateLimited
        );
        assert!(limits.room_send(&q).is_ok());
    }

    #[test]
    fn what_other_nodes_take_counts_for_the_room() {
        let limits = limits();
        let (r, q) = (RoomId::parse("r").unwrap(), RoomId::parse("q").unwrap());
        limits.taken_elsewhere(&r, 1);
        assert!(limits.room_send(&r).is_ok() && limits.room_send(&r).is_err());
        limits.taken_elsewhere(&q, 1000);
        assert!(limits.room_send(&q).is_err());
    }

    #[test]
    fn every_command_has_a_class() {
        let class = |op: &str, body: &str| {
            CommandClass::of(&Command::parse(op, &RawBody::Json(body)).unwrap())
        };
        assert_eq!(
            class("message.send", "{\"room\":\"r\",\"nonce\":\"n\"}"),
            CommandClass::Send
        );
        assert_eq!(
            class("read", "{\"room\":\"r\",\"seq\":1}"),
            CommandClass::Typing
        );
        assert_eq!(
            class("presence.set", "{\"status\":\"away\"}"),
            CommandClass::Presence
        );
        assert_eq!(class("session.start", "{}"), CommandClass::Start);
        assert_eq!(class("ping", "{}"), CommandClass::Other);
    }
}
