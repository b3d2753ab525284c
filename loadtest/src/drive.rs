//! N senders against a server, with their sockets dropped now and then, and the record of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::json;
use shared::{
    id::RoomId,
    protocol::{codec::Encoding, command::SessionStart, reply::RoomReply},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    accounts::{Account, Rest},
    client::Connector,
    device::Device,
    record::{Happened, Recorder},
};

/// What to drive.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server's origin.
    pub origin: String,
    /// How many accounts send.
    pub senders: usize,
    /// How many messages each sends.
    pub messages: usize,
    /// How many rooms they share.
    pub rooms: usize,
    /// How many sends each has under way at most.
    pub window: usize,
    /// A pause between two sends of one sender.
    pub pace: Duration,
    /// Every so many messages a sender loses its socket; 0: never.
    pub drop_every: usize,
    /// Every so many messages a sender deletes one of them; 0: never.
    pub delete_every: usize,
}

/// Registers the accounts, drives the senders and reads the logs.
pub async fn record(plan: &Plan, recorder: &Recorder) -> anyhow::Result<()> {
    let rest = Rest::new(&plan.origin)?;
    let run = ulid::Ulid::new().to_string().to_lowercase();
    let mut accounts = Vec::with_capacity(plan.senders);
    for n in 0..plan.senders {
        let name = format!("load{}{n}", &run[16..]);
        let email = format!("{name}@example.org");
        accounts.push(
            rest.register(&name, &email)
                .await
                .with_context(|| format!("registering {name}"))?,
        );
    }
    let rooms = open_rooms(plan, &accounts).await?;
    let mut senders = JoinSet::new();
    let talking = Arc::new(AtomicUsize::new(accounts.len()));
    for (n, account) in accounts.iter().enumerate() {
        let device = Device::new(&account.name, connector(plan, account, n), recorder.clone());
        let sender = send_all(device, plan.clone(), rooms.clone(), Arc::clone(&talking));
        senders.spawn(sender);
    }
    let mut devices = Vec::new();
    while let Some(device) = senders.join_next().await {
        devices.push(device??);
    }
    for device in &mut devices {
        device.catch_up().await?;
    }
    read_logs(&mut devices[0], &rooms, recorder).await
}

/// Writes the logs of `rooms`, as `device` may read them, into the record.
pub async fn read_logs(
    device: &mut Device,
    rooms: &[RoomId],
    recorder: &Recorder,
) -> anyhow::Result<()> {
    for room in rooms {
        let (epoch, first, entries) = device.read_log(room).await?;
        let room = room.clone();
        recorder.note(
            "",
            Happened::Log {
                room,
                epoch,
                first,
                entries,
            },
        );
    }
    Ok(())
}

fn connector(plan: &Plan, account: &Account, n: usize) -> Connector {
    let encoding = [Encoding::Json, Encoding::MsgPack][n % 2];
    Connector::new(&plan.origin)
        .token(&account.access_token)
        .encoding(encoding)
}

async fn open_rooms(plan: &Plan, accounts: &[Account]) -> anyhow::Result<Vec<RoomId>> {
    let Some(owner) = accounts.first() else {
        bail!("it takes at least one sender");
    };
    let mut socket = connector(plan, owner, 0).connect().await?;
    socket.start(&SessionStart::default()).await?;
    let mut rooms = Vec::new();
    for n in 0..plan.rooms.max(1) {
        let body = json!({"kind": "channel", "name": format!("load {n}")});
        let made: RoomReply = socket.command("room.create", &body).await?;
        rooms.push(made.room.id);
    }
    for (n, account) in accounts.iter().enumerate().skip(1) {
        let mut socket = connector(plan, account, n).connect().await?;
        socket.start(&SessionStart::default()).await?;
        for room in &rooms {
            let _: RoomReply = socket.command("room.join", &json!({"room": room})).await?;
        }
    }
    Ok(rooms)
}

/// Sends it all, and then listens for as long as others are `talking`: whoever did not would be taken for dead.
async fn send_all(
    mut device: Device,
    plan: Plan,
    rooms: Vec<RoomId>,
    talking: Arc<AtomicUsize>,
) -> anyhow::Result<Device> {
    const PATIENCE: Duration = Duration::from_mins(1);
    const LOOK: Duration = Duration::from_millis(100);
    device.reconnect(PATIENCE).await?;
    for n in 0..plan.messages {
        if plan.drop_every > 0 && n % plan.drop_every == plan.drop_every - 1 {
            device.drop_socket();
        }
        if !device.on_line() {
            device.reconnect(PATIENCE).await?;
        }
        let room = &rooms[n % rooms.len()];
        let text = format!("{} says {n}", device.name());
        // A send that the socket did not survive is tried again on the next one.
        let _ = device.send(room, &text).await;
        if plan.delete_every > 0 && n % plan.delete_every == plan.delete_every - 1 {
            // Neither is this: a deletion whose answer got lost stands or does not.
            let _ = device.take_back().await;
        }
        let next = Instant::now() + plan.pace;
        while device.on_line() {
            let full = device.unanswered() >= plan.window.max(1);
            let until = if full {
                Instant::now() + PATIENCE
            } else {
                next
            };
            if !full && Instant::now() >= next {
                break;
            }
            if device.step(until).await.is_err() {
                break;
            }
        }
    }
    device.settle(PATIENCE).await?;
    talking.fetch_sub(1, Ordering::AcqRel);
    while talking.load(Ordering::Acquire) > 0 {
        if !device.on_line() {
            device.reconnect(PATIENCE).await?;
        }
        // A socket that is lost here is opened again.
        let _ = device.step(Instant::now() + LOOK).await;
    }
    Ok(device)
}
