//! The settings of every process that listens.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Report, Settings, duration};

/// Where a process listens, where it keeps its things, and how long it may take to leave.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerSettings {
    /// The address to serve clients on
    #[arg(long, value_parser = address, default_value = "127.0.0.1:8102")]
    pub listen: SocketAddr,
    /// The address of /healthz, /readyz and /metrics; off when not given. Keep it from the public
    #[arg(long, value_parser = address)]
    pub admin_listen: Option<SocketAddr>,
    /// The directory of databases and generated keys
    #[arg(long, default_value = "./data")]
    pub data_dir: PathBuf,
    /// How long a drain may take before it is cut
    #[arg(long, value_parser = duration, default_value = "25s")]
    pub shutdown_grace: Duration,
}

/// An address to listen on. What is none is answered with what one looks like.
fn address(text: &str) -> Result<SocketAddr, String> {
    let example = "give an IP address and a port, such as 127.0.0.1:8102 or 0.0.0.0:8102";
    text.parse().map_err(|_| example.to_owned())
}

impl ServerSettings {
    /// Makes the data directory, for its owner alone: it holds keys and everybody's messages. One
    /// that is there keeps the permissions it was given.
    pub fn prepare_data_dir(&self) -> std::io::Result<()> {
        private_dir(&self.data_dir)
    }
}

/// Makes a file with mode 600 where there is none, before somebody makes it who lets everybody on the
/// machine read it. SQLite gives the files beside a database the database's mode.
pub fn private_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// Makes a directory and its parents with mode 700, where they are missing.
pub fn private_dir(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

impl Settings for ServerSettings {
    fn validate(&self, report: &mut Report) {
        // Port 0 asks the system for a free one, so two of those do not collide.
        let apart = self.listen.port() == 0 || self.admin_listen != Some(self.listen);
        report.require(apart, "admin_listen", "must differ from `listen`");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn settings(data_dir: PathBuf) -> ServerSettings {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8102));
        let shutdown_grace = Duration::from_secs(1);
        ServerSettings {
            listen,
            admin_listen: Some(listen),
            data_dir,
            shutdown_grace,
        }
    }

    #[test]
    fn the_data_directory_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path().join("a/b"));
        settings.prepare_data_dir().unwrap();
        settings.prepare_data_dir().unwrap();
        let mode = std::fs::metadata(&settings.data_dir)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_file_is_private_from_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        private_file(&path).unwrap();
        std::fs::write(&path, "kept").unwrap();
        private_file(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn what_is_no_address_is_answered_with_an_example() {
        assert_eq!(address("[::1]:80").unwrap().port(), 80);
        for text in ["foo", "127.0.0.1", ":8102", "localhost:8102"] {
            let told = address(text).unwrap_err();
            assert!(told.contains("127.0.0.1:8102"), "{told}");
        }
    }

    #[test]
    fn two_listeners_need_two_addresses() {
        let mut report = Report::default();
        let mut settings = settings(PathBuf::new());
        settings.validate(&mut report);
        assert_eq!(report.complaints().len(), 1);
        settings.listen.set_port(0);
        settings.admin_listen = Some(settings.listen);
        let mut report = Report::default();
        settings.validate(&mut report);
        assert!(report.complaints().is_empty());
    }
}
