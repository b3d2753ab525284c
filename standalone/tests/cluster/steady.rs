//! Devices that talk and never go away by themselves: whatever happens to them is the doing of servers.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loadtest::{
    Connector, Device,
    record::{Happened, Line},
};
use shared::{
    id::{Nonce, RoomId, UserId},
    protocol::presence::{PresenceView, Status},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

/// How many sends of a device may be under way.
const WINDOW: usize = 4;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long one try to come in may take.
const TRY: Duration = Duration::from_secs(90);
/// Between two tries at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A device, and where it comes in.
pub(crate) struct Steady {
    pub(crate) device: Device,
    pub(crate) doors: Vec<Connector>,
    /// The door it came through last.
    at: usize,
    pub(crate) rooms: Vec<RoomId>,
    /// Between two sends, on average.
    pace: Duration,
}

impl Steady {
    /// It tries the doors in turns, beginning with the first, and talks in all of the rooms, at this pace.
    pub(crate) fn new(
        device: Device,
        doors: Vec<Connector>,
        rooms: Vec<RoomId>,
        pace: Duration,
    ) -> Self {
        Self {
            device,
            doors,
            at: 0,
            rooms,
            pace,
        }
    }

    /// Talks until it is told to stop, and comes back at once whenever its socket is closed. `entered` is
    /// dropped when it is there for the first time.
    pub(crate) async fn live(
        mut self,
        entered: mpsc::Sender<()>,
        seen: Arc<Seen>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        self.come_in().await;
        drop(entered);
        let mut said = 0;
        while !stop.load(Ordering::Relaxed) {
            if !self.device.on_line() {
                self.come_in().await;
            }
            let device = &mut self.device;
            seen.note(device);
            if device.unanswered() < WINDOW {
                let text = format!("{} says {said}", device.name());
                // What the socket did not survive is said again on the next one.
                let _ = device
                    .send(&self.rooms[said % self.rooms.len()], &text)
                    .await;
                said += 1;
            }
            let pause = Instant::now() + self.pace.mul_f64(rand::random_range(0.5..1.5));
            while device.on_line() && Instant::now() < pause {
                if device.step(pause).await.is_err() {
                    device.drop_socket();
                }
            }
        }
        seen.note(&mut self.device);
        self
    }

    async fn come_in(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        loop {
            let door = self.doors[self.at].clone();
            self.device.aim(door);
            let failed = match timeout(TRY, self.device.connect()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("nothing within {TRY:?}"),
            };
            self.device.drop_socket();
            let name = self.device.name();
            assert!(Instant::now() < deadline, "{name} is not let in: {failed}");
            self.at = (self.at + 1) % self.doors.len();
            sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until all it said is answered.
    pub(crate) async fn be_answered(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.device.unanswered() > 0 {
            if !self.device.on_line() {
                self.come_in().await;
            }
            let soon = Instant::now() + self.pace;
            if self.device.step(soon).await.is_err() {
                self.device.drop_socket();
            }
            let (name, left) = (self.device.name(), self.device.unanswered());
            assert!(Instant::now() < deadline, "{name}: {left} without answer");
        }
    }

    /// Waits until it has seen all there is; nobody may say anything any more.
    pub(crate) async fn settle(&mut self, seen: &Seen) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if !self.device.on_line() {
                self.come_in().await;
            }
            // Somebody may still be moved.
            match self.device.catch_up().await {
                Ok(()) => break,
                Err(error) => {
                    let name = self.device.name();
                    assert!(Instant::now() < deadline, "{name}: {error}");
                }
            }
            self.device.drop_socket();
        }
        seen.note(&mut self.device);
    }
}

/// How friends were shown to each device.
#[derive(Default)]
pub(crate) struct Seen(Mutex<BTreeMap<String, Shown>>);

#[derive(Default, Debug)]
struct Shown {
    last: Option<Status>,
    /// Since it was looked at last.
    changes: Vec<(UserId, PresenceView)>,
}

impl Seen {
    fn note(&self, device: &mut Device) {
        let changes = device.take_changes();
        let mut seen = self.0.lock().unwrap();
        let shown = seen.entry(device.name().to_owned()).or_default();
        if let Some((_, view)) = changes.last() {
            shown.last = Some(view.status);
        }
        shown.changes.extend(changes);
    }

    /// Waits until each of so many devices sees their friend on line, and forgets how that came.
    pub(crate) async fn until_all_on_line(&self, devices: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            {
                let mut seen = self.0.lock().unwrap();
                let on_line = |shown: &&Shown| shown.last == Some(Status::Online);
                if seen.values().filter(on_line).count() == devices {
                    seen.values_mut().for_each(|shown| shown.changes.clear());
                    return;
                }
                assert!(Instant::now() < deadline, "{seen:?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Who saw what change since that was looked at last.
    pub(crate) fn take(&self) -> BTreeMap<String, Vec<(UserId, PresenceView)>> {
        let mut seen = self.0.lock().unwrap();
        let changes = seen.iter_mut().map(|(name, shown)| {
            let changes = std::mem::take(&mut shown.changes);
            (name.clone(), changes)
        });
        changes.filter(|(_, changes)| !changes.is_empty()).collect()
    }
}

/// Of a record that is over: sends that no try brought an `ok` for.
pub(crate) fn never_acknowledged(lines: &[Line]) -> Vec<&Nonce> {
    let acked = lines.iter().filter_map(|line| match &line.what {
        Happened::Acked { nonce, .. } => Some(nonce),
        _ => None,
    });
    let acked: HashSet<&Nonce> = acked.collect();
    let sent = lines.iter().filter_map(|line| match &line.what {
        Happened::Sent { nonce, .. } => Some(nonce),
        _ => None,
    });
    let left: HashSet<&Nonce> = sent.filter(|nonce| !acked.contains(nonce)).collect();
    left.into_iter().collect()
}
