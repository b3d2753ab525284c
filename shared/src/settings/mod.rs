//! Settings, read in one place and in one order: the defaults in the code, then a TOML file
//! (`--config` or `FIRESIDE_CONFIG`), then `FIRESIDE_` environment variables, then command-line
//! flags. The last one that speaks wins.
//!
//! A service declares a plain struct with `#[derive(clap::Args)]`; nothing else is written down
//! twice. A field `jwt_secret` is the flag `--jwt-secret`, the variable `FIRESIDE_JWT_SECRET` and
//! the key `jwt_secret` of the file (a table only groups: `[jwt] secret = "…"` says the same).
//! Structs compose with `#[command(flatten)]`, which is how the standalone binary has the settings
//! of everything it contains. [`reference()`] lists them, so a test holds the documentation to the
//! code.
//!
//! What is wrong is said precisely and before anything starts: an unknown key of the file is
//! refused with the nearest known name, an unknown `FIRESIDE_` variable is warned about (a shell
//! may carry a neighbour's), a value that does not parse names the place it came from, and
//! [`Settings::validate`] reports all it finds, not the first. Durations (`25s`) and sizes
//! (`256KiB`) carry their units; a [`Secret`] never prints.

mod error;
mod file;
mod loader;
mod nearest;
mod reference;
mod secret;
mod server;
mod size;

pub use error::SettingsError;
pub use loader::{Loaded, Loader, Origin, Sources};
pub use nearest::nearest;
pub use reference::{SettingDoc, reference};
pub use secret::Secret;
pub use server::{ServerSettings, private_dir, private_file};
pub use size::{ByteSize, ByteSizeError};

use std::time::Duration;

/// A set of settings that a service declares.
pub trait Settings: clap::Args {
    /// Judges the values against each other, once all layers are in.
    ///
    /// Say everything that is wrong: whoever starts the service wants to mend it in one go.
    fn validate(&self, report: &mut Report) {
        let _ = report;
    }
}

/// Collects what [`Settings::validate`] finds wrong.
#[derive(Debug, Default)]
pub struct Report {
    complaints: Vec<String>,
}

impl Report {
    /// Complains about `setting` unless `holds`.
    pub fn require(&mut self, holds: bool, setting: &str, message: impl AsRef<str>) {
        if !holds {
            self.complaints
                .push(format!("`{setting}`: {}", message.as_ref()));
        }
    }

    /// What was wrong, in the order it was found.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn into_result(self) -> Result<(), SettingsError> {
        if self.complaints.is_empty() {
            Ok(())
        } else {
            Err(SettingsError::Refused {
                complaints: self.complaints,
            })
        }
    }
}

/// Parses a duration with its unit, for `#[arg(value_parser = shared::settings::duration)]`.
///
/// `25s`, `1m 30s`, `500ms`; a bare number is refused, because nobody remembers what it counts.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text.trim()).map_err(|error| {
        if text.trim().chars().all(|c| c.is_ascii_digit()) {
            format!(
                "a duration needs a unit, such as {}s or {}ms",
                text.trim(),
                text.trim()
            )
        } else {
            error.to_string()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units() {
        assert_eq!(duration("25s"), Ok(Duration::from_secs(25)));
        assert_eq!(duration(" 1m 30s "), Ok(Duration::from_secs(90)));
        assert!(duration("25").unwrap_err().contains("needs a unit"));
        assert!(duration("soon").is_err());
    }
}
