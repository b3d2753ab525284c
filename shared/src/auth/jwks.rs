//! Published keys: the JWKS document, and the ring of keys in force.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{KeyError, SigningKey, TokenError};

/// The document at `/.well-known/jwks.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// The public keys; during a change of keys the old one and the new.
    pub keys: Vec<Jwk>,
}

/// One public key. Fields of key types that we do not use are let pass when reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `OKP` for Ed25519.
    pub kty: String,
    /// `Ed25519`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub crv: String,
    /// The public key, base64url.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub x: String,
    /// The key's name: its RFC 7638 thumbprint when it is ours.
    #[serde(default)]
    pub kid: String,
    /// `EdDSA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// `sig`.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
}

impl Jwks {
    /// The document that publishes these signing keys; shared secrets have nothing to publish.
    pub fn publish<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Self {
        Self {
            keys: keys
                .into_iter()
                .filter_map(SigningKey::public)
                .cloned()
                .collect(),
        }
    }
}

impl Jwk {
    pub(super) fn ed25519(public: &[u8; 32]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(public);
        // RFC 7638: the required members in lexical order, without spaces.
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        Self {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x,
            kid,
            alg: Some("EdDSA".into()),
            usage: Some("sig".into()),
        }
    }

    /// Whether it could sign our tokens at all.
    fn is_ed25519_signing(&self) -> bool {
        self.kty == "OKP"
            && self.crv == "Ed25519"
            && self
                .alg
                .as_deref()
                .is_none_or(|alg| alg == "EdDSA" || alg == "Ed25519")
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
    }

    fn decoding_key(&self) -> Result<DecodingKey, KeyError> {
        let bad = |reason| KeyError::Jwk {
            kid: self.kid.clone(),
            reason,
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(&self.x)
            .map_err(|_| bad("`x` is not base64url"))?;
        // The verifier slices the key to 32 bytes and would panic on fewer.
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| bad("`x` is not 32 bytes"))?;
        ed25519_dalek::VerifyingKey::from_bytes(&bytes)
            .ok()
            .filter(|key| !key.is_weak())
            .ok_or_else(|| bad("not a point of the curve"))?;
        Ok(DecodingKey::from_ed_der(&bytes))
    }
}

/// The keys in force, replaced whole. Reading takes a lock for the time of one pointer copy.
#[derive(Clone, Default)]
pub struct KeyRing {
    keys: Arc<RwLock<Arc<HashMap<String, DecodingKey>>>>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.read().clone();
        f.debug_list().entries(keys.keys()).finish()
    }
}

impl KeyRing {
    /// A ring with the usable keys of a document.
    pub fn new(jwks: &Jwks) -> Result<Self, KeyError> {
        let ring = Self::default();
        ring.replace(jwks)?;
        Ok(ring)
    }

    /// Puts a new document in force. Keys of other types and uses are passed over; one of ours that
    /// is broken refuses the document, and so does a document without any, so that a mistake at the
    /// publisher does not empty the ring.
    pub fn replace(&self, jwks: &Jwks) -> Result<(), KeyError> {
        let keys = jwks
            .keys
            .iter()
            .filter(|jwk| jwk.is_ed25519_signing())
            .map(|jwk| Ok((jwk.kid.clone(), jwk.decoding_key()?)))
            .collect::<Result<HashMap<_, _>, KeyError>>()?;
        if keys.is_empty() {
            return Err(KeyError::Jwk {
                kid: "*".into(),
                reason: "no Ed25519 signing key in it",
            });
        }
        *self.keys.write() = Arc::new(keys);
        Ok(())
    }

    /// Whether there is any key.
    pub fn is_empty(&self) -> bool {
        self.keys.read().is_empty()
    }

    /// The key of that name; without a name, the only one.
    pub(super) fn find(&self, kid: Option<&str>) -> Result<DecodingKey, TokenError> {
        let keys = self.keys.read().clone();
        let found = match kid {
            Some(kid) => keys.get(kid),
            None if keys.len() == 1 => keys.values().next(),
            None => None,
        };
        found.cloned().ok_or(TokenError::UnknownKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (tempfile::TempDir, SigningKey) {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::load_or_generate_ed25519(dir.path()).unwrap();
        (dir, key)
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        // The key and thumbprint of RFC 8037, appendices A.2 and A.3.
        let x = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        let jwk = Jwk::ed25519(&x.try_into().unwrap());
        assert_eq!(jwk.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_document_survives_publishing_and_reading() {
        let (_dir, key) = key();
        let text = serde_json::to_string(&Jwks::publish([&key])).unwrap();
        assert!(
            !text.contains("\"d\""),
            "the private half must not be published: {text}"
        );
        let ring = KeyRing::new(&serde_json::from_str(&text).unwrap()).unwrap();
        assert!(ring.find(key.kid()).is_ok());
        assert!(ring.find(None).is_ok());
        assert_eq!(
            ring.find(Some("other")).unwrap_err(),
            TokenError::UnknownKey
        );
    }

    #[test]
    fn foreign_keys_pass_and_broken_ones_do_not() {
        let (_dir, key) = key();
        let mut jwks: Jwks = serde_json::from_str(
            r#"{"keys":[{"kty":"RSA","kid":"r","n":"AQAB","e":"AQAB","alg":"RS256"}]}"#,
        )
        .unwrap();
        assert!(KeyRing::new(&jwks).is_err(), "nothing of ours in it");
        jwks.keys.extend(key.public().cloned());
        let ring = KeyRing::new(&jwks).unwrap();
        assert!(ring.find(Some("r")).is_err());

        let broken = |x: &str| Jwk {
            x: x.into(),
            ..key.public().unwrap().clone()
        };
        for x in ["", "AAAA", "*", &URL_SAFE_NO_PAD.encode([0_u8; 32])] {
            assert!(
                ring.replace(&Jwks {
                    keys: vec![broken(x)]
                })
                .is_err(),
                "{x}"
            );
        }
        assert!(
            ring.find(key.kid()).is_ok(),
            "a refused document changes nothing"
        );
    }
}
