//! What the operator decides about REST.

use shared::{limits::Quota, settings::Settings};

/// Settings of REST.
#[derive(Debug, Clone, clap::Args)]
pub struct RestSettings {
    /// REST requests of one person
    #[arg(long, default_value = "20/s burst 60")]
    pub rest_rate: Quota,
    /// Searches of one person, which count as requests besides
    #[arg(long, default_value = "2/s burst 10")]
    pub search_rate: Quota,
    /// Requests of one service to /v1/server
    #[arg(long, default_value = "1000/s burst 2000")]
    pub server_api_rate: Quota,
}

impl Settings for RestSettings {}

#[cfg(test)]
mod tests {
    use shared::settings::{Loader, SettingDoc, reference};

    use super::*;

    #[test]
    fn settings_are_documented() {
        let operations = include_str!("../../../docs/operations.md");
        let settings = reference::<RestSettings>(&Loader::new("chat-node", "0", ""));
        let own = settings.iter().filter(|s| s.key.ends_with("_rate"));
        let rows: Vec<_> = own.map(SettingDoc::row).collect();
        assert_eq!(rows.len(), 3);
        for row in rows {
            assert!(operations.lines().any(|line| line == row), "{row}");
        }
    }
}
