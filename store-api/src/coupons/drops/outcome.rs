//! What claims come to.

use std::collections::BTreeMap;

use sea_orm::DbErr;

use super::super::{
    Coupon,
    grant::{over, refusal, sold_out},
};
use super::queue::NoPass;
use crate::error::StoreError;

/// A coupon: all of it where it is new, else its name.
pub(super) enum Won {
    New(Box<Coupon>),
    Held(String),
}

/// Why there is none; one reason for many people.
#[derive(Debug, Clone)]
pub(super) enum Lost {
    NotFound,
    NotOpen,
    Over,
    SoldOut,
    NoPass(NoPass),
    Unauthenticated,
    Busy,
    Unavailable(String),
    Failed(String),
}

impl Lost {
    pub(super) fn of(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(error) => Self::Unavailable(error.to_string()),
            StoreError::Unwritable(why) => Self::Unavailable(why),
            StoreError::Busy => Self::Busy,
            // A name that no database can hold is nobody's.
            StoreError::NotFound | StoreError::Invalid(_) => Self::NotFound,
            error => Self::Failed(error.to_string()),
        }
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::NotFound => "unknown",
            Self::NotOpen => "not_open",
            Self::Over => "over",
            Self::SoldOut => "sold_out",
            Self::NoPass(_) => "no_pass",
            Self::Unauthenticated => "refused",
            Self::Busy => "busy",
            Self::Unavailable(_) | Self::Failed(_) => "failed",
        }
    }
}

impl From<Lost> for StoreError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::NotFound => Self::NotFound,
            Lost::NotOpen => refusal("id", "not_open", "this has not begun yet"),
            Lost::Over => over("id"),
            Lost::SoldOut => sold_out("id"),
            Lost::NoPass(why) => {
                let (rule, message) = match why {
                    NoPass::Missing => ("no_pass", "this drop has a queue, which gives a pass"),
                    NoPass::Wrong => ("wrong_pass", "this is no pass of yours for this drop"),
                    NoPass::Expired => ("pass_expired", "this pass is over: wait for another"),
                };
                refusal("Drop-Pass", rule, message)
            }
            Lost::Unauthenticated => Self::Unauthenticated("the token was taken back"),
            Lost::Busy => Self::Busy,
            Lost::Unavailable(why) => Self::Unavailable(DbErr::Custom(why)),
            Lost::Failed(why) => Self::Internal(why),
        }
    }
}

/// Counts what claims came to.
pub(super) fn count(results: &[&'static str]) {
    let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
    for result in results {
        *sums.entry(result).or_default() += 1;
    }
    for (result, sum) in sums {
        metrics::counter!("fireside_store_claims_total", "result" => result).increment(sum);
    }
}
