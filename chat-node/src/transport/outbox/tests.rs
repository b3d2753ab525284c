use proptest::prelude::*;
use shared::protocol::event::Event;

use super::*;

fn event(room: &str) -> Arc<SharedEvent> {
    Arc::new(SharedEvent::new(Event::RoomRemoved {
        room: RoomId::parse(room).unwrap(),
    }))
}

/// One write of at most `most` bytes.
fn write(outbox: &mut Outbox, most: usize) -> Vec<u8> {
    let mut slices = Slices::new();
    outbox.fill(&mut slices);
    let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
    drop(slices);
    bytes.truncate(most);
    outbox.consume(bytes.len());
    bytes
}

/// Writes everything, `step` bytes at a time, and returns what the socket got.
fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
    let mut socket = Vec::new();
    while !outbox.is_empty() {
        socket.extend(write(outbox, step));
    }
    assert_eq!(outbox.bytes(), 0);
    socket
}

/// Cuts frames off a server's bytes: opcode and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (header, len) = match bytes[1] {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            127 => (
                10,
                u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize,
            ),
            n => (2, usize::from(n)),
        };
        frames.push((bytes[0] & 15, bytes[header..header + len].to_vec()));
        bytes = &bytes[header + len..];
    }
    frames
}

#[test]
fn what_waits_goes_out_as_one_frame() {
    let mut outbox = Outbox::new(Encoding::Json);
    outbox.push_reply(Bytes::from_static(b"{\"id\":1,\"ok\":{}}"));
    outbox.push_event(7, &event("a")).unwrap();
    outbox.push_control(9, b"").unwrap();
    outbox.push_event(8, &event("b")).unwrap();
    let frames = frames(&drain(&mut outbox, usize::MAX));
    assert_eq!(frames.len(), 3);
    let text = String::from_utf8(frames[0].1.clone()).unwrap();
    let first = "{\"id\":1,\"ok\":{}}\n{\"s\":7,\"ev\":\"room.removed\",\"d\":{\"room\":\"a\"}}";
    assert_eq!(text, first);
    assert_eq!(frames[1].0, 9);
    assert_eq!(
        frames[2].1,
        b"{\"s\":8,\"ev\":\"room.removed\",\"d\":{\"room\":\"b\"}}"
    );
}

#[test]
fn the_newest_state_wins_and_waits_for_the_reliable_lane() {
    let mut outbox = Outbox::new(Encoding::Json);
    let key = StateKey::Presence(UserId::parse("u").unwrap());
    outbox.put_state(key.clone(), event("old"));
    outbox.put_state(key, event("new"));
    outbox.push_event(1, &event("first")).unwrap();
    let bytes = drain(&mut outbox, usize::MAX);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(
        text.find("first") < text.find("new") && !text.contains("old"),
        "{text}"
    );
}

#[test]
fn the_reliable_lane_is_bounded_and_a_replay_is_not_counted() {
    let mut outbox = Outbox::new(Encoding::MsgPack);
    for s in 0..1024 {
        outbox.push_replayed(s, &event("r"));
    }
    for s in 0..MAX_ITEMS as u64 {
        assert_eq!(outbox.push_event(s, &event("r")), Ok(()), "{s}");
    }
    assert_eq!(outbox.push_event(9, &event("r")), Err(Full));
    drain(&mut outbox, usize::MAX);
    assert_eq!(outbox.push_event(9, &event("r")), Ok(()));
}

#[test]
fn answers_take_no_place_from_events_and_are_counted_until_they_are_written() {
    let mut outbox = Outbox::new(Encoding::Json);
    let huge = Bytes::from(vec![b'x'; MAX_BYTES * 2]);
    outbox.push_reply(huge.clone());
    outbox.push_reply(Bytes::from_static(b"{}"));
    for s in 0..MAX_ITEMS as u64 {
        assert_eq!(outbox.push_event(s, &event("r")), Ok(()), "{s}");
    }
    assert_eq!(outbox.push_event(9, &event("r")), Err(Full));
    let both = Answers {
        count: 2,
        bytes: huge.len() + 2,
    };
    assert_eq!(outbox.answers(), both);
    write(&mut outbox, huge.len());
    assert_eq!(outbox.answers(), both, "its frame's header came first");
    write(&mut outbox, 10);
    assert_eq!((outbox.answers().count, outbox.answers().bytes), (1, 2));
    assert_eq!(outbox.push_event(9, &event("r")), Err(Full));
    outbox.abandon();
    assert_eq!(outbox.answers(), Answers::default());
    outbox.push_reply(huge);
    write(&mut outbox, 1);
    outbox.abandon();
    assert_eq!(outbox.answers().count, 1, "it has begun");
    drain(&mut outbox, usize::MAX);
    assert_eq!(outbox.answers(), Answers::default());
}

#[test]
fn there_is_always_place_for_the_last_words() {
    let mut outbox = Outbox::new(Encoding::Json);
    while outbox.push_event(1, &event("r")).is_ok() {}
    outbox.push_close(4406, "replaced", None);
    let frames = frames(&drain(&mut outbox, 1000));
    let (opcode, payload) = frames.last().unwrap();
    assert_eq!((*opcode, &payload[..2]), (8, &4406_u16.to_be_bytes()[..]));
}

#[test]
fn abandoning_keeps_the_frame_that_has_begun() {
    let mut outbox = Outbox::new(Encoding::Json);
    outbox.push_event(1, &event("a")).unwrap();
    write(&mut outbox, 3);
    outbox.push_event(2, &event("b")).unwrap();
    outbox.abandon();
    outbox.push_control(8, &4008_u16.to_be_bytes()).unwrap();
    let rest = drain(&mut outbox, usize::MAX);
    let whole = [&[0x81, 44, b'{'][..], &rest].concat();
    let frames = frames(&whole);
    assert_eq!(frames.iter().map(|f| f.0).collect::<Vec<_>>(), [1, 8]);
}

#[test]
fn abandoning_between_two_objects_of_a_frame_keeps_the_second() {
    let mut outbox = Outbox::new(Encoding::Json);
    outbox.push_reply(Bytes::from_static(b"1"));
    outbox.push_reply(Bytes::from_static(b"2"));
    write(&mut outbox, 3); // the header and the first object
    outbox.push_reply(Bytes::from_static(b"3"));
    outbox.abandon();
    assert_eq!(drain(&mut outbox, usize::MAX), b"\n2");
}

proptest! {
    /// However the socket cuts writes, the same objects arrive in the same order.
    #[test]
    fn any_cutting_of_writes_gives_the_same_objects(
        ops in proptest::collection::vec((0_u8..4, 1_usize..3000), 1..120),
        step in 1_usize..5000,
    ) {
        let mut outbox = Outbox::new(Encoding::Json);
        let (mut pushed, mut socket) = (Vec::new(), Vec::new());
        for (op, size) in ops {
            let reply = format!("\"{}\"", "x".repeat(size));
            match op {
                0 | 1 => {
                    outbox.push_reply(reply.clone().into());
                    pushed.push(reply);
                }
                2 => { let _ = outbox.push_control(9, b"p"); }
                _ => {
                    socket.extend(write(&mut outbox, step));
                }
            }
        }
        socket.extend(drain(&mut outbox, step));
        let objects: Vec<String> = frames(&socket)
            .into_iter()
            .filter(|(opcode, _)| *opcode == 1)
            .flat_map(|(_, payload)| {
                let text = String::from_utf8(payload).unwrap();
                text.split('\n').map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        prop_assert_eq!(objects, pushed);
    }
}
