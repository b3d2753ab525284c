//! Signing keys: made once, kept in a file that only their owner reads.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use jsonwebtoken::EncodingKey;
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Jwk, KeyError};
use crate::settings::Secret;

/// The least bytes of an HMAC secret: as many as the hash has.
const MIN_SECRET: usize = 32;

/// How tokens are signed in this deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Algorithm {
    /// A secret shared by issuer and verifiers: for one machine.
    #[value(name = "HS256", alias = "hs256")]
    #[serde(rename = "HS256")]
    Hs256,
    /// Ed25519; verifiers need only the published key.
    #[value(name = "EdDSA", alias = "eddsa")]
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    pub(super) fn as_jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
        })
    }
}

/// A key that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Hs256(Secret<Vec<u8>>),
    EdDsa { der: Secret<Vec<u8>>, public: Jwk },
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// An HS256 key from a shared secret of at least 32 bytes.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET {
            return Err(KeyError::WeakSecret(secret.len()));
        }
        Ok(Self {
            kind: Kind::Hs256(Secret::new(secret.to_vec())),
        })
    }

    /// An EdDSA key from an Ed25519 private key in PKCS#8 PEM, as `openssl genpkey -algorithm
    /// ed25519` writes it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(pem)
            .map_err(|error| KeyError::Pem(error.to_string()))?;
        Self::from_ed25519(&key)
    }

    /// Reads the PEM file of an EdDSA key.
    pub fn from_pem_file(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        let pem = std::fs::read_to_string(path).map_err(file)?;
        Self::from_pem(&pem).map_err(|error| error.of_file(path))
    }

    /// The HS256 key kept in `dir/jwt.secret`, made on the first run with mode 600.
    ///
    /// Two processes that start together agree: the file is created exclusively, and the loser
    /// reads the winner's.
    pub fn load_or_generate_secret(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join("jwt.secret");
        let secret = load_or_generate(&path, || Ok(URL_SAFE_NO_PAD.encode(random::<48>()?)))?;
        Self::from_secret(secret.trim().as_bytes()).map_err(|error| error.of_file(&path))
    }

    /// The EdDSA key kept in `dir/jwt.pem`, made on the first run with mode 600.
    pub fn load_or_generate_ed25519(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join("jwt.pem");
        let pem = load_or_generate(&path, || {
            let key = ed25519_dalek::SigningKey::from_bytes(&random::<32>()?);
            let pem = key.to_pkcs8_pem(LineEnding::LF);
            pem.map(|pem| pem.to_string())
                .map_err(|error| KeyError::Pem(error.to_string()))
        })?;
        Self::from_pem(&pem).map_err(|error| error.of_file(&path))
    }

    fn from_ed25519(key: &ed25519_dalek::SigningKey) -> Result<Self, KeyError> {
        let der = key
            .to_pkcs8_der()
            .map_err(|error| KeyError::Pem(error.to_string()))?;
        let public = Jwk::ed25519(key.verifying_key().as_bytes());
        Ok(Self {
            kind: Kind::EdDsa {
                der: Secret::new(der.as_bytes().to_vec()),
                public,
            },
        })
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match &self.kind {
            Kind::Hs256(_) => Algorithm::Hs256,
            Kind::EdDsa { .. } => Algorithm::EdDsa,
        }
    }

    /// The name in the tokens' headers: the RFC 7638 thumbprint. A shared secret has none.
    pub fn kid(&self) -> Option<&str> {
        self.public().map(|jwk| jwk.kid.as_str())
    }

    /// The half that is published, if there is one.
    pub fn public(&self) -> Option<&Jwk> {
        match &self.kind {
            Kind::Hs256(_) => None,
            Kind::EdDsa { public, .. } => Some(public),
        }
    }

    /// A secret for another purpose, which follows from the key and does not tell it.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let material = match &self.kind {
            Kind::Hs256(secret) => secret.expose(),
            Kind::EdDsa { der, .. } => der.expose(),
        };
        let mut hash = Sha256::new();
        hash.update((purpose.len() as u64).to_be_bytes());
        hash.update(purpose);
        hash.update(material);
        hash.finalize().into()
    }

    pub(super) fn secret(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Hs256(secret) => Some(secret.expose()),
            Kind::EdDsa { .. } => None,
        }
    }

    pub(super) fn encoding_key(&self) -> EncodingKey {
        match &self.kind {
            Kind::Hs256(secret) => EncodingKey::from_secret(secret.expose()),
            Kind::EdDsa { der, .. } => EncodingKey::from_ed_der(der.expose()),
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|_| KeyError::Entropy)?;
    Ok(bytes)
}

fn load_or_generate(
    path: &Path,
    generate: impl FnOnce() -> Result<String, KeyError>,
) -> Result<String, KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    match OpenOptions::new().read(true).open(path) {
        Ok(mut file) => return read_private(&mut file).map_err(failed),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if let Some(dir) = path.parent() {
        crate::settings::private_dir(dir).map_err(failed)?;
    }
    let text = generate()?;
    // Written whole beside its name and linked into place, so that no reader ever sees half a key
    // and, of two first runs at once, one key wins for both.
    let draft = path.with_extension(format!("draft-{}", ulid::Ulid::new()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&draft, path));
    let removed = std::fs::remove_file(&draft);
    match linked {
        Ok(()) => removed.map(|()| text).map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut file = OpenOptions::new().read(true).open(path).map_err(failed)?;
            read_private(&mut file).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Reads a key and takes away access that others should not have had.
fn read_private(file: &mut std::fs::File) -> std::io::Result<String> {
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_follows_from_key_and_purpose() {
        let key = |byte| SigningKey::from_secret(&[byte; 32]).unwrap();
        assert_eq!(key(1).derive("a"), key(1).derive("a"));
        assert_ne!(key(1).derive("a"), key(1).derive("b"));
        assert_ne!(key(1).derive("a"), key(2).derive("a"));
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(matches!(
            SigningKey::from_secret(b"secret"),
            Err(KeyError::WeakSecret(6))
        ));
        assert!(SigningKey::from_secret(&[7; 32]).is_ok());
    }

    #[test]
    fn a_key_of_another_tool_is_read() {
        // The example of RFC 8410, section 10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
            -----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(pem).unwrap();
        let x = &key.public().unwrap().x;
        assert_eq!(x, "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
        assert!(matches!(
            SigningKey::from_pem("-----BEGIN"),
            Err(KeyError::Pem(_))
        ));
    }

    #[test]
    fn keys_are_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = SigningKey::load_or_generate_secret(&data).unwrap();
        let again = SigningKey::load_or_generate_secret(&data).unwrap();
        assert_eq!(first.secret(), again.secret());
        let first = SigningKey::load_or_generate_ed25519(&data).unwrap();
        let again = SigningKey::load_or_generate_ed25519(&data).unwrap();
        assert_eq!(first.kid(), again.kid());
        for name in ["jwt.secret", "jwt.pem"] {
            let mode = std::fs::metadata(data.join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(
            std::fs::read_dir(&data).unwrap().count(),
            2,
            "no drafts are left behind"
        );
    }

    #[test]
    fn a_kept_key_that_is_no_good_is_named_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("jwt.secret"), "too short").unwrap();
        std::fs::write(dir.path().join("jwt.pem"), "no key").unwrap();
        let secret = SigningKey::load_or_generate_secret(dir.path()).err();
        let pem = SigningKey::load_or_generate_ed25519(dir.path()).err();
        let given = SigningKey::from_pem_file(&dir.path().join("jwt.pem")).err();
        for (error, name) in [(secret, "jwt.secret"), (pem, "jwt.pem"), (given, "jwt.pem")] {
            let told = error.unwrap().to_string();
            assert!(
                told.contains(dir.path().join(name).to_str().unwrap()),
                "{told}"
            );
        }
    }

    #[test]
    fn two_first_runs_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let kids = std::thread::scope(|scope| {
            let run = || SigningKey::load_or_generate_ed25519(dir.path()).unwrap();
            let runs: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
            runs.into_iter()
                .map(|run| run.join().unwrap().kid().map(str::to_owned))
                .collect::<std::collections::HashSet<_>>()
        });
        assert_eq!(kids.len(), 1);
    }

    #[test]
    fn loose_permissions_are_mended() {
        let dir = tempfile::tempdir().unwrap();
        SigningKey::load_or_generate_secret(dir.path()).unwrap();
        let path = dir.path().join("jwt.secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        SigningKey::load_or_generate_secret(dir.path()).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_never_prints() {
        let key = SigningKey::from_secret(b"0123456789abcdef0123456789abcdef").unwrap();
        assert!(!format!("{key:?}").contains("0123"));
    }
}
