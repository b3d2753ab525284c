//! What tells a swarm that something happened on its sockets.

use std::{io, os::fd::AsRawFd as _, time::Duration};

use mio::{Events, Interest, Poll, Registry, Token, unix::SourceFd};

use super::{Who, socket::Socket};

/// Events taken in at a time.
const EVENTS: usize = 1024;
/// The same while some sockets are preferred: after so many of the others they have their turn.
const EVENTS_BETWEEN: usize = 16;
/// What the poll of those that are preferred is called by the other.
const PREFERRED: Token = Token(usize::MAX);

/// One poll for all sockets, or two: sockets that are preferred have one of their own, so that they
/// need not queue behind thousands of others.
pub(super) struct Polls {
    all: (Poll, Events),
    /// Those from this one on.
    preferred: Option<(Who, Poll, Events)>,
}

impl Polls {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            all: (Poll::new()?, Events::with_capacity(EVENTS)),
            preferred: None,
        })
    }

    /// Where a socket is registered.
    pub(super) fn registry(&self, who: Who) -> &Registry {
        match &self.preferred {
            Some((first, poll, _)) if who >= *first => poll.registry(),
            _ => self.all.0.registry(),
        }
    }

    /// Prefers the sockets from `first` on.
    pub(super) fn prefer(&mut self, first: Who, sockets: &mut [Socket]) -> io::Result<()> {
        let poll = Poll::new()?;
        let all = self.all.0.registry();
        for (who, socket) in sockets.iter_mut().enumerate().skip(first) {
            socket.move_to(all, poll.registry(), Token(who))?;
        }
        let fd = poll.as_raw_fd();
        all.register(&mut SourceFd(&fd), PREFERRED, Interest::READABLE)?;
        self.all.1 = Events::with_capacity(EVENTS_BETWEEN);
        self.preferred = Some((first, poll, Events::with_capacity(EVENTS)));
        Ok(())
    }

    /// Waits up to `wait`; the sockets on which something happened, the preferred ones first, each
    /// with whether it can be written to.
    pub(super) fn wait(&mut self, wait: Duration) -> io::Result<Vec<(Who, bool)>> {
        let (poll, events) = &mut self.all;
        poll_once(poll, events, wait)?;
        let mut woken = Vec::new();
        if let Some((_, poll, events)) = &mut self.preferred {
            poll_once(poll, events, Duration::ZERO)?;
            woken.extend(told(events));
        }
        woken.extend(told(&self.all.1));
        Ok(woken)
    }
}

fn poll_once(poll: &mut Poll, events: &mut Events, wait: Duration) -> io::Result<()> {
    match poll.poll(events, Some(wait)) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

fn told(events: &Events) -> impl Iterator<Item = (Who, bool)> {
    let of_sockets = events.iter().filter(|event| event.token() != PREFERRED);
    of_sockets.map(|event| (event.token().0, event.is_writable()))
}
