//! One schedule, played: nodes, users, and what they do and see, on a clock that stands still while
//! anybody has something to do.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use chat_node::{
    presence::{Availability, LocalPresence, merged},
    room::{Caller, Reply, ReplyBody},
};
use shared::{
    codes::ErrorCode,
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::{
        command::{Command, MessageEdit, MessageSend, OfMember, OfRoom, OfUser, React},
        presence::Status,
        room::{EntryBody, RoomKind},
    },
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    dice::{Dice, Of},
    link::number,
    node::Node,
    plan::{Act, Plan},
    plant::Plant,
    seat::Seat,
    store::Store,
    trace::{self, note},
    wire::Wire,
};

/// How long anything may take once the world is calm.
const PATIENCE: Duration = Duration::from_mins(1);
/// After how many seconds of calm it is looked whether everybody has everything: at once, after a
/// retry or a look that was asked for, and after the look that nobody has to ask for.
const SETTLING: [u64; 5] = [1, 2, 4, 15, 50];

/// How long after a node's death the others know of it: what it left unsaid is looked for then.
const BURIED: Duration = Duration::from_secs(20);

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What time it is in the schedule of this thread.
pub(crate) fn now() -> Timestamp {
    let passed = BEGAN.get().map_or(0, |began| began.elapsed().as_millis());
    Timestamp::from_millis(1_000_000 + passed as i64)
}

/// Everything there is in a schedule.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) plant: Plant,
    pub(crate) dice: Arc<Dice>,
    pub(crate) store: Arc<Store>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) presence: LocalPresence,
    pub(crate) calm: Arc<AtomicBool>,
    pub(crate) users: Vec<UserId>,
    rooms: Vec<RoomId>,
    nodes: RefCell<Vec<Option<Rc<Node>>>>,
    seats: RefCell<Vec<Rc<Seat>>>,
    /// What was acknowledged, and where it stands.
    acked: RefCell<BTreeMap<(RoomId, UserId, Nonce), Seq>>,
    said: Cell<u64>,
    wrong: RefCell<Vec<String>>,
}

/// What came of a schedule.
pub(crate) struct Outcome {
    /// What must not have happened.
    pub(crate) wrong: Vec<String>,
    /// What did, if it was to be kept.
    pub(crate) trace: Vec<String>,
    /// How many sends were acknowledged.
    pub(crate) acked: usize,
}

/// Plays a schedule.
pub(crate) fn play(plan: &Plan, plant: Plant, traced: bool) -> Outcome {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    };
    let plan = plan.clone();
    actix_rt::System::with_tokio_rt(runtime).block_on(async move {
        BEGAN.set(Some(Instant::now()));
        if traced {
            trace::begin();
        }
        let world = World::new(plan, plant);
        world.run().await;
        Outcome {
            wrong: world.wrong.take(),
            trace: trace::end(),
            acked: world.acked.borrow().len(),
        }
    })
}

impl World {
    fn new(plan: Plan, plant: Plant) -> Rc<Self> {
        let dice = Arc::new(Dice::new(plan.seed));
        let calm = Arc::new(AtomicBool::new(false));
        let store = Arc::new(Store::new(plant));
        let name = |n| UserId::parse(&format!("u{n}")).expect("a user's id");
        let users: Vec<UserId> = (0..plan.users).map(name).collect();
        let rooms: Vec<RoomId> = (0..plan.rooms)
            .map(|n| RoomId::parse(&format!("r{n}")).expect("a room's id"))
            .collect();
        for (n, room) in rooms.iter().enumerate() {
            // The third room is a lobby, the second has not everybody in it.
            let kind = if n == 2 {
                RoomKind::Lobby
            } else {
                RoomKind::Group
            };
            let members = if n == 1 {
                &users[..=users.len() / 2]
            } else {
                &users
            };
            store.found(room, kind, members, now());
        }
        let wire = Wire::new(plan.nodes, dice.clone(), plan.faults, plant, calm.clone());
        let world = Rc::new(Self {
            nodes: RefCell::new(vec![None; plan.nodes]),
            plan,
            plant,
            dice,
            store,
            wire,
            presence: LocalPresence::new(),
            calm,
            users,
            rooms,
            seats: RefCell::default(),
            acked: RefCell::default(),
            said: Cell::new(0),
            wrong: RefCell::default(),
        });
        for index in 0..world.plan.nodes {
            world.boot(index);
        }
        world
    }

    fn boot(&self, index: usize) {
        let node = Rc::new(Node::start(index, self));
        self.nodes.borrow_mut()[index] = Some(node);
    }

    async fn run(self: &Rc<Self>) {
        let began = Instant::now();
        let mut tasks = Vec::new();
        for step in self.plan.steps.clone() {
            sleep_until(began + Duration::from_millis(step.at)).await;
            note(|| format!("-- {:?}", step.act));
            tasks.push(self.act(step.act));
        }
        sleep(Duration::from_millis(200)).await;
        note(|| "-- calm".to_owned());
        self.calm.store(true, Relaxed);
        for (n, task) in tasks.into_iter().enumerate() {
            match timeout(PATIENCE, task).await {
                Ok(Ok(())) => {}
                Ok(Err(died)) => self.breach(format!("step {n} died: {died}")),
                Err(_) => self.breach(format!("step {n} never ends: {:?}", self.plan.steps[n])),
            }
        }
        self.settle().await;
    }

    /// Everybody gets everything, and everything acknowledged stands where it was said to.
    async fn settle(&self) {
        let mut lacking = Vec::new();
        for seconds in SETTLING {
            sleep(Duration::from_secs(seconds)).await;
            self.observe();
            lacking = self.lacking();
            if lacking.is_empty() {
                break;
            }
        }
        self.wrong.borrow_mut().extend(lacking);
        for seat in &*self.seats.borrow() {
            seat.part();
        }
        for ((room, user, nonce), seq) in &*self.acked.borrow() {
            if let Err(what) = self.stands(room, user, nonce, *seq) {
                self.breach(what);
            }
        }
    }

    /// What those with a session do not know yet.
    fn lacking(&self) -> Vec<String> {
        let mut lacking = Vec::new();
        for seat in &*self.seats.borrow() {
            let who = format!("{}@n{}", seat.user, seat.node.index);
            let rooms = self.store.rooms_of(&seat.user);
            let known = seat.rooms.borrow();
            for room in &rooms {
                let head = self.store.with(room, |log| log.record.head);
                match (known.get(room), head) {
                    (None, _) => lacking.push(format!("{who} is never told of {room}")),
                    (Some(place), Some(head)) if place.head() != head => {
                        let at = place.head();
                        lacking.push(format!("{who} is at {at} of {room}, which is at {head}"));
                    }
                    _ => {}
                }
            }
            if let Some(screen) = &seat.screen {
                let shown = screen.shown.borrow();
                for friend in self.users.iter().filter(|other| **other != seat.user) {
                    let (truth, sees) = (self.status(friend), shown.get(friend));
                    if sees != Some(&truth) {
                        lacking.push(format!("{who} sees {friend} {sees:?}, who is {truth:?}"));
                    }
                }
            }
            for room in known.keys().filter(|room| !rooms.contains(room)) {
                lacking.push(format!("{who} is never told to be out of {room}"));
            }
        }
        lacking
    }

    /// How a user is, to friends.
    fn status(&self, user: &UserId) -> Status {
        let seats = self.seats.borrow();
        let seats = seats.iter().filter(|seat| seat.user == *user);
        let devices: Vec<_> = seats.map(|seat| seat.device.borrow().clone()).collect();
        match merged(&devices).map(|state| state.availability) {
            None | Some(Availability::Invisible) => Status::Offline,
            Some(availability) => availability.status(),
        }
    }

    /// Whether what was acknowledged at a position stands there, and nowhere else.
    fn stands(&self, room: &RoomId, user: &UserId, nonce: &Nonce, at: Seq) -> Result<(), String> {
        // Of a lobby that was removed nothing is left.
        let Some(seqs) = self.store.with(room, |log| {
            let own = log.entries.iter().filter(|entry| {
                entry.user == *user
                    && matches!(&entry.body, EntryBody::Message(body) if body.nonce == *nonce)
            });
            own.map(|entry| entry.seq).collect::<Vec<_>>()
        }) else {
            return Ok(());
        };
        if seqs == [at] {
            return Ok(());
        }
        Err(format!(
            "{nonce} of {user} in {room} was acknowledged at {at}, and stands at {seqs:?}"
        ))
    }

    fn breach(&self, what: String) {
        note(|| format!("!! {what}"));
        self.wrong.borrow_mut().push(what);
    }

    /// Every client reads what came.
    fn observe(&self) {
        let wrong: Vec<String> = self
            .seats
            .borrow()
            .iter()
            .flat_map(|seat| seat.observe(&self.store))
            .collect();
        for what in wrong {
            self.breach(what);
        }
    }

    fn act(self: &Rc<Self>, act: Act) -> JoinHandle<()> {
        let world = self.clone();
        actix_rt::spawn(async move {
            match act {
                Act::Say { user, room } => {
                    let room = world.rooms[room].clone();
                    world.say(&world.users[user], &room).await;
                }
                Act::Edit { user, room } => {
                    let (room, user) = (&world.rooms[room], &world.users[user]);
                    if let Some(seq) = world.store.last_said(room, Some(user)) {
                        let edit = Command::MessageEdit(MessageEdit {
                            room: room.clone(),
                            seq,
                            text: format!("{user} says {seq} otherwise"),
                            mentions: Vec::new(),
                        });
                        world.tries(user, edit).await;
                    }
                }
                Act::React { user, room, on } => {
                    let (room, user) = (&world.rooms[room], &world.users[user]);
                    if let Some(seq) = world.store.last_said(room, None) {
                        let react = React {
                            room: room.clone(),
                            seq,
                            emoji: "👍".into(),
                        };
                        let react = if on {
                            Command::ReactionAdd(react)
                        } else {
                            Command::ReactionRemove(react)
                        };
                        world.tries(user, react).await;
                    }
                }
                Act::Write { user, to } => {
                    let (user, to) = (&world.users[user], &world.users[to]);
                    let open = Command::RoomOpenDm(OfUser { user: to.clone() });
                    world.tries(user, open).await;
                    world.say(user, &RoomId::direct(user, to)).await;
                }
                Act::Invite { user, room } => {
                    let invite = Command::RoomInvite(world.member(user, room));
                    world.tries(&world.users[0], invite).await;
                }
                Act::Kick { user, room } => {
                    let kick = Command::RoomKick(world.member(user, room));
                    world.tries(&world.users[0], kick).await;
                }
                Act::Leave { user, room } => {
                    let room = world.rooms[room].clone();
                    let leave = Command::RoomLeave(OfRoom { room });
                    world.tries(&world.users[user], leave).await;
                }
                Act::Join { user, room } => {
                    let room = world.rooms[room].clone();
                    let join = Command::RoomJoin(OfRoom { room });
                    world.tries(&world.users[user], join).await;
                }
                Act::Start { user, node } => world.start(user, node).await,
                Act::End { user } => world.end(&world.users[user]),
                Act::Crash { node, down } => world.crash(node, down).await,
                Act::Cut { node, down, told } => {
                    world.wire.cut(node, told);
                    sleep(Duration::from_millis(down)).await;
                    note(|| format!("n{node}'s link stands again"));
                    world.wire.mend(node);
                }
                Act::Away { node, down } => {
                    let Some(node) = world.node(node) else {
                        return;
                    };
                    node.link.away.fetch_add(1, Relaxed);
                    sleep(Duration::from_millis(down)).await;
                    node.link.away.fetch_sub(1, Relaxed);
                }
                Act::Set { user, to } => {
                    let seats = world.seats.borrow().clone();
                    let mut seats = seats.iter();
                    if let Some(seat) = seats.find(|seat| seat.user == world.users[user]) {
                        seat.set(to);
                    }
                }
                Act::Doubt { node } => {
                    if let Some(node) = world.node(node) {
                        node.rooms.restored();
                    }
                }
            }
            world.observe();
        })
    }

    fn member(&self, user: usize, room: usize) -> OfMember {
        OfMember {
            room: self.rooms[room].clone(),
            user: self.users[user].clone(),
        }
    }

    fn node(&self, index: usize) -> Option<Rc<Node>> {
        self.nodes.borrow()[index].clone()
    }

    /// A living node, any; waits for one.
    async fn any_node(&self, user: &UserId) -> Rc<Node> {
        loop {
            let nodes: Vec<Rc<Node>> = self.nodes.borrow().iter().flatten().cloned().collect();
            if !nodes.is_empty() {
                let who = number(user.as_str());
                return self.dice.roll(Of::Client, who, 0).one(&nodes).clone();
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks, on whatever node, until there is an answer that another try would not change.
    async fn ask(&self, user: &UserId, command: Command) -> Reply {
        loop {
            let node = self.any_node(user).await;
            let caller = Caller {
                user: user.clone(),
                service: false,
            };
            let reply = node.rooms.ask(caller, command.clone()).await;
            self.observe();
            note(|| {
                format!(
                    "{user} on n{} {}: {}",
                    node.index,
                    command.op(),
                    told(&reply)
                )
            });
            match reply {
                // What it says has nobody to hear it.
                _ if !node.alive() => {}
                Err(error) if matches!(error.code, ErrorCode::Unavailable | ErrorCode::Busy) => {}
                reply => return reply,
            }
            let who = number(user.as_str());
            let pause = self.dice.roll(Of::Client, who, 1).within(2, 40);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// As [`World::ask`]; whatever the room says is right.
    async fn tries(&self, user: &UserId, command: Command) {
        drop(self.ask(user, command).await);
    }

    async fn say(&self, user: &UserId, room: &RoomId) {
        self.said.set(self.said.get() + 1);
        let nonce = Nonce::parse(&format!("m{}", self.said.get())).expect("a nonce");
        // Now and then an answer gets lost on its way to the client, which tries again.
        let again = self
            .dice
            .roll(Of::Client, number(user.as_str()), 2)
            .happens(200);
        for _ in 0..=usize::from(again) {
            let send = Command::MessageSend(MessageSend {
                room: room.clone(),
                nonce: nonce.clone(),
                text: format!("{user} says {nonce}"),
                reply_to: None,
                mentions: Vec::new(),
                data: None,
                traceparent: None,
            });
            match self.ask(user, send).await {
                Ok(ReplyBody::Appended(at)) => {
                    if let Err(what) = self.stands(room, user, &nonce, at.seq) {
                        self.breach(what);
                    }
                    let key = (room.clone(), user.clone(), nonce.clone());
                    let first = *self.acked.borrow_mut().entry(key).or_insert(at.seq);
                    if first != at.seq {
                        let seq = at.seq;
                        self.breach(format!("{nonce} in {room} is at {first} and then at {seq}"));
                    }
                }
                Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::Forbidden) => {}
                other => self.breach(format!("{user} says {nonce} in {room}: {other:?}")),
            }
        }
    }

    async fn start(&self, user: usize, node: usize) {
        let user = self.users[user].clone();
        loop {
            if let Some(node) = self.node(node) {
                match Seat::start(node, user.clone(), self.plant, self.plan.presence).await {
                    Ok(seat) if seat.node.alive() => {
                        return self.seats.borrow_mut().push(Rc::new(seat));
                    }
                    _ => {}
                }
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    fn end(&self, user: &UserId) {
        self.observe();
        self.seats.borrow_mut().retain(|seat| {
            if seat.user == *user {
                seat.end();
            }
            seat.user != *user
        });
    }

    async fn crash(self: &Rc<Self>, index: usize, down: u64) {
        self.observe();
        let Some(node) = self.nodes.borrow_mut()[index].take() else {
            return;
        };
        node.die();
        self.wire.leave(index);
        self.seats.borrow_mut().retain(|seat| {
            if seat.node.index == index {
                seat.part();
            }
            seat.node.index != index
        });
        let world = self.clone();
        actix_rt::spawn(async move {
            sleep(BURIED).await;
            note(|| format!("n{index}'s lease has ended"));
            for node in world.nodes.borrow().iter().flatten() {
                node.rooms.restored();
            }
        });
        sleep(Duration::from_millis(down)).await;
        note(|| format!("n{index} is back"));
        self.boot(index);
    }
}

fn told(reply: &Reply) -> String {
    match reply {
        Ok(ReplyBody::Appended(at)) => format!("at {}, dup {}", at.seq, at.dup),
        Ok(_) => "done".to_owned(),
        Err(error) => error.code.word().to_owned(),
    }
}
