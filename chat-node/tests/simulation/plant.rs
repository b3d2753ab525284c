//! Faults that a schedule must not survive, planted to show that the simulation sees them.

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Nothing.
    Nothing,
    /// The store does not compare heads: the later of two nodes writes over the earlier.
    Fork,
    /// The store forgets an entry after it has said that it stands.
    Forget,
    /// The store does not know nonces again.
    Twice,
    /// A page of the log ends one entry early.
    ShortPage,
    /// A session's sink does not hold what comes while its snapshot is read.
    Unheld,
    /// Nobody is told that a link was cut.
    NeverTold,
    /// The presence store forgets what it was handed.
    Unput,
    /// Nobody takes away what expired leases held.
    Unreaped,
    /// Whoever reaps a lease does not learn whom its node had not told of.
    Unlearnt,
    /// News come with another's position.
    Misplaced,
}
