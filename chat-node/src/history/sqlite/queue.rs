//! The bounded queue before the writer and before the readers.

use std::{
    collections::VecDeque,
    sync::OnceLock,
    time::{Duration, Instant},
};

use metrics::Gauge;
use parking_lot::{Condvar, Mutex};

use crate::overload::{Overload, Source};

/// A queue bounded in items and in weight. When it is full, [`Queue::push`] refuses at once: the
/// caller is told to come back, nobody waits for room. Its depth is a gauge.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    bounds: Bounds,
    depth: Gauge,
    pressed: OnceLock<Overload>,
}

/// How much a queue holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Items.
    pub(super) items: usize,
    /// The sum of their weights; one item may be heavier if it is alone.
    pub(super) weight: usize,
}

struct State<T> {
    items: VecDeque<(usize, T)>,
    weight: usize,
    closed: bool,
}

/// Why a queue took nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// What [`Queue::take`] came back with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<T> {
    Items(Vec<T>),
    /// Nothing came in time.
    Nothing,
    /// Closed and empty: there will never be anything.
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(bounds: Bounds, depth: Gauge) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                weight: 0,
                closed: false,
            }),
            filled: Condvar::new(),
            bounds,
            depth,
            pressed: OnceLock::new(),
        }
    }

    /// From now on tells the overload ladder how full it is. Once.
    pub(super) fn report_to(&self, overload: Overload) {
        let _ = self.pressed.set(overload);
    }

    fn tell(&self, state: &State<T>) {
        self.depth.set(state.items.len() as f64);
        if let Some(overload) = self.pressed.get() {
            let part = |used: usize, bound: usize| used.saturating_mul(1000) / bound.max(1);
            let fullest = part(state.items.len(), self.bounds.items)
                .max(part(state.weight, self.bounds.weight));
            overload.report(Source::History, || fullest, 1000);
        }
    }

    pub(super) fn push(&self, weight: usize, item: T) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let heavy = state.weight + weight > self.bounds.weight && !state.items.is_empty();
        if heavy || state.items.len() >= self.bounds.items {
            return Err(Refused::Full);
        }
        state.weight += weight;
        state.items.push_back((weight, item));
        self.tell(&state);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes what is waiting, in order, until `limit` of `cost` is reached, but at least one;
    /// waits up to `patience` (`None`: for ever) when nothing is there.
    pub(super) fn take(
        &self,
        limit: usize,
        cost: impl Fn(&T) -> usize,
        patience: Option<Duration>,
    ) -> Taken<T> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut state = self.state.lock();
        while state.items.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            match deadline {
                None => self.filled.wait(&mut state),
                Some(deadline) => {
                    if self.filled.wait_until(&mut state, deadline).timed_out()
                        && state.items.is_empty()
                    {
                        return if state.closed {
                            Taken::Closed
                        } else {
                            Taken::Nothing
                        };
                    }
                }
            }
        }
        let mut taken = Vec::new();
        let mut spent = 0;
        while let Some((_, item)) = state.items.front() {
            let next = cost(item);
            if !taken.is_empty() && spent + next > limit {
                break;
            }
            spent += next;
            if let Some((weight, item)) = state.items.pop_front() {
                state.weight -= weight;
                taken.push(item);
            }
        }
        self.tell(&state);
        Taken::Items(taken)
    }

    /// Takes nothing more in; what is there is still handed out.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(items: usize, weight: usize) -> Queue<u32> {
        Queue::new(Bounds { items, weight }, Gauge::noop())
    }

    #[test]
    fn it_refuses_beyond_either_bound() {
        let by_items = queue(2, 100);
        by_items.push(1, 1).unwrap();
        by_items.push(1, 2).unwrap();
        assert_eq!(by_items.push(1, 3), Err(Refused::Full));

        let by_weight = queue(10, 100);
        by_weight.push(60, 1).unwrap();
        assert_eq!(by_weight.push(60, 2), Err(Refused::Full));
        let by_weight = queue(10, 100);
        by_weight.push(500, 1).unwrap();
        assert_eq!(by_weight.push(1, 2), Err(Refused::Full));
    }

    #[test]
    fn it_hands_out_in_order_up_to_the_limit_but_at_least_one() {
        let queue = queue(10, 100);
        for n in [7, 2, 2, 9] {
            queue.push(1, n).unwrap();
        }
        let cost = |n: &u32| *n as usize;
        assert_eq!(queue.take(5, cost, None), Taken::Items(vec![7]));
        assert_eq!(queue.take(5, cost, None), Taken::Items(vec![2, 2]));
        assert_eq!(queue.take(5, cost, None), Taken::Items(vec![9]));
        assert_eq!(queue.take(5, cost, Some(Duration::ZERO)), Taken::Nothing);
    }

    #[test]
    fn the_ladder_is_told_how_full_it_is() {
        let queue = queue(10, 100);
        let overload = Overload::default();
        queue.report_to(overload.clone());
        queue.push(96, 1).unwrap();
        assert_eq!(overload.rung(), 4, "by weight");
        queue.take(9, |_| 1, None);
        assert_eq!(overload.rung(), 0);
        for n in 0..10 {
            queue.push(1, n).unwrap();
        }
        assert_eq!(overload.rung(), 4, "by number");
    }

    #[test]
    fn closing_refuses_what_comes_and_keeps_what_is_there() {
        let queue = queue(10, 100);
        queue.push(1, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(1, 2), Err(Refused::Closed));
        assert_eq!(queue.take(9, |_| 1, None), Taken::Items(vec![1]));
        assert_eq!(queue.take(9, |_| 1, None), Taken::Closed);
    }
}
