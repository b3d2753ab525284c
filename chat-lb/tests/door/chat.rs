//! Real nodes and a real store behind a real balancer.

use std::time::Duration;

use loadtest::{
    ConnectError, Connector, Seen, WireError, WsClient,
    accounts::{Account, Rest},
    cluster::{Cluster, ClusterPlan, Program},
};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    id::RoomId,
    protocol::{codec::Encoding, command::SessionStart, event::RoomEntry},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::{rig::PATIENCE, tls};

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::MsgPack];

/// Clients of a test come from one address.
const SETTINGS: &[(&str, &str)] = &[
    ("FIRESIDE_LOG", "info,access=info"),
    ("FIRESIDE_WORKERS", "1"),
    ("FIRESIDE_REGISTRATION_RATE", "100000/s"),
    ("FIRESIDE_LOGIN_ADDRESS_RATE", "100000/s"),
    ("FIRESIDE_UPGRADES_PER_ADDRESS", "100000/s"),
    ("FIRESIDE_UPGRADES_PER_USER", "1000/s"),
    ("FIRESIDE_LIMIT_STARTS", "1000/s"),
    ("FIRESIDE_PASSWORD_HASH_MEMORY_KIB", "1024"),
    ("FIRESIDE_ROOM_RECONCILE", "3s"),
    // A test does not wait half a minute for a node that came back.
    ("FIRESIDE_SLOW_START", "0s"),
];

/// Two nodes with a door before them.
pub(crate) struct House {
    pub(crate) cluster: Cluster,
    pub(crate) door: Program,
    pub(crate) rest: Rest,
}

impl House {
    async fn build() -> Self {
        Self::build_with(&[]).await
    }

    /// With these settings of all of them, too.
    pub(crate) async fn build_with(settings: &[(&str, &str)]) -> Self {
        let plan = ClusterPlan {
            nodes: 2,
            links: false,
            shares: true,
            ..ClusterPlan::default()
        };
        let cluster = Cluster::start(&plan.set(SETTINGS).set(settings))
            .await
            .unwrap();
        let mut door = cluster.balancer().unwrap();
        door.start().await.unwrap();
        let rest = Rest::new(door.origin()).unwrap();
        let house = Self {
            cluster,
            door,
            rest,
        };
        house.until_fit(2).await;
        house
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Program> {
        self.cluster.nodes().iter().map(|node| &node.program)
    }

    async fn until_fit(&self, wanted: usize) {
        self.until("so many fit nodes", |live| {
            let nodes = live["nodes"].as_array().unwrap();
            nodes.iter().filter(|node| node["state"] == "fit").count() == wanted
        })
        .await;
    }

    /// Waits until the live view says so.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let since = Instant::now();
        loop {
            let live = self.door.live().await.unwrap_or_default();
            if live["nodes"].is_array() && holds(&live) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{what}: {live:#}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn person(&self, name: &str) -> Account {
        let email = format!("{name}@example.org");
        self.rest.register(name, &email).await.unwrap()
    }

    fn connector(&self, who: &Account, encoding: Encoding) -> Connector {
        Connector::new(self.door.address())
            .token(&who.access_token)
            .encoding(encoding)
    }

    pub(crate) async fn session(&self, who: &Account, encoding: Encoding) -> WsClient {
        let mut socket = self.connector(who, encoding).connect().await.unwrap();
        socket.start(&SessionStart::default()).await.unwrap();
        socket
    }

    /// Two people whom the door puts on two nodes, found by trying.
    pub(crate) async fn apart(&self, name: &str) -> [Account; 2] {
        let mut seen: Vec<(String, Account)> = Vec::new();
        for n in 0..64 {
            let who = self.person(&format!("{name}{n}")).await;
            let _socket = self.session(&who, Encoding::Json).await;
            let node = self.last_node();
            if let Some(at) = seen.iter().position(|(other, _)| *other != node) {
                return [seen.swap_remove(at).1, who];
            }
            seen.push((node, who));
        }
        panic!("64 people on one node of two");
    }

    /// The node that the last socket was given to: the balancer says so before the client hears of it.
    pub(crate) fn last_node(&self) -> String {
        let log = self.door.process().log();
        let line = log.lines().rfind(|line| line.contains("status=101"));
        let (_, rest) = line.and_then(|line| line.split_once("backend=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

/// Waits for an entry: a hint between nodes may be lost, and then it is read from history.
async fn heard(socket: &mut WsClient, room: &RoomId, seq: u64) -> RoomEntry {
    let since = Instant::now();
    loop {
        match socket.entry(room, seq).await {
            Ok(entry) => return entry,
            Err(WireError::Silent(_)) if since.elapsed() < PATIENCE => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until no thread of a process runs any more: a signal takes its time on a busy machine.
pub(crate) async fn until_stopped(pid: u32) {
    let since = Instant::now();
    let stopped = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    };
    while !std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .all(stopped)
    {
        assert!(since.elapsed() < PATIENCE, "the process does not stop");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_on_two_nodes_chat_through_the_door() {
    let house = House::build().await;
    for (n, encoding) in ENCODINGS.into_iter().enumerate() {
        let [ann, bob] = house.apart(&format!("pair{n}x")).await;
        house.rest.befriend(&ann, &bob).await.unwrap();
        let mut of_ann = house.session(&ann, encoding).await;
        let mut of_bob = house.session(&bob, encoding).await;
        // REST goes to the node of whoever asks.
        let body = json!({"kind": "group", "name": "Raid", "members": [bob.id]});
        let made = house
            .rest
            .call(
                Method::POST,
                "/v1/rooms",
                Some(&body),
                Some(&ann.access_token),
            )
            .await
            .unwrap();
        assert_eq!(made.status, 201, "{made:?}");
        let room: RoomId = serde_json::from_value(made.body["room"]["id"].clone()).unwrap();
        for round in 0..5 {
            let said = of_ann
                .say(&room, &format!("a{round}"), "well met")
                .await
                .unwrap();
            let entry = heard(&mut of_bob, &room, said.seq.get()).await;
            assert_eq!(entry.entry.seq, said.seq);
            let said = of_bob
                .say(&room, &format!("b{round}"), "and you")
                .await
                .unwrap();
            heard(&mut of_ann, &room, said.seq.get()).await;
        }
        let path = format!("/v1/rooms/{room}/messages");
        for who in [&ann, &bob] {
            let token = Some(who.access_token.as_str());
            let page: Value = house
                .rest
                .ok(Method::GET, &path, None, token)
                .await
                .unwrap();
            assert_eq!(page["items"].as_array().unwrap().len(), 10, "{page}");
        }
        // An upgrade as browsers make it.
        let browser = Connector::new(house.door.address())
            .token_as_subprotocol(&ann.access_token)
            .header("origin", house.door.origin())
            .encoding(encoding);
        let mut socket = browser.connect().await.unwrap();
        socket.start(&SessionStart::default()).await.unwrap();
        // A message that fills many portions, and frames byte for byte.
        let long = "long ".repeat(700);
        let said = socket.say(&room, "long", &long).await.unwrap();
        let entry = heard(&mut of_bob, &room, said.seq.get()).await;
        let body = serde_json::to_value(&entry.entry).unwrap().to_string();
        assert!(body.contains(&long), "{body}");
        socket.close(1000).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_what_the_nodes_have_to_do() {
    let house = House::build().await;
    let [ann, bob] = house.apart("seen").await;
    house.rest.befriend(&ann, &bob).await.unwrap();
    let mut of_ann = house.session(&ann, Encoding::Json).await;
    let of_bob = house.session(&bob, Encoding::MsgPack).await;
    let body = json!({"kind": "group", "name": "Raid", "members": [bob.id]});
    let token = Some(ann.access_token.as_str());
    let made = house.rest.ok(Method::POST, "/v1/rooms", Some(&body), token);
    let made = made.await.unwrap();
    let room: RoomId = serde_json::from_value(made["room"]["id"].clone()).unwrap();
    let mut said = 0;
    let since = Instant::now();
    // Rates are told when there is something to compare with.
    loop {
        said += 1;
        let nonce = format!("n{said}");
        of_ann.say(&room, &nonce, "well met").await.unwrap();
        let live = house.door.live().await.unwrap();
        let nodes = live["nodes"].as_array().unwrap();
        // Those who were tried to find two that are apart may still have theirs.
        let each = nodes.iter().map(|node| node["sessions"].as_u64());
        let somebody = each.clone().all(|sessions| sessions >= Some(1));
        let rate = |what: &str| {
            let rates = nodes.iter().map(|node| node["per_second"][what].as_f64());
            rates.sum::<Option<f64>>().unwrap_or_default()
        };
        let rooms = live["rooms"].as_u64() >= Some(1);
        if somebody && rooms && rate("commands") > 0.0 && rate("entries") > 0.0 {
            assert_eq!(live["sessions"].as_u64(), each.sum::<Option<u64>>());
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{live:#}");
        sleep(Duration::from_millis(100)).await;
    }
    for node in house.nodes() {
        let live = node.live().await.unwrap();
        assert!(live["sessions"].as_u64() >= Some(1), "{live:#}");
        assert_eq!(live["overload"], 0, "{live:#}");
    }
    drop((of_ann, of_bob));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_and_what_is_public_are_behind_the_same_door() {
    let house = House::build().await;
    let ann = house.person("ann").await;
    let token = Some(ann.access_token.as_str());
    let call = async |method: Method, path: &str, token: Option<&str>| {
        let answer = house.rest.call(method, path, None, token).await.unwrap();
        (answer.status, answer.body)
    };
    let (status, me) = call(Method::GET, "/v1/me", token).await;
    assert_eq!((status, &me["name"]), (200, &Value::from("ann")), "{me}");
    assert_eq!(call(Method::GET, "/v1/friends", token).await.0, 200);
    assert_eq!(call(Method::GET, "/v1/me", None).await.0, 401);
    for (path, title) in [
        ("/v1/openapi.json", "Fireside chat"),
        ("/v1/store/openapi.json", "Fireside store"),
    ] {
        let (status, document) = call(Method::GET, path, None).await;
        assert_eq!((status, &document["info"]["title"]), (200, &title.into()));
    }
    assert_eq!(
        call(Method::GET, "/.well-known/jwks.json", None).await.0,
        200
    );
    // The game's backend, and what it may not reach.
    let service = Some(Cluster::service_token());
    let body = json!({"users": [ann.id]});
    let answer = house
        .rest
        .call(Method::POST, "/v1/server/presence", Some(&body), service)
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let inside = format!("/v1/internal/users/{}/friends", ann.id);
    assert_eq!(call(Method::GET, &inside, service).await.0, 404);
    // What was taken back is denied at the door.
    assert_eq!(call(Method::GET, "/v1/rooms", token).await.0, 200);
    let refused = || async {
        let metric = house.door.metric("fireside_lb_refused_total").await;
        metric.unwrap_or_default()
    };
    let (status, _) = call(Method::POST, "/v1/auth/logout-all", token).await;
    assert!((200..300).contains(&status), "{status}");
    let since = Instant::now();
    loop {
        let before = refused().await;
        let (status, body) = call(Method::GET, "/v1/rooms", token).await;
        let here = refused().await > before;
        if status == 401 && here {
            assert_eq!(body["code"], "unauthenticated");
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{status} {body}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_left_at_once_and_one_that_is_stuck_soon() {
    let mut house = House::build().await;
    let [ann, bob] = house.apart("x").await;
    let mut of_ann = house.session(&ann, Encoding::Json).await;
    let node = house.last_node();
    let stuck: usize = node.strip_prefix("node-").unwrap().parse().unwrap();
    let other = format!("node-{}", 1 - stuck);

    // It does not answer any more, and its connections stay.
    let process = house.cluster.nodes()[stuck].program.process();
    process.pause().unwrap();
    until_stopped(process.pid().unwrap()).await;
    // From the first on, whoever comes is served by the other.
    for who in [&ann, &bob] {
        let _socket = house.session(who, Encoding::Json).await;
        assert_eq!(house.last_node(), other);
    }
    house.until_fit(1).await;
    // Its people are told, though its machine says nothing.
    let since = Instant::now();
    while !matches!(of_ann.next().await, Ok(Seen::Closed(_))) {
        assert!(
            since.elapsed() < PATIENCE,
            "the socket of a node that is gone stays open"
        );
    }
    house.cluster.nodes()[stuck]
        .program
        .process()
        .resume()
        .unwrap();
    house.until_fit(2).await;
    // Everybody is back where they belong.
    let mut of_ann = house.session(&ann, Encoding::Json).await;
    assert_eq!(house.last_node(), node);

    let process = house.cluster.node_mut(stuck).program.process_mut();
    process.kill().unwrap();
    while !matches!(of_ann.next().await, Ok(Seen::Closed(_)) | Err(_)) {}
    for who in [&ann, &bob] {
        let _socket = house.session(who, Encoding::Json).await;
        assert_eq!(house.last_node(), other);
    }
    // REST too, also what is not idempotent: nothing was sent where nobody listens.
    let token = Some(ann.access_token.as_str());
    let body = json!({"kind": "group", "name": "after", "members": []});
    let made = house
        .rest
        .call(Method::POST, "/v1/rooms", Some(&body), token)
        .await
        .unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    house.until_fit(1).await;

    // Nobody is left: everybody is asked to come back, at a time.
    let process = house.cluster.node_mut(1 - stuck).program.process_mut();
    process.kill().unwrap();
    let error = house
        .connector(&ann, Encoding::Json)
        .connect()
        .await
        .unwrap_err();
    let ConnectError::Http { status, body, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(status, 503, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["code"], "busy");
    assert!(body["retry_after_ms"].as_u64().is_some(), "{body}");
    house.until_fit(0).await;
    let since = Instant::now();
    while house.door.is_ready().await {
        assert!(since.elapsed() < PATIENCE, "ready with nobody behind");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_is_given_nobody_and_the_balancer_stops_after_its_last_socket() {
    let mut house = House::build().await;
    let [ann, _] = house.apart("y").await;
    let socket = house.session(&ann, Encoding::MsgPack).await;
    let node = house.last_node();
    let stopping: usize = node.strip_prefix("node-").unwrap().parse().unwrap();
    drop(socket);
    let program = &mut house.cluster.node_mut(stopping).program;
    assert!(program.terminate().await.unwrap().success());
    // It withdrew, and is forgotten altogether.
    house
        .until("the node is forgotten", |live| {
            live["nodes"]
                .as_array()
                .is_some_and(|nodes| nodes.len() == 1)
        })
        .await;
    let mut socket = house.session(&ann, Encoding::MsgPack).await;
    house.until("a tunnel", |live| live["tunnels"] == 1).await;
    // The balancer stops: nobody comes in, who is in stays, and with the last it ends.
    let address = house.door.address().to_owned();
    let last = async {
        let since = Instant::now();
        while TcpStream::connect(&address).await.is_ok() {
            assert!(
                since.elapsed() < PATIENCE,
                "a balancer that stops takes people in"
            );
            sleep(Duration::from_millis(20)).await;
        }
        socket.until_pong().await.unwrap();
        drop(socket);
    };
    let (ended, ()) = tokio::join!(house.door.terminate(), last);
    assert!(ended.unwrap().success());
}

/// What is carried over TLS is the same, in both directions and at length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_chat_over_tls() {
    let house = House::build().await;
    let folder = tempfile::tempdir().unwrap();
    let certificate = tls::write(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut door = house.cluster.balancer().unwrap();
    door.set([
        ("FIRESIDE_TLS_CERTIFICATE", file("cert.pem")),
        ("FIRESIDE_TLS_KEY", file("key.pem")),
    ]);
    door.start().await.unwrap();
    // Clients of tests speak no TLS: a socket that does it for them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let behind = door.address().to_owned();
    tokio::spawn(async move {
        while let Ok((mut plain, _)) = listener.accept().await {
            let secure = tls::connect(&behind, &certificate, b"http/1.1").await;
            let mut secure = secure.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut plain, &mut secure).await;
            });
        }
    });
    let [ann, bob] = house.apart("tls").await;
    house.rest.befriend(&ann, &bob).await.unwrap();
    let mut sockets = Vec::new();
    for (who, encoding) in [&ann, &bob].into_iter().zip(ENCODINGS) {
        let connector = Connector::new(&address);
        let connector = connector.token(&who.access_token).encoding(encoding);
        let mut socket = connector.connect().await.unwrap();
        socket.start(&SessionStart::default()).await.unwrap();
        sockets.push(socket);
    }
    let room = RoomId::direct(&ann.id, &bob.id);
    let body = json!({"kind": "dm", "members": [bob.id]});
    let token = Some(ann.access_token.as_str());
    let made = house
        .rest
        .call(Method::POST, "/v1/rooms", Some(&body), token);
    assert_eq!(made.await.unwrap().body["room"]["id"], room.as_str());
    let long = "long ".repeat(600);
    for n in 0..40 {
        let said = sockets[n % 2]
            .say(&room, &format!("n{n}"), &long)
            .await
            .unwrap();
        heard(&mut sockets[(n + 1) % 2], &room, said.seq.get()).await;
    }
    for socket in sockets {
        socket.close(1000).await.unwrap();
    }
}
