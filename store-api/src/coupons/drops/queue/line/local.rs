//! A line in the memory of this process, for a store that is alone.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use shared::id::Timestamp;

use super::{Line, LineError, LineOf, REMEMBERED, Standing};

/// Bound: the people who wait for drops that are open or ended within the last hour.
#[derive(Default)]
pub(crate) struct LocalLine {
    lines: Mutex<HashMap<String, People>>,
}

#[derive(Default)]
struct People {
    /// Whether everybody who waits is here.
    known: bool,
    closes_at: i64,
    /// In their order. A new one is nearly always the last, and a shift of so many numbers is cheap.
    numbers: Vec<i64>,
    /// The number of each, and when they were seen.
    by_name: HashMap<String, (i64, Instant)>,
}

impl People {
    fn put(&mut self, person: &str, number: i64) {
        let seen = self.remove(person).unwrap_or_else(Instant::now);
        if let Err(at) = self.numbers.binary_search(&number) {
            self.numbers.insert(at, number);
        }
        self.by_name.insert(person.to_owned(), (number, seen));
    }

    /// Takes somebody out; says when they were seen.
    fn remove(&mut self, person: &str) -> Option<Instant> {
        let (number, seen) = self.by_name.remove(person)?;
        if let Ok(at) = self.numbers.binary_search(&number) {
            self.numbers.remove(at);
        }
        Some(seen)
    }
}

#[async_trait]
impl Line for LocalLine {
    async fn put(&self, line: &LineOf, people: &[(&str, i64)]) -> Result<(), LineError> {
        let mut lines = self.lines.lock();
        let all = lines.entry(line.drop.clone()).or_default();
        all.closes_at = line.closes_at;
        for (person, number) in people {
            all.put(person, *number);
        }
        Ok(())
    }

    async fn open(&self, line: &LineOf) -> Result<(), LineError> {
        let old = Timestamp::now().as_millis() - REMEMBERED;
        let mut lines = self.lines.lock();
        lines.retain(|_, all| all.closes_at > old);
        let all = lines.entry(line.drop.clone()).or_default();
        all.known = true;
        all.closes_at = line.closes_at;
        Ok(())
    }

    async fn ask(&self, line: &LineOf, person: &str) -> Result<Standing, LineError> {
        let mut lines = self.lines.lock();
        let Some(all) = lines.get_mut(&line.drop).filter(|all| all.known) else {
            return Ok(Standing::Unknown);
        };
        let Some((number, seen)) = all.by_name.get_mut(person) else {
            return Ok(Standing::Absent);
        };
        *seen = Instant::now();
        let number = *number;
        let ahead = all.numbers.partition_point(|other| *other < number) as u64;
        Ok(Standing::At { number, ahead })
    }

    async fn leave(&self, line: &LineOf, people: &[&str]) -> Result<(), LineError> {
        if let Some(all) = self.lines.lock().get_mut(&line.drop) {
            for person in people {
                all.remove(person);
            }
        }
        Ok(())
    }

    async fn unseen(
        &self,
        line: &LineOf,
        since: Duration,
        limit: usize,
    ) -> Result<Vec<String>, LineError> {
        let lines = self.lines.lock();
        let Some(all) = lines.get(&line.drop).filter(|all| all.known) else {
            return Ok(Vec::new());
        };
        let mut unseen: Vec<(Instant, &String)> = all
            .by_name
            .iter()
            .filter(|(_, (_, seen))| seen.elapsed() >= since)
            .map(|(person, (_, seen))| (*seen, person))
            .collect();
        unseen.sort_unstable();
        let unseen = unseen.into_iter().take(limit);
        Ok(unseen.map(|(_, person)| person.clone()).collect())
    }
}
