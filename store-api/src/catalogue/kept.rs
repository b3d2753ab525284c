//! What many people ask the catalogue at the same time, asked of the database once.
//!
//! An answer is given again to whoever asks exactly the same, for a short while ([`Kept::new`]). Who asks in the second half of
//! the while is given it too, and it is asked anew meanwhile: nobody waits for what everybody asks. What a publisher, a review or
//! a like changes in this process is seen at once: it makes another edition of the catalogue ([`Edition::change`]), and answers of
//! earlier ones are not given. What other processes on the database change, what is sold, and sales that begin and end are
//! seen when the while is over. Nobody pays by it: an order is priced by the database.
//!
//! Bound: [`ROOM`] answers; what finds no room is asked of the database.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use shared::id::Timestamp;
use tokio::sync::OnceCell;

use crate::{error::StoreError, store::Store};

/// How many answers are kept.
const ROOM: usize = 2000;

/// Counts what this process changes of the catalogue.
#[derive(Debug, Default)]
pub(crate) struct Edition(AtomicU64);

impl Edition {
    /// To be called after the commit of what people see in lists or on the page of a game.
    pub(crate) fn change(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn number(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Answers of one kind, by what was asked.
pub(crate) struct Kept<T> {
    lasts: Duration,
    book: Mutex<Book<T>>,
}

struct Book<T> {
    answers: HashMap<String, Arc<Answer<T>>>,
    /// When those were last thrown out that nobody is given any more.
    cleared: Timestamp,
}

struct Answer<T> {
    asked: Asked,
    /// Whether it is asked anew.
    renewed: AtomicBool,
    cell: OnceCell<T>,
}

/// When something was asked, noted before the database was: what changes meanwhile is of the next edition.
#[derive(Clone, Copy)]
struct Asked {
    edition: u64,
    at: Timestamp,
}

impl<T: Clone + Send + Sync + 'static> Kept<T> {
    /// Gives answers again for so long; never, if that is no time at all.
    pub(crate) fn new(lasts: Duration) -> Arc<Self> {
        let book = Mutex::new(Book {
            answers: HashMap::new(),
            cleared: Timestamp::from_millis(0),
        });
        Arc::new(Self { lasts, book })
    }

    /// The answer to this question. Of those who ask it first one asks the database, and the others wait for what it says;
    /// what failed is asked again.
    pub(crate) async fn get<F>(
        self: &Arc<Self>,
        store: &Store,
        question: String,
        ask: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        if self.lasts.is_zero() {
            return ask().await;
        }
        let now = Asked {
            edition: store.edition().number(),
            at: store.now(),
        };
        let Some(answer) = self.answer(&question, now) else {
            return ask().await;
        };
        let Some(known) = answer.cell.get().cloned() else {
            return answer.cell.get_or_try_init(ask).await.cloned();
        };
        let due = answer.age(now) >= self.lasts.as_millis() as i64 / 2;
        if due && !answer.renewed.swap(true, Ordering::AcqRel) {
            let kept = Arc::clone(self);
            tokio::spawn(async move { kept.renew(question, &answer, now, ask()).await });
        }
        Ok(known)
    }

    /// Where the answer to a question is or will be; none where there is no room for another.
    fn answer(&self, question: &str, now: Asked) -> Option<Arc<Answer<T>>> {
        let mut book = self.book.lock();
        if let Some(answer) = book.answers.get(question)
            && self.holds(answer, now)
        {
            return Some(Arc::clone(answer));
        }
        if book.answers.len() >= ROOM && !book.answers.contains_key(question) {
            // Not for each who finds it full: that would be a walk through all of it every time.
            if now.at.as_millis() - book.cleared.as_millis() >= self.lasts.as_millis() as i64 {
                book.cleared = now.at;
                book.answers.retain(|_, answer| self.holds(answer, now));
            }
            if book.answers.len() >= ROOM {
                return None;
            }
        }
        let answer = Arc::new(Answer::asked(now));
        book.answers
            .insert(question.to_owned(), Arc::clone(&answer));
        Some(answer)
    }

    /// Puts what is said now in the place of an answer that grows old. What fails is left to the next who asks.
    async fn renew(
        &self,
        question: String,
        old: &Arc<Answer<T>>,
        now: Asked,
        says: impl Future<Output = Result<T, StoreError>>,
    ) {
        let Ok(says) = says.await else {
            old.renewed.store(false, Ordering::Release);
            return;
        };
        let new = Answer {
            cell: OnceCell::new_with(Some(says)),
            ..Answer::asked(now)
        };
        let mut book = self.book.lock();
        // Unless the catalogue changed meanwhile, and it was asked again after that.
        if let Some(place) = book.answers.get_mut(&question)
            && Arc::ptr_eq(place, old)
        {
            *place = Arc::new(new);
        }
    }

    /// Whether somebody who asks now may be given this.
    fn holds(&self, answer: &Answer<T>, now: Asked) -> bool {
        answer.asked.edition == now.edition
            && (0..self.lasts.as_millis() as i64).contains(&answer.age(now))
    }
}

impl<T> Answer<T> {
    fn asked(asked: Asked) -> Self {
        Self {
            asked,
            renewed: AtomicBool::new(false),
            cell: OnceCell::new(),
        }
    }

    /// In milliseconds; less than none where the clock was set back.
    fn age(&self, now: Asked) -> i64 {
        now.at.as_millis() - self.asked.at.as_millis()
    }
}
