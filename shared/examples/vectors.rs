//! Writes the golden vectors afresh: `cargo run -p shared --example vectors`. With
//! `seeds DIRECTORY` it writes what the fuzz targets begin with, made from the same cases.
//!
//! The files are a contract: a change of theirs that a running client would notice needs another
//! subprotocol name.

#![allow(clippy::unwrap_used)]

#[path = "../tests/vectors/cases.rs"]
mod cases;

use std::{io, path::Path};

use shared::protocol::codec::Encoding;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => bless(),
        ["seeds", directory] => seeds(Path::new(directory)),
        _ => Err(io::Error::other("usage: vectors [seeds DIRECTORY]")),
    }
}

fn bless() -> io::Result<()> {
    let directory = cases::directory();
    std::fs::create_dir_all(&directory)?;
    for (name, content) in cases::files() {
        std::fs::write(directory.join(name), content)?;
        println!("{}", directory.join(name).display());
    }
    Ok(())
}

/// Every command and every bad frame: as they are for the target `commands`, which takes the
/// encoding in front, and framed and masked, as they are and compressed, for `frames`, which
/// takes the size of the pieces.
fn seeds(directory: &Path) -> io::Result<()> {
    let mut frames: Vec<(Encoding, Vec<u8>)> = Vec::new();
    for (vector, _) in cases::commands() {
        frames.push((Encoding::Json, vector.json.to_string().into_bytes()));
        frames.push((Encoding::MsgPack, unhex(&vector.msgpack)));
    }
    for bad in cases::bad() {
        let encoding = match bad.encoding.as_str() {
            "json" => Encoding::Json,
            _ => Encoding::MsgPack,
        };
        frames.push((encoding, unhex(&bad.hex)));
    }
    for (number, (encoding, frame)) in frames.iter().enumerate() {
        let name = format!("vector-{number:03}");
        let mut command = vec![u8::from(*encoding == Encoding::MsgPack)];
        command.extend(frame);
        write(&directory.join("commands"), &name, &command)?;
        let mut framed = vec![number as u8];
        framed.extend(masked(1 + u8::from(*encoding == Encoding::MsgPack), frame));
        framed.extend(masked(9, b"ping"));
        framed.extend(masked(8, &[0x0f, 0xa0]));
        write(&directory.join("frames"), &name, &framed)?;
        let mut compressed = vec![0x80 | number as u8];
        compressed.extend(masked(
            0x41 + u8::from(*encoding == Encoding::MsgPack),
            &stored(frame),
        ));
        write(
            &directory.join("frames"),
            &format!("{name}-stored"),
            &compressed,
        )?;
    }
    Ok(())
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join(name), bytes)
}

/// A message of permessage-deflate that has it in one stored block.
fn stored(message: &[u8]) -> Vec<u8> {
    let length = message.len() as u16;
    let mut bytes = vec![0];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(message);
    bytes.push(0);
    bytes
}

fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 0x7e);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    let key = [0x5a, 0xc3, 0x17, 0x88];
    bytes.extend(key);
    bytes.extend(
        payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key[i % 4]),
    );
    bytes
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}
