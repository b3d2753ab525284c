//! The kernel's floor: what it costs to write the same bytes to the same number of sockets, with
//! nothing else. One thread, blocking sockets, one `write` a socket and a batch.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
    time::Duration,
};

use shared::protocol::codec::Encoding;

use super::Stage;
use crate::{
    cluster::Guarded,
    swarm::{Arrival, Fault, Swarm, SwarmError},
    target::{Process, Processes, pinned},
};

/// What the sender's frame of one byte is on the wire: header, mask, byte.
const TRIGGER: usize = 7;
/// Triggers answered by one write at most.
const BATCH: usize = 64;

/// Serves a floor: accepts `sockets` connections, the first being the sender's, then writes
/// `batch` frames of `length` bytes to every socket for `batch` triggers that it reads at once. Prints its address first.
/// Returns when the sender leaves.
pub fn serve(sockets: usize, length: usize) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let mut streams = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let frames = frame(length).repeat(BATCH);
    let length = frames.len() / BATCH;
    let mut buffer = [0; BATCH * TRIGGER];
    let mut read = 0;
    loop {
        let more = streams[0].read(&mut buffer[read..])?;
        if more == 0 {
            return Ok(());
        }
        read += more;
        let batch = read / TRIGGER;
        read %= TRIGGER;
        for stream in &mut streams {
            stream.write_all(&frames[..batch * length])?;
        }
    }
}

/// A text frame of `length` bytes in all.
fn frame(length: usize) -> Vec<u8> {
    let mut frame = vec![0x81];
    if length <= 127 {
        frame.push(length.saturating_sub(2) as u8);
    } else {
        frame.push(126);
        frame.extend((length.saturating_sub(4) as u16).to_be_bytes());
    }
    frame.resize(length.max(2), b' ');
    frame
}

/// A floor in a process of its own, with its clients connected.
pub(super) struct Floor {
    child: Guarded,
    swarm: Swarm,
    sockets: usize,
    heard: u64,
}

impl Floor {
    /// Starts it for that many sockets and frames of that many bytes.
    pub(super) fn start(stage: &Stage, sockets: usize, length: usize) -> Result<Self, Fault> {
        let io = |error: io::Error| Fault::Target(format!("the floor: {error}"));
        let mut command = Command::new(&stage.program);
        command
            .args(["serve-floor", "--sockets", &sockets.to_string()])
            .args(["--length", &length.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = pinned(&mut command, stage.server_cpu).map_err(io)?;
        let mut child = Guarded::new(child, None).map_err(io)?;
        let address = first_line(&mut child).map_err(io)?;
        let swarm = Swarm::new(&[address], Encoding::Json).map_err(SwarmError::from)?;
        let mut floor = Self {
            child,
            swarm,
            sockets,
            heard: 0,
        };
        for n in 0..sockets {
            floor.swarm.dial_bare()?;
            // One at a time, or the first to be accepted may be another than the sender.
            let mut open = false;
            while !open {
                floor.swarm.poll(Duration::from_secs(1), |who, arrival| {
                    open |= who == n && matches!(arrival, Arrival::Open);
                })?;
            }
        }
        Ok(floor)
    }

    /// Its process.
    pub(super) fn process(&self) -> Processes {
        Processes::of(vec![Process::of(self.child.id())])
    }

    /// Lets every socket hear `messages`, with `in_flight` under way at most.
    pub(super) fn run(&mut self, messages: u64, in_flight: u64) -> Result<(), Fault> {
        let (base, sockets) = (self.heard, self.sockets as u64);
        let mut sent = 0;
        loop {
            let whole = (self.heard - base) / sockets;
            if whole == messages {
                return Ok(());
            }
            while sent < messages && sent < whole + in_flight {
                self.swarm.send(0, b"x")?;
                sent += 1;
            }
            let before = self.heard;
            let heard = &mut self.heard;
            let mut ended = false;
            self.swarm
                .poll(Duration::from_secs(5), |_, arrival| match arrival {
                    Arrival::Message(_) => *heard += 1,
                    Arrival::Closed(_) => ended = true,
                    Arrival::Open | Arrival::Refused(_) => {}
                })?;
            if ended || self.heard == before {
                return Err(Fault::Silence("the floor".into()));
            }
        }
    }
}

fn first_line(child: &mut Guarded) -> io::Result<SocketAddr> {
    let mut line = String::new();
    let mut stdout = child.take_stdout().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut byte = [0];
    while stdout.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(char::from(byte[0]));
    }
    line.parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_length_and_says_so() {
        for length in [2, 100, 127, 128, 200, 4000] {
            let frame = frame(length);
            assert_eq!(frame.len(), length);
            let said = match frame[1] {
                126 => usize::from(u16::from_be_bytes([frame[2], frame[3]])) + 4,
                short => usize::from(short) + 2,
            };
            assert_eq!(said, length);
        }
    }
}
