//! One device of somebody who chats at random, at whichever node serves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loadtest::{Connector, Device, DeviceError, Recorder};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use shared::{id::RoomId, protocol::codec::Encoding};
use tokio::time::{Instant, timeout};

/// How many sends may be under way, so that a fault meets sends in every state.
const WINDOW: usize = 6;
/// How long everything may take to be as it should at the end.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long one node is asked.
const STEP: Duration = Duration::from_secs(5);

/// A device and how it lives.
pub(crate) struct Resident {
    pub(crate) device: Device,
    /// Somebody who may read all rooms but those of others.
    pub(crate) token: String,
    encoding: Encoding,
    /// The addresses of the nodes; where it lives when that node serves comes first.
    nodes: Vec<String>,
    /// Where it is.
    at: usize,
    /// Rooms it belongs to for good.
    pub(crate) rooms: Vec<RoomId>,
    /// An open room where it comes and goes.
    square: Option<RoomId>,
    in_square: bool,
    random: StdRng,
    said: usize,
    pace: Duration,
    patience: Duration,
}

/// What it takes to be a resident.
pub(crate) struct Papers {
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) encoding: Encoding,
    pub(crate) nodes: Vec<String>,
    pub(crate) rooms: Vec<RoomId>,
    pub(crate) square: Option<RoomId>,
    pub(crate) seed: u64,
    /// The pause between two acts, on average.
    pub(crate) pace: Duration,
    /// How long it may take to be let in, and sends may go without an answer, before another node is tried.
    pub(crate) patience: Duration,
}

impl Resident {
    pub(crate) fn new(papers: Papers, recorder: &Recorder) -> Self {
        let connector = Connector::new(&papers.nodes[0])
            .token(&papers.token)
            .encoding(papers.encoding);
        Self {
            device: Device::new(&papers.name, connector, recorder.clone()),
            token: papers.token,
            encoding: papers.encoding,
            nodes: papers.nodes,
            at: 0,
            rooms: papers.rooms,
            square: papers.square,
            in_square: false,
            random: StdRng::seed_from_u64(papers.seed),
            said: 0,
            pace: papers.pace,
            patience: papers.patience,
        }
    }

    /// Lives until it is told to stop.
    pub(crate) async fn live(mut self, stop: Arc<AtomicBool>) -> Self {
        let mut answered = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if !self.device.on_line() {
                self.come_in().await;
                answered = Instant::now();
                continue;
            }
            if self.device.in_flight() == 0 {
                answered = Instant::now();
            } else if answered.elapsed() > self.patience {
                // As an app does that pings in vain.
                self.device.drop_socket();
                self.at = (self.at + 1) % self.nodes.len();
                continue;
            }
            let acked = self.device.acked();
            self.act().await;
            let pause = Instant::now() + self.pace.mul_f64(self.random.random_range(0.2..1.8));
            while self.device.on_line() && Instant::now() < pause {
                if self.device.step(pause).await.is_err() {
                    self.device.drop_socket();
                }
            }
            if self.device.acked() > acked {
                answered = Instant::now();
            }
        }
        self
    }

    /// Waits until all it said is answered.
    pub(crate) async fn be_answered(&mut self) {
        self.until(async |device| device.settle(STEP).await).await;
    }

    /// Waits until it has seen all there is; nobody may say anything any more.
    pub(crate) async fn settle(&mut self) {
        self.until(async |device| device.catch_up().await).await;
    }

    async fn until(&mut self, done: impl AsyncFn(&mut Device) -> Result<(), DeviceError>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if !self.device.on_line() {
                self.come_in().await;
            }
            let Err(error) = done(&mut self.device).await else {
                return;
            };
            assert!(
                Instant::now() < deadline,
                "{} at node {}: {error}; {} sends without an answer",
                self.device.name(),
                self.at,
                self.device.unanswered()
            );
            // A node that does not answer is left.
            self.device.drop_socket();
            self.at = (self.at + 1) % self.nodes.len();
        }
    }

    /// Connects to where it was, and else to the next node.
    async fn come_in(&mut self) {
        for _ in 0..self.nodes.len() {
            self.device.aim(self.connector(self.at));
            if let Ok(Ok(())) = timeout(self.patience, self.device.connect()).await {
                return;
            }
            self.device.drop_socket();
            self.at = (self.at + 1) % self.nodes.len();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// To the node that is so many places behind the first.
    pub(crate) fn connector(&self, node: usize) -> Connector {
        Connector::new(&self.nodes[node])
            .token(&self.token)
            .encoding(self.encoding)
    }

    /// One act. A failure is a socket that broke, or a refusal that stands in the record.
    async fn act(&mut self) {
        let device = &mut self.device;
        match self.random.random_range(0..100) {
            0..70 if device.unanswered() < WINDOW => {
                let visits = self.in_square && self.random.random_bool(0.2);
                let room = match &self.square {
                    Some(square) if visits => Some(square),
                    _ => self.rooms.choose(&mut self.random),
                };
                if let Some(room) = room {
                    let text = format!("{} says {}", device.name(), self.said);
                    let _ = device.send(room, &text).await;
                    self.said += 1;
                }
            }
            70..78 => {
                let text = format!("{} corrects {}", device.name(), self.said);
                self.said += 1;
                let _ = device.edit(&text).await;
            }
            78..84 => {
                let _ = device.take_back().await;
            }
            84..91 => {
                let _ = device.react("👍").await;
            }
            91..95 => device.drop_socket(),
            95..97 if self.at != 0 => {
                // Home again: to a node that knows nothing of its session.
                device.drop_socket();
                self.at = 0;
            }
            97..99 => {
                let joins = !self.in_square;
                if let Some(square) = &self.square
                    && device.visit(square, joins).await.is_ok()
                {
                    self.in_square = joins;
                }
            }
            99 => {
                device.drop_socket();
                device.forget_session();
            }
            _ => {}
        }
    }
}
