//! Sockets through a door, each of which says something, hears it again, and says the next.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use shared::protocol::codec::Encoding;

use crate::swarm::{Arrival, Fault, Swarm, SwarmError, Who};

/// How long may pass without anything happening.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many sockets are opened at once.
const AT_ONCE: usize = 32;

/// Open sockets, none of which waits for anything.
pub(super) struct Trips {
    swarm: Swarm,
    /// How many bytes a message has.
    text: usize,
    /// How often each has spoken.
    spoken: Vec<u64>,
}

impl Trips {
    /// No socket yet.
    pub(super) fn at(address: SocketAddr, text: usize) -> Result<Self, Fault> {
        Ok(Self {
            swarm: Swarm::new(&[address], Encoding::Json).map_err(SwarmError::from)?,
            text,
            spoken: Vec::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.spoken.len()
    }

    /// Opens one more for each token, some at a time.
    pub(super) fn open(&mut self, tokens: &[String]) -> Result<(), Fault> {
        let first = self.spoken.len();
        self.spoken.resize(first + tokens.len(), 0);
        self.dial(tokens.len(), |swarm, n| swarm.dial(&tokens[n]).map(|_| ()))
    }

    /// Ends all from `first` on, with a reset: others need the ports.
    pub(super) fn cut(&mut self, first: Who) {
        for who in first..self.spoken.len() {
            self.swarm.cut(who);
        }
    }

    /// Opens those from `first` on anew, which were cut.
    pub(super) fn reopen(&mut self, first: Who, tokens: &[String]) -> Result<(), Fault> {
        self.dial(tokens.len(), |swarm, n| swarm.redial(first + n, &tokens[n]))
    }

    fn dial(
        &mut self,
        wanted: usize,
        mut begin: impl FnMut(&mut Swarm, usize) -> Result<(), SwarmError>,
    ) -> Result<(), Fault> {
        let (mut dialled, mut open) = (0, 0);
        let mut quiet_since = Instant::now();
        while open < wanted {
            while dialled < wanted && dialled - open < AT_ONCE {
                begin(&mut self.swarm, dialled)?;
                dialled += 1;
            }
            let (before, mut ended) = (open, None);
            self.swarm
                .poll(Duration::from_millis(100), |who, arrival| match arrival {
                    Arrival::Open => open += 1,
                    Arrival::Closed(code) => ended = Some((who, code)),
                    Arrival::Message(_) | Arrival::Refused(_) => {}
                })?;
            if let Some((who, code)) = ended {
                return Err(Fault::Closed { who, code });
            }
            if open > before {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() > PATIENCE {
                let what = format!("{} upgrades", dialled - open);
                return Err(Fault::Silence(what));
            }
        }
        Ok(())
    }

    /// Lets the first `speakers` make so many round trips in all, with `in_flight` under way at most, each
    /// in its turn; how long each took goes into `took`, in microseconds.
    pub(super) fn run(
        &mut self,
        round_trips: usize,
        speakers: usize,
        in_flight: usize,
        took: &mut Histogram<u64>,
    ) -> Result<(), Fault> {
        let Self {
            swarm,
            text,
            spoken,
        } = self;
        let mut rested: VecDeque<Who> = (0..speakers.min(spoken.len())).collect();
        let mut since = vec![Instant::now(); rested.len()];
        let (mut sent, mut heard) = (0, 0);
        let mut quiet_since = Instant::now();
        while heard < round_trips {
            while sent < round_trips
                && sent - heard < in_flight
                && let Some(who) = rested.pop_front()
            {
                spoken[who] += 1;
                since[who] = Instant::now();
                swarm.send(who, &words(who, spoken[who], *text))?;
                sent += 1;
            }
            let (before, mut fault) = (heard, None);
            swarm.poll(Duration::from_millis(100), |who, arrival| match arrival {
                Arrival::Message(message) => {
                    let waits = who < since.len() && !rested.contains(&who);
                    if !waits || message != words(who, spoken[who], *text) {
                        let what = format!("socket {who} heard something else than it said");
                        fault.get_or_insert(Fault::Delivery(what));
                        return;
                    }
                    let micros = since[who].elapsed().as_micros() as u64;
                    took.saturating_record(micros.max(1));
                    rested.push_back(who);
                    heard += 1;
                }
                Arrival::Closed(code) => {
                    fault.get_or_insert(Fault::Closed { who, code });
                }
                Arrival::Open | Arrival::Refused(_) => {}
            })?;
            if let Some(fault) = fault {
                return Err(fault);
            }
            if heard > before {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() > PATIENCE {
                let what = format!("{} round trips", sent - heard);
                return Err(Fault::Silence(what));
            }
        }
        Ok(())
    }

    /// For so long nothing is said, and nobody may leave.
    pub(super) fn rest(&mut self, time: Duration) -> Result<(), Fault> {
        let since = Instant::now();
        while let Some(left) = time.checked_sub(since.elapsed()) {
            let mut fault = None;
            self.swarm
                .poll(left.min(Duration::from_millis(100)), |who, arrival| {
                    fault.get_or_insert(match arrival {
                        Arrival::Closed(code) => Fault::Closed { who, code },
                        _ => Fault::Delivery(format!("socket {who} heard what nobody said")),
                    });
                })?;
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        Ok(())
    }
}

impl Drop for Trips {
    fn drop(&mut self) {
        self.cut(0);
    }
}

/// What a socket says the n-th time: nobody else says the same, and neither does it again.
fn words(who: Who, nth: u64, length: usize) -> Vec<u8> {
    let mut words = format!("{who} says {nth} ").into_bytes();
    words.resize(length.max(words.len()), b'.');
    words
}
