//! Amounts of memory, written with their unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes that reads and prints with a unit: `256KiB`, `16 MB`, `512B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ByteSizeError {
    /// There is no number in front.
    #[error("a size starts with a number, such as 256KiB")]
    NoNumber,
    /// There is a number alone.
    #[error("a size needs a unit (B, KiB, MiB, GiB, KB, MB or GB), such as {0}KiB")]
    NoUnit(String),
    /// The unit is not one of ours.
    #[error("unknown unit `{0}`: use B, KiB, MiB, GiB, KB, MB or GB")]
    UnknownUnit(String),
    /// It does not fit 64 bits.
    #[error("too large")]
    TooLarge,
}

/// Units, the larger first so that printing picks the largest that divides.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// A size of so many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of so many times 1,024 bytes.
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// A size of so many times 1,048,576 bytes.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The bytes as a length in memory; what does not fit is clamped.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim());
        if number.is_empty() {
            return Err(ByteSizeError::NoNumber);
        }
        let number: u64 = number.parse().map_err(|_| ByteSizeError::TooLarge)?;
        let factor = match UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        {
            Some((_, factor)) => *factor,
            None if unit.is_empty() && number == 0 => 1,
            None if unit.is_empty() => return Err(ByteSizeError::NoUnit(number.to_string())),
            None => return Err(ByteSizeError::UnknownUnit(unit.to_owned())),
        };
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or(ByteSizeError::TooLarge)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn reads_units() {
        assert_eq!("256KiB".parse(), Ok(ByteSize::kib(256)));
        assert_eq!("16 kib".parse(), Ok(ByteSize::kib(16)));
        assert_eq!("2MB".parse(), Ok(ByteSize::bytes(2_000_000)));
        assert_eq!("0".parse(), Ok(ByteSize::bytes(0)));
        assert_eq!(
            "512".parse::<ByteSize>(),
            Err(ByteSizeError::NoUnit("512".into()))
        );
        assert_eq!(
            "1 parsec".parse::<ByteSize>(),
            Err(ByteSizeError::UnknownUnit("parsec".into()))
        );
        assert_eq!("KiB".parse::<ByteSize>(), Err(ByteSizeError::NoNumber));
        assert_eq!(
            "99999999999GiB".parse::<ByteSize>(),
            Err(ByteSizeError::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(bytes in any::<u64>()) {
            let size = ByteSize::bytes(bytes);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
