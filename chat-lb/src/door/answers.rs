//! The answers of an HTTP/2 connection, and whether its client takes them.
//!
//! A client that opens no window holds an answer up for ever, and has the stack's pings answered meanwhile. The stack
//! asks for more of a body when there is room for it: how long ago that was tells who takes nothing. What is left
//! of a body when its end is with the stack is out of sight here.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Response,
    body::{Body, Frame, SizeHint},
};
use tokio::time::Instant;

/// The answers of a connection that are under way. Bound: the streams it may have.
#[derive(Debug)]
pub(super) struct Answers {
    /// Since when the client could have asked for more; none while it is the back end that is waited for.
    owed: RefCell<HashMap<u64, Option<Instant>>>,
    next: Cell<u64>,
    /// When the last of them had an end.
    ended: Cell<Instant>,
}

/// The body of an answer under way.
pub(super) struct Watched<B> {
    body: B,
    number: u64,
    answers: Rc<Answers>,
}

impl Answers {
    /// None yet.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            owed: RefCell::default(),
            next: Cell::new(0),
            ended: Cell::new(Instant::now()),
        })
    }

    /// One more, whose head is with the stack from now on.
    pub(super) fn watch<B>(self: &Rc<Self>, answer: Response<B>) -> Response<Watched<B>> {
        let number = self.next.replace(self.next.get() + 1);
        self.owed.borrow_mut().insert(number, Some(Instant::now()));
        answer.map(|body| Watched {
            body,
            number,
            answers: self.clone(),
        })
    }

    /// Whether the client has taken nothing of one of them for so long.
    pub(super) fn stand_still(&self, patience: Duration) -> bool {
        let owed = self.owed.borrow();
        owed.values()
            .flatten()
            .any(|since| since.elapsed() >= patience)
    }

    /// Whether there has been none for so long.
    pub(super) fn are_over(&self, patience: Duration) -> bool {
        self.owed.borrow().is_empty() && self.ended.get().elapsed() >= patience
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let since = polled.is_ready().then(Instant::now);
        this.answers.owed.borrow_mut().insert(this.number, since);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.answers.owed.borrow_mut().remove(&self.number);
        self.answers.ended.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, task::Waker};

    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use tokio::time::advance;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn poll<B: Body + Unpin>(answer: &mut Response<Watched<B>>) -> bool {
        let body = Pin::new(answer.body_mut());
        body.poll_frame(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_for_nothing_more_stands_still() {
        let answers = Answers::new();
        let mut answer = answers.watch(Response::new(Full::new(Bytes::from("a"))));
        advance(PATIENCE / 2).await;
        assert!(!answers.stand_still(PATIENCE));
        assert!(poll(&mut answer), "the client has opened a window");
        advance(PATIENCE / 2).await;
        assert!(!answers.stand_still(PATIENCE), "it took something since");
        advance(PATIENCE / 2).await;
        assert!(answers.stand_still(PATIENCE));
        assert!(!answers.are_over(PATIENCE));
        drop(answer);
        assert!(!answers.stand_still(PATIENCE) && !answers.are_over(PATIENCE));
        advance(PATIENCE).await;
        assert!(answers.are_over(PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_blamed_for_a_back_end_that_says_nothing() {
        let answers = Answers::new();
        let silent = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let mut answer = answers.watch(Response::new(StreamBody::new(silent)));
        assert!(!poll(&mut answer), "nothing is there");
        advance(PATIENCE * 2).await;
        assert!(!answers.stand_still(PATIENCE) && !answers.are_over(PATIENCE));
    }
}
