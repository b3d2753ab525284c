//! Typing and presence without measure: they are merged and, when it gets too much, shed; what is
//! said arrives as ever.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use super::{
    Scenario, Stage, open_rooms,
    pace::{Beside, Clock, Pace, pace, pace_beside},
    percentiles,
    pressure::slower,
    states::{States, enough, friends, gather},
};
use crate::{
    measure::{Figure, Unit},
    swarm::{
        Crowd, Fault, Ledger, Room, Who,
        message::{Content, Told},
    },
    target::{Friends, Server, World},
};

/// How often a notice of typing that goes on is passed on at most.
const RENEWAL: Duration = Duration::from_secs(3);
/// Ids of typing and presence are above this.
const FLOOD_ID: u64 = 1 << 44;
/// Ids of sends that press on the server are above this; the slot stands in the low bits.
const PRESS_ID: u64 = 1 << 46;
/// How often the server is asked how much it sheds.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// People with friends, in groups. One of each group talks, all others say all the time that they type,
/// and everybody changes presence all the time. First the talk alone, then beside the flood, then
/// under overload as well: pairs send as fast as they can, at a server whose queue is short.
///
/// A run fails when a message is lost, when typing of one person is passed on more often than
/// every 3 s or presence more often than every 2 s, when anybody does not hear the newest presence of a friend in
/// the end, or when a message that was refused as `busy` is heard. The order in which a server sheds is not looked at
/// here: a test from outside does, step by step.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Flood {
    /// How many people
    #[arg(long, default_value_t = 500)]
    users: usize,
    /// How many friends each has, an even number
    #[arg(long, default_value_t = 20)]
    friends: usize,
    /// How many share a group
    #[arg(long, default_value_t = 50)]
    group: usize,
    /// Messages a second, in all
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// How often a second somebody says to be typing
    #[arg(long, default_value_t = 5000.0)]
    typing: f64,
    /// How often a second somebody changes presence
    #[arg(long, default_value_t = 2000.0)]
    presence: f64,
    /// How many sends each pair has under way, under overload; 0 for none of it
    #[arg(long, default_value_t = 8)]
    press: usize,
    /// For how many seconds each
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
    /// The accounts that were prepared.
    #[arg(skip)]
    accounts: Vec<String>,
}

/// What is said to be done, all the time.
struct Torrent<'a> {
    users: usize,
    group: usize,
    /// How often a second somebody types, and changes presence.
    rates: (f64, f64),
    states: &'a mut States,
    began: Instant,
    typed: u64,
    changed: u64,
    /// How often anybody heard that somebody types, by who does.
    heard: HashMap<Box<str>, u64>,
    press: Option<Press<'a>>,
    over: bool,
}

/// Sends that come faster than they can be written.
struct Press<'a> {
    server: &'a Server,
    pairs: &'a [Room],
    /// The first of each pair, by room.
    first: usize,
    window: usize,
    text: usize,
    under_way: HashMap<u64, (Room, String)>,
    said: u64,
    acknowledged: u64,
    /// Words that were refused: nobody may hear them.
    refused: HashSet<String>,
    asked: Instant,
    /// The highest rung of the overload ladder that was seen.
    rung: f64,
}

impl Torrent<'_> {
    /// The person after `n` in a group, but never the one who talks.
    fn typist(&self, n: u64) -> Who {
        let typists = self.group - 1;
        let groups = self.users / self.group;
        let n = n as usize % (groups * typists);
        n / typists * self.group + n % typists + 1
    }

    fn change(&mut self, crowd: &mut Crowd, who: Who) -> Result<(), Fault> {
        let d = self.states.set(who, Instant::now());
        crowd.send(who, FLOOD_ID + self.changed, "presence.set", &d)?;
        self.changed += 1;
        Ok(())
    }

    /// Nobody is heard typing more often than the rule allows.
    fn coalesced(&self) -> Result<(), Fault> {
        let times = self.began.elapsed().as_secs_f64() / RENEWAL.as_secs_f64();
        let most = (times as u64 + 2) * (self.group as u64 - 1);
        match self.heard.iter().find(|(_, heard)| **heard > most) {
            Some((who, heard)) => Err(Fault::Delivery(format!(
                "{who} was heard typing {heard} times, not {most} at most"
            ))),
            None if self.heard.is_empty() => Err(Fault::Delivery("nobody was heard typing".into())),
            None => Ok(()),
        }
    }
}

impl Beside for Torrent<'_> {
    fn drive(&mut self, crowd: &mut Crowd, ledger: &Ledger, on: bool) -> Result<(), Fault> {
        if !on && !self.over {
            // Invisible, visible and invisible again within the damping is no change to friends.
            for who in (0..self.users)
                .filter(|who| self.states.is_hidden(*who))
                .collect::<Vec<_>>()
            {
                self.change(crowd, who)?;
            }
        }
        self.over = !on;
        let so_far = |rate: f64| (self.began.elapsed().as_secs_f64() * rate) as u64;
        let (typing, presence) = (so_far(self.rates.0), so_far(self.rates.1));
        while on && self.typed < typing {
            let who = self.typist(self.typed);
            let d = json!({"room": ledger.id(who / self.group), "on": true});
            crowd.send(who, FLOOD_ID + self.typed, "typing", &d)?;
            self.typed += 1;
        }
        while on && self.changed < presence {
            self.change(crowd, self.changed as usize % self.users)?;
        }
        match &mut self.press {
            Some(press) => press.drive(crowd, ledger, on),
            None => Ok(()),
        }
    }

    fn hear(&mut self, ledger: &mut Ledger, who: Who, told: &Told<'_>) -> Result<bool, Fault> {
        self.states.hear(who, told)?;
        if let (Some("typing"), Some(content)) = (told.ev.as_deref(), &told.d) {
            let user = content.user.as_deref().unwrap_or_default();
            *self.heard.entry(user.into()).or_default() += 1;
        }
        let Some(press) = &mut self.press else {
            return Ok(true);
        };
        // Under overload whatever is asked may be refused.
        let busy = told
            .err
            .as_ref()
            .is_some_and(|error| error.code.as_deref() == Some("busy"));
        let flood = |id| (FLOOD_ID..PRESS_ID).contains(&id);
        if busy && told.id.is_none_or(flood) {
            return Ok(false);
        }
        press.hear(ledger, told, busy)
    }

    fn is_over(&self, _: &Ledger) -> bool {
        let pressed = (self.press.as_ref()).is_some_and(|press| !press.under_way.is_empty());
        self.over && !pressed && self.states.behind() == 0
    }

    fn rest(&self) -> String {
        let pressed = (self.press.as_ref()).map_or(0, |press| press.under_way.len());
        let behind = self.states.behind();
        let first = self.states.settle().err();
        let first = first.map_or_else(String::new, |fault| format!(" ({fault})"));
        format!(", {pressed} sends to be answered, {behind} presences to be told{first}")
    }
}

impl Press<'_> {
    fn drive(&mut self, crowd: &mut Crowd, ledger: &Ledger, on: bool) -> Result<(), Fault> {
        let most = self.window * self.pairs.len();
        while on && self.under_way.len() < most {
            let n = self.said;
            let room = self.pairs[n as usize % self.pairs.len()];
            let text = format!("press {n:0width$}", width = self.text);
            let d = json!({"room": ledger.id(room), "nonce": format!("q{n}"), "text": text});
            let who = (room - self.first) * 2;
            crowd.send(who, PRESS_ID + n, "message.send", &d)?;
            self.under_way.insert(PRESS_ID + n, (room, text));
            self.said += 1;
        }
        if on && self.asked.elapsed() > ASK_EVERY {
            self.asked = Instant::now();
            self.rung = self.rung.max(rung(&self.server.metrics()));
        }
        Ok(())
    }

    fn hear(&mut self, ledger: &mut Ledger, told: &Told<'_>, busy: bool) -> Result<bool, Fault> {
        let text = told.d.as_ref().and_then(|content| content.text.as_deref());
        if let (Some("message.new"), Some(text)) = (told.ev.as_deref(), text)
            && self.refused.contains(text)
        {
            let what = format!("{text} was refused, and heard all the same");
            return Err(Fault::Delivery(what));
        }
        let Some((room, text)) = told.id.and_then(|id| self.under_way.remove(&id)) else {
            return Ok(true);
        };
        if let Some(ok) = &told.ok {
            self.acknowledged += 1;
            ledger.acknowledged(room, ok.seq.unwrap_or(0), &text)?;
        } else if busy {
            self.refused.insert(text);
        } else {
            let why = told.err.as_ref().map(Content::explain);
            return Err(Fault::Refused(why.unwrap_or_default()));
        }
        Ok(false)
    }
}

/// The rung of the overload ladder, as a server's metrics have it.
fn rung(metrics: &str) -> f64 {
    let lines = metrics.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix("fireside_overload_rung "));
    values
        .next()
        .and_then(|v| v.trim().parse().ok())
        .unwrap_or(0.0)
}

impl Flood {
    fn torrent<'a>(&self, states: &'a mut States, press: Option<Press<'a>>) -> Torrent<'a> {
        Torrent {
            users: self.users,
            group: self.group,
            rates: (self.typing, self.presence),
            states,
            began: Instant::now(),
            typed: 0,
            changed: 0,
            heard: HashMap::new(),
            press,
            over: false,
        }
    }
}

/// One phase beside the torrent; its figures, and the times.
fn phase(
    crowd: &mut Crowd,
    ledger: &mut Ledger,
    mut clock: Clock,
    plan: &Pace<'_>,
    mut torrent: Torrent<'_>,
    what: &str,
) -> Result<(Vec<Figure>, Clock), Fault> {
    pace_beside(crowd, ledger, &mut clock, plan, &mut torrent)?;
    torrent.coalesced()?;
    let rate = |name: &str, count: u64| {
        Figure::new(
            format!("{what}: {name}"),
            Unit::PerSecond,
            count as f64 / plan.time.as_secs_f64(),
        )
    };
    let heard: u64 = torrent.heard.values().sum();
    let mut figures = percentiles(&format!("chat {what}"), &clock.last);
    figures.extend([
        rate("typing said", torrent.typed),
        rate("typing heard", heard),
        rate("presence set", torrent.changed),
    ]);
    if let Some(press) = &torrent.press {
        let count =
            |name: &str, value: f64| Figure::new(format!("{what}: {name}"), Unit::Count, value);
        let refused = press.refused.len() as u64 + clock.refused.unwrap_or(0);
        figures.extend([
            rate("sends acknowledged", press.acknowledged),
            rate("sends refused as busy", refused),
            count("highest rung seen", press.rung),
        ]);
    }
    Ok((figures, clock))
}

impl Scenario for Flood {
    fn settings(&self) -> Vec<(String, String)> {
        // So short that the pairs fill it.
        let queue = (self.users / 4).max(8).to_string();
        vec![("FIRESIDE_HISTORY_QUEUE".into(), queue)]
    }

    fn prepares(&self) -> bool {
        true
    }

    fn prepare(&mut self, stage: &Stage, server: &Server) -> Result<(), Fault> {
        enough(self.users, self.friends)?;
        if self.group < 2 || !self.users.is_multiple_of(self.group * 2) {
            let what = "people come in an even number of whole groups of two or more";
            return Err(Fault::Target(what.into()));
        }
        let each = Friends::Each(self.friends);
        let world = World::settle(server, self.users, each, |what, done, of| {
            stage.progress.count(what, done, of);
        })?;
        self.accounts = world.users().to_vec();
        Ok(())
    }

    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let users = self.accounts.len();
        let world = World::of(server, self.accounts.clone())?;
        let mut ledger = Ledger::default();
        let groups = open_rooms(&world, &mut ledger, self.group)?;
        let pairs = if self.press > 0 {
            open_rooms(&world, &mut ledger, 2)?
        } else {
            Vec::new()
        };
        let mut states = States::new(&self.accounts, |who| friends(who, users, self.friends))?;
        let mut crowd = gather(stage, server, &self.accounts, &mut states)?;

        let group = self.group;
        let sender = move |room: Room| room * group;
        let plan = |phase: u64| Pace {
            rooms: &groups,
            sender: &sender,
            rate: self.rate,
            burst: 1,
            time: Duration::from_secs_f64(self.seconds),
            text: self.text,
            first_id: phase << 32,
        };
        let mut alone = Clock::new()?;
        pace(&mut crowd, &mut ledger, &mut alone, &plan(1))?;
        let mut figures = percentiles("chat alone", &alone.last);

        let deliveries = states.deliveries();
        let beside = self.torrent(&mut states, None);
        let name = "beside the flood";
        let (more, clock) = phase(
            &mut crowd,
            &mut ledger,
            Clock::new()?,
            &plan(2),
            beside,
            name,
        )?;
        figures.extend(more);
        figures.push(Figure::new(
            "p99 beside, by p99 alone",
            Unit::Times,
            slower(&alone.last, &clock.last),
        ));
        let told = states.deliveries() - deliveries;
        figures.push(Figure::new("presence heard", Unit::Count, told as f64));
        if let Some(first) = pairs.first() {
            let press = Press {
                server,
                pairs: &pairs,
                first: *first,
                window: self.press,
                text: self.text,
                under_way: HashMap::new(),
                said: 0,
                acknowledged: 0,
                refused: HashSet::new(),
                asked: Instant::now(),
                rung: 0.0,
            };
            let clock = Clock::of_overload()?;
            let beside = self.torrent(&mut states, Some(press));
            let name = "under overload";
            let (more, _) = phase(&mut crowd, &mut ledger, clock, &plan(3), beside, name)?;
            figures.extend(more);
            deliver_all(&mut crowd, &mut ledger)?;
        }
        states.settle()?;
        ledger.settle()?;
        Ok(figures)
    }
}

/// Waits until everybody has what was acknowledged.
fn deliver_all(crowd: &mut Crowd, ledger: &mut Ledger) -> Result<(), Fault> {
    while !(0..ledger.rooms()).all(|room| ledger.is_whole(room)) {
        let mut outcome = Ok(());
        crowd.step("what was acknowledged", |who, told| {
            if outcome.is_ok() {
                outcome = ledger.hear(who, told).map(drop);
            }
        })?;
        outcome?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rung_stands_in_the_metrics() {
        let metrics = "# TYPE fireside_overload_rung gauge\nfireside_overload_rung 3\nother 1\n";
        assert!((rung(metrics) - 3.0).abs() < 1e-9);
        assert!(rung("").abs() < 1e-9);
    }

    #[test]
    fn who_talks_does_not_type_and_everybody_else_does() {
        let accounts: Vec<String> = (0..12).map(|n| format!("u{n}")).collect();
        let mut states = States::new(&accounts, |who| friends(who, 12, 2)).unwrap();
        let torrent = Torrent {
            users: 12,
            group: 4,
            rates: (1.0, 1.0),
            states: &mut states,
            began: Instant::now(),
            typed: 0,
            changed: 0,
            heard: HashMap::new(),
            press: None,
            over: false,
        };
        let typists: Vec<Who> = (0..9).map(|n| torrent.typist(n)).collect();
        assert_eq!(typists, [1, 2, 3, 5, 6, 7, 9, 10, 11]);
        assert_eq!(torrent.typist(9), 1);
    }
}
