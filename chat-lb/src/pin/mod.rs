//! Which node a user belongs to: weighted rendezvous hashing, pure.
//!
//! Every node gets a score for every user, made of both their names, and the node with the best score
//! is the user's. So a node that goes takes only its own users along, one that comes takes only its
//! share, and every balancer finds the same without asking another. The order of the scores is the
//! order of fall-over: who would be next if the first were not there is the second.
//!
//! Sources: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998), for the
//! hashing; Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005), for the weights by
//! `-weight / ln(hash)`; Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads"
//! (2018), for the bound, which is applied to new sockets alone: nobody is moved for it.

use xxhash_rust::xxh3::xxh3_64;

/// Below this many sockets a node is never too full, or the first few users would be sent about.
pub const BOUND_FLOOR: usize = 64;

/// The name of a user or a node as a number; the same on every machine, in every version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

impl Key {
    /// Of a name.
    pub fn of(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }
}

/// A node as placement sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Its name.
    pub key: Key,
    /// Its share in proportion to the others'; none is sent where it is 0.
    pub weight: f64,
    /// How many sockets it has.
    pub load: usize,
}

/// The places of the targets, best first; those without weight are left out.
pub fn ranked(user: Key, targets: &[Target]) -> Vec<usize> {
    let mut scored: Vec<(f64, u64, usize)> = targets
        .iter()
        .enumerate()
        .filter(|(_, target)| target.weight > 0.0)
        .map(|(place, target)| (score(user, target), target.key.0, place))
        .collect();
    // The names decide between equal scores, so that the order of the list does not.
    scored.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    scored.into_iter().map(|(_, _, place)| place).collect()
}

/// The first of [`ranked`], for less.
pub fn first(user: Key, targets: &[Target]) -> Option<usize> {
    let weighted = |target: &&Target| target.weight > 0.0;
    let mut rest = targets.iter().filter(weighted);
    let one = rest.next()?.weight;
    let places = targets.iter().enumerate().filter(|(_, t)| t.weight > 0.0);
    let best = if rest.all(|target| target.weight.to_bits() == one.to_bits()) {
        // Of equal weights the best score is the greatest hash; no logarithm is needed.
        places.max_by_key(|(_, target)| (hash(user, target.key) >> 11, u64::MAX - target.key.0))
    } else {
        places.min_by(|(_, a), (_, b)| {
            let scores = score(user, a).total_cmp(&score(user, b));
            scores.then(a.key.cmp(&b.key))
        })
    };
    best.map(|(place, _)| place)
}

/// The places of the targets for a new socket: [`ranked`], those that have their share and `factor` of
/// it already behind all others.
pub fn for_connect(user: Key, targets: &[Target], factor: f64) -> Vec<usize> {
    let is_full = |place: &usize| is_full(targets, *place, factor);
    let (full, mut order): (Vec<usize>, Vec<usize>) =
        ranked(user, targets).into_iter().partition(is_full);
    order.extend(full);
    order
}

/// Whether one of the targets has its share and `factor` of it already.
pub fn is_full(targets: &[Target], place: usize, factor: f64) -> bool {
    let weights: f64 = targets.iter().map(|target| target.weight.max(0.0)).sum();
    let sockets: usize = targets.iter().map(|target| target.load).sum();
    let target = &targets[place];
    let share = (sockets + 1) as f64 * target.weight / weights;
    target.load >= ((share * factor).ceil() as usize).max(BOUND_FLOOR)
}

/// Smaller is better: exponentially distributed with the weight as its rate, so the least of several
/// is each one's with the probability of its share.
fn score(user: Key, target: &Target) -> f64 {
    // 53 bits, in the middle of their step: never 0, never 1.
    let uniform = ((hash(user, target.key) >> 11) as f64 + 0.5) * (1.0 / (1_u64 << 53) as f64);
    -uniform.ln() / target.weight
}

/// The finalizer of SplitMix64 over both names.
fn hash(user: Key, node: Key) -> u64 {
    let mut x = user.0 ^ node.0;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
