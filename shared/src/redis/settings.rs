//! Where Redis is, and how long to wait for it.

use std::{path::PathBuf, time::Duration};

use crate::settings::{Report, Secret, Settings, duration};

use super::{RedisAddress, RedisAddressError};

/// The settings of the link to Redis.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct RedisSettings {
    /// The Redis that joins several nodes: redis://, redis+sentinel:// or redis+cluster://, with rediss for TLS; none: this node is alone
    #[arg(long)]
    pub redis_url: Option<Secret>,
    /// What the names of all our keys and channels in Redis begin with
    #[arg(long, default_value_t = Self::default().redis_prefix)]
    pub redis_prefix: String,
    /// A file of the certificates (PEM) that vouch for Redis; those of the system when not given
    #[arg(long)]
    pub redis_tls_ca: Option<PathBuf>,
    /// The password of the Sentinels, where they have one of their own
    #[arg(long)]
    pub redis_sentinel_password: Option<Secret>,
    /// How long opening a connection to Redis may take
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub redis_connect_timeout: Duration,
    /// How long Redis may take to answer a command
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub redis_timeout: Duration,
    /// After how much silence on a subscription, which is probed all the while, the link counts as broken
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub redis_silence: Duration,
    /// How many messages for Redis may wait to be published; beyond that they are dropped, and other nodes told so
    #[arg(long, default_value_t = Self::default().redis_publish_queue)]
    pub redis_publish_queue: usize,
}

/// Why the link cannot even be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisSetupError {
    /// No URL.
    #[error("`redis_url` is not set")]
    NoUrl,
    /// The URL is none of ours.
    #[error("`redis_url`: {0}")]
    Url(#[from] RedisAddressError),
    /// The certificates cannot be used.
    #[error("`redis_tls_ca`: {0}")]
    Certificates(String),
}

impl RedisSettings {
    /// What the URL means.
    pub fn address(&self) -> Result<RedisAddress, RedisSetupError> {
        let url = self.redis_url.as_ref().ok_or(RedisSetupError::NoUrl)?;
        Ok(RedisAddress::parse(url.expose())?)
    }
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            redis_url: None,
            redis_prefix: "fireside:".to_owned(),
            redis_tls_ca: None,
            redis_sentinel_password: None,
            redis_connect_timeout: Duration::from_secs(2),
            redis_timeout: Duration::from_secs(2),
            redis_silence: Duration::from_secs(30),
            redis_publish_queue: 16_384,
        }
    }
}

impl Settings for RedisSettings {
    fn validate(&self, report: &mut Report) {
        let address = self.redis_url.as_ref().map(|url| {
            let address = RedisAddress::parse(url.expose());
            if let Err(error) = &address {
                report.require(false, "redis_url", error.to_string());
            }
            address
        });
        // Braces would be a hash tag, and put all keys of a Cluster on one master.
        let plain =
            |c: char| c.is_ascii_graphic() && !matches!(c, '{' | '}' | '*' | '?' | '[' | ']');
        report.require(
            self.redis_prefix.len() <= 64 && self.redis_prefix.chars().all(plain),
            "redis_prefix",
            "has at most 64 visible ASCII characters, none of {}*?[]",
        );
        let waits = [
            (self.redis_connect_timeout, "redis_connect_timeout"),
            (self.redis_timeout, "redis_timeout"),
        ];
        for (wait, name) in waits {
            let sane = Duration::from_millis(50)..=Duration::from_mins(1);
            report.require(sane.contains(&wait), name, "is 50ms to 1m");
        }
        let sane = Duration::from_millis(300)..=Duration::from_mins(10);
        report.require(
            sane.contains(&self.redis_silence),
            "redis_silence",
            "is 300ms to 10m",
        );
        report.require(
            (16..=1 << 20).contains(&self.redis_publish_queue),
            "redis_publish_queue",
            "is 16 to 1048576",
        );
        if let Some(Ok(address)) = address {
            report.require(
                address.tls || self.redis_tls_ca.is_none(),
                "redis_tls_ca",
                "is for rediss:// only, and `redis_url` is not TLS",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_documented() {
        let page = include_str!("../../../docs/operations.md");
        let loader = crate::settings::Loader::new("chat-node", "0", "");
        for setting in crate::settings::reference::<RedisSettings>(&loader) {
            let row = setting.row();
            let stands = setting.key == "config" || page.contains(&row);
            assert!(stands, "docs/operations.md misses:\n{row}");
        }
    }

    fn complaints(change: impl FnOnce(&mut RedisSettings)) -> Vec<String> {
        let mut settings = RedisSettings::default();
        change(&mut settings);
        let mut report = Report::default();
        settings.validate(&mut report);
        report.complaints().to_vec()
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        assert!(complaints(|_| {}).is_empty());
        let said = complaints(|s| {
            s.redis_url = Some(Secret::new("redis://u:hunter2@a:x".to_owned()));
            s.redis_prefix = "a{b}".to_owned();
            s.redis_timeout = Duration::ZERO;
            s.redis_silence = Duration::from_hours(1);
            s.redis_publish_queue = 0;
        });
        assert_eq!(said.len(), 5, "{said:?}");
        assert!(said[0].contains("host 1 is not HOST"), "{said:?}");
        assert!(said.iter().all(|line| !line.contains("hunter2")));
        let said = complaints(|s| {
            s.redis_url = Some(Secret::new("redis://a".to_owned()));
            s.redis_tls_ca = Some("ca.pem".into());
        });
        assert_eq!(said.len(), 1);
    }
}
