//! Who lives on the street.

use std::time::Duration;

use loadtest::{
    Connector, Device, Recorder,
    accounts::{Account, Rest},
    cluster::{Cluster, Program},
};
use reqwest::Method;
use serde_json::json;
use shared::{
    id::RoomId,
    protocol::{codec::Encoding, command::SessionStart, reply::RoomReply},
};
use tokio::time::Instant;

use crate::{
    resident::{Papers, Resident},
    steady::Steady,
    street::PATIENCE,
};

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::MsgPack];
/// How many people who live as they like, sockets that drop and sessions that are forgotten included; each has a device
/// in each encoding.
const PEOPLE: usize = 6;
/// How many people who never go away by themselves, so that whatever happens to them was done to them; each likewise.
const STEADY: usize = 4;
/// How many devices those have.
pub(crate) const STEADY_DEVICES: usize = STEADY * ENCODINGS.len();
/// How many devices there are.
pub(crate) const DEVICES: usize = PEOPLE * ENCODINGS.len() + STEADY_DEVICES;
/// What the names of those who stay begin with.
pub(crate) const STEADY_NAME: &str = "steady";
/// The pause between two sends of a device, on average: so that what moves people is not kept waiting by what they say, where
/// five nodes, all that is behind them and their people share a slow machine.
const PACE: Duration = Duration::from_secs(1);
/// How many rooms all of them share.
pub(crate) const ROOMS: usize = 3;

/// Accounts, friendships and rooms, all made through the first balancer; each device knows all of them.
pub(crate) async fn people(doors: &[Program], recorder: &Recorder) -> (Vec<Resident>, Vec<Steady>) {
    let rest = Rest::new(doors[0].origin()).unwrap();
    let names = (0..PEOPLE).map(|n| format!("person{n}"));
    let names = names.chain((0..STEADY).map(|n| format!("{STEADY_NAME}{n}")));
    let mut accounts = Vec::new();
    for name in names {
        let account = rest.register(&name, &format!("{name}@example.org")).await;
        accounts.push(account.unwrap());
    }
    let ids: Vec<_> = accounts.iter().map(|account| &account.id).collect();
    let service = Some(Cluster::service_token());
    let mut shared: Vec<RoomId> = Vec::new();
    for n in 0..ROOMS {
        let body = json!({"kind": "group", "name": format!("room {n}"), "members": ids});
        let made = rest.ok(Method::POST, "/v1/server/rooms", Some(&body), service);
        let made = made.await.unwrap();
        shared.push(serde_json::from_value(made["room"]["id"].clone()).unwrap());
    }
    let doors: Vec<String> = doors.iter().map(|door| door.address().to_owned()).collect();
    let (mut living, mut staying) = (Vec::new(), Vec::new());
    for (n, pair) in accounts.chunks(2).enumerate() {
        rest.befriend(&pair[0], &pair[1]).await.unwrap();
        let dm = open_dm(&doors[0], pair).await;
        for (m, account) in pair.iter().enumerate() {
            for (d, encoding) in ENCODINGS.into_iter().enumerate() {
                let mut doors = doors.clone();
                let places = doors.len();
                doors.rotate_left((n + d) % places);
                let mut rooms = shared.clone();
                rooms.push(dm.clone());
                let papers = Papers {
                    name: format!("{}-{encoding:?}", account.name),
                    token: account.access_token.clone(),
                    encoding,
                    nodes: doors,
                    rooms,
                    square: None,
                    // The balancer finds out what is dead; whoever gives up early on a busy machine begins anew for ever.
                    patience: Duration::from_secs(20),
                    pace: PACE,
                    seed: (n * 4 + m * 2 + d) as u64,
                };
                if papers.name.starts_with(STEADY_NAME) {
                    staying.push(steady(papers, recorder));
                } else {
                    living.push(Resident::new(papers, recorder));
                }
            }
        }
    }
    (living, staying)
}

/// Somebody with these papers who never goes away by themselves.
fn steady(papers: Papers, recorder: &Recorder) -> Steady {
    let doors = papers.nodes.iter().map(|door| {
        let connector = Connector::new(door).token(&papers.token);
        connector.encoding(papers.encoding)
    });
    let doors: Vec<Connector> = doors.collect();
    let device = Device::new(&papers.name, doors[0].clone(), recorder.clone());
    Steady::new(device, doors, papers.rooms, PACE)
}

/// The direct room of two friends, once the node has heard that they are.
async fn open_dm(address: &str, pair: &[Account]) -> RoomId {
    let connector = Connector::new(address).token(&pair[0].access_token);
    let mut socket = connector.connect().await.unwrap();
    socket.start(&SessionStart::default()).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let body = json!({"user": pair[1].id});
        match socket.command::<RoomReply>("room.open_dm", &body).await {
            Ok(opened) => return opened.room.id,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
