//! How the store is asked: on its own runtime, a bounded number of questions at once, for a limited time.

use std::{sync::Arc, time::Instant};

use tokio::{sync::oneshot, time::timeout};

use super::{
    GRACE, MongoHistory,
    store::{self, Store},
};
use crate::{history::HistoryError, rounds::Rounds};

impl MongoHistory {
    /// Asks, on the store's own runtime. Who stops waiting stops nothing: the driver's futures are
    /// not to be dropped half-way.
    pub(super) async fn ask<T, F>(
        &self,
        question: impl FnOnce(Arc<Store>) -> F + Send,
    ) -> Result<T, HistoryError>
    where
        T: Send + 'static,
        F: Future<Output = store::Result<T>> + Send + 'static,
    {
        let Some(ticket) = self.reads.enter(0) else {
            self.store.gauges.reads_refused.increment(1);
            return self.away("too many questions wait for an answer");
        };
        let (mut reply, answer) = oneshot::channel();
        let turns = Arc::clone(&self.turns);
        let question = question(Arc::clone(&self.store));
        let began = Instant::now();
        self.runtime.spawn(async move {
            let _ticket = ticket;
            let turn = tokio::select! {
                turn = turns.acquire_owned() => turn,
                // Whoever asked has gone.
                () = reply.closed() => return,
            };
            if let Ok(_turn) = turn {
                let _ = reply.send(question.await);
            }
        });
        let answer = timeout(self.store.patience + GRACE, answer).await;
        self.store.gauges.question_seconds.record(began.elapsed());
        match answer {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(fault))) => {
                self.store.gauges.unavailable.increment(1);
                Err(fault.into())
            }
            Ok(Err(_)) => self.away("history is closed"),
            Err(_) => self.away("MongoDB does not answer"),
        }
    }

    /// Asks what many ask at the same time, such as when they start: with them, in the next round.
    pub(super) async fn ask_together<Q: Send + 'static, T: Send + 'static>(
        &self,
        rounds: &Rounds<Q, Result<T, HistoryError>>,
        question: Q,
    ) -> Result<T, HistoryError> {
        let Some(_ticket) = self.reads.enter(0) else {
            self.store.gauges.reads_refused.increment(1);
            return self.away("too many questions wait for an answer");
        };
        let began = Instant::now();
        let answer = rounds.ask(&self.runtime, question);
        let answer = timeout(self.store.patience + GRACE, answer).await;
        self.store.gauges.question_seconds.record(began.elapsed());
        match answer {
            Ok(Some(answer)) => {
                let failed = u64::from(answer.is_err());
                self.store.gauges.unavailable.increment(failed);
                answer
            }
            Ok(None) => self.away("history is closed"),
            Err(_) => self.away("MongoDB does not answer"),
        }
    }

    fn away<T>(&self, reason: &str) -> Result<T, HistoryError> {
        self.store.gauges.unavailable.increment(1);
        Err(HistoryError::Unavailable(reason.to_owned()))
    }

    /// Does something nobody waits for; false when too much is under way.
    pub(super) fn tell<F>(&self, work: impl FnOnce(Arc<Store>) -> F) -> bool
    where
        F: Future<Output = store::Result<()>> + Send + 'static,
    {
        let Some(ticket) = self.reads.enter(0) else {
            return false;
        };
        let work = work(Arc::clone(&self.store));
        self.runtime.spawn(async move {
            if let Err(error) = work.await {
                tracing::warn!(%error, "something could not be written to MongoDB");
            }
            drop(ticket);
        });
        true
    }
}
