//! Taking an address: one listening socket a worker, all on the same port.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// The kernel's queue of connections that nobody accepted yet, a socket.
const BACKLOG: i32 = 2048;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has it.
    #[error(
        "{address} is in use by another process: stop that one, or listen elsewhere (--listen {}:PORT)",
        address.ip()
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system does not let this user have it.
    #[error(
        "no permission to listen on {address}: ports below 1024 need a privilege; choose a higher one (--listen)"
    )]
    Denied {
        /// The address.
        address: SocketAddr,
    },
    /// The address is not one of this machine's.
    #[error("{address} is not an address of this machine (--listen)")]
    NotHere {
        /// The address.
        address: SocketAddr,
    },
    /// Something else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Listening sockets on one address, one a worker. Connections queue from here on.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<std::net::TcpListener>,
    address: SocketAddr,
}

impl Bound {
    /// Listens on `address`, port 0 for a free one, with as many sockets as there are workers.
    pub fn bind(
        address: SocketAddr,
        workers: usize,
        send_buffer: usize,
    ) -> Result<Self, BindError> {
        let explain = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            io::ErrorKind::PermissionDenied => BindError::Denied { address },
            io::ErrorKind::AddrNotAvailable => BindError::NotHere { address },
            _ => BindError::Other { address, source },
        };
        // SO_REUSEPORT would let a second Fireside of the same user bind too and take half of the
        // connections, so the port is first taken without it.
        let probe = socket(address, send_buffer, false).map_err(explain)?;
        let taken = probe.local_addr().map_err(explain)?;
        drop(probe);
        let listeners = (0..workers.max(1))
            .map(|_| socket(taken, send_buffer, true))
            .collect::<io::Result<Vec<_>>>()
            .map_err(explain)?;
        Ok(Self {
            listeners,
            address: taken,
        })
    }

    /// The sockets, one a worker.
    pub fn into_listeners(self) -> Vec<std::net::TcpListener> {
        self.listeners
    }

    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn socket(
    address: SocketAddr,
    send_buffer: usize,
    shared: bool,
) -> io::Result<std::net::TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit both.
    socket.set_send_buffer_size(send_buffer)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_on_the_same_port_is_refused_with_advice() {
        let first = Bound::bind(([127, 0, 0, 1], 0).into(), 2, 64 * 1024).unwrap();
        assert_eq!(first.listeners.len(), 2);
        let error = Bound::bind(first.address(), 2, 64 * 1024).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }));
        let text = error.to_string();
        assert!(
            text.contains(&first.address().to_string()) && text.contains("--listen"),
            "{text}"
        );
    }

    #[test]
    fn a_foreign_address_is_named() {
        let error = Bound::bind(([192, 0, 2, 1], 0).into(), 1, 64 * 1024).unwrap_err();
        assert!(matches!(error, BindError::NotHere { .. }), "{error}");
    }
}
