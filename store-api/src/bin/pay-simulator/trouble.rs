//! What goes wrong with a call.

use rand::Rng;

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Well.
    None,
    /// Nothing is done, and an error answered.
    FailedBefore,
    /// It is done, and an error answered.
    FailedAfter,
    /// Nothing is done, and the answer breaks off.
    BrokenBefore,
    /// It is done, and the answer breaks off.
    BrokenAfter,
    /// It is done at once, and answered late.
    AnsweredLate,
    /// It is done late, when nobody may wait for it any more.
    DoneLate,
    /// It is done twice, as by somebody on the way who repeats requests; the second is answered.
    DoneTwice,
}

const ALL: [Trouble; 7] = [
    Trouble::FailedBefore,
    Trouble::FailedAfter,
    Trouble::BrokenBefore,
    Trouble::BrokenAfter,
    Trouble::AnsweredLate,
    Trouble::DoneLate,
    Trouble::DoneTwice,
];

impl Trouble {
    /// One of them in so many of a hundred calls.
    pub fn drawn(dice: &mut impl Rng, percent: u8) -> Self {
        if dice.random_range(0..100) < percent {
            ALL[dice.random_range(0..ALL.len())]
        } else {
            Self::None
        }
    }
}
