//! A conversation whose every message is accounted for.

use serde_json::json;

use super::words::words;
use crate::swarm::{Crowd, Fault, Ledger, Room, Who};

/// A conversation in every room, closed loop: the next message goes out when the oldest of those
/// under way has reached everybody.
pub(super) struct Talk<'a> {
    pub(super) crowd: &'a mut Crowd,
    pub(super) ledger: &'a mut Ledger,
    /// Who speaks in a room.
    pub(super) speaker: &'a dyn Fn(Room) -> Who,
    /// How long a message is, in bytes.
    pub(super) text: usize,
    /// How many messages of a room may be under way.
    pub(super) in_flight: u64,
}

impl Talk<'_> {
    /// Lets so many messages be said in each room, and waits until all are acknowledged and heard.
    pub(super) fn run(&mut self, messages: u64) -> Result<(), Fault> {
        let rooms = self.ledger.rooms();
        let base: Vec<u64> = (0..rooms).map(|room| self.ledger.whole(room)).collect();
        let mut sent = vec![0; rooms];
        let mut texts: Vec<Vec<String>> = vec![Vec::new(); rooms];
        let mut acknowledged = 0;
        loop {
            let mut finished = true;
            for room in 0..rooms {
                let whole = self.ledger.whole(room) - base[room];
                finished &= whole == messages;
                while sent[room] < messages && sent[room] < whole + self.in_flight {
                    let n = base[room] + sent[room];
                    let text = words(n, self.text);
                    let d = json!({
                        "room": self.ledger.id(room), "nonce": format!("n{n}"), "text": text,
                    });
                    let id = (room as u64) << 24 | sent[room];
                    self.crowd
                        .send((self.speaker)(room), id, "message.send", &d)?;
                    texts[room].push(text);
                    sent[room] += 1;
                }
            }
            if finished && acknowledged == messages * rooms as u64 {
                return Ok(());
            }
            let mut fault = None;
            let ledger = &mut *self.ledger;
            self.crowd.step("deliveries", |who, told| {
                let heard = ledger.hear(who, told).map(|_| ());
                let answered = match (told.id, &told.ok, &told.err) {
                    (Some(id), Some(ok), _) => {
                        acknowledged += 1;
                        let (room, n) = ((id >> 24) as usize, (id & 0xff_ffff) as usize);
                        ledger.acknowledged(room, ok.seq.unwrap_or(0), &texts[room][n])
                    }
                    (_, _, Some(error)) => Err(Fault::Refused(error.explain())),
                    _ => Ok(()),
                };
                if let Err(error) = heard.and(answered) {
                    fault.get_or_insert(error);
                }
            })?;
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
    }
}
