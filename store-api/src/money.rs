//! Money: whole minor units (cents, won) of a currency, and which currency a country pays in.

use std::fmt;

use crate::error::{StoreError, Violation};

/// The most of one currency that an account holds or a transfer moves, in minor units: so far from
/// the end of the integers that no sum of a few of them overflows, on either database.
pub(crate) const MOST: i64 = 1_000_000_000_000_000;

/// A currency that the store deals in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency {
    code: &'static str,
    exponent: u8,
}

/// A country that the store sells to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country {
    code: &'static str,
    currency: Currency,
}

/// An amount of one currency. It may be negative: what leaves an account is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

const EUR: Currency = currency("EUR", 2);
const GBP: Currency = currency("GBP", 2);
const JPY: Currency = currency("JPY", 0);
const KRW: Currency = currency("KRW", 0);
const USD: Currency = currency("USD", 2);

const CURRENCIES: &[Currency] = &[EUR, GBP, JPY, KRW, USD];

/// In order of their codes.
const COUNTRIES: &[Country] = &[
    country("AT", EUR),
    country("BE", EUR),
    country("DE", EUR),
    country("ES", EUR),
    country("FI", EUR),
    country("FR", EUR),
    country("GB", GBP),
    country("IE", EUR),
    country("IT", EUR),
    country("JP", JPY),
    country("KR", KRW),
    country("NL", EUR),
    country("PT", EUR),
    country("US", USD),
];

const fn currency(code: &'static str, exponent: u8) -> Currency {
    Currency { code, exponent }
}

const fn country(code: &'static str, currency: Currency) -> Country {
    Country { code, currency }
}

impl Currency {
    /// The currency of this ISO 4217 code, if the store deals in it.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let known = CURRENCIES.iter().find(|currency| currency.code == text);
        known.copied().ok_or(Violation::new(
            "currency",
            "unknown",
            "not a currency of this store: three capital letters, such as KRW",
        ))
    }

    /// The ISO 4217 code.
    pub fn code(self) -> &'static str {
        self.code
    }

    /// How many decimal digits of the major unit the minor unit is: 2 for cents, 0 for won.
    pub fn exponent(self) -> u8 {
        self.exponent
    }
}

impl Country {
    /// The country of this ISO 3166 code, if the store sells to it.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let known = COUNTRIES.iter().find(|country| country.code == text);
        known.copied().ok_or(Violation::new(
            "country",
            "unknown",
            "not a country that this store sells to: two capital letters, such as KR",
        ))
    }

    /// Every country that the store sells to.
    pub fn all() -> impl Iterator<Item = Self> {
        COUNTRIES.iter().copied()
    }

    /// The ISO 3166 code.
    pub fn code(self) -> &'static str {
        self.code
    }

    /// What is paid in there.
    pub fn currency(self) -> Currency {
        self.currency
    }
}

impl std::str::FromStr for Country {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|broken| broken.message.to_owned())
    }
}

impl Money {
    /// So many minor units.
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// An amount that somebody asks for: more than nothing, and no more than can be held.
    pub fn positive(
        field: &'static str,
        minor: i64,
        currency: Currency,
    ) -> Result<Self, Violation> {
        if (1..=MOST).contains(&minor) {
            Ok(Self { minor, currency })
        } else {
            Err(Violation::new(
                field,
                "range",
                "from 1 to 10^15 minor units",
            ))
        }
    }

    /// Nothing.
    pub fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// How many minor units.
    pub fn minor(self) -> i64 {
        self.minor
    }

    /// Of which currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// Both together; none if they are of two currencies, or too much.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if self.currency != other.currency {
            return None;
        }
        let minor = self.minor.checked_add(other.minor)?;
        (minor.abs() <= MOST).then_some(Self { minor, ..self })
    }

    /// What is left; none if they are of two currencies, or too much.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(other.negated())
    }

    /// So many times this; none if that is too much.
    #[must_use]
    pub fn checked_mul(self, times: u32) -> Option<Self> {
        let minor = self.minor.checked_mul(i64::from(times))?;
        (minor.abs() <= MOST).then_some(Self { minor, ..self })
    }

    /// So many hundredths of this, rounded towards nothing; `percent` is at most 100.
    #[must_use]
    pub fn percent(self, percent: u8) -> Self {
        let part = i128::from(self.minor) * i128::from(percent.min(100)) / 100;
        // No more than what it is a part of.
        Self::new(i64::try_from(part).unwrap_or(self.minor), self.currency)
    }

    /// The same the other way.
    #[must_use]
    pub(crate) fn negated(self) -> Self {
        Self::new(-self.minor, self.currency)
    }
}

/// Adds amounts that must be of one currency.
pub(crate) fn total(
    currency: Currency,
    amounts: impl IntoIterator<Item = Money>,
) -> Result<Money, StoreError> {
    amounts
        .into_iter()
        .try_fold(Money::zero(currency), Money::checked_add)
        .ok_or_else(|| StoreError::Internal("a sum of money overflows".to_owned()))
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.minor, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_country_pays_in_its_currency() {
        assert_eq!(Country::parse("KR").unwrap().currency().code(), "KRW");
        assert_eq!(Country::parse("DE").unwrap().currency().exponent(), 2);
        assert_eq!(Country::parse("kr").unwrap_err().rule, "unknown");
        assert_eq!(Currency::parse("XXX").unwrap_err().rule, "unknown");
        assert!(COUNTRIES.is_sorted());
    }

    #[test]
    fn currencies_do_not_mix() {
        let (won, cents) = (Money::new(1, KRW), Money::new(1, USD));
        assert_eq!(won.checked_add(cents), None);
        assert_eq!(won.checked_sub(cents), None);
    }

    #[test]
    fn what_is_asked_for_is_more_than_nothing() {
        assert!(Money::positive("amount", 1, KRW).is_ok());
        for bad in [0, -1, MOST + 1, i64::MAX, i64::MIN] {
            assert_eq!(
                Money::positive("amount", bad, KRW).unwrap_err().rule,
                "range"
            );
        }
    }

    proptest! {
        #[test]
        fn sums_are_right_or_refused(a in any::<i32>(), b in any::<i64>(), n in any::<u32>()) {
            let (one, other) = (Money::new(i64::from(a), EUR), Money::new(b, EUR));
            let exact = i128::from(a) + i128::from(b);
            let sum = one.checked_add(other).map(|sum| i128::from(sum.minor()));
            prop_assert_eq!(sum, (exact.abs() <= i128::from(MOST)).then_some(exact));
            let exact = i128::from(a) * i128::from(n);
            let product = one.checked_mul(n).map(|product| i128::from(product.minor()));
            prop_assert_eq!(product, (exact.abs() <= i128::from(MOST)).then_some(exact));
        }

        #[test]
        fn a_part_and_its_rest_are_the_whole(minor in 0..MOST, percent in 0u8..=100) {
            let whole = Money::new(minor, EUR);
            let part = whole.percent(percent);
            let rest = whole.checked_sub(part).unwrap();
            prop_assert!(part.minor() >= 0 && rest.minor() >= 0);
            prop_assert_eq!(part.checked_add(rest), Some(whole));
        }
    }
}
