//! What clients went through while nodes were deployed or lost.

use std::{collections::HashMap, time::Duration};

use shared::id::Timestamp;

use crate::{
    measure::{Figure, Report, Unit},
    record::{Happened, Line},
};

/// The longest interruption of 99 in 100 that a deploy may cause, in ms.
const INTERRUPTION: f64 = 1_000.0;
/// Within how long 99 in 100 of those on a node that was lost are to be back, in s.
const BACK: f64 = 5.0;

const ANEW: &str = "sessions begun anew";
const P99: &str = "an interruption, p99";
const NEARLY_ALL: &str = "until 99 in 100 are back";

/// Says whether every deploy that was measured is what it is to be.
pub(super) fn aims_of_a_deploy(report: &mut Report, of: &str) {
    report.aim(of, ANEW, 0.0);
    report.aim(of, P99, INTERRUPTION);
}

/// The same of the nodes that were lost.
pub(super) fn aims_of_a_loss(report: &mut Report, of: &str) {
    report.aim(of, NEARLY_ALL, BACK);
}

/// What clients went through between two times.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Felt {
    /// How long each was without a session, in ms, the shortest first.
    interrupted: Vec<f64>,
    /// How long after the beginning each of them was back for good, in ms, the first first: one time each, however
    /// often they had to come.
    back_after: Vec<f64>,
    resumed: usize,
    anew: usize,
}

impl Felt {
    pub(super) fn of(lines: &[Line], since: Timestamp, until: Timestamp) -> Self {
        let mut felt = Self::default();
        let (mut without, mut back) = (HashMap::new(), HashMap::new());
        let meanwhile = |line: &&Line| (since..=until).contains(&line.at);
        for line in lines.iter().filter(meanwhile) {
            match line.what {
                Happened::Closed { .. } => {
                    without.entry(&*line.c).or_insert(line.at);
                }
                Happened::Resumed { .. } | Happened::Started { .. } => {
                    match line.what {
                        Happened::Resumed { .. } => felt.resumed += 1,
                        _ => felt.anew += 1,
                    }
                    if let Some(began) = without.remove(&*line.c) {
                        felt.interrupted.push(millis_between(began, line.at));
                        back.insert(&*line.c, millis_between(since, line.at));
                    }
                }
                _ => {}
            }
        }
        felt.back_after.extend(back.into_values());
        felt.interrupted.sort_unstable_by(f64::total_cmp);
        felt.back_after.sort_unstable_by(f64::total_cmp);
        felt
    }

    pub(super) fn of_a_deploy(&self, took: Duration) -> Vec<Figure> {
        let mut figures = vec![
            Figure::new("all nodes", Unit::Seconds, took.as_secs_f64()),
            Figure::new("sessions resumed", Unit::Count, self.resumed as f64),
            Figure::new(ANEW, Unit::Count, self.anew as f64),
        ];
        for (name, share) in [
            ("an interruption, p50", 0.5),
            (P99, 0.99),
            ("an interruption, longest", 1.0),
        ] {
            let value = within(&self.interrupted, share);
            figures.push(Figure::new(name, Unit::Millis, value));
        }
        figures
    }

    pub(super) fn of_a_loss(&self) -> Vec<Figure> {
        let people = self.back_after.len() as f64;
        let mut figures = vec![
            Figure::new("people on it", Unit::Count, people),
            Figure::new(ANEW, Unit::Count, self.anew as f64),
        ];
        for (name, share) in [
            ("until the first is back", 0.0),
            ("until half are back", 0.5),
            (NEARLY_ALL, 0.99),
            ("until all are back", 1.0),
        ] {
            let value = within(&self.back_after, share) / 1e3;
            figures.push(Figure::new(name, Unit::Seconds, value));
        }
        figures
    }
}

/// What so large a share of sorted values is within.
fn within(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    let value = sorted.get(at.clamp(1, sorted.len().max(1)) - 1);
    value.copied().unwrap_or_default()
}

fn millis_between(since: Timestamp, until: Timestamp) -> f64 {
    (until.as_millis() - since.as_millis()) as f64
}

#[cfg(test)]
mod tests {
    use shared::id::{SessionId, UserId};

    use super::*;

    #[test]
    fn an_interruption_is_from_the_end_of_a_socket_to_the_next_session() {
        let at = Timestamp::from_millis;
        let line = |millis, c: &str, what| Line {
            at: at(millis),
            c: c.to_owned(),
            what,
        };
        let started = || Happened::Started {
            user: UserId::parse("u").unwrap(),
            sid: SessionId::generate(),
            rooms: Vec::new(),
        };
        let closed = || Happened::Closed { code: None };
        let lines = [
            line(500, "a", started()),
            line(1_000, "a", closed()),
            // A try in between that came to nothing.
            line(1_100, "a", closed()),
            line(1_300, "b", closed()),
            line(1_350, "a", Happened::Resumed { replayed: 0 }),
            line(2_300, "b", Happened::Lost),
            line(2_400, "b", started()),
            // Sent on once more.
            line(2_500, "b", closed()),
            line(2_600, "b", Happened::Resumed { replayed: 0 }),
            line(9_000, "b", closed()),
            line(9_001, "b", started()),
        ];
        let felt = Felt::of(&lines, at(900), at(3_000));
        let wanted = Felt {
            interrupted: vec![100.0, 350.0, 1_100.0],
            back_after: vec![450.0, 1_700.0],
            resumed: 2,
            anew: 1,
        };
        assert_eq!(felt, wanted);
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        let shares = [0.0, 0.5, 0.99, 1.0].map(|share| within(&sorted, share) as u32);
        assert_eq!(shares, [1, 100, 198, 200]);
        assert!(within(&[], 0.99) < 1e-9);
    }
}
