//! The program that figures are compared with: it writes what it is told to, to everybody, and
//! nothing else.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

/// What the sender's frame of one byte is on the wire.
const TRIGGER: [u8; 7] = [0x82, 0x81, 0, 0, 0, 0, b'x'];

#[test]
fn everybody_gets_a_frame_for_each_trigger_until_the_sender_leaves() {
    let mut floor = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["serve-floor", "--sockets", "3", "--length", "150"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let mut stdout = BufReader::new(floor.stdout.take().unwrap());
    stdout.read_line(&mut address).unwrap();
    let mut sockets: Vec<TcpStream> = (0..3)
        .map(|_| TcpStream::connect(address.trim()).unwrap())
        .collect();
    for triggers in [1, 5] {
        sockets[0].write_all(&TRIGGER.repeat(triggers)).unwrap();
        for socket in &mut sockets {
            let mut frames = vec![0; triggers * 150];
            socket.read_exact(&mut frames).unwrap();
            assert!(frames.chunks(150).all(|f| f[..4] == [0x81, 126, 0, 146]));
        }
    }
    drop(sockets);
    assert!(floor.wait().unwrap().success());
}
