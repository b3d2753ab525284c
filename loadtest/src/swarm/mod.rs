//! Thousands of WebSockets in one thread, a few dozen bytes each.
//!
//! One epoll, one read buffer for all; a socket holds bytes only while a frame is there in part or
//! the kernel takes no more. So the generator costs little beside the server it measures, and its
//! own waiting is not mistaken for the server's.

mod crowd;
mod frames;
mod ledger;
pub mod message;
mod polls;
mod socket;

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::Token;
use shared::protocol::codec::Encoding;

use crate::deflate::{Inflater, deflate};
use polls::Polls;
use socket::Socket;

pub use crowd::{Crowd, Ending, Fault};
pub use ledger::{Heard, Ledger, Room};

/// A socket of a [`Swarm`]: its place in the order of dialling.
pub type Who = usize;

/// The read buffer that all sockets share.
const SCRATCH: usize = 256 * 1024;

/// What happened on a socket.
#[derive(Debug)]
pub enum Arrival<'a> {
    /// The upgrade was accepted.
    Open,
    /// A message: one or more objects.
    Message(&'a [u8]),
    /// The connection ended; with the close frame's code, when there was one.
    Closed(Option<u16>),
    /// The upgrade was refused, in a swarm that [expects](Swarm::expect_refusals) it; with the
    /// answer, as far as it was read.
    Refused(&'a [u8]),
}

/// Why the swarm cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server refused an upgrade.
    #[error("socket {who} was not upgraded: {head}")]
    Refused {
        /// Which.
        who: Who,
        /// The head of the answer.
        head: String,
    },
    /// The server broke the framing.
    #[error("socket {who}: {what}")]
    Contract {
        /// Which.
        who: Who,
        /// How.
        what: &'static str,
    },
}

/// Sockets to one server, or to several that are one chat, each in its turn.
pub struct Swarm {
    addresses: Vec<SocketAddr>,
    encoding: Encoding,
    deflate: bool,
    /// A refused upgrade is told, not an error.
    refusals: bool,
    polls: Polls,
    scratch: Box<[u8]>,
    inflater: Inflater,
    inflated: Vec<u8>,
    sockets: Vec<Socket>,
    /// Sockets that may have bytes to read though epoll will not say so again.
    resumed: Vec<Who>,
    bytes_in: u64,
    frames_in: u64,
    pings_in: u64,
}

impl std::fmt::Debug for Swarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swarm")
            .field("addresses", &self.addresses)
            .field("sockets", &self.sockets.len())
            .finish_non_exhaustive()
    }
}

impl Swarm {
    /// No sockets yet; there is at least one address.
    pub fn new(addresses: &[SocketAddr], encoding: Encoding) -> io::Result<Self> {
        if addresses.is_empty() {
            return Err(io::Error::other("there is no server to connect to"));
        }
        Ok(Self {
            addresses: addresses.to_vec(),
            encoding,
            deflate: false,
            refusals: false,
            polls: Polls::new()?,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            inflater: Inflater::default(),
            inflated: Vec::new(),
            sockets: Vec::new(),
            resumed: Vec::new(),
            bytes_in: 0,
            frames_in: 0,
            pings_in: 0,
        })
    }

    /// Offers permessage-deflate on every socket dialled from here on, and compresses what is sent. A
    /// server that does not agree to it is at fault.
    pub fn offer_deflate(&mut self) {
        self.deflate = true;
    }

    /// From here on a refused upgrade or connection ends its socket and is told, and is no error.
    pub fn expect_refusals(&mut self) {
        self.refusals = true;
    }

    /// What arrives on the sockets from `first` on is told before what arrives on the others: those
    /// are what is timed, and the generator's own work is not to be counted in.
    pub fn prefer(&mut self, first: Who) -> io::Result<()> {
        self.polls.prefer(first, &mut self.sockets)
    }

    /// The encoding every socket speaks.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Bytes read so far, headers of frames included.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in
    }

    /// Data frames read so far.
    pub fn frames_in(&self) -> u64 {
        self.frames_in
    }

    /// Pings read and answered so far.
    pub fn pings_in(&self) -> u64 {
        self.pings_in
    }

    /// Begins to connect and upgrade one more socket.
    pub fn dial(&mut self, token: &str) -> Result<Who, SwarmError> {
        let who = self.sockets.len();
        let socket = self.upgrading(who, token)?;
        self.sockets.push(socket);
        Ok(who)
    }

    /// Which of the addresses the place `who` connects to, always the same.
    pub fn node(&self, who: Who) -> usize {
        who % self.addresses.len()
    }

    fn address(&self, who: Who) -> SocketAddr {
        self.addresses[self.node(who)]
    }

    fn upgrading(&mut self, who: Who, token: &str) -> Result<Socket, SwarmError> {
        let address = self.address(who);
        let request = socket::request(address, self.encoding, token, self.deflate);
        let registry = self.polls.registry(who);
        Ok(Socket::dial(registry, Token(who), address, request)?)
    }

    /// Connects the place `who` anew, after its socket ended.
    pub fn redial(&mut self, who: Who, token: &str) -> Result<(), SwarmError> {
        self.sockets[who] = self.upgrading(who, token)?;
        Ok(())
    }

    /// One more socket that speaks no HTTP: it is open as soon as it is connected.
    pub fn dial_bare(&mut self) -> Result<Who, SwarmError> {
        let who = self.sockets.len();
        let address = self.address(who);
        let socket = Socket::dial(self.polls.registry(who), Token(who), address, Vec::new())?;
        self.sockets.push(socket);
        Ok(who)
    }

    /// One more socket that connects and says nothing, as if its request never came.
    pub fn dial_silent(&mut self) -> Result<Who, SwarmError> {
        let who = self.dial_bare()?;
        self.sockets[who].upgraded = false;
        Ok(who)
    }

    /// Writes one message; what the kernel does not take now goes out during [`Self::poll`].
    pub fn send(&mut self, who: Who, message: &[u8]) -> Result<(), SwarmError> {
        let opcode = match self.encoding {
            Encoding::Json => frames::TEXT,
            Encoding::MsgPack => frames::BINARY,
        };
        let (registry, token) = (self.polls.registry(who), Token(who));
        if self.deflate {
            // As browsers do: everything.
            let small = deflate(message);
            self.sockets[who].send(registry, token, frames::RSV1 | opcode, &small)?;
        } else {
            self.sockets[who].send(registry, token, opcode, message)?;
        }
        Ok(())
    }

    /// Ends the connection without a word, as a cable that is pulled.
    pub fn cut(&mut self, who: Who) {
        self.sockets[who].cut(self.polls.registry(who));
    }

    /// Stops reading a socket: its kernel buffers fill, then the server's.
    pub fn stall(&mut self, who: Who) {
        self.sockets[who].stalled = true;
    }

    /// Reads it again.
    pub fn unstall(&mut self, who: Who) {
        self.sockets[who].stalled = false;
        self.resumed.push(who);
    }

    /// Waits up to `wait` for something to happen and tells all that did.
    ///
    /// # Errors
    /// An upgrade that was refused, or framing that breaks RFC 6455.
    pub fn poll(
        &mut self,
        wait: Duration,
        mut tell: impl FnMut(Who, Arrival<'_>),
    ) -> Result<(), SwarmError> {
        let wait = if self.resumed.is_empty() {
            wait
        } else {
            Duration::ZERO
        };
        let mut woken = self.polls.wait(wait)?;
        woken.extend(self.resumed.drain(..).map(|who| (who, false)));
        for (who, writable) in woken {
            if writable {
                let registry = self.polls.registry(who);
                match self.sockets[who].writable(registry, Token(who)) {
                    Ok(true) => tell(who, Arrival::Open),
                    Ok(false) => {}
                    Err(_) if self.refusals => {
                        self.sockets[who].cut(registry);
                        tell(who, Arrival::Closed(None));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            self.read(who, &mut tell)?;
        }
        Ok(())
    }

    /// Polls until `done` holds or nothing has arrived for `patience`.
    pub fn poll_until(
        &mut self,
        patience: Duration,
        mut tell: impl FnMut(Who, Arrival<'_>),
        mut done: impl FnMut() -> bool,
    ) -> Result<bool, SwarmError> {
        let mut quiet_since = Instant::now();
        while !done() {
            let mut heard = false;
            self.poll(Duration::from_millis(100), |who, arrival| {
                heard = true;
                tell(who, arrival);
            })?;
            if heard {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() > patience {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read(
        &mut self,
        who: Who,
        tell: &mut impl FnMut(Who, Arrival<'_>),
    ) -> Result<(), SwarmError> {
        let Self {
            polls,
            sockets,
            scratch,
            inflater,
            inflated,
            deflate,
            bytes_in,
            frames_in,
            pings_in,
            refusals,
            ..
        } = self;
        let socket = &mut sockets[who];
        while socket.readable() {
            let length = match socket.read(scratch) {
                Ok(0) => {
                    socket.cut(polls.registry(who));
                    tell(who, Arrival::Closed(None));
                    return Ok(());
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    socket.cut(polls.registry(who));
                    tell(who, Arrival::Closed(None));
                    return Ok(());
                }
            };
            *bytes_in += length as u64;
            let kept = std::mem::take(&mut socket.partial);
            let joined;
            let bytes = if kept.is_empty() {
                &scratch[..length]
            } else {
                joined = [&kept[..], &scratch[..length]].concat();
                &joined[..]
            };
            let mut at = 0;
            if !socket.upgraded {
                match socket::upgraded(bytes) {
                    Ok(None) => {
                        socket.partial = bytes.to_vec();
                        continue;
                    }
                    Ok(Some(end)) => {
                        at = end;
                        socket.upgraded = true;
                        let head = String::from_utf8_lossy(&bytes[..end]);
                        if *deflate && !head.contains("permessage-deflate") {
                            let what = "no permessage-deflate: is the server's setting on?";
                            return Err(SwarmError::Contract { who, what });
                        }
                        tell(who, Arrival::Open);
                    }
                    Err(answer) if *refusals => {
                        socket.cut(polls.registry(who));
                        tell(who, Arrival::Refused(&answer));
                        return Ok(());
                    }
                    Err(answer) => {
                        let head = String::from_utf8_lossy(&answer).into_owned();
                        return Err(SwarmError::Refused { who, head });
                    }
                }
            }
            while let Some(frame) =
                frames::next(bytes, at).map_err(|what| SwarmError::Contract { who, what })?
            {
                at = frame.payload.end;
                let payload = &bytes[frame.payload];
                match frame.head & 0x0f {
                    frames::TEXT | frames::BINARY => {
                        *frames_in += 1;
                        if frame.head & frames::FIN == 0 {
                            let what = "a message in fragments";
                            return Err(SwarmError::Contract { who, what });
                        }
                        if frame.head & frames::RSV1 == 0 {
                            tell(who, Arrival::Message(payload));
                        } else if !*deflate {
                            let what = "compressed, which was not agreed on";
                            return Err(SwarmError::Contract { who, what });
                        } else {
                            inflater
                                .inflate(payload, inflated)
                                .map_err(|what| SwarmError::Contract { who, what })?;
                            tell(who, Arrival::Message(inflated));
                        }
                    }
                    frames::PING => {
                        *pings_in += 1;
                        let payload = payload.to_vec();
                        socket.send(polls.registry(who), Token(who), frames::PONG, &payload)?;
                    }
                    frames::PONG => {}
                    frames::CLOSE => {
                        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                        socket.cut(polls.registry(who));
                        tell(who, Arrival::Closed(code));
                        return Ok(());
                    }
                    _ => {
                        let what = "an opcode that was not agreed on";
                        return Err(SwarmError::Contract { who, what });
                    }
                }
            }
            socket.partial = bytes[at..].to_vec();
        }
        Ok(())
    }
}
