//! Passes: what somebody shows at a drop who was admitted. Each is for one person, one drop and a short while.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use shared::id::{Timestamp, UserId};

use crate::error::StoreError;

/// The audience of passes, so that none is taken for an access token, nor one of those for a pass.
const AUDIENCE: &str = "drop";

/// Signs passes and believes its own. Several processes on one database have to share its secret, as they
/// share the key of tokens.
pub(crate) struct Passes {
    signs: EncodingKey,
    believes: DecodingKey,
    validation: Validation,
}

/// What a pass says.
#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// Whose it is.
    sub: String,
    /// The campaign.
    drop: String,
    /// The number of the ticket.
    ticket: i64,
    /// Until when it is good, in milliseconds since the epoch.
    until: i64,
    /// The same in seconds, rounded up, as all tokens say it.
    exp: i64,
}

/// Why a pass does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPass {
    /// There is none.
    Missing,
    /// It is not ours, or for another drop or person.
    Wrong,
    /// It was good once.
    Expired,
}

impl Passes {
    /// Passes of this secret.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        // By the store's own clock, and to the millisecond.
        validation.validate_exp = false;
        Self {
            signs: EncodingKey::from_secret(secret),
            believes: DecodingKey::from_secret(secret),
            validation,
        }
    }

    /// The pass of a ticket; the same for the same.
    pub(super) fn of(
        &self,
        drop: &str,
        person: &UserId,
        ticket: i64,
        until: Timestamp,
    ) -> Result<String, StoreError> {
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            sub: person.to_string(),
            drop: drop.to_owned(),
            ticket,
            until: until.as_millis(),
            exp: until.as_millis().saturating_add(999) / 1000,
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signs)
            .map_err(|error| StoreError::Internal(format!("a pass: {error}")))
    }

    /// Whether somebody may come to a drop with this.
    pub(crate) fn check(
        &self,
        pass: Option<&str>,
        drop: &str,
        person: &UserId,
        now: Timestamp,
    ) -> Result<(), NoPass> {
        let pass = pass.ok_or(NoPass::Missing)?;
        let claims = decode::<Claims>(pass, &self.believes, &self.validation);
        let claims = claims.map_err(|_| NoPass::Wrong)?.claims;
        if claims.drop != drop || claims.sub != person.as_str() {
            return Err(NoPass::Wrong);
        }
        if claims.until <= now.as_millis() {
            return Err(NoPass::Expired);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_for_one_person_one_drop_and_a_while() {
        let passes = Passes::new(&[1; 32]);
        let [ann, bob] = ["ann", "bob"].map(|id| UserId::parse(id).unwrap());
        let (until, before) = (Timestamp::from_millis(5000), Timestamp::from_millis(4999));
        let pass = passes.of("autumn", &ann, 7, until).unwrap();
        assert_eq!(pass, passes.of("autumn", &ann, 7, until).unwrap());
        let check = |pass: Option<&str>, drop, person, now| passes.check(pass, drop, person, now);
        let held = Some(pass.as_str());
        assert_eq!(check(held, "autumn", &ann, before), Ok(()));
        assert_eq!(check(held, "autumn", &ann, until), Err(NoPass::Expired));
        assert_eq!(check(held, "autumn", &bob, before), Err(NoPass::Wrong));
        assert_eq!(check(held, "winter", &ann, before), Err(NoPass::Wrong));
        assert_eq!(check(None, "autumn", &ann, before), Err(NoPass::Missing));
        for forged in ["", "a.b.c", &format!("{pass}A")] {
            let verdict = check(Some(forged), "autumn", &ann, before);
            assert_eq!(verdict, Err(NoPass::Wrong), "{forged}");
        }
        let strangers = Passes::new(&[2; 32]).of("autumn", &ann, 7, until).unwrap();
        let verdict = check(Some(&strangers), "autumn", &ann, before);
        assert_eq!(verdict, Err(NoPass::Wrong));
    }
}
