//! How money is spelled.

use serde::Serialize;
use utoipa::ToSchema;

use crate::money::Money;

/// An amount of money.
#[derive(Serialize, ToSchema)]
pub(super) struct MoneyBody {
    /// In minor units of the currency: 1999 is 19.99 USD, and 19900 is 19,900 KRW.
    #[schema(example = 1999)]
    minor: i64,
    /// Its ISO 4217 code.
    #[schema(example = "USD")]
    currency: &'static str,
    /// How many decimal digits of the major unit the minor unit is.
    #[schema(example = 2)]
    exponent: u8,
}

impl From<Money> for MoneyBody {
    fn from(money: Money) -> Self {
        Self {
            minor: money.minor(),
            currency: money.currency().code(),
            exponent: money.currency().exponent(),
        }
    }
}
