//! The certificate, and its successor without a restart.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use metrics::counter;
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use shared::settings::{Report, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The settings of TLS.
#[derive(Debug, Clone, clap::Args)]
pub struct TlsSettings {
    /// The certificate and those that vouch for it (PEM); TLS is off when not given. Read again when the
    /// file changes, and on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
}

impl Settings for TlsSettings {
    fn validate(&self, report: &mut Report) {
        report.require(
            self.tls_certificate.is_some() == self.tls_key.is_some(),
            "tls_key",
            "belongs to `tls_certificate`: give both or neither",
        );
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// No certificate stands in the file.
    #[error("{}: no certificate", .0.display())]
    Empty(PathBuf),
    /// They do not fit each other, or are of a kind we do not know.
    #[error("`tls_certificate` and `tls_key`: {0}")]
    Unfit(#[from] rustls::Error),
    /// Signals.
    #[error("cannot listen for SIGHUP: {0}")]
    Signal(#[from] io::Error),
}

/// The certificate in force.
#[derive(Debug)]
pub struct Certificate {
    files: (PathBuf, PathBuf),
    key: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads it from its files, if there are any.
    pub fn of(settings: &TlsSettings) -> Result<Option<Arc<Self>>, TlsError> {
        let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Self {
            key: RwLock::new(Arc::new(read(certificate, key)?)),
            files: (certificate.clone(), key.clone()),
        })))
    }

    /// What takes connections with it: whichever is in force when they come.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // So that a crowd that comes back need not sign anew for each.
        config.ticketer = ring::Ticketer::new()?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads it again when its files change and on SIGHUP, for ever. One that cannot be used leaves
    /// the one in force.
    pub async fn follow(self: Arc<Self>) -> Result<(), TlsError> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut known = self.stamps();
        loop {
            let told = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let now = self.stamps();
            if !told && now == known {
                continue;
            }
            // Also of files that cannot be used: they are complained of once.
            known = now;
            let outcome = match read(&self.files.0, &self.files.1) {
                Ok(key) => {
                    *self.key.write() = Arc::new(key);
                    tracing::info!("the certificate was read again");
                    "read"
                }
                Err(error) => {
                    tracing::error!(%error, "the certificate cannot be used; the one in force stays");
                    "refused"
                }
            };
            counter!("fireside_lb_certificate_reads_total", "outcome" => outcome).increment(1);
        }
    }

    fn stamps(&self) -> [Option<(SystemTime, u64)>; 2] {
        let stamp = |path: &Path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        };
        [stamp(&self.files.0), stamp(&self.files.1)]
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.read().clone())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(file(certificate))?;
    let chain: Vec<CertificateDer<'static>> =
        chain.collect::<Result<_, _>>().map_err(file(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(certificate.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(file(key))?;
    let key = ring::sign::any_supported_type(&key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match()?;
    Ok(certified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> TlsSettings {
        TlsSettings {
            tls_certificate: Some(folder.join("cert.pem")),
            tls_key: Some(folder.join("key.pem")),
        }
    }

    fn write(folder: &Path, name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let of = |settings: &TlsSettings| Certificate::of(settings).unwrap_err().to_string();
        assert!(of(&settings(folder.path())).contains("cert.pem"));
        write(folder.path(), "one.example");
        assert!(Certificate::of(&settings(folder.path())).unwrap().is_some());
        // The key of another certificate.
        let other = rcgen::KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("key.pem"), other.serialize_pem()).unwrap();
        assert!(of(&settings(folder.path())).contains("tls_key"));
        std::fs::write(folder.path().join("cert.pem"), "nothing").unwrap();
        assert!(of(&settings(folder.path())).contains("no certificate"));
        let none = TlsSettings {
            tls_certificate: None,
            tls_key: None,
        };
        assert!(Certificate::of(&none).unwrap().is_none());
    }
}
