//! The back end behind every door: answers probes, upgrades whoever asks, and says back what it hears.
//!
//! It verifies nothing and keeps nothing, so that it costs every door the same.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The longest head that is read.
const LONGEST: usize = 16 << 10;

/// Listens at so many addresses, prints each on a line of its own, and serves for ever.
pub fn serve(places: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut serving = tokio::task::JoinSet::new();
        for _ in 0..places {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?);
            serving.spawn(accept(listener));
        }
        while serving.join_next().await.is_some() {}
        Ok(())
    })
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        // A peer that goes away is no event here.
        tokio::spawn(async move { answer(stream).await.ok() });
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(2048);
    loop {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            if bytes.len() > LONGEST || stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let rest = bytes.split_off(end + 4);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        bytes = rest;
        let Some(key) = header(&head, "sec-websocket-key") else {
            let ready = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(ready).await?;
            continue;
        };
        let accept = derive_accept_key(key.as_bytes());
        let protocol = header(&head, "sec-websocket-protocol").unwrap_or_default();
        let switching = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        stream.write_all(switching.as_bytes()).await?;
        return echo(stream, bytes).await;
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

async fn echo(mut stream: TcpStream, mut bytes: Vec<u8>) -> io::Result<()> {
    let mut said = Vec::new();
    loop {
        let mut at = 0;
        while let Some(end) = frame(&bytes[at..], &mut said) {
            at += end;
        }
        bytes.drain(..at);
        if !said.is_empty() {
            stream.write_all(&said).await?;
            said.clear();
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}

/// Appends the frame that `bytes` begin with, unmasked; answers where it ends, when it is there whole.
fn frame(bytes: &[u8], said: &mut Vec<u8>) -> Option<usize> {
    let (head, length) = (*bytes.first()?, *bytes.get(1)? & 0x7f);
    let (length, header) = match length {
        126 => (
            u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]).into(),
            4,
        ),
        127 => {
            let length = bytes.get(2..10)?.first_chunk::<8>()?;
            (u64::from_be_bytes(*length) as usize, 10)
        }
        short => (usize::from(short), 2),
    };
    let key = bytes.get(header..header + 4)?;
    let end = header + 4 + length;
    let payload = bytes.get(header + 4..end)?;
    said.push(head);
    said.push(bytes[1] & 0x7f);
    said.extend_from_slice(&bytes[2..header]);
    said.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_said_back_unmasked_and_only_whole() {
        for length in [0_usize, 5, 125, 126, 300, 70_000] {
            let mut sent = vec![0x81];
            match length {
                0..=125 => sent.push(0x80 | length as u8),
                126..=0xffff => {
                    sent.push(0xfe);
                    sent.extend((length as u16).to_be_bytes());
                }
                _ => {
                    sent.push(0xff);
                    sent.extend((length as u64).to_be_bytes());
                }
            }
            let header = sent.len();
            sent.extend([1, 2, 3, 4]);
            sent.extend((0..length).map(|n| b'x' ^ [1, 2, 3, 4][n % 4]));
            let mut said = Vec::new();
            for cut in [0, 1, header, sent.len() - 1] {
                assert_eq!(
                    frame(&sent[..cut], &mut said),
                    None,
                    "{length} cut at {cut}"
                );
            }
            assert!(said.is_empty());
            assert_eq!(frame(&sent, &mut said), Some(sent.len()));
            assert_eq!(said.len(), header + length);
            assert_eq!(said[1] & 0x80, 0);
            assert!(said[header..].iter().all(|byte| *byte == b'x'));
        }
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let head = "GET / HTTP/1.1\r\nHost: a:1\r\nsec-WebSocket-key:  k \r\n\r\n";
        assert_eq!(header(head, "Sec-WebSocket-Key"), Some("k"));
        assert_eq!(header(head, "upgrade"), None);
    }
}
