//! What coupons take off an order, and which of them together take off the most. Pure.
//!
//! Coupons of an order are applied one after the other, each to what the ones before it left of the
//! games it is for: parts before fixed amounts, then those that end first, then by id. What one takes
//! off is spread over its games by what they still cost; minor units that are left over go to the first
//! games. So one and the same coupons on one and the same order always come to one and the same.

use serde::{Deserialize, Serialize};

use super::terms::Discount;

/// The most coupons of one order.
pub(crate) const MOST_TOGETHER: usize = 3;
/// How many coupons are tried with each other: those that take off the most by themselves.
const CONSIDERED: usize = 32;

/// A coupon that may be used on an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) ends_at: i64,
    pub(super) stackable: bool,
    /// Whether a publisher gives it: else the store does.
    pub(super) of_publisher: bool,
    pub(super) discount: Discount,
    /// Which lines of the order it is for, a bit each.
    pub(super) lines: u64,
}

/// What coupons come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Combination {
    /// Which, and what each takes off, in minor units; in the order in which they are applied.
    pub(crate) used: Vec<Used>,
    /// What comes off each line of the order.
    pub(crate) lines: Vec<LineOff>,
}

/// A coupon used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) off: i64,
}

/// What comes off a line, in minor units, by who gave the coupon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LineOff {
    pub(crate) of_store: i64,
    pub(crate) of_publisher: i64,
}

impl Combination {
    /// No coupon.
    pub(crate) fn none(lines: usize) -> Self {
        Self {
            used: Vec::new(),
            lines: vec![LineOff::default(); lines],
        }
    }
}

impl LineOff {
    pub(crate) fn total(self) -> i64 {
        self.of_store + self.of_publisher
    }
}

impl Candidate {
    /// Where it stands when coupons are applied.
    fn turn(&self) -> (bool, i64, &str) {
        let fixed = matches!(self.discount, Discount::Fixed { .. });
        (fixed, self.ends_at, &self.id)
    }

    fn is_for(&self, line: usize) -> bool {
        self.lines >> line & 1 == 1
    }

    /// What it takes off lines that cost `left`, by line.
    fn take(&self, left: &mut [i64], mut taken: impl FnMut(usize, i64)) -> i64 {
        let mine = |line: &usize| self.is_for(*line);
        let sum: i64 = (0..left.len()).filter(mine).map(|line| left[line]).sum();
        let off = self.discount.off(sum);
        if off <= 0 {
            return 0;
        }
        let part = |price: i64| {
            let part = i128::from(off) * i128::from(price) / i128::from(sum);
            i64::try_from(part).unwrap_or(price)
        };
        let spread: i64 = (0..left.len())
            .filter(mine)
            .map(|line| part(left[line]))
            .sum();
        let mut rest = off - spread;
        for line in (0..left.len()).filter(mine) {
            let mut share = part(left[line]);
            if rest > 0 && share < left[line] {
                share += 1;
                rest -= 1;
            }
            left[line] -= share;
            taken(line, share);
        }
        off
    }
}

/// What these coupons come to, all of them, on lines of these prices.
pub(crate) fn apply(prices: &[i64], coupons: &[&Candidate]) -> Combination {
    let mut coupons = coupons.to_vec();
    coupons.sort_by_key(|coupon| coupon.turn());
    let mut left = prices.to_vec();
    let mut combination = Combination::none(prices.len());
    for coupon in coupons {
        let lines = &mut combination.lines;
        let off = coupon.take(&mut left, |line, share| {
            let off = &mut lines[line];
            if coupon.of_publisher {
                off.of_publisher += share;
            } else {
                off.of_store += share;
            }
        });
        combination.used.push(Used {
            id: coupon.id.clone(),
            name: coupon.name.clone(),
            off,
        });
    }
    combination
}

/// The coupons that take off the most: one, or up to [`MOST_TOGETHER`] of those that go with others.
/// Where several come to the same, the fewest; of as many, those that end first, then by id.
pub(crate) fn best(prices: &[i64], coupons: &[Candidate]) -> Combination {
    let mut search = Search::new(prices, coupons);
    search.extend(&mut Vec::new(), 0, 0);
    apply(prices, &search.best.coupons)
}

/// A walk over the sets of coupons that may be used together.
struct Search<'a> {
    prices: &'a [i64],
    /// With what each takes off by itself; the most first.
    coupons: Vec<(i64, &'a Candidate)>,
    best: Found<'a>,
}

#[derive(Default)]
struct Found<'a> {
    total: i64,
    coupons: Vec<&'a Candidate>,
}

impl<'a> Search<'a> {
    fn new(prices: &'a [i64], coupons: &'a [Candidate]) -> Self {
        let alone = |coupon: &'a Candidate| {
            let off = coupon.take(&mut prices.to_vec(), |_, _| ());
            (off > 0).then_some((off, coupon))
        };
        let mut coupons: Vec<_> = coupons.iter().filter_map(alone).collect();
        coupons.sort_by_key(|(off, coupon)| (-off, coupon.ends_at, &coupon.id));
        coupons.truncate(CONSIDERED);
        Self {
            prices,
            coupons,
            best: Found::default(),
        }
    }

    /// Tries `chosen` together with each that follows. `most` is what the chosen take off by
    /// themselves; together they never take more.
    fn extend(&mut self, chosen: &mut Vec<&'a Candidate>, from: usize, most: i64) {
        let room = MOST_TOGETHER - chosen.len();
        if room == 0 {
            return;
        }
        for place in from..self.coupons.len() {
            let following = self.coupons[place..].iter().take(room);
            let bound = most + following.map(|(off, _)| off).sum::<i64>();
            if bound < self.best.total {
                return;
            }
            let (off, coupon) = self.coupons[place];
            if !chosen.is_empty() && !coupon.stackable {
                continue;
            }
            chosen.push(coupon);
            self.consider(chosen);
            if coupon.stackable {
                self.extend(chosen, place + 1, most + off);
            }
            chosen.pop();
        }
    }

    fn consider(&mut self, chosen: &[&'a Candidate]) {
        let mut ordered = chosen.to_vec();
        ordered.sort_by_key(|coupon| coupon.turn());
        let mut left = self.prices.to_vec();
        let total = ordered
            .iter()
            .map(|coupon| coupon.take(&mut left, |_, _| ()))
            .sum();
        let found = Found {
            total,
            coupons: ordered,
        };
        if found.rank() < self.best.rank() {
            self.best = found;
        }
    }
}

impl<'a> Found<'a> {
    /// The least is the best.
    fn rank(&self) -> (i64, usize, Vec<(i64, &'a str)>) {
        let mut ends: Vec<_> = self
            .coupons
            .iter()
            .map(|coupon| (coupon.ends_at, coupon.id.as_str()))
            .collect();
        ends.sort_unstable();
        (-self.total, self.coupons.len(), ends)
    }
}

#[cfg(test)]
mod tests;
