//! From the record: how long clients had no session, and whether the next was the same.

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
    /// Sessions that began.
    pub(crate) started: usize,
    /// Sessions that no server knew any more.
    pub(crate) lost: usize,
}

/// Those of some clients that began since then and are over.
pub(crate) fn of(lines: &[Line], since: Timestamp, whose: impl Fn(&str) -> bool) -> Interruptions {
    let mut found = Interruptions::default();
    let mut without: HashMap<&str, Timestamp> = HashMap::new();
    let lines = lines.iter();
    for line in lines.filter(|line| line.at >= since && whose(&line.c)) {
        match line.what {
            Happened::Closed { .. } => {
                without.entry(&line.c).or_insert(line.at);
            }
            Happened::Lost => found.lost += 1,
            Happened::Started { .. } | Happened::Resumed { .. } => {
                match line.what {
                    Happened::Resumed { .. } => found.resumed += 1,
                    _ => found.started += 1,
                }
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
    fn within(&self, share: f64) -> Duration {
        let last = self.took.len().saturating_sub(1);
        let at = (last as f64 * share).ceil() as usize;
        self.took.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Interruptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} interruptions, p50 {:?}, p99 {:?}, longest {:?}; {} sessions resumed, {} begun, {} lost",
            self.took.len(),
            self.within(0.5),
            self.within(0.99),
            self.within(1.0),
            self.resumed,
            self.started,
            self.lost
        )
    }
}
