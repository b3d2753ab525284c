//! Secrets of webhooks, and what is signed with them, by the Standard Webhooks convention.
//!
//! A secret is not stored: it follows from a secret of this store, the webhook and a number. The
//! database has its hash, which says whether it is still the one that was told.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use crate::accounts::hex;

/// How a secret begins that is told.
const PREFIX: &str = "whsec_";

/// Makes secrets. Several processes on one database have to share its key, as they share the key
/// of tokens.
pub(super) struct Secrets {
    key: [u8; 32],
}

/// A secret of a webhook.
pub(super) struct Secret([u8; 32]);

impl Secrets {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The secret of a webhook that has this number.
    pub(super) fn secret(&self, webhook: &str, number: i64) -> Secret {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(format!("{webhook}:{number}"));
        Secret(hash.finalize().into())
    }
}

impl Secret {
    /// As its owner is told it.
    pub(super) fn told(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }

    /// What the database has of it.
    pub(super) fn hash(&self) -> String {
        hex(&Sha256::digest(self.0))
    }

    /// The signature of a message sent at this second.
    #[cfg(feature = "http-client")]
    pub(super) fn sign(&self, id: &str, second: i64, body: &str) -> String {
        sign(&self.0, id, second, body)
    }
}

#[cfg(feature = "http-client")]
fn sign(secret: &[u8], id: &str, second: i64, body: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    #[allow(clippy::expect_used)] // said by the library: HMAC takes a key of any length
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.update(format!("{id}.{second}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_follows_from_its_webhook_and_number() {
        let secrets = Secrets::new([7; 32]);
        let told = secrets.secret("a", 1).told();
        assert_eq!(secrets.secret("a", 1).told(), told);
        assert!(told.starts_with("whsec_"), "{told}");
        for (webhook, number) in [("a", 2), ("b", 1), ("a:1", 1)] {
            assert_ne!(secrets.secret(webhook, number).told(), told);
        }
        assert_ne!(Secrets::new([8; 32]).secret("a", 1).told(), told);
        let hash = secrets.secret("a", 1).hash();
        assert_eq!(hash.len(), 64);
        assert_ne!(hash, secrets.secret("a", 2).hash());
    }

    #[test]
    fn a_message_is_signed_as_the_convention_has_it() {
        // The example of the convention's reference libraries.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = sign(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
