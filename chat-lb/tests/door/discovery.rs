//! Nodes by DNS: every address of a name, from a server that changes its mind, and one that says nothing.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Instant,
};

use loadtest::cluster::Program;
use parking_lot::Mutex;
use tokio::{
    net::UdpSocket,
    time::{Duration, sleep},
};

use crate::{
    recorded::Recorded,
    rig::{PATIENCE, say, token, unopened},
};

/// The name that all of it is about.
const NAME: &str = "nodes.fireside.test";

/// A DNS server (RFC 1035) that knows one name.
struct Names {
    server: IpAddr,
    /// None: it does not answer.
    addresses: Arc<Mutex<Option<Vec<Ipv4Addr>>>>,
}

impl Names {
    async fn serve() -> Self {
        // Tests beside this one have theirs elsewhere.
        let [.., a, b, c] = std::process::id().to_be_bytes();
        let server = Ipv4Addr::new(127, a | 1, b, c | 1);
        let socket = UdpSocket::bind((server, 53)).await;
        let socket = socket.expect("a name server listens on port 53, which takes root");
        let addresses = Arc::new(Mutex::new(None));
        let known: Arc<Mutex<Option<Vec<Ipv4Addr>>>> = addresses.clone();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                let answer = known
                    .lock()
                    .as_deref()
                    .map(|all| answer(&query[..length], all));
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self {
            server: server.into(),
            addresses,
        }
    }

    fn are(&self, addresses: &[Ipv4Addr]) {
        *self.addresses.lock() = Some(addresses.to_vec());
    }

    fn fall_silent(&self) {
        *self.addresses.lock() = None;
    }
}

/// The addresses for a question about them (type A); nothing of other types.
fn answer(query: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    const HEADER: usize = 12;
    let mut end = HEADER;
    let mut asked = Vec::new();
    while query[end] > 0 {
        let label = &query[end + 1..=end + usize::from(query[end])];
        asked.push(String::from_utf8(label.to_vec()).unwrap());
        end += label.len() + 1;
    }
    let of_addresses = query[end + 1..end + 3] == [0, 1];
    // The zero, type and class.
    end += 5;
    let known = of_addresses && asked.join(".").eq_ignore_ascii_case(NAME);
    let addresses = if known { addresses } else { &[] };
    // The question again, as an answer that may be believed.
    let mut answer = query[..end].to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..8].copy_from_slice(&(addresses.len() as u16).to_be_bytes());
    answer[8..HEADER].fill(0);
    for address in addresses {
        // The name as in the question, type A, class IN, one second, four bytes.
        answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

/// Waits until the balancer has just these nodes, all of them fit.
async fn until(door: &Program, wanted: &[&str]) {
    let since = Instant::now();
    loop {
        let live = door.live().await.unwrap_or_default();
        let nodes = live["nodes"].as_array().cloned().unwrap_or_default();
        let fit = nodes.iter().all(|node| node["state"] == "fit");
        let names: Vec<&str> = nodes.iter().filter_map(|n| n["name"].as_str()).collect();
        if fit && names == wanted {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{live:#} and not {wanted:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// So many people ask for something of their nodes; how many requests that was for each.
async fn asked(door: &Program, people: usize, nodes: [&Recorded; 2]) -> [usize; 2] {
    let before = nodes.map(|node| node.requests().len());
    for n in 0..people {
        let token = token(&format!("u{n}"));
        let request = format!(
            "GET /v1/rooms HTTP/1.1\r\nHost: chat.example\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        assert_eq!(say(door.address(), request.as_bytes()).await.status, 200);
    }
    let after = nodes.map(|node| node.requests().len());
    [after[0] - before[0], after[1] - before[1]]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_whoever_has_the_name() {
    let (a, b) = (Ipv4Addr::new(127, 0, 0, 11), Ipv4Addr::new(127, 0, 0, 12));
    let one = Recorded::at(&format!("{a}:0")).await;
    let port: u16 = one.address().rsplit(':').next().unwrap().parse().unwrap();
    let two = Recorded::at(&format!("{b}:{port}")).await;
    let both = [&one, &two];
    let names = Names::serve().await;
    names.are(&[a]);
    let name = format!("{NAME}:{port}");
    let settings = [
        ("FIRESIDE_NODES_DNS", name.as_str()),
        ("FIRESIDE_STORES", one.address()),
        ("FIRESIDE_DISCOVERY_INTERVAL", "200ms"),
        ("FIRESIDE_SLOW_START", "0s"),
    ];
    let mut door = unopened("", &settings);
    door.resolve_at(names.server).unwrap();
    door.start().await.unwrap();
    until(&door, &[one.address()]).await;
    assert_eq!(asked(&door, 10, both).await, [10, 0]);

    // One comes, without a word to the balancer.
    names.are(&[b, a]);
    until(&door, &[one.address(), two.address()]).await;
    let [of_one, of_two] = asked(&door, 40, both).await;
    assert!(of_one > 0 && of_two > 0, "{of_one} and {of_two}");

    // One goes: after a while in which it may have been left out of an answer.
    names.are(&[b]);
    until(&door, &[two.address()]).await;
    assert_eq!(asked(&door, 10, both).await, [0, 10]);

    // Who cannot be asked has not said that anybody is gone.
    names.fall_silent();
    let since = Instant::now();
    let errors = "fireside_lb_discovery_errors_total";
    while door.metric(errors).await.unwrap_or_default() < 2.0 {
        assert!(since.elapsed() < PATIENCE, "the server is not asked");
        sleep(Duration::from_millis(50)).await;
    }
    until(&door, &[two.address()]).await;
    assert_eq!(asked(&door, 10, both).await, [0, 10]);
}
