//! From the record: how long clients had no session.

use std::{collections::HashMap, fmt, time::Duration};

use loadtest::record::{Happened, Line};
use shared::id::Timestamp;

/// What clients went through in a while.
#[derive(Debug, Default)]
pub(crate) struct Interruptions {
    /// From the end of a socket to a session on the next, the shortest first.
    took: Vec<Duration>,
    /// Sessions that went on.
    pub(crate) resumed: usize,
    /// Sessions that were begun anew because the old one was lost.
    pub(crate) lost: usize,
}

/// Those that began since then and are over.
pub(crate) fn of(lines: &[Line], since: Timestamp) -> Interruptions {
    let mut found = Interruptions::default();
    let mut without: HashMap<&str, Timestamp> = HashMap::new();
    for line in lines.iter().filter(|line| line.at >= since) {
        match line.what {
            Happened::Closed { .. } => {
                without.entry(&line.c).or_insert(line.at);
            }
            Happened::Lost => found.lost += 1,
            Happened::Started { .. } | Happened::Resumed { .. } => {
                found.resumed += usize::from(matches!(line.what, Happened::Resumed { .. }));
                if let Some(began) = without.remove(&*line.c) {
                    let millis = line.at.as_millis().saturating_sub(began.as_millis());
                    found.took.push(Duration::from_millis(millis as u64));
                }
            }
            _ => {}
        }
    }
    found.took.sort_unstable();
    found
}

impl Interruptions {
    /// What so large a share of them is within.
    pub(crate) fn within(&self, share: f64) -> Duration {
        let last = self.took.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.took.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Interruptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} interruptions (those that clients make themselves included), p50 {:?}, p99 {:?}, \
             longest {:?}; {} sessions resumed, {} lost",
            self.took.len(),
            self.within(0.5),
            self.within(0.99),
            self.within(1.0),
            self.resumed,
            self.lost
        )
    }
}
