//! docs/operations.md says what presence, friends, the bus and the limits of sockets can be set to, and what they measure.

use crate::{
    bridge,
    friends::{self, FriendCacheSettings},
    limits::{self, LimitSettings},
    presence::{self, PresenceSettings},
};
use shared::{
    settings::{Loader, SettingDoc, Settings, reference},
    telemetry::Metric,
};

#[derive(Debug, clap::Args)]
struct Documented {
    #[command(flatten)]
    presence: PresenceSettings,
    #[command(flatten)]
    friends: FriendCacheSettings,
    #[command(flatten)]
    limits: LimitSettings,
}

impl Settings for Documented {}

#[test]
fn the_operations_page_has_every_setting_and_metric() {
    let page = include_str!("../../../docs/operations.md");
    let settings = reference::<Documented>(&Loader::new("chat-node", "0", ""));
    let own = |doc: &&SettingDoc| {
        let begins = ["presence_", "friends_", "limit_"];
        begins.iter().any(|with| doc.key.starts_with(with))
    };
    let settings = settings.iter().filter(own).map(SettingDoc::row);
    let metrics = [
        presence::METRICS,
        friends::METRICS,
        bridge::METRICS,
        limits::METRICS,
    ];
    let metrics = metrics.into_iter().flatten().map(Metric::row);
    let rows: Vec<String> = settings.chain(metrics).collect();
    assert_eq!(rows.len(), 2 + 3 + 7 + 9 + 4 + 10 + 2);
    let missing: Vec<String> = rows
        .into_iter()
        .filter(|row| !page.lines().any(|line| line == row))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/operations.md lacks:\n{}",
        missing.join("\n")
    );
}
