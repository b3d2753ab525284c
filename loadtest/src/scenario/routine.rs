//! What a session does all day: commands that one asks one after the other, and heartbeats. What they
//! take is counted by [`Instructions`](super::Instructions), not timed.

use serde_json::{Value, json};

use super::{Scenario, Stage, words::words};
use crate::{
    measure::Figure,
    swarm::Fault,
    target::{Friends, Server, World},
};

/// Commands that are asked, by the name of their operation.
pub(super) const COMMANDS: [&str; 5] = ["ping", "room.get", "typing", "read", "message.send"];
/// Length of what is said, in bytes.
const TEXT: usize = 64;

/// One of the two people in a room asks the same again and again, each time when the answer to the one
/// before has come.
#[derive(Debug)]
pub(super) struct Commands {
    pub(super) op: &'static str,
    pub(super) count: u64,
}

impl Commands {
    fn body(&self, room: &str, n: u64) -> Value {
        match self.op {
            "ping" => json!({}),
            "typing" => json!({"room": room, "on": n.is_multiple_of(2)}),
            "read" => json!({"room": room, "seq": 1}),
            "message.send" => {
                json!({"room": room, "nonce": format!("n{n}"), "text": words(n, TEXT)})
            }
            _ => json!({"room": room}),
        }
    }
}

impl Scenario for Commands {
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let world = World::settle(server, 2, Friends::Strangers, |_, _, _| ())?;
        let (room, _) = world.room("group", "two", world.users())?;
        let mut crowd = stage.crowd(server)?;
        crowd.join(server.access().tokens(world.users())?, |_, _| ())?;
        for n in 0..self.count {
            crowd.send(0, n, self.op, &self.body(&room, n))?;
            let mut answer = None;
            while answer.is_none() {
                crowd.step(self.op, |who, told| {
                    if who == 0 && told.id == Some(n) {
                        answer = Some(
                            told.err
                                .as_ref()
                                .map_or(Ok(()), |error| Err(Fault::Refused(error.explain()))),
                        );
                    }
                })?;
            }
            answer.transpose()?;
        }
        Ok(Vec::new())
    }
}

/// Sessions that do nothing but answer the server's pings, until there were so many.
#[derive(Debug)]
pub(super) struct Heartbeats {
    pub(super) sessions: usize,
    pub(super) beats: u64,
}

impl Scenario for Heartbeats {
    fn settings(&self) -> Vec<(String, String)> {
        // As often as the time-out allows that a server under callgrind needs.
        let every = [
            ("FIRESIDE_HEARTBEAT", "2s"),
            ("FIRESIDE_HEARTBEAT_TIMEOUT", "60s"),
        ];
        every
            .map(|(name, value)| (name.into(), value.into()))
            .into()
    }

    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let world = World::settle(server, self.sessions, Friends::Strangers, |_, _, _| ())?;
        let mut crowd = stage.crowd(server)?;
        crowd.join(server.access().tokens(world.users())?, |_, _| ())?;
        let end = crowd.swarm().pings_in() + self.beats;
        while crowd.swarm().pings_in() < end {
            crowd.poll(std::time::Duration::from_millis(200), |_, _| ())?;
        }
        Ok(Vec::new())
    }
}
