//! What a client is shown of its friends: the state lane of its session, read off a socket, because
//! a session without one is shown nothing. Sockets are few and used again: a schedule has its own
//! runtime, the kernel only so many ports.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io::{ErrorKind, Read as _},
    net::{TcpListener, TcpStream},
};

use chat_node::transport::sink::Sink;
use serde_json::Value;
use shared::{
    id::UserId,
    protocol::{codec::Encoding, presence::Status, reply::Friend},
};

use crate::trace::note;

thread_local! {
    static IDLE: RefCell<Vec<(TcpStream, TcpStream)>> = const { RefCell::new(Vec::new()) };
}

/// What one client sees.
pub(crate) struct Screen {
    client: RefCell<Option<TcpStream>>,
    bytes: RefCell<Vec<u8>>,
    /// What it sees counts only once its session has started.
    started: Cell<bool>,
    pub(crate) shown: RefCell<BTreeMap<UserId, Status>>,
}

fn pair() -> (TcpStream, TcpStream) {
    if let Some(idle) = IDLE.with_borrow_mut(Vec::pop) {
        return idle;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let client = TcpStream::connect(address).expect("a connection");
    let (server, _) = listener.accept().expect("the same");
    for end in [&server, &client] {
        end.set_nonblocking(true)
            .expect("a socket that does not wait");
        end.set_nodelay(true).expect("a socket that sends at once");
    }
    (server, client)
}

impl Screen {
    /// A socket for a session.
    pub(crate) async fn attach(sink: &Sink) -> Self {
        let (server, client) = pair();
        let server = tokio::net::TcpStream::from_std(server).expect("a socket");
        server.writable().await.expect("an open socket");
        sink.attach(server, Encoding::Json);
        Self {
            client: RefCell::new(Some(client)),
            bytes: RefCell::default(),
            started: Cell::new(false),
            shown: RefCell::default(),
        }
    }

    /// The session has started with these friends.
    pub(crate) fn start(&self, friends: Vec<Friend>) {
        let shown = friends
            .into_iter()
            .map(|friend| (friend.id, friend.presence.status));
        self.shown.borrow_mut().extend(shown);
        self.started.set(true);
    }

    /// Takes in what came.
    pub(crate) fn look(&self, who: &str) {
        let mut bytes = self.bytes.borrow_mut();
        self.receive(&mut bytes);
        while let Some((from, to)) = frame(&bytes) {
            let payload: Vec<u8> = bytes.drain(..to).skip(from).collect();
            for line in payload
                .split(|byte| *byte == b'\n')
                .filter(|l| !l.is_empty())
            {
                let event: Value = serde_json::from_slice(line).expect("an object");
                if event["ev"] == "presence" && self.started.get() {
                    self.show(who, &event["d"]);
                }
            }
        }
    }

    fn show(&self, who: &str, event: &Value) {
        let user = event["user"].as_str().expect("a user");
        let status = serde_json::from_value(event["status"].clone()).expect("a status");
        note(|| format!("{who} sees {user} {status:?}"));
        let user = UserId::parse(user).expect("a user's id");
        self.shown.borrow_mut().insert(user, status);
    }

    fn receive(&self, bytes: &mut Vec<u8>) {
        let mut client = self.client.borrow_mut();
        let mut some = [0; 4096];
        while let Some(socket) = client.as_mut() {
            match socket.read(&mut some) {
                Ok(0) => return,
                Ok(n) => bytes.extend_from_slice(&some[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a socket of this process broke: {error}"),
            }
        }
    }

    /// The session is over; its socket may be used again.
    pub(crate) fn detach(&self, sink: &Sink) {
        self.receive(&mut self.bytes.borrow_mut());
        let Some((server, waited)) = sink.detach() else {
            return;
        };
        let (Some(client), Ok(server)) = (self.client.take(), server.into_std()) else {
            return;
        };
        // What begins in the middle of a frame is of no use.
        if waited.is_empty() {
            IDLE.with_borrow_mut(|idle| idle.push((server, client)));
        }
    }
}

/// From where to where the payload of the first frame lies, once it is all there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, len) = match *bytes.get(1)? {
        126 => (
            4,
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        ),
        127 => panic!("a frame larger than a server sends"),
        len => (2, usize::from(len)),
    };
    (bytes.len() >= head + len).then_some((head, head + len))
}
