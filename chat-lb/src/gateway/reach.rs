//! A connection to a node, with as much said over it as is taken at once.
//!
//! A connection often stands by the time the kernel has been asked for it, on one machine always. So what is to be said is tried
//! before anything is waited for: the node, woken for the connection, finds the request there, and nobody is woken twice.

use std::{
    io::{self, ErrorKind, Write as _},
    net::SocketAddr,
};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

/// What the kernel holds of a tunnel on its way from a node and to it, in bytes: whoever does not read is to be
/// noticed by the node.
const KERNEL_BUFFER: usize = 64 << 10;

/// Connects to `address` (`host:port`), and answers how much of `head` was said already.
pub(super) async fn reach(address: &str, head: &[u8]) -> io::Result<(TcpStream, usize)> {
    let address: SocketAddr = if let Ok(address) = address.parse() {
        address
    } else {
        let mut found = tokio::net::lookup_host(address).await?;
        let none = || io::Error::from(ErrorKind::NotFound);
        found.next().ok_or_else(none)?
    };
    let mut stream = begin(address)?;
    match stream.write(head) {
        Ok(said) => Ok((TcpStream::from_std(stream)?, said)),
        // Which of the two it is depends on the system.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::NotConnected
            ) =>
        {
            let stream = TcpStream::from_std(stream)?;
            stream.writable().await?;
            match stream.take_error()? {
                None => Ok((stream, 0)),
                Some(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Asks for a connection, which may not stand yet.
fn begin(address: SocketAddr) -> io::Result<std::net::TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    // Before it is connected, or the window that the node learns is another.
    socket.set_recv_buffer_size(KERNEL_BUFFER)?;
    socket.set_send_buffer_size(KERNEL_BUFFER)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(socket.into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn what_is_to_be_said_goes_with_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stream, said) = reach(&address.to_string(), b"hello").await.unwrap();
        assert_eq!(said, 5);
        assert_eq!(stream.peer_addr().unwrap(), address);
        let mut heard = [0; 5];
        let (mut node, _) = listener.accept().await.unwrap();
        node.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stream, said) = reach(&format!("localhost:{port}"), b"hello").await.unwrap();
        assert_eq!((stream.peer_addr().unwrap().port(), said), (port, 5));
    }

    #[tokio::test]
    async fn who_does_not_listen_is_not_reached() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let taken = socket.local_addr().unwrap().as_socket().unwrap();
        let error = reach(&taken.to_string(), b"hello").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_connection_that_takes_its_time_is_waited_for() {
        // With a queue that is full a connection is not answered until there is room.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let _first = std::net::TcpStream::connect(address).unwrap();
        let asked = tokio::spawn(async move { reach(&address.to_string(), b"hello").await });
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(!asked.is_finished());
        let (_taken, _) = socket.accept().unwrap();
        let (_, said) = asked.await.unwrap().unwrap();
        assert_eq!(said, 0, "it was said before anybody was there");
    }
}
