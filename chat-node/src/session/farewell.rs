//! The last words to a socket that its session has let go of already.

use std::time::Duration;

use shared::{codes::CloseCode, protocol::event::Bye};
use tokio::net::TcpStream;

use super::seat::Seat;
use crate::transport::outbox::{Outbox, Slices};

/// How long a replaced client has to take its leave.
const PATIENCE: Duration = Duration::from_secs(2);

/// What goes before a close.
pub(super) fn bye(code: CloseCode, delay_ms: Option<u64>) -> Bye {
    Bye {
        code: code.code(),
        reason: code.word().to_owned(),
        resume: code.resumable() && code != CloseCode::SessionLost,
        delay_ms,
    }
}

/// Writes what waited (it may begin in the middle of a frame, and a socket that has just come to
/// this thread is not known to be writable), says `bye` and closes unless that was said, and drops
/// the socket when the client has closed too or has taken too long.
pub(super) fn farewell(
    stream: TcpStream,
    mut outbox: Outbox,
    code: Option<CloseCode>,
    seat: Option<Seat>,
) {
    if let Some(code) = code {
        outbox.push_close(code.code(), code.word(), Some(bye(code, None)));
    }
    actix_rt::spawn(async move {
        let _ = tokio::time::timeout(PATIENCE, part(&stream, &mut outbox)).await;
        drop(seat);
    });
}

async fn part(stream: &TcpStream, outbox: &mut Outbox) -> std::io::Result<()> {
    while !outbox.is_empty() {
        stream.writable().await?;
        let mut slices = Slices::new();
        outbox.fill(&mut slices);
        let written = stream.try_write_vectored(&slices);
        drop(slices);
        match written {
            Ok(written) => outbox.consume(written),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let mut ignored = [0; 512];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut ignored) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}
