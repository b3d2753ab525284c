//! Sessions over a swarm: they start, resume, and check that their streams have no hole.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::json;
use shared::{codes::ErrorCode, protocol::codec::Encoding};

use super::{
    Arrival, Swarm, SwarmError, Who,
    message::{self, Told},
};

/// How long nothing at all may arrive before a wait is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// Upgrades and starts under way at once.
const DOORWAY: usize = 64;
/// Ids of commands that the crowd itself sends; scenarios use others.
const OWN_ID: u64 = 1 << 40;

/// Why a scenario cannot go on, or must not be believed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The sockets.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// The server ended a connection that should have stayed.
    #[error("the server ended socket {who} with {code:?}")]
    Closed {
        /// Which.
        who: Who,
        /// The code of the close frame.
        code: Option<u16>,
    },
    /// The server refused a command.
    #[error("refused: {0}")]
    Refused(String),
    /// A hole, a double, a change of order or of content.
    #[error("delivery: {0}")]
    Delivery(String),
    /// Something against the contract.
    #[error("against the contract: {0}")]
    Contract(String),
    /// Nothing came any more.
    #[error("waited {PATIENCE:?} for {0}")]
    Silence(String),
    /// The server or its surroundings.
    #[error("{0}")]
    Target(String),
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The code of the close frame, when one came.
    pub code: Option<u16>,
}

/// One session, with or without its socket.
#[derive(Debug, Default)]
struct Member {
    token: Box<str>,
    sid: Option<Box<str>>,
    /// The last place of its stream that arrived.
    s: u64,
    joined: bool,
    /// Its socket may end.
    leaving: bool,
    /// How its socket ended.
    ended: Option<Ending>,
}

/// Sessions to one chat.
#[derive(Debug)]
pub struct Crowd {
    swarm: Swarm,
    members: Vec<Member>,
    fault: Option<Fault>,
    replayed: u64,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(addresses: &[SocketAddr], encoding: Encoding) -> Result<Self, Fault> {
        let swarm = Swarm::new(addresses, encoding).map_err(SwarmError::from)?;
        Ok(Self {
            swarm,
            members: Vec::new(),
            fault: None,
            replayed: 0,
        })
    }

    /// The sockets.
    pub fn swarm(&mut self) -> &mut Swarm {
        &mut self.swarm
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Events replayed to those who resumed.
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// Starts a session for each token, a few at a time, and waits until all have theirs.
    pub fn join(
        &mut self,
        tokens: impl IntoIterator<Item = String>,
        mut tell: impl FnMut(Who, &Told<'_>),
    ) -> Result<(), Fault> {
        let mut tokens = tokens.into_iter().fuse();
        let first = self.members.len();
        let mut under_way = 0;
        let mut exhausted = false;
        loop {
            while under_way < DOORWAY && !exhausted {
                let Some(token) = tokens.next() else {
                    exhausted = true;
                    break;
                };
                self.swarm.dial(&token)?;
                self.members.push(Member {
                    token: token.into(),
                    ..Member::default()
                });
                under_way += 1;
            }
            if under_way == 0 {
                return Ok(());
            }
            self.step("sessions to start", &mut tell)?;
            under_way = (self.members[first..].iter())
                .filter(|member| !member.joined)
                .count();
        }
    }

    /// Ends the sockets of these sessions without a word.
    pub fn cut(&mut self, whom: impl IntoIterator<Item = Who>) {
        for who in whom {
            self.members[who].joined = false;
            self.members[who].ended = None;
            self.swarm.cut(who);
        }
    }

    /// Connects and resumes these sessions, at most `at_once` at a time, and waits until all have.
    pub fn resume(
        &mut self,
        whom: impl IntoIterator<Item = Who>,
        at_once: usize,
        mut tell: impl FnMut(Who, &Told<'_>),
    ) -> Result<(), Fault> {
        let mut waiting = whom.into_iter().fuse();
        let mut under_way: Vec<Who> = Vec::new();
        loop {
            while under_way.len() < at_once
                && let Some(who) = waiting.next()
            {
                self.come_back(who)?;
                under_way.push(who);
            }
            if under_way.is_empty() {
                return Ok(());
            }
            self.step("sessions to resume", &mut tell)?;
            let members = &self.members;
            under_way.retain(|who| !members[*who].joined);
        }
    }

    /// Connects and resumes a session without waiting for it; [`Self::is_joined`] tells when.
    pub fn come_back(&mut self, who: Who) -> Result<(), Fault> {
        let token = self.members[who].token.clone();
        Ok(self.swarm.redial(who, &token)?)
    }

    /// Whether a session has its socket and has started or resumed on it.
    pub fn is_joined(&self, who: Who) -> bool {
        self.members[who].joined
    }

    /// Lets these sockets end without its being a fault.
    pub fn may_end(&mut self, whom: impl IntoIterator<Item = Who>) {
        for who in whom {
            self.members[who].leaving = true;
        }
    }

    /// How a socket that may end has ended, when it has.
    pub fn ended(&self, who: Who) -> Option<Ending> {
        self.members[who].ended
    }

    /// Sends a command.
    pub fn send(&mut self, who: Who, id: u64, op: &str, d: &impl Serialize) -> Result<(), Fault> {
        #[derive(Serialize)]
        struct Command<'a, D> {
            id: u64,
            op: &'a str,
            d: &'a D,
        }
        let encoded = (self.swarm.encoding().encode(&Command { id, op, d }))
            .map_err(|error| Fault::Contract(error.to_string()))?;
        Ok(self.swarm.send(who, &encoded)?)
    }

    /// Takes in what arrives within `wait`, and checks each session's stream on the way.
    ///
    /// # Errors
    /// The first thing that is against the contract, or a socket that the server ended.
    pub fn poll(
        &mut self,
        wait: Duration,
        mut tell: impl FnMut(Who, &Told<'_>),
    ) -> Result<bool, Fault> {
        let Self {
            swarm,
            members,
            fault,
            replayed,
        } = self;
        let encoding = swarm.encoding();
        let mut heard = false;
        let mut greeted = Vec::new();
        swarm.poll(wait, |who, arrival| {
            heard = true;
            let member = &mut members[who];
            let result = match arrival {
                // A crowd's swarm expects no refusals.
                Arrival::Open | Arrival::Refused(_) => Ok(()),
                Arrival::Closed(code) => {
                    member.ended = Some(Ending { code });
                    if member.leaving {
                        Ok(())
                    } else {
                        Err(Fault::Closed { who, code })
                    }
                }
                Arrival::Message(bytes) => {
                    let mut result = Ok(());
                    let read = message::each(encoding, bytes, |told| {
                        if result.is_ok() {
                            result = member.hear(&told, replayed, || greeted.push(who));
                            tell(who, &told);
                        }
                    });
                    read.map_err(Fault::Contract).and(result)
                }
            };
            if let Err(error) = result {
                fault.get_or_insert(error);
            }
        })?;
        for who in greeted {
            self.introduce(who)?;
        }
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(heard),
        }
    }

    /// Polls until `done`; `what` is waited for.
    pub fn poll_until(
        &mut self,
        what: &str,
        mut tell: impl FnMut(Who, &Told<'_>),
        mut done: impl FnMut() -> bool,
    ) -> Result<(), Fault> {
        while !done() {
            self.step(what, &mut tell)?;
        }
        Ok(())
    }

    /// Polls once, for as long as it takes until something arrives.
    pub fn step(&mut self, what: &str, mut tell: impl FnMut(Who, &Told<'_>)) -> Result<(), Fault> {
        let since = Instant::now();
        while !self.poll(Duration::from_millis(200), &mut tell)? {
            if since.elapsed() > PATIENCE {
                return Err(Fault::Silence(what.to_owned()));
            }
        }
        Ok(())
    }

    /// Answers `hello`.
    fn introduce(&mut self, who: Who) -> Result<(), Fault> {
        let member = &self.members[who];
        match member.sid.clone() {
            Some(sid) => {
                let d = json!({"sid": sid, "s": member.s});
                self.send(who, OWN_ID, "session.resume", &d)
            }
            None => self.send(who, OWN_ID, "session.start", &json!({})),
        }
    }
}

impl Member {
    fn hear(
        &mut self,
        told: &Told<'_>,
        replayed: &mut u64,
        greeted: impl FnOnce(),
    ) -> Result<(), Fault> {
        if let Some(s) = told.s {
            if s != self.s + 1 {
                let (last, sid) = (self.s, &self.sid);
                let what = format!("{s} follows {last} in the stream of {sid:?}");
                return Err(Fault::Delivery(what));
            }
            self.s = s;
        }
        if told.ev.as_deref() == Some("hello") {
            greeted();
            return Ok(());
        }
        if told.id != Some(OWN_ID) {
            return Ok(());
        }
        if let Some(error) = &told.err {
            let lost = error.code.as_deref() == Some(ErrorCode::SessionLost.word());
            if lost && self.sid.take().is_some() {
                // Whoever kept the session has died: another one is started, as clients do.
                self.s = 0;
                greeted();
                return Ok(());
            }
            return Err(Fault::Refused(error.explain()));
        }
        self.joined = true;
        self.ended = None;
        if let Some(ok) = &told.ok {
            *replayed += ok.replayed.unwrap_or(0);
            if let Some(sid) = &ok.sid
                && self.sid.is_none()
            {
                self.sid = Some(sid.as_ref().into());
            }
        }
        Ok(())
    }
}
