//! The checker accepts every history a right server may produce, and catches every planted fault.
//!
//! A small model of a server and its clients makes the right histories: sends that get lost on the
//! way there or whose answer gets lost on the way back, retries, dropped sockets, resumes, restarts
//! of the server that lose every session, and sync afterwards.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use loadtest::{
    check,
    check::Rule,
    record::{Happened, Line, Mark},
};
use proptest::{prelude::*, strategy::ValueTree as _};
use shared::{
    codes::ErrorCode,
    id::{Epoch, Nonce, RoomId, Seq, SessionId, Timestamp, UserId},
    protocol::room::{Entry, EntryBody, MessageBody, RoomChange, RoomKind},
};

const CLIENTS: usize = 4;
const ROOMS: usize = 2;

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// A client sends; whether the request arrives, and whether the answer does.
    Send {
        client: usize,
        room: usize,
        arrives: bool,
        answered: bool,
    },
    /// A client tries its oldest unanswered send again.
    Retry { client: usize },
    /// A send is refused.
    Refuse { client: usize, room: usize },
    /// A client takes in some of what waits for it.
    Read { client: usize, some: usize },
    /// A client edits one of its messages.
    Edit { client: usize, which: usize },
    /// A client deletes one of its messages.
    Delete { client: usize, which: usize },
    /// A client loses its socket and resumes.
    Resume { client: usize },
    /// The server dies: every session is lost, every log stays.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..CLIENTS;
    let room = 0..ROOMS;
    let step = prop_oneof![
        6 => (client.clone(), room.clone(), prop::bool::weighted(0.8), prop::bool::weighted(0.8))
            .prop_map(|(client, room, arrives, answered)| Step::Send {
                client, room, arrives, answered: arrives && answered,
            }),
        2 => client.clone().prop_map(|client| Step::Retry { client }),
        1 => (client.clone(), room).prop_map(|(client, room)| Step::Refuse { client, room }),
        4 => (client.clone(), 1..6_usize).prop_map(|(client, some)| Step::Read { client, some }),
        1 => (client.clone(), 0..9_usize).prop_map(|(client, which)| Step::Edit { client, which }),
        1 => (client.clone(), 0..9_usize).prop_map(|(client, which)| Step::Delete { client, which }),
        2 => client.prop_map(|client| Step::Resume { client }),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 20..120)
}

#[derive(Default)]
struct Client {
    session: usize,
    s: u64,
    have: HashMap<usize, u64>,
    /// Stream of the session: entries of rooms, as they were when they were new.
    stream: Vec<(usize, Entry)>,
    unanswered: Vec<(usize, Nonce, String)>,
}

#[derive(Default)]
struct Model {
    lines: Vec<Line>,
    logs: Vec<Vec<Entry>>,
    clients: Vec<Client>,
    counter: usize,
}

fn user(c: usize) -> UserId {
    UserId::parse(&format!("u{c}")).unwrap()
}

fn room(r: usize) -> RoomId {
    RoomId::parse(&format!("r{r}")).unwrap()
}

fn epoch() -> Epoch {
    Epoch::parse("e").unwrap()
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            ..Self::default()
        };
        for _ in 0..ROOMS {
            let created = RoomChange {
                created: Some(RoomKind::Channel),
                ..RoomChange::default()
            };
            model.logs.push(vec![Entry {
                seq: Seq::new(1),
                user: user(0),
                ts: Timestamp::from_millis(1),
                body: EntryBody::Room(created),
            }]);
        }
        for c in 0..CLIENTS {
            model.start(c);
        }
        model
    }

    fn note(&mut self, c: usize, what: Happened) {
        let at = Timestamp::from_millis(self.lines.len() as i64);
        let c = format!("c{c}");
        self.lines.push(Line { at, c, what });
    }

    fn start(&mut self, c: usize) {
        self.counter += 1;
        let session = self.counter;
        let rooms = (0..ROOMS)
            .map(|r| Mark {
                room: room(r),
                epoch: epoch(),
                head: Seq::new(self.logs[r].len() as u64),
            })
            .collect();
        let sid = SessionId::parse(&format!("s{session}")).unwrap();
        self.note(
            c,
            Happened::Started {
                user: user(c),
                sid,
                rooms,
            },
        );
        let client = &mut self.clients[c];
        client.session = session;
        client.s = 0;
        client.stream.clear();
        for r in 0..ROOMS {
            let head = self.logs[r].len() as u64;
            let have = *self.clients[c].have.entry(r).or_insert(head);
            if have < head {
                let entries = self.logs[r][have as usize..].to_vec();
                self.note(
                    c,
                    Happened::Synced {
                        room: room(r),
                        epoch: epoch(),
                        after: Seq::new(have),
                        reset: false,
                        first: None,
                        entries,
                    },
                );
                self.clients[c].have.insert(r, head);
            }
        }
    }

    fn append(&mut self, c: usize, r: usize, nonce: &Nonce, text: &str) -> (Seq, Timestamp, bool) {
        let known = self.logs[r].iter().find(|e| {
            e.user == user(c) && matches!(&e.body, EntryBody::Message(m) if m.nonce == *nonce)
        });
        if let Some(entry) = known {
            return (entry.seq, entry.ts, true);
        }
        let body = EntryBody::Message(MessageBody {
            unreadable: false,
            nonce: nonce.clone(),
            text: text.to_owned(),
            reply_to: None,
            mentions: Vec::new(),
            data: None,
        });
        let entry = self.push(c, r, body);
        (entry.seq, entry.ts, false)
    }

    fn push(&mut self, c: usize, r: usize, body: EntryBody) -> Entry {
        let entry = Entry {
            seq: Seq::new(self.logs[r].len() as u64 + 1),
            user: user(c),
            ts: Timestamp::from_millis(1000 + self.lines.len() as i64),
            body,
        };
        self.logs[r].push(entry.clone());
        for client in &mut self.clients {
            client.stream.push((r, entry.clone()));
        }
        entry
    }

    /// A message of the client that is not deleted.
    fn own_message(&self, c: usize, which: usize) -> Option<(usize, Seq)> {
        let own: Vec<(usize, Seq)> = (0..ROOMS)
            .flat_map(|r| self.logs[r].iter().map(move |entry| (r, entry)))
            .filter(|(_, e)| {
                e.user == user(c) && matches!(&e.body, EntryBody::Message(m) if !m.text.is_empty())
            })
            .map(|(r, entry)| (r, entry.seq))
            .collect();
        (!own.is_empty()).then(|| own[which % own.len()])
    }

    fn delete(&mut self, c: usize, r: usize, target: Seq) {
        let entry = self.push(c, r, EntryBody::Delete { target });
        self.done(c, r, &entry);
        for entry in &mut self.logs[r] {
            let seq = entry.seq;
            match &mut entry.body {
                EntryBody::Message(message) if seq == target => message.text.clear(),
                EntryBody::Edit {
                    target: of, text, ..
                } if *of == target => text.clear(),
                _ => {}
            }
        }
    }

    fn done(&mut self, c: usize, r: usize, entry: &Entry) {
        self.note(
            c,
            Happened::Done {
                room: room(r),
                seq: entry.seq,
                ts: entry.ts,
            },
        );
    }

    fn sent(&mut self, c: usize, r: usize, nonce: &Nonce, text: &str) {
        self.note(
            c,
            Happened::Sent {
                room: room(r),
                nonce: nonce.clone(),
                text: text.to_owned(),
            },
        );
    }

    fn acked(&mut self, c: usize, r: usize, nonce: &Nonce, ack: (Seq, Timestamp, bool)) {
        self.note(
            c,
            Happened::Acked {
                room: room(r),
                nonce: nonce.clone(),
                seq: ack.0,
                ts: ack.1,
                dup: ack.2,
            },
        );
    }

    fn fresh(&mut self, c: usize) -> (Nonce, String) {
        self.counter += 1;
        let nonce = Nonce::parse(&format!("n{}", self.counter)).unwrap();
        (nonce, format!("{} of {c}", self.counter))
    }

    fn read(&mut self, c: usize, some: usize) {
        for _ in 0..some {
            let client = &mut self.clients[c];
            let Some((r, entry)) = client.stream.get(client.s as usize).cloned() else {
                return;
            };
            client.s += 1;
            let s = client.s;
            client.have.insert(r, entry.seq.get());
            self.note(
                c,
                Happened::Entry {
                    s: Some(s),
                    room: room(r),
                    entry,
                },
            );
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send {
                client: c,
                room: r,
                arrives,
                answered,
            } => {
                let (nonce, text) = self.fresh(c);
                self.sent(c, r, &nonce, &text);
                let ack = arrives.then(|| self.append(c, r, &nonce, &text));
                match ack.filter(|_| answered) {
                    Some(ack) => self.acked(c, r, &nonce, ack),
                    None => self.clients[c].unanswered.push((r, nonce, text)),
                }
            }
            Step::Retry { client: c } => {
                if self.clients[c].unanswered.is_empty() {
                    return;
                }
                let (r, nonce, text) = self.clients[c].unanswered.remove(0);
                self.sent(c, r, &nonce, &text);
                let ack = self.append(c, r, &nonce, &text);
                self.acked(c, r, &nonce, ack);
            }
            Step::Refuse { client: c, room: r } => {
                let (nonce, text) = self.fresh(c);
                self.sent(c, r, &nonce, &text);
                self.note(
                    c,
                    Happened::Refused {
                        room: room(r),
                        nonce,
                        code: ErrorCode::Busy,
                    },
                );
            }
            Step::Read { client, some } => self.read(client, some),
            Step::Edit { client: c, which } => {
                if let Some((r, target)) = self.own_message(c, which) {
                    self.counter += 1;
                    let text = format!("edited {}", self.counter);
                    let mentions = Vec::new();
                    let edit = EntryBody::Edit {
                        target,
                        text,
                        mentions,
                    };
                    let entry = self.push(c, r, edit);
                    self.done(c, r, &entry);
                }
            }
            Step::Delete { client: c, which } => {
                if let Some((r, target)) = self.own_message(c, which) {
                    self.delete(c, r, target);
                }
            }
            Step::Resume { client: c } => {
                let sid = SessionId::parse(&format!("s{}", self.clients[c].session)).unwrap();
                let s = self.clients[c].s;
                let waiting = self.clients[c].stream.len() - s as usize;
                self.note(c, Happened::Closed { code: None });
                self.note(c, Happened::Resuming { sid, s });
                self.read(c, waiting);
                self.note(
                    c,
                    Happened::Resumed {
                        replayed: waiting as u64,
                    },
                );
            }
            Step::Crash => {
                for c in 0..CLIENTS {
                    self.note(c, Happened::Closed { code: None });
                    self.start(c);
                }
            }
        }
    }

    fn finish(mut self) -> Vec<Line> {
        for c in 0..CLIENTS {
            self.read(c, usize::MAX);
            self.note(c, Happened::CaughtUp);
        }
        for r in 0..ROOMS {
            let at = Timestamp::from_millis(0);
            self.lines.push(Line {
                at,
                c: String::new(),
                what: Happened::Log {
                    room: room(r),
                    epoch: epoch(),
                    first: Seq::FIRST,
                    entries: self.logs[r].clone(),
                },
            });
        }
        self.lines
    }
}

fn history(steps: &[Step]) -> Vec<Line> {
    let mut model = Model::new();
    for step in steps {
        model.step(step);
    }
    model.finish()
}

/// A fault to plant.
#[derive(Debug, Clone, Copy)]
enum Fault {
    LoseAcked,
    LoseDone,
    WrongDone,
    LogTwice,
    LogHole,
    LogReorder,
    WrongSeq,
    WrongTime,
    AlterLogText,
    AlterEventText,
    AlterDeletedEvent,
    AlterDeletedEdit,
    BlankLogText,
    KeepDeleted,
    DropEvent,
    DropEventRenumbered,
    SwapEvents,
    DoubleEvent,
    DoubleEventRenumbered,
    SkipStream,
    ShortenSync,
    DupOfNothing,
    NewTwice,
    RefusedIsThere,
    Unsent,
    SecondReading,
}

const FAULTS: &[Fault] = &[
    Fault::LoseAcked,
    Fault::LogTwice,
    Fault::LogHole,
    Fault::LogReorder,
    Fault::WrongSeq,
    Fault::WrongTime,
    Fault::AlterLogText,
    Fault::AlterEventText,
    Fault::AlterDeletedEvent,
    Fault::AlterDeletedEdit,
    Fault::BlankLogText,
    Fault::KeepDeleted,
    Fault::DropEvent,
    Fault::DropEventRenumbered,
    Fault::SwapEvents,
    Fault::DoubleEvent,
    Fault::DoubleEventRenumbered,
    Fault::SkipStream,
    Fault::ShortenSync,
    Fault::DupOfNothing,
    Fault::NewTwice,
    Fault::RefusedIsThere,
    Fault::Unsent,
    Fault::SecondReading,
    Fault::LoseDone,
    Fault::WrongDone,
];

fn positions(lines: &[Line], wanted: impl Fn(&Happened) -> bool) -> Vec<usize> {
    (0..lines.len())
        .filter(|i| wanted(&lines[*i].what))
        .collect()
}

fn pick(of: &[usize], at: prop::sample::Index) -> Option<usize> {
    (!of.is_empty()).then(|| of[at.index(of.len())])
}

/// Moves the positions of the events after line `from` in the same session by `by`.
fn renumber(lines: &mut [Line], from: usize, by: i64) {
    let c = lines[from].c.clone();
    for line in lines[from + 1..].iter_mut().filter(|line| line.c == c) {
        match &mut line.what {
            Happened::Entry { s: Some(s), .. } | Happened::Resuming { s, .. } => {
                *s = s.checked_add_signed(by).unwrap();
            }
            Happened::Started { .. } => return,
            _ => {}
        }
    }
}

fn alter(entry: &mut Entry) {
    if let EntryBody::Message(message) = &mut entry.body {
        message.text.push('!');
    }
}

fn is_message(entry: &Entry) -> bool {
    matches!(entry.body, EntryBody::Message(_))
}

fn is_deleted(lines: &[Line], of: &RoomId, seq: Seq) -> bool {
    lines.iter().any(|line| match &line.what {
        Happened::Log { room, entries, .. } if room == of => entries
            .iter()
            .any(|e| matches!(e.body, EntryBody::Delete { target } if target == seq)),
        _ => false,
    })
}

fn with_log<T>(lines: &mut [Line], of: &RoomId, act: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
    let log = lines.iter_mut().find_map(|line| match &mut line.what {
        Happened::Log { room, entries, .. } if room == of => Some(entries),
        _ => None,
    });
    act(log.unwrap())
}

/// Plants the fault; `None` when the history has no place for it. Otherwise the rules that may
/// name it.
fn plant(lines: &mut Vec<Line>, fault: Fault, at: prop::sample::Index) -> Option<Vec<Rule>> {
    let acks = positions(lines, |w| matches!(w, Happened::Acked { .. }));
    let entries = positions(
        lines,
        |w| matches!(w, Happened::Entry { entry, .. } if is_message(entry)),
    );
    let rules = match fault {
        Fault::LoseAcked | Fault::LogHole => {
            let i = pick(&acks, at)?;
            let Happened::Acked { room, seq, .. } = lines[i].what.clone() else {
                unreachable!()
            };
            let dense = matches!(fault, Fault::LoseAcked);
            with_log(lines, &room, |log| {
                log.remove(seq.get() as usize - 1);
                if dense {
                    for (i, entry) in log.iter_mut().enumerate() {
                        entry.seq = Seq::new(i as u64 + 1);
                    }
                }
            });
            vec![Rule::Lost]
        }
        Fault::LogTwice => {
            let i = pick(&acks, at)?;
            let Happened::Acked { room, seq, .. } = lines[i].what.clone() else {
                unreachable!()
            };
            with_log(lines, &room, |log| {
                let mut again = log[seq.get() as usize - 1].clone();
                again.seq = Seq::new(log.len() as u64 + 1);
                log.push(again);
            });
            vec![Rule::Twice]
        }
        Fault::LogReorder => {
            let room = room(0);
            with_log(lines, &room, |log| {
                let pairs = log.len().checked_sub(2).filter(|n| *n > 0)?;
                let i = 1 + at.index(pairs);
                log.swap(i, i + 1);
                Some(vec![Rule::LogBroken])
            })?
        }
        Fault::WrongSeq | Fault::WrongTime => {
            let i = pick(&acks, at)?;
            if let Happened::Acked { seq, ts, .. } = &mut lines[i].what {
                match fault {
                    Fault::WrongSeq => *seq = seq.next(),
                    _ => *ts = ts.plus_millis(1),
                }
            }
            vec![Rule::WrongAck]
        }
        Fault::AlterLogText => {
            let i = pick(&acks, at)?;
            let Happened::Acked { room, seq, .. } = lines[i].what.clone() else {
                unreachable!()
            };
            with_log(lines, &room, |log| alter(&mut log[seq.get() as usize - 1]));
            vec![Rule::Altered]
        }
        Fault::AlterEventText => {
            let i = pick(&entries, at)?;
            if let Happened::Entry { entry, .. } = &mut lines[i].what {
                alter(entry);
            }
            vec![Rule::Altered]
        }
        Fault::AlterDeletedEvent => {
            let gone: Vec<usize> = entries
                .iter()
                .copied()
                .filter(|i| match &lines[*i].what {
                    Happened::Entry { room, entry, .. } => is_deleted(lines, room, entry.seq),
                    _ => false,
                })
                .collect();
            if let Happened::Entry { entry, .. } = &mut lines[pick(&gone, at)?].what {
                alter(entry);
            }
            vec![Rule::Altered]
        }
        Fault::AlterDeletedEdit => {
            // Its words stand nowhere but with those who saw them: another has to have seen it.
            let edits = positions(lines, |what| match what {
                Happened::Entry { room, entry, .. } => match entry.body {
                    EntryBody::Edit { target, .. } => {
                        let sightings = positions(
                            lines,
                            |w| matches!(w, Happened::Entry { room: r, entry: e, .. } if r == room && e == entry),
                        );
                        is_deleted(lines, room, target) && sightings.len() > 1
                    }
                    _ => false,
                },
                _ => false,
            });
            if let Happened::Entry { entry, .. } = &mut lines[pick(&edits, at)?].what
                && let EntryBody::Edit { text, .. } = &mut entry.body
            {
                text.push('!');
            }
            vec![Rule::Altered]
        }
        Fault::BlankLogText | Fault::KeepDeleted => {
            let keep = matches!(fault, Fault::KeepDeleted);
            let fitting: Vec<usize> = acks
                .iter()
                .copied()
                .filter(|i| match &lines[*i].what {
                    Happened::Acked { room, seq, .. } => is_deleted(lines, room, *seq) == keep,
                    _ => false,
                })
                .collect();
            let i = pick(&fitting, at)?;
            let Happened::Acked {
                room, seq, nonce, ..
            } = lines[i].what.clone()
            else {
                unreachable!()
            };
            let sent = lines.iter().find_map(|line| match &line.what {
                Happened::Sent { nonce: n, text, .. } if *n == nonce => Some(text.clone()),
                _ => None,
            });
            with_log(lines, &room, |log| {
                if let EntryBody::Message(message) = &mut log[seq.get() as usize - 1].body {
                    message.text = sent.filter(|_| keep).unwrap_or_default();
                }
            });
            vec![if keep { Rule::Kept } else { Rule::Altered }]
        }
        Fault::DropEvent => {
            let i = pick(&entries, at)?;
            lines.remove(i);
            vec![Rule::StreamBroken, Rule::Hole]
        }
        Fault::DropEventRenumbered => {
            let i = pick(&entries, at)?;
            renumber(lines, i, -1);
            lines.remove(i);
            vec![Rule::Hole]
        }
        Fault::SwapEvents => {
            // Two entries of one room, next to each other for one client.
            let pairs: Vec<usize> = positions(lines, |w| matches!(w, Happened::Entry { .. }))
                .into_iter()
                .filter(|i| match (&lines[*i], lines.get(*i + 1)) {
                    (
                        Line {
                            c: c1,
                            what: Happened::Entry { room: r1, .. },
                            ..
                        },
                        Some(Line {
                            c: c2,
                            what: Happened::Entry { room: r2, .. },
                            ..
                        }),
                    ) => c1 == c2 && r1 == r2,
                    _ => false,
                })
                .collect();
            let i = pick(&pairs, at)?;
            let (left, right) = lines.split_at_mut(i + 1);
            let (Happened::Entry { entry: one, .. }, Happened::Entry { entry: two, .. }) =
                (&mut left[i].what, &mut right[0].what)
            else {
                unreachable!()
            };
            std::mem::swap(one, two);
            vec![Rule::Hole, Rule::Disorder]
        }
        Fault::DoubleEvent => {
            let i = pick(&entries, at)?;
            lines.insert(i, lines[i].clone());
            vec![Rule::StreamBroken, Rule::Doubled]
        }
        Fault::DoubleEventRenumbered => {
            let i = pick(&entries, at)?;
            let mut again = lines[i].clone();
            renumber(lines, i, 1);
            if let Happened::Entry { s: Some(s), .. } = &mut again.what {
                *s += 1;
            }
            lines.insert(i + 1, again);
            vec![Rule::Doubled]
        }
        Fault::SkipStream => {
            let i = pick(&entries, at)?;
            if let Happened::Entry { s: Some(s), .. } = &mut lines[i].what {
                *s += 1;
            }
            renumber(lines, i, 1);
            vec![Rule::StreamBroken]
        }
        Fault::ShortenSync => {
            let synced = positions(
                lines,
                |w| matches!(w, Happened::Synced { entries, .. } if !entries.is_empty()),
            );
            let i = pick(&synced, at)?;
            if let Happened::Synced { entries, .. } = &mut lines[i].what {
                entries.remove(at.index(entries.len()));
            }
            vec![Rule::Hole]
        }
        Fault::DupOfNothing => {
            let firsts: Vec<usize> = acks
                .iter()
                .copied()
                .filter(|i| match &lines[*i].what {
                    Happened::Acked { nonce, .. } => {
                        positions(
                            lines,
                            |w| matches!(w, Happened::Sent { nonce: n, .. } if n == nonce),
                        )
                        .len()
                            == 1
                    }
                    _ => false,
                })
                .collect();
            let i = pick(&firsts, at)?;
            if let Happened::Acked { dup, .. } = &mut lines[i].what {
                *dup = true;
            }
            vec![Rule::DupWrong]
        }
        Fault::NewTwice => {
            let new: Vec<usize> = acks
                .iter()
                .copied()
                .filter(|i| matches!(lines[*i].what, Happened::Acked { dup: false, .. }))
                .collect();
            let i = pick(&new, at)?;
            lines.insert(i, lines[i].clone());
            vec![Rule::DupWrong]
        }
        Fault::RefusedIsThere => {
            let i = pick(&acks, at)?;
            let Happened::Acked { room, nonce, .. } = lines[i].what.clone() else {
                unreachable!()
            };
            let tries = positions(
                lines,
                |w| matches!(w, Happened::Sent { nonce: n, .. } if *n == nonce),
            );
            if tries.len() > 1 {
                return None;
            }
            lines[i].what = Happened::Refused {
                room,
                nonce,
                code: ErrorCode::Busy,
            };
            vec![Rule::Unsent]
        }
        Fault::LoseDone | Fault::WrongDone => {
            let acts = positions(lines, |w| matches!(w, Happened::Done { .. }));
            let i = pick(&acts, at)?;
            let Happened::Done { room, .. } = lines[i].what.clone() else {
                unreachable!()
            };
            let end = with_log(lines, &room, |log| Seq::new(log.len() as u64 + 1));
            let Happened::Done { seq, ts, .. } = &mut lines[i].what else {
                unreachable!()
            };
            if matches!(fault, Fault::LoseDone) {
                *seq = end;
                vec![Rule::Lost]
            } else {
                *ts = ts.plus_millis(1);
                vec![Rule::WrongAck]
            }
        }
        Fault::Unsent => {
            let i = pick(&acks, at)?;
            let Happened::Acked { nonce, .. } = lines[i].what.clone() else {
                unreachable!()
            };
            lines.retain(|line| match &line.what {
                Happened::Sent { nonce: n, .. } | Happened::Acked { nonce: n, .. } => *n != nonce,
                _ => true,
            });
            vec![Rule::Unsent]
        }
        Fault::SecondReading => {
            let log = lines.last()?.clone();
            lines.push(log);
            let last = lines.len() - 1;
            if let Happened::Log { entries, .. } = &mut lines[last].what {
                entries.pop();
            }
            vec![Rule::LogBroken]
        }
    };
    Some(rules)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_right_history_passes(steps in steps()) {
        let verdict = check(&history(&steps));
        prop_assert!(verdict.holds(), "{verdict}");
        prop_assert_eq!(verdict.seen.clients, CLIENTS);
        prop_assert_eq!(verdict.seen.logs, ROOMS);
    }

    #[test]
    fn every_planted_fault_is_caught(
        steps in steps(),
        fault in prop::sample::select(FAULTS),
        at in any::<prop::sample::Index>(),
    ) {
        let mut lines = history(&steps);
        if let Some(rules) = plant(&mut lines, fault, at) {
            let verdict = check(&lines);
            prop_assert!(
                verdict.violations.iter().any(|v| rules.contains(&v.rule)),
                "{fault:?} not named as one of {rules:?}: {verdict}"
            );
        }
    }
}

/// A history long enough that every fault finds a place in it.
fn rich() -> Vec<Step> {
    let mut steps = Vec::new();
    for n in 0..60 {
        let (client, room) = (n % CLIENTS, n % 3 % ROOMS);
        steps.push(Step::Send {
            client,
            room,
            arrives: n % 5 != 0,
            answered: n % 5 > 1,
        });
        match n % 7 {
            0 => steps.push(Step::Retry { client }),
            1 => steps.push(Step::Resume { client }),
            2 => steps.push(Step::Refuse { client, room }),
            3 => steps.push(Step::Read { client, some: 3 }),
            4 => steps.push(Step::Edit { client, which: 0 }),
            5 => steps.push(Step::Delete { client, which: 0 }),
            _ => {}
        }
        if n == 30 {
            steps.push(Step::Crash);
        }
    }
    steps
}

#[test]
fn each_fault_by_name_is_caught() {
    let right = history(&rich());
    let verdict = check(&right);
    assert!(verdict.holds(), "{verdict}");
    assert!(verdict.seen.dups > 0 && verdict.seen.resumes > 0 && verdict.seen.synced > 0);
    assert!(verdict.seen.deleted > 0 && verdict.seen.acts > 0);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for fault in FAULTS {
        for _ in 0..20 {
            let index = any::<prop::sample::Index>().new_tree(&mut runner).unwrap();
            let mut lines = right.clone();
            if let Some(rules) = plant(&mut lines, *fault, index.current()) {
                let verdict = check(&lines);
                assert!(
                    verdict.violations.iter().any(|v| rules.contains(&v.rule)),
                    "{fault:?}: {verdict}"
                );
            } else {
                assert!(
                    matches!(fault, Fault::RefusedIsThere),
                    "no place for {fault:?}"
                );
            }
        }
    }
}

#[test]
fn a_record_survives_the_file_and_an_empty_one_does_not_pass() {
    let right = history(&rich());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record.jsonl");
    let text: Vec<String> = right
        .iter()
        .map(|line| serde_json::to_string(line).unwrap())
        .collect();
    std::fs::write(&path, text.join("\n")).unwrap();
    assert_eq!(loadtest::record::read(&path).unwrap(), right);
    assert!(!check(&[]).holds());
}

#[test]
fn the_program_judges_by_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let mut lines = history(&rich());
    for (name, success) in [("right.jsonl", true), ("wrong.jsonl", false)] {
        let path = directory.path().join(name);
        let text: Vec<String> = lines
            .iter()
            .map(|line| serde_json::to_string(line).unwrap())
            .collect();
        std::fs::write(&path, text.join("\n")).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .arg("check")
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(output.status.success(), success, "{output:?}");
        let position = lines
            .iter()
            .position(|line| matches!(line.what, Happened::Entry { .. }))
            .unwrap();
        lines.remove(position);
    }
}

/// Everything before `first` has expired: it is gone from the logs, and who comes late is told so.
fn expire(lines: &mut [Line], first: u64) {
    for line in lines {
        match &mut line.what {
            Happened::Log {
                first: begins,
                entries,
                ..
            } => {
                *begins = Seq::new(first.min(entries.len() as u64));
                entries.retain(|entry| entry.seq >= *begins);
            }
            Happened::Synced {
                after,
                first: begins,
                entries,
                ..
            } if after.get() + 1 < first => {
                let head = entries.last().map_or(0, |entry| entry.seq.get());
                if head >= first {
                    *begins = Some(Seq::new(first));
                    entries.retain(|entry| entry.seq.get() >= first);
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn an_expired_beginning_is_no_hole(steps in steps(), first in 1..40_u64) {
        let mut lines = history(&steps);
        expire(&mut lines, first);
        let verdict = check(&lines);
        prop_assert!(verdict.holds(), "{verdict}");
    }

    /// A log that lacks what it should keep, or that begins later than it says.
    #[test]
    fn holes_behind_an_expired_beginning_are_found(
        steps in steps(), first in 2..20_u64, at in any::<prop::sample::Index>(), beginning in any::<bool>(),
    ) {
        let mut lines = history(&steps);
        expire(&mut lines, first);
        let lacks = with_log(&mut lines, &room(0), |log| {
            // Not the newest: a log may end there.
            let kept = log.len().saturating_sub(1);
            (kept > 0).then(|| log.remove(if beginning { 0 } else { at.index(kept) }))
        });
        prop_assume!(lacks.is_some());
        let verdict = check(&lines);
        let broken = verdict.violations.iter().any(|found| found.rule == Rule::LogBroken);
        prop_assert!(broken, "{verdict}");
    }

    /// An answer to `room.sync` that begins later than the first entry that is kept.
    #[test]
    fn a_sync_that_leaves_out_what_is_kept_is_found(steps in steps(), first in 1..6_u64) {
        let mut lines = history(&steps);
        expire(&mut lines, first);
        let shortened = lines.iter_mut().find_map(|line| match &mut line.what {
            Happened::Synced { entries, .. } if entries.len() > 1 => Some(entries.remove(0)),
            _ => None,
        });
        prop_assume!(shortened.is_some());
        let verdict = check(&lines);
        let hole = verdict.violations.iter().any(|found| found.rule == Rule::Hole);
        prop_assert!(hole, "{verdict}");
    }
}
