//! What can be wrong with settings, in words for the person who starts the service.

use std::path::PathBuf;
use std::process::ExitCode;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not an error: help or the version was asked for, and is ready to print.
    #[error("{0}")]
    Asked(clap::Error),
    /// The command line does not parse.
    #[error("{0}")]
    CommandLine(clap::Error),
    /// The configuration file cannot be read or is not TOML.
    #[error("cannot read {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        reason: String,
    },
    /// The file sets something that no one here knows.
    #[error("{}: {}", path.display(), complaints.join("\n"))]
    UnknownKeys {
        /// The file.
        path: PathBuf,
        /// One sentence a key.
        complaints: Vec<String>,
    },
    /// A value of the file or the environment does not parse.
    #[error("{origin}: {reason}")]
    Value {
        /// Where the value stands.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting without a default is set nowhere.
    #[error("{0}")]
    Missing(String),
    /// Every value parses, but they do not make sense.
    #[error("settings refused:\n  {}", complaints.join("\n  "))]
    Refused {
        /// One sentence a complaint.
        complaints: Vec<String>,
    },
}

impl SettingsError {
    /// Prints what is to be said, help to the standard output and errors to the standard error, and
    /// gives the code to exit with.
    pub fn report(&self) -> ExitCode {
        match self {
            // A closed pipe (`fireside --help | head -1`) is no reason to complain.
            Self::Asked(text) => {
                let _ = text.print();
                ExitCode::SUCCESS
            }
            Self::CommandLine(error) => {
                let _ = error.print();
                ExitCode::from(2)
            }
            other => {
                eprintln!("error: {other}");
                ExitCode::from(2)
            }
        }
    }
}
