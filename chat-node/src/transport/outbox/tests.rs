use proptest::prelude::*;
use shared::protocol::event::Event;

use super::{
    super::deflate::{MAX_PLAIN, inflate},
    *,
};

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
fn frames(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let cut = cut(bytes).into_iter();
    cut.map(|(first, payload)| (first & 15, payload)).collect()
}

/// What a client makes of a server's bytes: each message, and whether it came compressed.
fn messages(bytes: &[u8]) -> Vec<(bool, Bytes)> {
    let cut = cut(bytes).into_iter();
    cut.filter(|(first, _)| first & 15 < 8)
        .map(|(first, payload)| match first & 0x70 {
            0 => (false, payload.into()),
            RSV1 => (true, inflate(&payload, MAX_PLAIN).unwrap()),
            other => panic!("{other:x}"),
        })
        .collect()
}

/// The JSON objects of these messages.
fn objects(messages: &[(bool, Bytes)]) -> Vec<serde_json::Value> {
    let texts = messages.iter().map(|(_, text)| text);
    texts
        .flat_map(|text| text.split(|byte| *byte == b'\n'))
        .map(|object| serde_json::from_slice(object).unwrap())
        .collect()
}

/// First byte and payload of each frame.
fn cut(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
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
        frames.push((bytes[0], bytes[header..header + len].to_vec()));
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

const DEFLATING: Agreed = Agreed {
    encoding: Encoding::Json,
    deflate: true,
};

/// A message of so many words.
fn said(words: usize) -> Arc<SharedEvent> {
    let text = "one and another ".repeat(words / 3 + 1);
    let event = serde_json::json!({"ev": "message.new", "d": {
        "room": "r", "seq": 1, "ts": 1_795_000_000_000_u64, "user": "u", "nonce": "n",
        "kind": "message", "text": text,
    }});
    Arc::new(SharedEvent::new(serde_json::from_value(event).unwrap()))
}

#[test]
fn events_are_compressed_once_and_carry_each_recipients_own_place() {
    let event = said(60);
    let mut socket = Vec::new();
    for s in [7, 1_000_000] {
        let mut outbox = Outbox::new(DEFLATING);
        outbox.push_event(s, &event).unwrap();
        let shared = deflated(&event, Encoding::Json).unwrap();
        assert_eq!(outbox.items[0].body.as_ptr(), shared.as_ptr());
        socket.extend(drain(&mut outbox, usize::MAX));
    }
    let seen = messages(&socket);
    assert!(seen.iter().all(|(compressed, _)| *compressed));
    assert!(socket.len() < 2 * event.tail(Encoding::Json).len());
    let places: Vec<_> = objects(&seen).iter().map(|o| o["s"].as_u64()).collect();
    assert_eq!(places, [Some(7), Some(1_000_000)]);
    // Who did not agree to it gets the same event as it is.
    let mut outbox = Outbox::new(Encoding::Json);
    outbox.push_event(7, &event).unwrap();
    let plain = messages(&drain(&mut outbox, usize::MAX));
    assert_eq!(plain, [(false, seen[0].1.clone())]);
}

#[test]
fn compressed_objects_share_a_frame_and_others_have_their_own() {
    let mut outbox = Outbox::new(DEFLATING);
    let rooms = "\"all the rooms of the house\",".repeat(100);
    let reply = format!("{{\"id\":1,\"ok\":[{rooms}0]}}");
    outbox.push_reply(reply.clone().into());
    outbox.push_event(1, &said(60)).unwrap();
    outbox.push_reply(reply.into());
    outbox.push_reply(Bytes::from_static(b"{\"id\":2,\"ok\":{}}"));
    outbox.push_event(2, &event("a")).unwrap();
    outbox.push_control(9, b"").unwrap();
    outbox.push_ephemeral(&said(60)).unwrap();
    outbox.push_event(3, &said(60)).unwrap();
    let key = StateKey::Presence(UserId::parse("u").unwrap());
    outbox.put_state(key, said(90));
    let seen = messages(&drain(&mut outbox, usize::MAX));
    let compressed: Vec<bool> = seen.iter().map(|(compressed, _)| *compressed).collect();
    assert_eq!(compressed, [true, false, true, true]);
    let objects = objects(&seen);
    let marks: Vec<_> = (objects.iter())
        .map(|o| (o["id"].as_u64(), o["s"].as_u64()))
        .collect();
    let expected = [
        (Some(1), None),
        (None, Some(1)),
        (Some(1), None),
        (Some(2), None),
        (None, Some(2)),
        (None, None),
        (None, Some(3)),
        (None, None),
    ];
    assert_eq!(marks, expected);
}

#[test]
fn objects_of_messagepack_share_a_compressed_frame_too() {
    let mut outbox = Outbox::new(Agreed {
        encoding: Encoding::MsgPack,
        deflate: true,
    });
    let mut expected = Vec::new();
    for s in 1..40 {
        outbox.push_event(s, &said(60)).unwrap();
        expected.extend_from_slice(Prefix::new(Encoding::MsgPack, Some(s)).as_bytes());
        expected.extend_from_slice(&said(60).tail(Encoding::MsgPack));
    }
    let reply = Bytes::from(vec![0xc0; MIN_DEFLATED_REPLY]);
    outbox.push_reply(reply.clone());
    outbox.push_reply(reply.clone());
    expected.extend_from_slice(&reply);
    expected.extend_from_slice(&reply);
    let seen = messages(&drain(&mut outbox, usize::MAX));
    assert!(seen.iter().all(|(compressed, _)| *compressed));
    assert_eq!(seen.len(), 2, "as many as fit into one write");
    let seen: Vec<u8> = seen.into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert!(seen == expected);
}

/// What a client is asked to hold at once is bounded after inflating, not before.
#[test]
fn a_compressed_frame_inflates_to_no_more_than_the_bound() {
    let mut outbox = Outbox::new(DEFLATING);
    for s in 0..30 {
        outbox.push_replayed(s, &said(3000));
    }
    let seen = messages(&drain(&mut outbox, 1000));
    assert!(seen.iter().all(|(_, message)| message.len() <= MAX_FRAME));
    assert_eq!(objects(&seen).len(), 30);
    // One object that is larger goes alone, and one that is larger still as it is.
    for (length, compressed) in [(MAX_PLAIN, true), (MAX_PLAIN + 1, false)] {
        let huge = Bytes::from(vec![b'1'; length]);
        outbox.push_reply(huge.clone());
        outbox.push_event(31, &said(60)).unwrap();
        let bytes = drain(&mut outbox, usize::MAX);
        assert_eq!(cut(&bytes)[0].0 & RSV1 != 0, compressed);
        assert_eq!(cut(&bytes).len(), 2);
        if compressed {
            assert_eq!(messages(&bytes)[0].1, huge);
        }
    }
}

#[test]
fn a_large_reply_that_hardly_shrinks_has_a_long_header() {
    let mut state = 1_u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + (state >> 33) as u8 % 90)
    })
    .filter(|c| !matches!(c, '"' | '\\'))
    .take(100_000)
    .collect();
    let reply = format!("\"{noise}\"");
    let mut outbox = Outbox::new(DEFLATING);
    outbox.push_reply(reply.clone().into());
    outbox.push_reply(reply.clone().into());
    let bytes = drain(&mut outbox, 4096);
    assert_eq!(bytes[..2], [0xc1, 127]);
    let seen = messages(&bytes);
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|(_, message)| message == &reply));
}

proptest! {
    // Each takes long without optimization.
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// However the socket cuts writes, and whatever of it is compressed, what a client hears is what
    /// one without compression hears.
    #[test]
    fn compression_changes_nothing_that_is_heard(
        ops in proptest::collection::vec((0_u8..6, 1_usize..400), 1..80),
        step in 1_usize..3000,
    ) {
        let mut pair = [Outbox::new(Encoding::Json), Outbox::new(DEFLATING)];
        let mut sockets = [Vec::new(), Vec::new()];
        for (s, (op, size)) in ops.into_iter().enumerate() {
            let (event, small) = (said(size), event("r"));
            let reply = Bytes::from(format!("\"{}\"", "reply ".repeat(size)));
            for (outbox, socket) in pair.iter_mut().zip(&mut sockets) {
                match op {
                    0 | 1 => outbox.push_replayed(s as u64, &event),
                    2 => outbox.push_replayed(s as u64, &small),
                    3 => outbox.push_reply(reply.clone()),
                    4 => prop_assert_eq!(outbox.push_control(9, b"p"), Ok(())),
                    _ => socket.extend(write(outbox, step)),
                }
            }
        }
        for (outbox, socket) in pair.iter_mut().zip(&mut sockets) {
            socket.extend(drain(outbox, step));
        }
        let [plain, compressed] = sockets.map(|socket| objects(&messages(&socket)));
        prop_assert_eq!(plain, compressed);
    }
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
