//! A flood of new connections at a server that is full: it must turn them away, and those who are
//! in must not feel it.

use std::{
    collections::HashSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use clap::Args;
use shared::protocol::codec::Encoding;

use super::{
    Scenario, Stage, cpu, open_rooms,
    pace::{Beside, Clock, Pace, pace, pace_beside},
    percentiles,
    pressure::slower,
    process,
};
use crate::{
    measure::{Figure, Unit},
    swarm::{Arrival, Crowd, Fault, Ledger, Room, Swarm, SwarmError, Who, message::Told},
    target::{Friends, Server, World},
};

/// Members of a room.
const MEMBERS: usize = 10;
/// Connections beyond those of the sessions that the server lets in.
const SPARE: usize = 16;
/// How long the last of the flood may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(30);

/// Sessions that talk, at a server that lets in hardly more than them, and so many new connections a
/// second: half ask for an upgrade at once, half say nothing and only hold a place.
///
/// A run fails when more are in at once than there are places, when one is neither let in nor
/// ended, or when those who talk miss anything.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Handshakes {
    /// How many sessions talk, in rooms of ten
    #[arg(long, default_value_t = 500)]
    sessions: usize,
    /// Messages a second, in all
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// New connections a second
    #[arg(long, default_value_t = 2000.0)]
    connections: f64,
    /// For how many seconds alone, and for how many beside the flood
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
}

/// How the flood's connections ended.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    dialled: u64,
    /// With an answer that says so.
    turned_away: u64,
    /// Without a word that arrived.
    dropped: u64,
    let_in: u64,
}

/// The connections of the flood.
struct Rush {
    swarm: Swarm,
    token: String,
    rate: f64,
    began: Instant,
    tally: Tally,
    /// Who was let in, and stays.
    inside: HashSet<Who>,
    /// The last of them was made, then.
    stopped: Option<Instant>,
}

impl Rush {
    fn new(address: SocketAddr, token: String, rate: f64) -> Result<Self, Fault> {
        let mut swarm = Swarm::new(&[address], Encoding::Json).map_err(SwarmError::from)?;
        swarm.expect_refusals();
        Ok(Self {
            swarm,
            token,
            rate,
            began: Instant::now(),
            tally: Tally::default(),
            inside: HashSet::new(),
            stopped: None,
        })
    }

    fn under_way(&self) -> u64 {
        let Tally {
            dialled,
            turned_away,
            dropped,
            let_in,
        } = self.tally;
        dialled - turned_away - dropped - let_in
    }
}

impl Beside for Rush {
    fn drive(&mut self, _: &mut Crowd, _: &Ledger, on: bool) -> Result<(), Fault> {
        if !on {
            self.stopped.get_or_insert_with(Instant::now);
        }
        let due = (self.began.elapsed().as_secs_f64() * self.rate) as u64;
        while self.stopped.is_none() && self.tally.dialled < due {
            if self.tally.dialled.is_multiple_of(2) {
                self.swarm.dial(&self.token)?;
            } else {
                // It asks nothing, so what it hears is a refusal at the door or the end.
                self.swarm.dial_silent()?;
            }
            self.tally.dialled += 1;
        }
        let Self { tally, inside, .. } = self;
        self.swarm
            .poll(Duration::ZERO, |who, arrival| match arrival {
                Arrival::Open => {
                    tally.let_in += 1;
                    inside.insert(who);
                }
                Arrival::Refused(answer) if answer.starts_with(b"HTTP/1.1 503") => {
                    tally.turned_away += 1;
                }
                Arrival::Refused(_) | Arrival::Closed(_) => {
                    tally.dropped += u64::from(!inside.remove(&who));
                }
                Arrival::Message(_) => {}
            })?;
        if self.inside.len() > SPARE {
            let inside = self.inside.len();
            let what = format!("{inside} were let in where there are {SPARE} places");
            return Err(Fault::Contract(what));
        }
        if let Some(stopped) = self.stopped
            && stopped.elapsed() > ENDED_WITHIN
            && self.under_way() > 0
        {
            let what = format!("{} connections to end", self.under_way());
            return Err(Fault::Silence(what));
        }
        Ok(())
    }

    fn hear(&mut self, _: &mut Ledger, _: Who, _: &Told<'_>) -> Result<bool, Fault> {
        Ok(true)
    }

    fn is_over(&self, _: &Ledger) -> bool {
        self.stopped.is_some() && self.under_way() == 0
    }

    fn rest(&self) -> String {
        format!(", {} connections to end", self.under_way())
    }
}

impl Scenario for Handshakes {
    fn settings(&self) -> Vec<(String, String)> {
        let places = (self.sessions + SPARE).to_string();
        vec![
            ("FIRESIDE_MAX_CONNECTIONS".into(), places),
            ("FIRESIDE_HANDSHAKE_TIMEOUT".into(), "1s".into()),
        ]
    }

    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let world = World::settle(server, self.sessions, Friends::Strangers, |_, _, _| ())?;
        let mut ledger = Ledger::default();
        let rooms = open_rooms(&world, &mut ledger, MEMBERS)?;
        let mut crowd = stage.crowd(server)?;
        let tokens = server.access().tokens(world.users())?;
        // Its REST connections hold places.
        drop(world);
        crowd.join(tokens, |who, _| {
            stage.progress.count("sessions", who + 1, self.sessions);
        })?;
        let mut plan = Pace {
            rooms: &rooms,
            sender: &|room: Room| room * MEMBERS,
            rate: self.rate,
            burst: 1,
            time: Duration::from_secs_f64(self.seconds),
            text: self.text,
            first_id: 1 << 32,
        };
        let mut alone = Clock::new()?;
        let before = cpu(&process)?;
        pace(&mut crowd, &mut ledger, &mut alone, &plan)?;
        let quiet = cpu(&process)?.since(before).total();

        plan.first_id = 1 << 33;
        let stranger = server.access().token("passer-by")?;
        let mut rush = Rush::new(server.address(), stranger, self.connections)?;
        let mut beside = Clock::new()?;
        let before = cpu(&process)?;
        pace_beside(&mut crowd, &mut ledger, &mut beside, &plan, &mut rush)?;
        let flooded = cpu(&process)?.since(before).total();
        ledger.settle()?;

        let tally = rush.tally;
        if tally.turned_away == 0 {
            let what = format!("a full server turned nobody away: {tally:?}");
            return Err(Fault::Contract(what));
        }
        let mut figures = percentiles("last recipient alone", &alone.last);
        figures.extend(percentiles("last recipient beside the flood", &beside.last));
        let count = |name: &str, value: u64| Figure::new(name, Unit::Count, value as f64);
        let each = flooded.saturating_sub(quiet).as_secs_f64() * 1e6 / tally.dialled.max(1) as f64;
        figures.extend([
            Figure::new(
                "p99 beside, by p99 alone",
                Unit::Times,
                slower(&alone.last, &beside.last),
            ),
            count("connections", tally.dialled),
            count("turned away with 503", tally.turned_away),
            count("ended without an answer", tally.dropped),
            count("let in", tally.let_in),
            Figure::new("a connection of the flood", Unit::CpuMicros, each),
        ]);
        Ok(figures)
    }
}
