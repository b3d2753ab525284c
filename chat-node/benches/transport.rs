//! From a post to the bytes of a write: the outbox of one socket, and the relay of a room.

#![allow(clippy::unwrap_used, reason = "a benchmark's failure is a panic")]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use chat_node::{
    overload::Overload,
    transport::{
        outbox::{Outbox, Slices},
        relay::{Audience, Relay, Relays},
        sink::Sink,
    },
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::{
        codec::{Encoding, SharedEvent},
        event::{Event, RoomEntry},
        room::{Entry, EntryBody, MessageBody},
    },
};
use tokio::net::{TcpListener, TcpStream};

const ENCODINGS: [(Encoding, &str); 2] = [(Encoding::Json, "json"), (Encoding::MsgPack, "msgpack")];
/// Members of the room that is posted to.
const MEMBERS: usize = 1000;

fn message() -> Arc<SharedEvent> {
    let body = MessageBody {
        unreadable: false,
        nonce: Nonce::parse("n-41").unwrap(),
        text: "shall we go for the second tower now? I have the keys".into(),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
    };
    Arc::new(SharedEvent::new(Event::MessageNew(RoomEntry {
        room: room(),
        entry: Entry {
            seq: Seq::new(1234),
            user: user(7),
            ts: Timestamp::from_millis(1_763_700_000_000),
            body: EntryBody::Message(body),
        },
    })))
}

fn room() -> RoomId {
    RoomId::parse("01JZ8Q4M2V7N5T3R1P9K6H4G2F").unwrap()
}

fn user(n: usize) -> UserId {
    UserId::parse(&format!("user-{n}")).unwrap()
}

/// Pushes some events and writes them with one `writev` to a socket pair; reading the other end
/// is not counted.
fn outbox(c: &mut Criterion) {
    let mut group = c.benchmark_group("outbox");
    let event = message();
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut read = vec![0; 64 * 1024];
    for (encoding, of) in ENCODINGS {
        for events in [1_u64, 16] {
            group.throughput(Throughput::Elements(events));
            group.bench_function(format!("push and writev {events}/{of}"), |b| {
                b.iter_custom(|rounds| {
                    let mut outbox = Outbox::new(encoding);
                    let mut took = Duration::ZERO;
                    for s in 0..rounds {
                        let began = Instant::now();
                        for _ in 0..events {
                            outbox.push_event(s, &event).unwrap();
                        }
                        let mut written = 0;
                        while !outbox.is_empty() {
                            let mut slices = Slices::new();
                            outbox.fill(&mut slices);
                            let n = near.write_vectored(&slices).unwrap();
                            drop(slices);
                            outbox.consume(n);
                            written += n;
                        }
                        took += began.elapsed();
                        far.read_exact(&mut read[..written]).unwrap();
                    }
                    took
                });
            });
        }
        // The same without the kernel: what is ours.
        group.throughput(Throughput::Elements(16));
        group.bench_function(format!("push and frame 16/{of}"), |b| {
            let mut outbox = Outbox::new(encoding);
            b.iter(|| {
                for s in 0..16 {
                    outbox.push_event(s, &event).unwrap();
                }
                let mut slices = Slices::new();
                outbox.fill(&mut slices);
                let n = slices.iter().map(|slice| slice.len()).sum();
                drop(slices);
                outbox.consume(n);
            });
        });
    }
    group.finish();
}

/// A connection of which neither end reads.
async fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, (far, _)) = (near.unwrap(), far.unwrap());
    socket2::SockRef::from(&near)
        .set_send_buffer_size(4096)
        .unwrap();
    near.writable().await.unwrap();
    (near, far)
}

/// Members whose sockets take no more bytes, so that what is counted is ours and not the kernel's;
/// with the other ends, which keep them open. As long as nothing awaits any more, nobody asks the
/// kernel again whether they do.
async fn blocked(relay: &Relay) -> Vec<(Rc<Sink>, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connections = Vec::with_capacity(MEMBERS);
    for _ in 0..MEMBERS {
        connections.push(connection(&listener).await);
    }
    let filling = vec![0; 64 * 1024];
    let member = |(n, (near, far)): (usize, (TcpStream, TcpStream))| {
        while near.try_write(&filling).is_ok() {}
        let sink = Sink::new(relay.next_key(), user(n), Encoding::Json);
        sink.attach(near, Encoding::Json);
        relay.register(&sink);
        relay.subscribe(&sink, [room()]);
        (sink, far)
    };
    connections.into_iter().enumerate().map(member).collect()
}

/// One post to every member of a large room: taken from the inbox, into the ring and the outbox of
/// each, framed, and offered to a socket that takes nothing.
fn relay(c: &mut Criterion) {
    let system = actix::System::new();
    let relays = Relays::new(1, Overload::default());
    let (relay, members) = system.block_on(async {
        let relay = Relay::start(relays.clone(), 0);
        let members = blocked(&relay).await;
        (relay, members)
    });
    let event = message();
    let audience = Audience::Room(room());
    let mut group = c.benchmark_group("relay");
    group.throughput(Throughput::Elements(MEMBERS as u64));
    group.bench_function(format!("one post to {MEMBERS}"), |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let began = Instant::now();
                relays.publish(&audience, &event);
                while relay.turn() {}
                took += began.elapsed();
                for (sink, _) in &members {
                    assert!(sink.waiting() > 0, "a member was passed over");
                    // An empty outbox for the next post.
                    if let Some((socket, _)) = sink.detach() {
                        sink.attach(socket, Encoding::Json);
                    }
                    sink.ack(sink.last());
                }
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, outbox, relay);
criterion_main!(benches);
