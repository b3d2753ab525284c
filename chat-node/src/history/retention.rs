//! How long what was said is kept, and the sweep that forgets what is older.
//!
//! Every node sweeps, at times of its own: what two of them do at once is done once. A sweep asks for
//! rooms whose logs begin too early, a portion at a time, and takes a little off the front of each
//! until it begins late enough. It rests after every step for several times as long as the step took, so
//! that senders have the store to themselves nearly all the time.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{Counter, Histogram, counter, histogram};
use shared::{
    id::Timestamp,
    protocol::room::RoomKind,
    settings::{Report, Settings, duration},
    telemetry::{LATENCY_BUCKETS, Metric},
};
use tokio_util::sync::CancellationToken;

use super::{History, HistoryError};

/// How long what was said is kept, by the kind of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args)]
pub struct RetentionSettings {
    /// How long what was said between two people is kept, such as 365days, or forever
    #[arg(long, default_value_t)]
    pub history_keep_dm: Keep,
    /// How long what was said in a group is kept
    #[arg(long, default_value_t)]
    pub history_keep_group: Keep,
    /// How long what was said in a lobby is kept; all of it goes with the lobby
    #[arg(long, default_value_t)]
    pub history_keep_lobby: Keep,
    /// How long what was said in a channel is kept
    #[arg(long, default_value_t)]
    pub history_keep_channel: Keep,
}

/// For how long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep(Option<Duration>);

/// Shorter than this nothing can be kept: messages would go before they are read.
const LEAST: Duration = Duration::from_secs(1);
/// Longer than this is for ever.
const MOST: Duration = Duration::from_hours(24 * 365 * 1_000);
const KINDS: [RoomKind; 4] = [
    RoomKind::Dm,
    RoomKind::Group,
    RoomKind::Lobby,
    RoomKind::Channel,
];

/// A sweep begins this part of the shortest time that anything is kept after the last one, but within
/// these bounds.
const PART: u32 = 10;
const SOONEST: Duration = Duration::from_millis(500);
const LATEST: Duration = Duration::from_mins(10);
/// The first one, at the latest.
const FIRST_LATEST: Duration = Duration::from_secs(30);

/// After a step a sweep rests for so many times what the step took,
const REST: u32 = 4;
/// but within these bounds.
const REST_LEAST: Duration = Duration::from_millis(20);
const REST_MOST: Duration = Duration::from_secs(5);

/// The metrics of the sweep.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "fireside_history_expired_entries_total",
        "Entries that this node forgot because they were older than is kept",
    ),
    Metric::counter(
        "fireside_history_sweeps_total",
        "Sweeps for what is older than is kept that came to their end",
    ),
    Metric::counter(
        "fireside_history_sweeps_failed_total",
        "Sweeps that broke off because history did not answer; the next one goes on",
    ),
    Metric::histogram(
        "fireside_history_expire_seconds",
        "Time of one step of a sweep: a part of one room's log",
        LATENCY_BUCKETS,
    ),
];

impl Keep {
    /// For ever.
    pub const FOREVER: Self = Self(None);

    /// For so long.
    pub const fn of(time: Duration) -> Self {
        Self(Some(time))
    }

    /// For how long; `None` is for ever.
    pub const fn limit(self) -> Option<Duration> {
        self.0
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().eq_ignore_ascii_case("forever") {
            return Ok(Self::FOREVER);
        }
        let time = duration(text).map_err(|error| format!("{error}, or `forever`"))?;
        Ok(Self(Some(time).filter(|time| *time <= MOST)))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("forever"),
            Some(time) => write!(f, "{}ms", time.as_millis()),
        }
    }
}

impl Settings for RetentionSettings {
    fn validate(&self, report: &mut Report) {
        for (keep, name) in [
            (self.history_keep_dm, "history_keep_dm"),
            (self.history_keep_group, "history_keep_group"),
            (self.history_keep_lobby, "history_keep_lobby"),
            (self.history_keep_channel, "history_keep_channel"),
        ] {
            let long = keep.limit().is_none_or(|time| time >= LEAST);
            report.require(long, name, "is at least 1s, or forever");
        }
    }
}

impl RetentionSettings {
    /// All of it for ever.
    pub const FOREVER: Self = Self {
        history_keep_dm: Keep::FOREVER,
        history_keep_group: Keep::FOREVER,
        history_keep_lobby: Keep::FOREVER,
        history_keep_channel: Keep::FOREVER,
    };

    /// How long what was said in such a room is kept.
    pub const fn of(&self, kind: RoomKind) -> Keep {
        match kind {
            RoomKind::Dm => self.history_keep_dm,
            RoomKind::Group => self.history_keep_group,
            RoomKind::Lobby => self.history_keep_lobby,
            RoomKind::Channel => self.history_keep_channel,
        }
    }

    /// What was said in such a room before this expires; `None` when nothing does.
    pub fn horizon(&self, kind: RoomKind, now: Timestamp) -> Option<Timestamp> {
        let time = self.of(kind).limit()?;
        Some(now.plus_millis(-i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How often to sweep; `None` when everything is kept.
    fn every(&self) -> Option<Duration> {
        let shortest = KINDS.iter().filter_map(|kind| self.of(*kind).limit()).min();
        shortest.map(|time| (time / PART).clamp(SOONEST, LATEST))
    }
}

/// Sweeps for as long as the node runs, if anything is not kept for ever.
pub async fn run(
    history: Arc<dyn History>,
    settings: RetentionSettings,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    stop: CancellationToken,
) {
    let Some(every) = settings.every() else {
        return;
    };
    let sweep = Sweep::new(history, settings);
    let mut pause = every.min(FIRST_LATEST);
    loop {
        // Nodes that were started together do not sweep together.
        let pause = std::mem::replace(&mut pause, every).mul_f64(rand::random_range(0.7..1.3));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        tokio::select! {
            swept = sweep.all(clock()) => match swept {
                Ok(()) => sweep.sweeps.increment(1),
                Err(error) => {
                    sweep.failed.increment(1);
                    tracing::warn!(%error, "a sweep for what is older than is kept broke off; the next one goes on");
                }
            },
            // A step that is under way stands or does not; the next sweep finds out.
            () = stop.cancelled() => return,
        }
    }
}

/// What a sweep works with.
struct Sweep {
    history: Arc<dyn History>,
    settings: RetentionSettings,
    entries: Counter,
    sweeps: Counter,
    failed: Counter,
    seconds: Histogram,
}

impl Sweep {
    fn new(history: Arc<dyn History>, settings: RetentionSettings) -> Self {
        Self {
            history,
            settings,
            entries: counter!("fireside_history_expired_entries_total"),
            sweeps: counter!("fireside_history_sweeps_total"),
            failed: counter!("fireside_history_sweeps_failed_total"),
            seconds: histogram!("fireside_history_expire_seconds"),
        }
    }

    /// Once through all rooms that do not keep everything.
    async fn all(&self, now: Timestamp) -> Result<(), HistoryError> {
        for kind in KINDS {
            if let Some(before) = self.settings.horizon(kind, now) {
                self.kind(kind, before).await?;
            }
        }
        Ok(())
    }

    async fn kind(&self, kind: RoomKind, before: Timestamp) -> Result<(), HistoryError> {
        let (mut from, mut expired, mut rooms) = (None, 0, 0);
        loop {
            let began = Instant::now();
            let overdue = self.history.overdue(kind, before, from).await?;
            rest(began.elapsed()).await;
            rooms += overdue.rooms.len();
            for room in overdue.rooms {
                loop {
                    let began = Instant::now();
                    let step = self.history.expire(&room, before).await?;
                    let took = began.elapsed();
                    self.seconds.record(took);
                    self.entries.increment(step.entries);
                    expired += step.entries;
                    rest(took).await;
                    if !step.more {
                        break;
                    }
                }
            }
            from = overdue.next;
            if from.is_none() {
                break;
            }
        }
        if expired > 0 {
            tracing::debug!(?kind, expired, rooms, "forgot what is older than is kept");
        }
        Ok(())
    }
}

async fn rest(took: Duration) {
    let rest = took.saturating_mul(REST).clamp(REST_LEAST, REST_MOST);
    tokio::time::sleep(rest).await;
}

#[cfg(test)]
mod tests {
    use shared::{
        id::{Nonce, RoomId, Seq, UserId},
        protocol::room::{EntryBody, MessageBody, RoomChange},
        settings::{Loader, SettingDoc, reference},
    };

    use super::*;
    use crate::history::{NewEntry, sqlite::SqliteHistory};

    const NOW: Timestamp = Timestamp::from_millis(10_000_000);

    fn keep(text: &str) -> Result<Option<Duration>, String> {
        text.parse().map(Keep::limit)
    }

    #[test]
    fn a_time_has_a_unit_or_is_for_ever() {
        assert_eq!(keep("90days"), Ok(Some(Duration::from_hours(24 * 90))));
        assert_eq!(keep(" Forever "), Ok(None));
        assert_eq!(keep("4000years"), Ok(None), "no calendar goes so far back");
        assert!(keep("90").unwrap_err().contains("needs a unit"));
        assert!(keep("long").unwrap_err().contains("`forever`"));
        for shown in [Keep::FOREVER, Keep::of(Duration::from_millis(1_500))] {
            assert_eq!(shown.to_string().parse(), Ok(shown));
        }
    }

    #[test]
    fn by_default_everything_is_kept_and_nothing_swept() {
        let settings = RetentionSettings::default();
        assert_eq!(settings, RetentionSettings::FOREVER);
        assert_eq!(settings.every(), None);
        assert_eq!(settings.horizon(RoomKind::Dm, NOW), None);
    }

    #[test]
    fn the_shortest_time_says_how_often_to_sweep() {
        let of = |dm: u64, group: u64| {
            let settings = RetentionSettings {
                history_keep_dm: Keep::of(Duration::from_secs(dm)),
                history_keep_group: Keep::of(Duration::from_secs(group)),
                ..RetentionSettings::FOREVER
            };
            settings.every()
        };
        assert_eq!(of(1_000, 60), Some(Duration::from_secs(6)));
        assert_eq!(of(1, 60), Some(SOONEST));
        assert_eq!(of(1 << 40, 1 << 40), Some(LATEST));
    }

    #[test]
    fn the_operations_page_has_every_setting_and_metric() {
        #[derive(Debug, clap::Args)]
        struct Documented {
            #[command(flatten)]
            retention: RetentionSettings,
        }
        impl Settings for Documented {}
        let page = include_str!("../../../docs/operations.md");
        let settings = reference::<Documented>(&Loader::new("chat-node", "0", ""));
        let own = settings
            .iter()
            .filter(|setting| setting.key.starts_with("history_keep_"));
        let own: Vec<String> = own.map(SettingDoc::row).collect();
        assert_eq!(own.len(), 4);
        let rows = own.into_iter().chain(METRICS.iter().map(Metric::row));
        let missing: Vec<String> = rows
            .filter(|row| !page.lines().any(|line| line == row))
            .collect();
        assert!(
            missing.is_empty(),
            "docs/operations.md lacks:\n{}",
            missing.join("\n")
        );
    }

    async fn room(history: &SqliteHistory, kind: RoomKind, id: &str, messages: i64) -> RoomId {
        let room = RoomId::parse(id).unwrap();
        let created = EntryBody::Room(RoomChange {
            created: Some(kind),
            ..RoomChange::default()
        });
        let said = |_| {
            EntryBody::Message(MessageBody {
                unreadable: false,
                nonce: Nonce::generate(),
                text: "hi".into(),
                reply_to: None,
                mentions: Vec::new(),
                data: None,
            })
        };
        let bodies = std::iter::once(created).chain((0..messages).map(said));
        let entries = bodies.zip(0..).map(|(body, n)| NewEntry {
            user: UserId::parse("a").unwrap(),
            ts: NOW.plus_millis(n - messages),
            body,
        });
        let entries = entries.collect();
        history.append(&room, Seq::ZERO, entries).await.unwrap();
        room
    }

    /// What is kept for a second, of many rooms and long ones.
    #[tokio::test]
    async fn a_sweep_takes_what_is_too_old_of_the_kinds_that_do_not_keep_it() {
        let history = Arc::new(SqliteHistory::in_memory().unwrap());
        let long = room(&history, RoomKind::Group, "long", 2_000).await;
        let short = room(&history, RoomKind::Group, "short", 10).await;
        let dm = room(&history, RoomKind::Dm, "dm", 2_000).await;
        let settings = RetentionSettings {
            history_keep_group: Keep::of(Duration::from_secs(1)),
            ..RetentionSettings::FOREVER
        };
        let sweep = Sweep::new(history.clone(), settings);
        sweep.all(NOW).await.unwrap();
        // Entry n of the long room is of n - 2001 ms before now.
        assert_eq!(history.first(&long).await, Ok(Seq::new(1_001)));
        assert_eq!(history.first(&short).await, Ok(Seq::FIRST));
        assert_eq!(history.first(&dm).await, Ok(Seq::FIRST));
        sweep.all(NOW.plus_millis(10_000)).await.unwrap();
        assert_eq!(history.first(&long).await, Ok(Seq::new(2_001)));
        assert_eq!(history.first(&short).await, Ok(Seq::new(11)));
    }
}
