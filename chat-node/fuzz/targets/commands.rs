//! Frames to commands, in both encodings: whatever the bytes, the decoder answers; and what it
//! took for a command reads the same when it is written again.
//!
//! The first byte chooses the encoding, the rest is the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use shared::protocol::{
    codec::{Encoding, MAX_COMMAND_ID, MAX_COMMANDS_PER_FRAME, decode_commands},
    command::Command,
};

#[derive(Serialize)]
struct Frame<'a> {
    id: Option<u64>,
    #[serde(flatten)]
    command: &'a Command,
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, frame)) = data.split_first() else {
        return;
    };
    let encoding = [Encoding::Json, Encoding::MsgPack][usize::from(choice & 1)];
    let Ok(commands) = decode_commands(encoding, frame) else {
        return;
    };
    assert!((1..=MAX_COMMANDS_PER_FRAME).contains(&commands.len()));
    for raw in commands {
        assert!(raw.id.is_none_or(|id| id <= MAX_COMMAND_ID));
        let Ok(command) = raw.parse() else {
            continue;
        };
        assert_eq!(command.op(), raw.op);
        let again = Frame {
            id: raw.id,
            command: &command,
        };
        let bytes = encoding.encode(&again).expect("a command encodes");
        let read = decode_commands(encoding, &bytes).expect("it decodes again");
        assert_eq!((read.len(), read[0].id), (1, raw.id));
        let read = read[0].parse().expect("it parses again");
        // JSON numbers with a fraction may lose their last bit on the way through text.
        if encoding == Encoding::MsgPack {
            assert_eq!(read, command);
        }
    }
});
