//! Questions that come at the same time, asked together.
//!
//! Thousands of sessions start at once when a node died or was deployed, and each asks the same few
//! things of a store in which a question costs far more than one more name in it. So whoever asks is
//! taken into the next *round*: everybody who waits when it begins, up to a bound. A round begins at
//! once while fewer than [`UNDER_WAY`] are under way, and else as soon as one of them has ended; the rounds grow
//! with the load.
//!
//! Where answers are quick but not cheap, rounds would stay small although many come ([`Rounds::gathering`]): there the next
//! one waits, from the beginning of the last, [`FOR_EACH`] of those whom that one was for, [`AT_MOST`] in all. Who comes alone
//! waits for nobody, a few wait a few milliseconds, and of a crowd everybody who came within a tenth of a second is in one round.
//!
//! Bound: one entry for each who asks; who asks waits. Who stops waiting before their round is left out of it.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

/// How many rounds may be under way: while one is answered, the next is asked.
const UNDER_WAY: usize = 2;
/// How long the next round is waited for, for each question of the last.
const FOR_EACH: Duration = Duration::from_millis(4);
/// The longest that it is waited for.
const AT_MOST: Duration = Duration::from_millis(100);

/// Answers questions in rounds.
pub(crate) struct Rounds<Q, A>(Arc<Table<Q, A>>);

/// Answers all questions of a round, in their order.
type Answering<Q, A> = Box<dyn Fn(Vec<Q>) -> BoxFuture<'static, Vec<A>> + Send + Sync>;

struct Table<Q, A> {
    most: usize,
    gathers: bool,
    answering: Answering<Q, A>,
    state: Mutex<State<Q, A>>,
    /// So many wait that nobody else has to be waited for.
    full: Notify,
}

struct State<Q, A> {
    waiting: VecDeque<(Q, oneshot::Sender<A>)>,
    under_way: usize,
    /// Until when the next round waits for company.
    gathering: Option<Instant>,
}

impl<Q, A> Rounds<Q, A>
where
    Q: Send + 'static,
    A: Send + 'static,
{
    /// Rounds of at most `most` questions, which `answering` answers: as many answers, in the same order.
    pub(crate) fn new<F>(
        most: usize,
        answering: impl Fn(Vec<Q>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        Self::of(most, false, answering)
    }

    /// The same, where many who come soon after each other are waited for.
    pub(crate) fn gathering<F>(
        most: usize,
        answering: impl Fn(Vec<Q>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        Self::of(most, true, answering)
    }

    fn of<F>(
        most: usize,
        gathers: bool,
        answering: impl Fn(Vec<Q>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let state = State {
            waiting: VecDeque::new(),
            under_way: 0,
            gathering: None,
        };
        Self(Arc::new(Table {
            most,
            gathers,
            answering: Box::new(move |questions| Box::pin(answering(questions))),
            state: Mutex::new(state),
            full: Notify::new(),
        }))
    }

    /// Asks in the next round, which runs on `runtime`, whatever becomes of who asks. `None` when the round
    /// panicked or its runtime has ended.
    pub(crate) async fn ask(&self, runtime: &Handle, question: Q) -> Option<A> {
        let (reply, answer) = oneshot::channel();
        let begins = {
            let mut state = self.0.state.lock();
            state.waiting.push_back((question, reply));
            let begins = state.under_way < UNDER_WAY;
            state.under_way += usize::from(begins);
            if state.waiting.len() == self.0.most {
                self.0.full.notify_waiters();
            }
            begins
        };
        if begins {
            runtime.spawn(Turn::new(Arc::clone(&self.0)).play());
        }
        answer.await.ok()
    }
}

impl<Q, A> fmt::Debug for Rounds<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rounds").finish_non_exhaustive()
    }
}

/// The right to play one round after the other, until nobody waits.
struct Turn<Q, A> {
    table: Arc<Table<Q, A>>,
    given_back: bool,
}

/// What a round is asked, and who waits for which answer.
type Round<Q, A> = (Vec<Q>, Vec<oneshot::Sender<A>>);

impl<Q, A> Turn<Q, A> {
    fn new(table: Arc<Table<Q, A>>) -> Self {
        Self {
            table,
            given_back: false,
        }
    }

    async fn play(mut self) {
        loop {
            self.gather().await;
            let Some((questions, replies)) = self.next() else {
                return;
            };
            let answers = (self.table.answering)(questions).await;
            for (reply, answer) in replies.into_iter().zip(answers) {
                // Whoever asked may have gone.
                let _ = reply.send(answer);
            }
        }
    }

    /// Waits for company, where the last round says that there will be some.
    async fn gather(&self) {
        let table = &*self.table;
        let mut full = std::pin::pin!(table.full.notified());
        full.as_mut().enable();
        let until = {
            let state = table.state.lock();
            let full = state.waiting.len() >= table.most;
            state.gathering.filter(|_| !full)
        };
        if let Some(until) = until.filter(|until| *until > Instant::now()) {
            // Either way the round begins.
            let _ = timeout_at(until, full).await;
        }
    }

    /// Those who wait. When there is nobody the turn is given back under the same lock: whoever comes
    /// next begins a round.
    fn next(&mut self) -> Option<Round<Q, A>> {
        let mut state = self.table.state.lock();
        let (mut questions, mut replies) = (Vec::new(), Vec::new());
        while questions.len() < self.table.most
            && let Some((question, reply)) = state.waiting.pop_front()
        {
            if !reply.is_closed() {
                questions.push(question);
                replies.push(reply);
            }
        }
        if questions.is_empty() {
            state.under_way -= 1;
            self.given_back = true;
            return None;
        }
        if self.table.gathers {
            let pause = FOR_EACH.saturating_mul(u32::try_from(questions.len()).unwrap_or(u32::MAX));
            state.gathering = Some(Instant::now() + pause.min(AT_MOST));
        }
        Some((questions, replies))
    }
}

impl<Q, A> Drop for Turn<Q, A> {
    fn drop(&mut self) {
        if self.given_back {
            return;
        }
        // The round panicked, or its runtime has ended.
        let mut state = self.table.state.lock();
        state.under_way -= 1;
        if state.under_way == 0 {
            // Nobody else would come for them: without an answer they wait no longer.
            state.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    type Doubling = Arc<Rounds<u32, u32>>;
    type Sizes = Arc<Mutex<Vec<usize>>>;

    /// Answers after 10 ms, and notes how large each round was. Zero makes a round panic.
    fn rounds(most: usize) -> (Doubling, Sizes) {
        let sizes = Sizes::default();
        let rounds = Rounds::new(most, doubling(&sizes));
        (Arc::new(rounds), sizes)
    }

    fn gathering(most: usize) -> (Doubling, Sizes) {
        let sizes = Sizes::default();
        let rounds = Rounds::gathering(most, doubling(&sizes));
        (Arc::new(rounds), sizes)
    }

    fn doubling(
        sizes: &Sizes,
    ) -> impl Fn(Vec<u32>) -> BoxFuture<'static, Vec<u32>> + Send + Sync + 'static {
        let noted = Arc::clone(sizes);
        move |questions| {
            noted.lock().push(questions.len());
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                assert!(!questions.contains(&0), "as it was asked to");
                questions.iter().map(|n| n * 2).collect()
            })
        }
    }

    async fn ask(rounds: &Rounds<u32, u32>, n: u32) -> Option<u32> {
        rounds.ask(&Handle::current(), n).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_alone_does_not_wait_for_company() {
        let (rounds, sizes) = rounds(8);
        let began = tokio::time::Instant::now();
        assert_eq!(ask(&rounds, 4).await, Some(8));
        assert_eq!(began.elapsed(), Duration::from_millis(10));
        assert_eq!(*sizes.lock(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_at_once_are_asked_for_together_and_each_has_the_own_answer() {
        let (rounds, sizes) = rounds(8);
        let answers = join_all((1..=30).map(|n| ask(&rounds, n))).await;
        let expected: Vec<_> = (1..=30).map(|n| Some(n * 2)).collect();
        assert_eq!(answers, expected);
        assert_eq!(*sizes.lock(), [8, 8, 8, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_wait_any_more_is_not_asked_for() {
        let (rounds, sizes) = rounds(1);
        let first = tokio::spawn({
            let rounds = Arc::clone(&rounds);
            async move { join_all((1..=2).map(|n| ask(&rounds, n))).await }
        });
        tokio::task::yield_now().await;
        let gone = tokio::time::timeout(Duration::from_millis(1), ask(&rounds, 3));
        assert!(gone.await.is_err());
        assert_eq!(ask(&rounds, 4).await, Some(8));
        assert_eq!(first.await.unwrap(), [Some(2), Some(4)]);
        assert_eq!(sizes.lock().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_panics_leaves_nobody_waiting() {
        let (rounds, _) = rounds(2);
        let answers = join_all([0, 1, 2, 3, 4].map(|n| ask(&rounds, n))).await;
        assert_eq!(answers[..2], [None, None], "they were in it");
        assert_eq!(ask(&rounds, 5).await, Some(10), "and the next begins");
        // Whoever waited behind it was answered by the other turn.
        assert_eq!(answers[2..], [Some(4), Some(6), Some(8)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_waited_for_and_who_comes_alone_waits_for_nobody() {
        let (rounds, sizes) = gathering(64);
        let began = Instant::now();
        assert_eq!(ask(&rounds, 1).await, Some(2));
        assert_eq!(began.elapsed(), Duration::from_millis(10));
        // One a millisecond, for a second.
        let crowd = (1..=1_000_u32).map(|n| {
            let rounds = Arc::clone(&rounds);
            async move {
                tokio::time::sleep(Duration::from_millis(u64::from(n))).await;
                let came = Instant::now();
                assert_eq!(ask(&rounds, n).await, Some(n * 2));
                came.elapsed()
            }
        });
        let waited = join_all(crowd).await;
        let longest = waited.into_iter().max().unwrap();
        assert!(
            longest <= AT_MOST + Duration::from_millis(20),
            "{longest:?}"
        );
        let count = sizes.lock().len();
        assert!(count <= 30, "{:?}", sizes.lock());
        tokio::time::sleep(AT_MOST).await;
        let again = Instant::now();
        assert_eq!(ask(&rounds, 7).await, Some(14));
        assert_eq!(again.elapsed(), Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_is_full_waits_for_nobody() {
        let (rounds, sizes) = gathering(8);
        let began = Instant::now();
        let answers = join_all((1..=32).map(|n| ask(&rounds, n))).await;
        assert!(answers.iter().all(Option::is_some));
        assert_eq!(*sizes.lock(), [8, 8, 8, 8]);
        assert_eq!(began.elapsed(), Duration::from_millis(20));
    }
}
