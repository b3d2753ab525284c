use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A tunnel over pipes of this size: the client's and the node's end, and the task.
fn tunnel(size: usize) -> (DuplexStream, DuplexStream, JoinHandle<io::Result<Carried>>) {
    let (client, ours) = duplex(size);
    let (node, its) = duplex(size);
    let task = tokio::spawn(carry(ours, its, b"", b""));
    (client, node, task)
}

#[tokio::test]
async fn what_was_read_too_early_comes_first_and_in_order() {
    let (mut client, ours) = duplex(64);
    let (mut node, its) = duplex(64);
    let task = tokio::spawn(carry(ours, its, &[b'a'; 200], b"hello "));
    client.write_all(b"later").await.unwrap();
    node.write_all(b"you").await.unwrap();
    let mut got = vec![0; 205];
    node.read_exact(&mut got).await.unwrap();
    assert!(got.starts_with(&[b'a'; 200]) && got.ends_with(b"later"));
    let mut got = [0; 9];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello you");
    drop((client, node));
    let carried = task.await.unwrap();
    // Either end may be seen first; what was carried is the same.
    if let Ok(carried) = carried {
        assert_eq!(carried, Carried { up: 205, down: 9 });
    }
}

#[tokio::test]
async fn the_end_of_one_side_leaves_the_other_direction_open() {
    let (mut client, mut node, task) = tunnel(64);
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    node.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"last words");
    // The node goes on for long after.
    let answer = vec![7; 100_000];
    let sent = answer.clone();
    let writes = tokio::spawn(async move {
        node.write_all(&sent).await.unwrap();
        node.shutdown().await.unwrap();
        node
    });
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, answer);
    let _node = writes.await.unwrap();
    let carried = task.await.unwrap().unwrap();
    assert_eq!(
        carried,
        Carried {
            up: 10,
            down: 100_000
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_side_that_never_ends_is_not_waited_for() {
    let (client, mut node, task) = tunnel(64);
    node.shutdown().await.unwrap();
    let started = Instant::now();
    // The client neither reads nor closes: time passes by itself until the tunnel gives up.
    let ended = task.await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(started.elapsed() >= LINGER);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn idleness_alone_ends_nothing() {
    let (mut client, mut node, task) = tunnel(64);
    tokio::time::sleep(Duration::from_hours(100)).await;
    assert!(!task.is_finished());
    client.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    node.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"still here");
}

#[tokio::test]
async fn who_does_not_read_holds_up_its_own_sender_and_nobody_else() {
    let (mut client, mut node, _task) = tunnel(1024);
    // The client reads nothing: after the pipes and one portion are full, the node cannot write.
    let chunk = vec![1; 1024];
    let mut written = 0;
    while let Ok(result) = timeout(Duration::from_millis(300), node.write(&chunk)).await {
        written += result.unwrap();
        assert!(
            written <= 2 * 1024 + SCRATCH,
            "{written} bytes are held for nobody"
        );
    }
    assert!(written >= 1024);
    // The other way is free all the while.
    client.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    node.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"ping");
    // And what was held comes when it is read.
    let mut got = vec![0; written];
    client.read_exact(&mut got).await.unwrap();
    assert!(got.iter().all(|byte| *byte == 1));
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_what_it_is_owed_is_let_go() {
    let (client, mut node, task) = tunnel(64);
    let started = Instant::now();
    // More than the pipes hold: the rest is kept, and the client, who is there, does not read it.
    let writes = tokio::spawn(async move { node.write_all(&[1; 1_000]).await });
    let ended = timeout(LINGER * 2, task).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(started.elapsed() >= LINGER);
    drop((client, writes));
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_little_now_and_then_stays() {
    let (mut client, mut node, task) = tunnel(64);
    let writes = tokio::spawn(async move {
        node.write_all(&[1; 6_400]).await.unwrap();
        node
    });
    let mut got = [0; 64];
    for _ in 0..100 {
        tokio::time::sleep(LINGER * 2 / 3).await;
        client.read_exact(&mut got).await.unwrap();
    }
    // Nothing is owed any more: it may be idle for as long as it likes.
    let _node = writes.await.unwrap();
    tokio::time::sleep(LINGER * 100).await;
    assert!(!task.is_finished());
}

#[tokio::test]
async fn a_side_that_breaks_takes_the_other_along() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connected = async || {
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.unwrap(), theirs.unwrap().0)
    };
    let (mut client, ours) = connected().await;
    let (node, its) = connected().await;
    let task = tokio::spawn(carry(ours, its, b"", b""));
    // Gone with something unread: its machine resets the connection.
    client.write_all(b"unread").await.unwrap();
    node.readable().await.unwrap();
    drop(node);
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, client.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(read.is_err() || rest.is_empty());
    drop(client);
    let _ = timeout(PATIENCE, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn everything_arrives_once_and_in_order_whatever_the_sizes() {
    for (size, step) in [(1, 7), (100, 3_000), (5_000, 100), (70_000, 50_000)] {
        let (client, node, task) = tunnel(size);
        let bytes = |seed: u8| -> Vec<u8> {
            let total = if size == 1 { 5_000 } else { 300_000_u32 };
            (0..total)
                .map(|n| (n / 251) as u8 ^ n as u8 ^ seed)
                .collect()
        };
        let (from_client, from_node) = (bytes(1), bytes(2));
        let send = |mut end: tokio::io::WriteHalf<DuplexStream>, all: Vec<u8>| {
            tokio::spawn(async move {
                for piece in all.chunks(step) {
                    end.write_all(piece).await.unwrap();
                }
                end.shutdown().await.unwrap();
            })
        };
        let read = |mut end: tokio::io::ReadHalf<DuplexStream>| {
            tokio::spawn(async move {
                let mut all = Vec::new();
                end.read_to_end(&mut all).await.unwrap();
                all
            })
        };
        let (client_reads, client_writes) = tokio::io::split(client);
        let (node_reads, node_writes) = tokio::io::split(node);
        let writers = [
            send(client_writes, from_client.clone()),
            send(node_writes, from_node.clone()),
        ];
        let (at_client, at_node) = (read(client_reads), read(node_reads));
        assert!(at_node.await.unwrap() == from_client, "{size}/{step}");
        assert!(at_client.await.unwrap() == from_node, "{size}/{step}");
        for writer in writers {
            writer.await.unwrap();
        }
        task.await.unwrap().unwrap();
    }
}
