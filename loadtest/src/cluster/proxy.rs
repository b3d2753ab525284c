//! A TCP link that misbehaves when it is told to.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Failure, free_port};

/// The most that is read at a time.
const CHUNK: usize = 16 << 10;
/// How many chunks of one direction may be under way (a delay holds them); then its sender is not
/// read any more.
const UNDER_WAY: usize = 64;

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connects.
    ToServer,
    /// To whoever connects.
    ToClient,
}

/// What becomes of the bytes of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    #[default]
    Pass,
    /// They pass so much later.
    Delay(Duration),
    /// So many pass in a second.
    Throttle(u32),
    /// They wait, as those of a link that loses every packet do; none is lost when it heals.
    Hold,
    /// They are taken and never arrive, and neither does an end of the connection. A connection that
    /// lost bytes is reset when this ends, as by a machine that was started again.
    Swallow,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    cut: bool,
    to_server: Flow,
    to_client: Flow,
    scatter: Duration,
}

impl State {
    fn flow(&self, direction: Direction) -> Flow {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }
}

/// A listener on a port of its own that carries every connection to a target, until it is told
/// otherwise. Dropped, it resets them all.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    listening: watch::Receiver<bool>,
}

impl Proxy {
    /// A link to a port of 127.0.0.1, on the runtime of the caller.
    pub async fn to(target: u16) -> Result<Self, Failure> {
        let port = free_port().map_err(Failure::system("a port"))?;
        let listener = listen(port).await.map_err(Failure::system("a proxy"))?;
        let (state, hearing) = watch::channel(State::default());
        let (tell, listening) = watch::channel(true);
        tokio::spawn(accept(listener, port, target, hearing, tell));
        Ok(Self {
            port,
            state,
            listening,
        })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection and refuses new ones.
    pub async fn cut(&self) {
        self.state.send_modify(|state| state.cut = true);
        self.until_listening(false).await;
    }

    /// Swallows everything in both directions: neither side hears of an end.
    pub fn half_open(&self) {
        self.flow(Direction::ToServer, Flow::Swallow);
        self.flow(Direction::ToClient, Flow::Swallow);
    }

    /// What becomes of the bytes of one direction from now on.
    pub fn flow(&self, direction: Direction, flow: Flow) {
        self.state.send_modify(|state| match direction {
            Direction::ToServer => state.to_server = flow,
            Direction::ToClient => state.to_client = flow,
        });
    }

    /// Lets each new connection wait for a random time up to this, so that they reach the target in
    /// another order than they were made.
    pub fn scatter(&self, up_to: Duration) {
        self.state.send_modify(|state| state.scatter = up_to);
    }

    /// Everything passes again. What was cut is to be connected anew.
    pub async fn heal(&self) {
        self.state.send_replace(State::default());
        self.until_listening(true).await;
    }

    async fn until_listening(&self, wanted: bool) {
        // An error is a runtime that ended.
        let _ = self.listening.clone().wait_for(|is| *is == wanted).await;
    }
}

async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// Accepts until the proxy is dropped.
async fn accept(
    listener: TcpListener,
    port: u16,
    target: u16,
    mut state: watch::Receiver<State>,
    listening: watch::Sender<bool>,
) {
    let mut listener = Some(listener);
    loop {
        if state.borrow_and_update().cut {
            listener = None;
        } else if listener.is_none() {
            // Whoever took the port meanwhile is waited for.
            listener = listen(port).await.ok();
            if listener.is_none() {
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        }
        listening.send_replace(listener.is_some());
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            accepted = accepted => match accepted {
                Ok((client, _)) => {
                    tokio::spawn(carry(client, target, state.clone()));
                }
                // Out of descriptors, for one: not to be asked again at once.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

/// Carries one connection until it ends or is cut.
async fn carry(mut client: TcpStream, target: u16, mut state: watch::Receiver<State>) {
    let scatter = state.borrow().scatter.as_secs_f64();
    let connected = tokio::select! {
        () = severed(state.clone()) => None,
        connected = async {
            if scatter > 0.0 {
                sleep(Duration::from_secs_f64(rand::random_range(0.0..scatter))).await;
            }
            // Whoever connects to nowhere hears nothing of the target's state either.
            while state.borrow_and_update().flow(Direction::ToServer) == Flow::Swallow {
                state.changed().await.ok()?;
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.ok()
        } => connected,
    };
    let Some(mut server) = connected else {
        return reset(&client);
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let whole = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                pump(from_client, to_server, Direction::ToServer, state.clone()),
                pump(from_server, to_client, Direction::ToClient, state.clone()),
            )
        };
        tokio::select! {
            () = severed(state.clone()) => false,
            ended = both => ended.is_ok(),
        }
    };
    if !whole {
        reset(&client);
        reset(&server);
    }
}

/// Ends when connections are to be reset.
async fn severed(mut state: watch::Receiver<State>) {
    // An error is a proxy that was dropped.
    let _ = state.wait_for(|state| state.cut).await;
}

/// Lets the kernel answer with RST when the socket is dropped.
fn reset(socket: &TcpStream) {
    // Fails only for a socket that is gone.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

type Chunk = (Instant, Vec<u8>);

/// Carries one direction to its end.
async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Direction,
    state: watch::Receiver<State>,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let taken = take(from, sender, direction, state.clone());
    let given = give(to, receiver, direction, state);
    tokio::try_join!(taken, given).map(|_| ())
}

async fn take(
    mut from: ReadHalf<'_>,
    under_way: mpsc::Sender<Chunk>,
    direction: Direction,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let (mut lost, mut ended) = (false, false);
    loop {
        let flow = state.borrow_and_update().flow(direction);
        if lost && flow != Flow::Swallow {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let read = tokio::select! {
            changed = state.changed() => {
                changed.map_err(|_| io::ErrorKind::ConnectionReset)?;
                continue;
            }
            read = from.read(&mut buffer), if !ended => read,
        };
        match (read, flow) {
            (Err(_) | Ok(0), Flow::Swallow) => (lost, ended) = (true, true),
            (Ok(_), Flow::Swallow) => lost = true,
            (Ok(0), _) => return Ok(()),
            (Err(error), _) => return Err(error),
            (Ok(n), flow) => {
                let late = match flow {
                    Flow::Delay(late) => late,
                    _ => Duration::ZERO,
                };
                let chunk = (Instant::now() + late, buffer[..n].to_vec());
                if under_way.send(chunk).await.is_err() {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
    }
}

async fn give(
    mut to: WriteHalf<'_>,
    mut under_way: mpsc::Receiver<Chunk>,
    direction: Direction,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    while let Some((due, bytes)) = under_way.recv().await {
        sleep_until(due).await;
        let flow = state
            .wait_for(|state| state.flow(direction) != Flow::Hold)
            .await
            .map_err(|_| io::ErrorKind::ConnectionReset)?
            .flow(direction);
        match flow {
            Flow::Throttle(rate) => {
                // In tenths of a second's worth, so that a chunk is not one burst.
                let rate = rate.max(1);
                for part in bytes.chunks((rate as usize / 10).max(1)) {
                    to.write_all(part).await?;
                    sleep(Duration::from_secs_f64(part.len() as f64 / f64::from(rate))).await;
                }
            }
            // What was under way is lost too; the connection is reset by the side that takes.
            Flow::Swallow => {}
            _ => to.write_all(&bytes).await?,
        }
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    /// Long enough for anything on its way to have arrived.
    const QUIET: Duration = Duration::from_millis(150);

    /// A server that says back what it hears, and a link to it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Proxy::to(port).await.unwrap()
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", proxy.port())).await;
        socket.unwrap()
    }

    async fn says(socket: &mut TcpStream, text: &str) -> io::Result<String> {
        socket.write_all(text.as_bytes()).await?;
        hears(socket, text.len()).await
    }

    async fn hears(socket: &mut TcpStream, length: usize) -> io::Result<String> {
        let mut heard = vec![0; length];
        timeout(SOON, socket.read_exact(&mut heard))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(String::from_utf8_lossy(&heard).into_owned())
    }

    async fn is_quiet(socket: &mut TcpStream) -> bool {
        timeout(QUIET, socket.read_u8()).await.is_err()
    }

    #[tokio::test]
    async fn what_is_said_passes_and_an_end_does_too() {
        let proxy = echo().await;
        let mut socket = connect(&proxy).await;
        let long = "x".repeat(1 << 20);
        let (mut from, mut to) = socket.split();
        let mut heard = String::new();
        let (said, read) = tokio::join!(
            async {
                to.write_all(long.as_bytes()).await.unwrap();
                to.shutdown().await
            },
            from.read_to_string(&mut heard)
        );
        said.unwrap();
        assert_eq!(read.unwrap(), 1 << 20);
        assert!(heard == long);
    }

    #[tokio::test]
    async fn a_cut_resets_and_refuses_until_it_heals() {
        let proxy = echo().await;
        let mut socket = connect(&proxy).await;
        says(&mut socket, "hello").await.unwrap();
        proxy.cut().await;
        let error = timeout(SOON, socket.read_u8()).await.unwrap();
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let refused = TcpStream::connect(("127.0.0.1", proxy.port())).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        proxy.heal().await;
        let mut socket = connect(&proxy).await;
        assert_eq!(says(&mut socket, "again").await.unwrap(), "again");
    }

    #[tokio::test]
    async fn half_open_swallows_without_an_end_and_resets_afterwards() {
        let proxy = echo().await;
        let mut socket = connect(&proxy).await;
        says(&mut socket, "hello").await.unwrap();
        let mut silent = connect(&proxy).await;
        says(&mut silent, "hello").await.unwrap();
        proxy.half_open();
        socket.write_all(b"anybody?").await.unwrap();
        assert!(is_quiet(&mut socket).await);
        // A new connection is taken, and hears nothing.
        let mut late = connect(&proxy).await;
        late.write_all(b"anybody?").await.unwrap();
        assert!(is_quiet(&mut late).await);
        proxy.heal().await;
        let error = timeout(SOON, socket.read_u8()).await.unwrap();
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        // Those that lost nothing go on.
        assert_eq!(says(&mut silent, "still").await.unwrap(), "still");
        assert_eq!(hears(&mut late, 8).await.unwrap(), "anybody?");
    }

    #[tokio::test]
    async fn what_is_held_arrives_when_it_heals_and_the_other_way_is_open() {
        let proxy = echo().await;
        let mut socket = connect(&proxy).await;
        proxy.flow(Direction::ToClient, Flow::Hold);
        socket.write_all(b"held").await.unwrap();
        assert!(is_quiet(&mut socket).await);
        proxy.heal().await;
        assert_eq!(hears(&mut socket, 4).await.unwrap(), "held");
    }

    #[tokio::test]
    async fn a_delay_holds_each_byte_as_long_and_a_throttle_lets_few_pass() {
        let proxy = echo().await;
        let mut socket = connect(&proxy).await;
        let late = Duration::from_millis(100);
        proxy.flow(Direction::ToServer, Flow::Delay(late));
        let began = Instant::now();
        for text in ["one", "two", "six"] {
            socket.write_all(text.as_bytes()).await.unwrap();
        }
        assert_eq!(hears(&mut socket, 9).await.unwrap(), "onetwosix");
        assert!(began.elapsed() >= late);
        proxy.flow(Direction::ToServer, Flow::Throttle(1_000));
        let began = Instant::now();
        assert!(says(&mut socket, &"x".repeat(300)).await.is_ok());
        assert!(began.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test]
    async fn scattered_connections_arrive_in_another_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Proxy::to(port).await.unwrap();
        proxy.scatter(Duration::from_millis(100));
        let mut made = Vec::new();
        for n in 0..12_u8 {
            let mut socket = connect(&proxy).await;
            socket.write_all(&[n]).await.unwrap();
            made.push(socket);
        }
        let mut order = Vec::new();
        for _ in 0..12 {
            let (mut socket, _) = listener.accept().await.unwrap();
            order.push(socket.read_u8().await.unwrap());
        }
        // By chance alone it is the same once in 479 million runs.
        assert!(!order.is_sorted(), "{order:?}");
        order.sort_unstable();
        assert_eq!(order, (0..12).collect::<Vec<u8>>());
    }
}
