//! Where keys come from, as an operator says it.

use std::path::{Path, PathBuf};
#[cfg(feature = "http-client")]
use std::sync::Arc;

use super::{Algorithm, KeyError, SigningKey};
#[cfg(feature = "http-client")]
use super::{JwksFetcher, KeyRing, TokenVerifier};
use crate::settings::{Report, Secret, Settings};

/// The settings about tokens that every service has.
#[derive(Debug, Clone, clap::Args)]
pub struct TokenSettings {
    /// How access tokens are signed: HS256 (one machine) or EdDSA (keys published at
    /// /.well-known/jwks.json). A token that says otherwise is refused
    #[arg(long, value_enum, ignore_case = true, default_value = "HS256")]
    pub jwt_algorithm: Algorithm,
    /// The shared secret of HS256, at least 32 bytes; kept in the data directory when not given
    #[arg(long)]
    pub jwt_secret: Option<Secret>,
    /// The Ed25519 private key of EdDSA (PKCS#8 PEM); kept in the data directory when not given
    #[arg(long, value_name = "FILE")]
    pub jwt_private_key_file: Option<PathBuf>,
    /// Where a service that does not sign fetches the public keys of EdDSA
    #[arg(long, value_name = "URL")]
    pub jwks_url: Option<String>,
    /// The same in a file, instead of an address
    #[arg(long, value_name = "FILE")]
    pub jwks_file: Option<PathBuf>,
    /// Who issues tokens: the `iss` that is written and believed
    #[arg(long, default_value = "fireside")]
    pub jwt_issuer: String,
}

impl Settings for TokenSettings {
    fn validate(&self, report: &mut Report) {
        let strong = self
            .jwt_secret
            .as_ref()
            .is_none_or(|secret| secret.expose().len() >= 32);
        report.require(strong, "jwt_secret", "needs at least 32 bytes");
        let fits = self.jwt_algorithm == Algorithm::EdDsa
            || (self.jwt_private_key_file.is_none()
                && self.jwks_url.is_none()
                && self.jwks_file.is_none());
        report.require(
            fits,
            "jwt_algorithm",
            "a private key, a JWKS address or a file of keys needs EdDSA",
        );
        report.require(
            self.jwks_url.is_none() || self.jwks_file.is_none(),
            "jwks_file",
            "stands instead of `jwks_url`: give one of them",
        );
        report.require(
            !self.jwt_issuer.is_empty(),
            "jwt_issuer",
            "must not be empty",
        );
    }
}

impl TokenSettings {
    /// The key that an issuer signs with: the one given, or the one kept in `data_dir`, made on the
    /// first run.
    pub fn signing_key(&self, data_dir: &Path) -> Result<SigningKey, KeyError> {
        match (
            self.jwt_algorithm,
            &self.jwt_secret,
            &self.jwt_private_key_file,
        ) {
            (Algorithm::Hs256, Some(secret), _) => {
                SigningKey::from_secret(secret.expose().as_bytes())
            }
            (Algorithm::Hs256, None, _) => SigningKey::load_or_generate_secret(data_dir),
            (Algorithm::EdDsa, _, Some(path)) => SigningKey::from_pem_file(path),
            (Algorithm::EdDsa, _, None) => SigningKey::load_or_generate_ed25519(data_dir),
        }
    }

    /// The verifier of a service that does not sign: with the shared secret, or with the published
    /// keys: those of an address are fetched when first needed, those of a file are read at once.
    #[cfg(feature = "http-client")]
    pub fn remote_verifier(&self) -> Result<TokenVerifier, KeyError> {
        match (self.jwt_algorithm, &self.jwt_secret) {
            (Algorithm::Hs256, Some(secret)) => {
                TokenVerifier::hs256(secret.expose().as_bytes(), &self.jwt_issuer)
            }
            (Algorithm::Hs256, None) => Err(KeyError::NotConfigured(
                Algorithm::Hs256,
                "FIRESIDE_JWT_SECRET",
            )),
            (Algorithm::EdDsa, _) => {
                let ring = KeyRing::default();
                let keys = match (&self.jwks_url, &self.jwks_file) {
                    (Some(url), _) => JwksFetcher::new(url.as_str(), ring.clone())?,
                    (None, Some(path)) => JwksFetcher::of_file(path, ring.clone())?,
                    (None, None) => {
                        return Err(KeyError::NotConfigured(
                            Algorithm::EdDsa,
                            "FIRESIDE_JWKS_URL or FIRESIDE_JWKS_FILE",
                        ));
                    }
                };
                let keys = Arc::new(keys);
                Ok(TokenVerifier::eddsa_refreshed(ring, &self.jwt_issuer, keys))
            }
        }
    }
}
