//! The pure parts of a room on several nodes, driven by a seeded scheduler: [`Place`], [`RoomState`] and
//! [`Batch`] as they are, over a store whose appends stand unanswered, half, late or not at all, and a
//! bus that loses, delays and doubles. What the actor does around them is played here by [`World`].
//!
//! In the end, and at every step on the way: what a member sees is what stands in the log, in order,
//! without a hole, once; what was acknowledged stands where it was said to, once; and when all is calm
//! everybody has everything.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, LazyLock},
};

use shared::{
    id::{Epoch, Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::{
        command::{Command, MessageEdit, MessageSend, React},
        room::{Entry, EntryBody, MemberAction, Role, RoomChange, RoomKind},
    },
};
use smallvec::SmallVec;

use super::{
    super::{
        Caller, ReplyTo, RoomCommand,
        ask::{Ask, Owed},
        batch::Batch,
        place::{Known, Loaded, Place},
        state::{Decision, Facts, Policy, RoomState, change},
    },
    user,
};
use crate::{
    history::{MemberRecord, NewEntry, Outcome, RoomRecord, retention::RetentionSettings},
    overload::Overload,
    schedule::{Agenda, Dice, Wrong, is_seen, none_fails, note},
    transport::relay::Relays,
};

/// How many schedules are played when nobody says otherwise.
const SEEDS: u64 = 20_000;
/// A page of the log; small, so that there are many.
const PAGE: usize = 4;
/// When the world becomes calm, and when it ends, in ms.
const CALM: u64 = 3_000;
const END: u64 = 120_000;
/// How often a node looks for what it may have missed.
const LOOK: u64 = 30_000;
/// How long a node's death goes unnoticed.
const BURIED: u64 = 20_000;

const POLICY: Policy = Policy {
    dm_friends_only: false,
    invite_friends_only: false,
    keep: RetentionSettings::FOREVER,
};

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    Nothing,
    /// The store does not compare heads.
    Fork,
    /// The store forgets an entry after it has said that it stands.
    Forget,
    /// The store does not know nonces again.
    Twice,
    /// A page of the log ends one entry early.
    ShortPage,
    /// A session does not hold what comes while its snapshot is read.
    Unheld,
    /// Nobody is told that something may have been lost, nor looks.
    Unnoticed,
    /// News come with another's position.
    Misplaced,
}

#[derive(Clone)]
enum Mail {
    Ask(usize, Command),
    News(Vec<Entry>),
    Doubt,
    Begin(usize),
}

enum Event {
    /// A client does something.
    Act,
    Say(Say),
    Start(usize),
    /// A session reads where the room stands.
    Snapshot(usize),
    Boot(usize),
    Mail(usize, u32, Mail),
    /// An append gets to the store.
    Append(usize, u32, Seq, Vec<NewEntry>),
    /// It gets there when its node has given it up.
    Late(Seq, Vec<NewEntry>),
    Appended(usize, u32, Result<Vec<Outcome>, Failed>),
    Read(usize, u32, Page),
    Turn(usize, u32),
    Look(usize),
}

#[derive(Clone, Copy)]
enum Failed {
    Conflict(Seq),
    Unavailable,
}

enum Page {
    Away,
    Room(Box<RoomRecord>),
    Log(Seq, Vec<Entry>),
}

#[derive(Clone)]
struct Say {
    user: usize,
    nonce: Nonce,
}

struct Node {
    place: Place,
    queue: VecDeque<Mail>,
    /// An append or a read is under way.
    waiting: bool,
    /// History did not answer in this turn.
    away: bool,
    retries: bool,
    flying: Option<Batch>,
}

/// A member's session.
struct Seat {
    user: usize,
    node: usize,
    life: u32,
    /// `None` until it has started; what comes meanwhile is held.
    from: Option<Seq>,
    head: Seq,
    held: Vec<Entry>,
    last: Option<Seq>,
    over: bool,
}

struct World {
    plant: Plant,
    dice: Dice,
    /// How often things go wrong, in a thousand.
    lost: u64,
    late: u64,
    doubled: u64,
    unsure: u64,
    unread: u64,
    agenda: Agenda<Event>,
    users: Vec<UserId>,
    log: Vec<Entry>,
    stored: RoomState,
    nonces: HashMap<(UserId, Nonce), Outcome>,
    nodes: Vec<Option<Node>>,
    lives: Vec<u32>,
    /// When the last news from one node arrive at another.
    last: HashMap<(usize, usize), u64>,
    seats: Vec<Seat>,
    said: u64,
    acked: HashMap<(UserId, Nonce), Seq>,
    saying: usize,
    wrong: Wrong,
}

static RELAYS: LazyLock<Relays> = LazyLock::new(|| Relays::new(1, Overload::default()));
static OWED: LazyLock<Arc<Owed>> = LazyLock::new(Arc::default);
static EPOCH: LazyLock<Epoch> = LazyLock::new(Epoch::generate);

fn room() -> RoomId {
    RoomId::parse("r").unwrap()
}

fn play(seed: u64, plant: Plant) -> Wrong {
    let mut dice = Dice::new(seed);
    let mut some = |much: u64| [0, much / 4, much][dice.below(3)];
    let (lost, late, doubled, unsure, unread) =
        (some(300), some(300), some(200), some(300), some(200));
    let (nodes, users) = (2 + dice.below(3), 2 + dice.below(3));
    let mut world = World {
        plant,
        lost,
        late,
        doubled,
        unsure,
        unread,
        dice,
        agenda: Agenda::new(),
        users: (0..users).map(|n| user(&format!("u{n}"))).collect(),
        log: Vec::new(),
        stored: RoomState::unborn(room(), EPOCH.clone()),
        nonces: HashMap::new(),
        nodes: Vec::new(),
        lives: vec![0; nodes],
        last: HashMap::new(),
        seats: Vec::new(),
        said: 0,
        acked: HashMap::new(),
        saying: 0,
        wrong: Vec::new(),
    };
    world.found();
    world.run(nodes);
    world.wrong
}

impl World {
    fn found(&mut self) {
        let created = EntryBody::Room(RoomChange {
            created: Some(RoomKind::Group),
            name: Some("Raid".into()),
            ..RoomChange::default()
        });
        let join = |user| change(MemberAction::Join, user).entry();
        let joins = self.users.iter().map(join);
        let bodies: Vec<EntryBody> = std::iter::once(created).chain(joins).collect();
        for body in bodies {
            let user = self.users[0].clone();
            let ts = Timestamp::from_millis(1);
            self.store(NewEntry { user, ts, body });
        }
    }

    fn store(&mut self, entry: NewEntry) -> Outcome {
        let nonce = match &entry.body {
            EntryBody::Message(message) => Some((entry.user.clone(), message.nonce.clone())),
            _ => None,
        };
        if let Some(known) = nonce.as_ref().and_then(|nonce| self.nonces.get(nonce))
            && self.plant != Plant::Twice
        {
            return Outcome {
                dup: true,
                ..*known
            };
        }
        let seq = self.head().next();
        let outcome = Outcome {
            seq,
            ts: entry.ts,
            dup: false,
        };
        let entry = Entry {
            seq,
            user: entry.user,
            ts: entry.ts,
            body: entry.body,
        };
        self.stored.apply(&entry);
        self.log.push(entry);
        if let Some(nonce) = nonce {
            self.nonces.insert(nonce, outcome);
        }
        outcome
    }

    fn head(&self) -> Seq {
        Seq::new(self.log.len() as u64)
    }

    fn calm(&self) -> bool {
        self.agenda.now >= CALM
    }

    fn fails(&mut self, permille: u64) -> bool {
        self.dice.happens(permille) && !self.calm()
    }

    fn run(&mut self, nodes: usize) {
        for node in 0..nodes {
            self.nodes.push(Some(Node::new()));
            let first = self.dice.within(1, LOOK);
            self.agenda.after(first, Event::Look(node));
        }
        for user in 0..self.users.len() {
            let at = self.dice.within(0, 20);
            self.agenda.at(at, Event::Start(user));
        }
        let mut at = 0;
        for _ in 0..self.dice.within(6, 30) {
            at += if self.dice.happens(900) {
                self.dice.within(0, 15)
            } else {
                self.dice.within(50, 400)
            };
            self.agenda.at(at.min(CALM - 1), Event::Act);
        }
        while let Some(event) = self.agenda.next(END) {
            self.happens(event);
            if self.wrong.len() > 3 {
                return;
            }
        }
        self.judge();
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Act => self.act(),
            Event::Say(say) => self.say(say),
            Event::Start(user) => self.start(user),
            Event::Snapshot(seat) => self.snapshot(seat),
            Event::Boot(node) => self.nodes[node] = Some(Node::new()),
            Event::Mail(node, life, mail) if self.lives[node] == life => self.mail(node, mail),
            Event::Append(node, life, head, entries) => self.append(node, life, head, entries),
            Event::Late(head, entries) => {
                if self.head() == head {
                    note(|| {
                        format!(
                            "{} what was given up is stored after {head}",
                            self.agenda.now
                        )
                    });
                    for entry in entries {
                        self.store(entry);
                    }
                }
            }
            Event::Appended(node, life, outcome) if self.lives[node] == life => {
                self.appended(node, outcome);
            }
            Event::Read(node, life, page) if self.lives[node] == life => self.read(node, page),
            Event::Turn(node, life) if self.lives[node] == life => {
                if let Some(at) = self.nodes[node].as_mut() {
                    at.retries = false;
                    if !at.waiting {
                        at.away = false;
                        self.turn(node);
                    }
                }
            }
            Event::Look(node) => {
                self.agenda.after(LOOK, Event::Look(node));
                let head = self.head();
                if let Some(at) = &self.nodes[node]
                    && self.plant != Plant::Unnoticed
                    && at.place.delivered.is_some_and(|seq| seq < head)
                {
                    self.mail(node, Mail::Doubt);
                }
            }
            Event::Mail(..) | Event::Appended(..) | Event::Read(..) | Event::Turn(..) => {}
        }
    }

    fn act(&mut self) {
        let user = self.dice.below(self.users.len());
        let node = self.dice.below(self.nodes.len());
        match self.dice.below(100) {
            0..55 => {
                self.said += 1;
                let nonce = Nonce::parse(&format!("n{}", self.said)).unwrap();
                self.saying += 1;
                self.say(Say { user, nonce });
            }
            55..62 => self.touch(user, node, true),
            62..70 => self.touch(user, node, false),
            70..80 => self.start(user),
            80..83 => {
                for seat in self.seats.iter_mut().filter(|seat| seat.user == user) {
                    seat.over = true;
                }
            }
            83..92 => self.crash(node),
            _ => self.mail(node, Mail::Doubt),
        }
    }

    /// Edits, or reacts to, some message.
    fn touch(&mut self, user: usize, node: usize, edits: bool) {
        let says = |entry: &&Entry| matches!(entry.body, EntryBody::Message(_));
        let own = |entry: &&Entry| !edits || entry.user == self.users[user];
        let some = self.log.iter().filter(says).filter(own);
        let some: Vec<Seq> = some.map(|entry| entry.seq).collect();
        if some.is_empty() {
            return;
        }
        let seq = some[self.dice.below(some.len())];
        let command = if edits {
            Command::MessageEdit(MessageEdit {
                room: room(),
                seq,
                text: "otherwise".into(),
                mentions: Vec::new(),
            })
        } else {
            Command::ReactionAdd(React {
                room: room(),
                seq,
                emoji: "👍".into(),
            })
        };
        self.mail(node, Mail::Ask(user, command));
    }

    /// A client sends, to whatever node.
    fn say(&mut self, say: Say) {
        let live: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].is_some())
            .collect();
        if live.is_empty() {
            return self.agenda.after(50, Event::Say(say));
        }
        let node = live[self.dice.below(live.len())];
        let command = Command::MessageSend(MessageSend {
            room: room(),
            text: "hello".into(),
            nonce: say.nonce,
            reply_to: None,
            mentions: Vec::new(),
            data: None,
            traceparent: None,
        });
        self.mail(node, Mail::Ask(say.user, command));
    }

    /// A client has no answer, or one that says to try again.
    fn try_again(&mut self, user: &UserId, command: &Command) {
        if let Command::MessageSend(send) = command {
            let user = self.users.iter().position(|one| one == user).unwrap();
            let nonce = send.nonce.clone();
            let wait = self.dice.within(10, 60);
            self.agenda.after(wait, Event::Say(Say { user, nonce }));
        }
    }

    fn start(&mut self, user: usize) {
        let node = self.dice.below(self.nodes.len());
        if self.nodes[node].is_none() {
            return self.agenda.after(100, Event::Start(user));
        }
        self.seats.push(Seat {
            user,
            node,
            life: self.lives[node],
            from: None,
            head: Seq::ZERO,
            held: Vec::new(),
            last: None,
            over: false,
        });
        let wait = self.dice.within(0, 8);
        self.agenda
            .after(wait, Event::Snapshot(self.seats.len() - 1));
    }

    fn snapshot(&mut self, seat: usize) {
        let head = self.head();
        let one = &mut self.seats[seat];
        if one.over {
            return;
        }
        one.head = head;
        let (node, life) = (one.node, one.life);
        let wait = self.dice.within(0, 8);
        let begin = Event::Mail(node, life, Mail::Begin(seat));
        self.agenda.after(wait, begin);
    }

    /// The room says whether whatever comes after the snapshot will be delivered.
    fn begin(&mut self, seat: usize, covered: bool) {
        let now = self.agenda.now;
        let one = &mut self.seats[seat];
        if one.over {
            return;
        }
        if !covered {
            return self.agenda.after(5, Event::Snapshot(seat));
        }
        note(|| format!("{now} u{}@n{} starts from {}", one.user, one.node, one.head));
        one.from = Some(one.head);
        let (head, held) = (one.head, std::mem::take(&mut one.held));
        if self.plant != Plant::Unheld {
            for entry in held.iter().filter(|entry| entry.seq > head) {
                self.see(seat, entry);
            }
        }
    }

    fn see(&mut self, seat: usize, entry: &Entry) {
        let one = &mut self.seats[seat];
        let Some(from) = one.from else {
            return one.held.push(entry.clone());
        };
        let seq = entry.seq;
        let who = format!("u{}@n{}", one.user, one.node);
        let wrong = match one.last {
            _ if self.log.get((seq.get() as usize).wrapping_sub(1)) != Some(entry) => {
                Some("is not in the log")
            }
            Some(last) if seq <= last => Some("comes again"),
            Some(last) if seq > last.next() => Some("follows a hole"),
            None if seq > from.next() => Some("is first, after a hole"),
            _ => None,
        };
        one.last = Some(seq);
        if let Some(wrong) = wrong {
            self.wrong.push(format!("{who}: {seq} {wrong}"));
        }
    }

    fn crash(&mut self, node: usize) {
        let Some(dead) = self.nodes[node].take() else {
            return;
        };
        note(|| format!("{} n{node} dies", self.agenda.now));
        self.lives[node] += 1;
        let flying = dead.flying.into_iter().flat_map(Batch::into_asks);
        let flying: Vec<_> = flying
            .map(|ask| (ask.caller.user.clone(), ask.command.clone()))
            .collect();
        for (user, command) in flying {
            self.try_again(&user, &command);
        }
        for mail in dead.queue {
            if let Mail::Ask(user, command) = mail {
                let user = self.users[user].clone();
                self.try_again(&user, &command);
            }
        }
        for seat in self.seats.iter_mut().filter(|seat| seat.node == node) {
            seat.over = true;
        }
        let down = self.dice.within(5, 500);
        self.agenda.after(down, Event::Boot(node));
        // Whoever reaps its lease says that it may have stored what it told nobody.
        for other in 0..self.nodes.len() {
            let life = self.lives[other];
            self.doubt_after(BURIED, other, life);
        }
    }

    fn doubt_after(&mut self, ms: u64, node: usize, life: u32) {
        if self.plant != Plant::Unnoticed {
            self.agenda.after(ms, Event::Mail(node, life, Mail::Doubt));
        }
    }

    fn mail(&mut self, node: usize, mail: Mail) {
        match self.nodes[node].as_mut() {
            None => {
                if let Mail::Ask(user, command) = mail {
                    let user = self.users[user].clone();
                    self.try_again(&user, &command);
                }
            }
            Some(at) => {
                at.queue.push_back(mail);
                if !at.waiting {
                    at.away = false;
                    self.turn(node);
                }
            }
        }
    }

    /// As `Room::turn`: one thing after the other, until something has to be waited for.
    fn turn(&mut self, node: usize) {
        loop {
            let Some(at) = self.nodes[node].as_mut() else {
                return;
            };
            if at.waiting {
                return;
            }
            at.begin_where_told(&self.seats);
            let reads = at.place.is_doubtful() && !at.away;
            match at.queue.front() {
                // What others said is delivered before history is waited for, unless nothing is
                // known.
                Some(Mail::News(_)) if !(reads && matches!(at.place.known, Known::Nothing)) => {}
                _ if reads => return self.ask_history(node),
                _ => {}
            }
            match at.queue.pop_front() {
                None => {
                    if at.place.is_doubtful() && !std::mem::replace(&mut at.retries, true) {
                        let life = self.lives[node];
                        self.agenda.after(1_000, Event::Turn(node, life));
                    }
                    return;
                }
                Some(Mail::Doubt) => at.place.behind = true,
                Some(Mail::Begin(seat)) => {
                    let covered = at.place.covers(self.seats[seat].head);
                    self.begin(seat, covered);
                }
                Some(Mail::News(entries)) => {
                    at.place.heard();
                    self.deliver(node, entries);
                }
                Some(Mail::Ask(user, command)) => {
                    if at.place.is_doubtful() {
                        let user = self.users[user].clone();
                        self.try_again(&user, &command);
                    } else {
                        at.queue.push_front(Mail::Ask(user, command));
                        self.decide(node);
                    }
                }
            }
        }
    }

    /// Decides what waits, as far as one batch goes, and appends it.
    fn decide(&mut self, node: usize) {
        let now = Timestamp::from_millis(1_000 + self.agenda.now as i64);
        let Some(at) = self.nodes[node].as_mut() else {
            return;
        };
        let Some(state) = at.place.state() else {
            return;
        };
        let mut batch = Batch::default();
        while let Some(Mail::Ask(user, command)) = at.queue.front() {
            let caller = Caller {
                user: self.users[*user].clone(),
                service: false,
            };
            let facts = Facts {
                tie: None,
                reacted: Some(false),
                read: None,
            };
            let bodies = match state.decide(&caller, command, facts, POLICY, now) {
                Decision::Say => SmallVec::new(),
                Decision::Append(bodies) => bodies,
                // A target from before the room was loaded; the actor asks history for it.
                Decision::Consult(_) | Decision::Already => {
                    at.queue.pop_front();
                    continue;
                }
                other => {
                    self.wrong.push(format!("{command:?} comes to {other:?}"));
                    at.queue.pop_front();
                    continue;
                }
            };
            let command = RoomCommand {
                caller,
                command: command.clone(),
                reply: ReplyTo::Nobody,
            };
            let ask = Ask::new(command, &RELAYS, &OWED);
            if batch.push(ask, bodies, now, state).is_err() {
                break;
            }
            at.queue.pop_front();
        }
        if batch.is_empty() {
            return;
        }
        let (head, entries) = (state.head(), batch.entries());
        at.waiting = true;
        at.flying = Some(batch);
        let wait = self.dice.within(0, 8);
        let life = self.lives[node];
        self.agenda
            .after(wait, Event::Append(node, life, head, entries));
    }

    /// The store takes an append, or not.
    fn append(&mut self, node: usize, life: u32, head: Seq, mut entries: Vec<NewEntry>) {
        let back = self.dice.within(0, 8);
        let unsure = self.fails(self.unsure);
        let outcome = if unsure {
            match self.dice.below(4) {
                0 => {}
                1 => {
                    let late = self.dice.within(1, 60);
                    self.agenda.after(late, Event::Late(head, entries));
                }
                part => {
                    // All of it, or the first half.
                    entries.truncate(entries.len().div_ceil(part - 1));
                    if head == self.head() {
                        for entry in entries {
                            self.store(entry);
                        }
                    }
                }
            }
            Err(Failed::Unavailable)
        } else if head != self.head() && self.plant != Plant::Fork {
            Err(Failed::Conflict(self.head()))
        } else {
            if self.plant == Plant::Fork {
                self.log.truncate(head.get() as usize);
            }
            let outcomes = entries.into_iter().map(|entry| self.store_or_fork(entry));
            let outcomes: Vec<Outcome> = outcomes.collect();
            if self.plant == Plant::Forget && self.dice.happens(100) {
                self.log.pop();
            }
            Ok(outcomes)
        };
        self.agenda
            .after(back, Event::Appended(node, life, outcome));
    }

    fn store_or_fork(&mut self, entry: NewEntry) -> Outcome {
        if self.stored.head() != self.head() {
            // A planted fault has shortened the log.
            self.stored = RoomState::unborn(room(), EPOCH.clone());
            for entry in &self.log {
                self.stored.apply(entry);
            }
        }
        self.store(entry)
    }

    fn appended(&mut self, node: usize, outcome: Result<Vec<Outcome>, Failed>) {
        let Some(at) = self.nodes[node].as_mut() else {
            return;
        };
        at.waiting = false;
        let Some(batch) = at.flying.take() else {
            return;
        };
        match outcome {
            Ok(outcomes) => {
                let (asks, entries) = batch.stood(&outcomes);
                for (ask, stands) in asks {
                    if let Command::MessageSend(send) = &ask.command {
                        let key = (ask.caller.user.clone(), send.nonce.clone());
                        self.saying -= 1;
                        if self.acked.insert(key, stands.seq).is_some() {
                            self.wrong.push(format!("{} is answered twice", send.nonce));
                        }
                    }
                }
                self.deliver(node, entries.clone());
                self.tell(node, entries);
            }
            Err(Failed::Conflict(theirs)) => {
                at.place.outrun(theirs);
                for ask in batch.into_asks().rev() {
                    let user = self.users.iter().position(|one| *one == ask.caller.user);
                    let mail = Mail::Ask(user.unwrap(), ask.command.clone());
                    at.queue.push_front(mail);
                }
            }
            Err(Failed::Unavailable) => {
                if let Some(head) = at.place.state().map(RoomState::head) {
                    at.place.unsure(head);
                }
                for ask in batch.into_asks() {
                    self.try_again(&ask.caller.user.clone(), &ask.command.clone());
                }
            }
        }
        self.turn(node);
    }

    fn ask_history(&mut self, node: usize) {
        let life = self.lives[node];
        let away = self.fails(self.unread);
        let wait = self.dice.within(0, 16);
        let record = self.record();
        let Some(at) = self.nodes[node].as_mut() else {
            return;
        };
        let page = if away {
            Page::Away
        } else if matches!(at.place.known, Known::Nothing) {
            Page::Room(Box::new(record))
        } else if let Some(after) = at.place.missing_after() {
            let mut page: Vec<Entry> = self
                .log
                .iter()
                .skip(after.get() as usize)
                .take(PAGE)
                .cloned()
                .collect();
            if self.plant == Plant::ShortPage {
                page.pop();
            }
            Page::Log(after, page)
        } else {
            at.place.behind = false;
            return self.turn(node);
        };
        at.waiting = true;
        self.agenda.after(wait, Event::Read(node, life, page));
    }

    fn record(&self) -> RoomRecord {
        let member = |user: &UserId| MemberRecord {
            user: user.clone(),
            role: Role::default(),
            read: Seq::ZERO,
            muted: None,
        };
        RoomRecord {
            id: room(),
            kind: RoomKind::Group,
            name: None,
            topic: None,
            slow_mode_ms: 0,
            epoch: EPOCH.clone(),
            head: self.head(),
            members: self.users.iter().map(member).collect(),
            bans: Vec::new(),
        }
    }

    fn read(&mut self, node: usize, page: Page) {
        let Some(at) = self.nodes[node].as_mut() else {
            return;
        };
        at.waiting = false;
        match page {
            Page::Away => {
                at.place.behind = true;
                at.away = true;
            }
            Page::Room(record) => {
                let head = record.head;
                match at.place.load(*record) {
                    Loaded::Begins => at.place.begin(head),
                    Loaded::Lost => self.wrong.push(format!("n{node} takes the log to be lost")),
                    Loaded::GoesOn => {}
                }
            }
            Page::Log(after, entries) => {
                let full = entries.len() == PAGE;
                if entries
                    .first()
                    .is_some_and(|first| first.seq != after.next())
                {
                    self.wrong.push(format!("the log has a hole after {after}"));
                }
                let untold = at.place.read(&entries);
                at.place.behind |= full;
                self.deliver(node, entries);
                self.tell(node, untold);
            }
        }
        self.turn(node);
    }

    fn deliver(&mut self, node: usize, entries: Vec<Entry>) {
        let Some(at) = self.nodes[node].as_mut() else {
            return;
        };
        let fresh = at.place.take(entries);
        for entry in &fresh {
            note(|| format!("{} n{node} delivers {}", self.agenda.now, entry.seq));
            for seat in 0..self.seats.len() {
                if self.seats[seat].node == node && !self.seats[seat].over {
                    self.see(seat, entry);
                }
            }
        }
    }

    /// Tells the other nodes.
    fn tell(&mut self, from: usize, mut entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        if self.plant == Plant::Misplaced {
            for entry in &mut entries {
                entry.seq = Seq::new(entry.seq.get().saturating_sub(1));
            }
        }
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            let life = self.lives[to];
            if self.fails(self.lost) {
                note(|| format!("{} n{from} to n{to}: lost", self.agenda.now));
                let noticed = self.dice.within(1, 30_000);
                self.doubt_after(noticed, to, life);
                continue;
            }
            let late = self.fails(self.late);
            let delay = self.dice.within(0, if late { 150 } else { 6 });
            let last = self.last.entry((from, to)).or_default();
            let at = (self.agenda.now + delay).max(*last + 1);
            *last = at;
            let news = || Event::Mail(to, life, Mail::News(entries.clone()));
            self.agenda.at(at, news());
            if self.fails(self.doubled) {
                let again = at + self.dice.within(1, 80);
                self.agenda.at(again, news());
            }
        }
    }

    fn judge(&mut self) {
        let head = self.head();
        for seat in self.seats.iter().filter(|seat| !seat.over) {
            let who = format!("u{}@n{}", seat.user, seat.node);
            match seat.from {
                None => self.wrong.push(format!("{who} never starts")),
                Some(from) => {
                    let at = seat.last.unwrap_or_default().max(from);
                    if at != head {
                        self.wrong.push(format!("{who} is at {at} of {head}"));
                    }
                }
            }
        }
        if self.saying > 0 {
            self.wrong
                .push(format!("{} are never answered", self.saying));
        }
        for ((user, nonce), seq) in &self.acked {
            let stands = self.log.iter().filter(|entry| {
                entry.user == *user
                    && matches!(&entry.body, EntryBody::Message(body) if body.nonce == *nonce)
            });
            let stands: Vec<Seq> = stands.map(|entry| entry.seq).collect();
            if stands != [*seq] {
                let what = format!("{nonce}, acknowledged at {seq}, stands at {stands:?}");
                self.wrong.push(what);
            }
        }
        for (n, entry) in self.log.iter().enumerate() {
            if entry.seq.get() != n as u64 + 1 {
                self.wrong
                    .push(format!("{} stands at {}", entry.seq, n + 1));
            }
        }
    }
}

impl Node {
    fn new() -> Self {
        Self {
            place: Place::new(None),
            queue: VecDeque::new(),
            waiting: false,
            away: false,
            retries: false,
            flying: None,
        }
    }

    /// As `Room::begin_where_told`.
    fn begin_where_told(&mut self, seats: &[Seat]) {
        if !self.place.may_begin() {
            return;
        }
        let told = self.queue.iter().filter_map(|mail| match mail {
            Mail::Begin(seat) => Some(seats[*seat].head),
            Mail::News(entries) => Some(Seq::new(entries.first()?.seq.get().saturating_sub(1))),
            Mail::Ask(..) | Mail::Doubt => None,
        });
        if let Some(from) = told.min() {
            self.place.begin(from);
        }
    }
}

#[test]
fn pure_rooms_lose_nothing_in_any_schedule() {
    none_fails(SEEDS, |seed| play(seed, Plant::Nothing));
}

#[test]
fn what_is_broken_in_rooms_is_seen() {
    let plants = [
        Plant::Fork,
        Plant::Forget,
        Plant::Twice,
        Plant::ShortPage,
        Plant::Unheld,
        Plant::Unnoticed,
        Plant::Misplaced,
    ];
    for plant in plants {
        is_seen(&format!("{plant:?}"), 5_000, |seed| play(seed, plant));
    }
}
