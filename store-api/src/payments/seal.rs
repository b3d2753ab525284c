//! What the addresses carry that providers send browsers back to, so that nobody makes up one for the
//! payment of somebody else, and gives it up for them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Bytes of a seal: half of the hash, so that nobody makes one longer.
const LENGTH: usize = 16;

/// Seals payments. Several processes on one database have to share its secret, as they share the key
/// of tokens.
pub(super) struct Seals {
    secret: [u8; 32],
}

impl Seals {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The seal of a payment.
    pub(super) fn of(&self, payment: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update(payment);
        URL_SAFE_NO_PAD.encode(&hash.finalize()[..LENGTH])
    }

    /// Whether it is the seal of this payment. Takes as long wherever it differs.
    pub(super) fn holds(&self, payment: &str, seal: &str) -> bool {
        self.of(payment).as_bytes().ct_eq(seal.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_of_one_payment_and_one_store() {
        let seals = Seals::new([1; 32]);
        let seal = seals.of("one");
        assert_eq!(seal.len(), 22);
        assert!(seals.holds("one", &seal));
        assert!(!seals.holds("two", &seal));
        assert!(!seals.holds("one", &seal[1..]));
        assert!(!seals.holds("one", ""));
        assert!(!Seals::new([2; 32]).holds("one", &seal));
    }
}
