//! A schedule: how large the world is, how bad its links are, and what happens when. Everything
//! follows from a seed; a failing one is shortened by leaving things out.

use std::fmt;

use chat_node::presence::Availability;

use crate::dice::{Dice, Of, Roll};

/// A schedule.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) users: usize,
    /// Groups; the last may be a lobby.
    pub(crate) rooms: usize,
    /// Who is there is what it is about, not what is said.
    pub(crate) presence: bool,
    pub(crate) faults: Faults,
    /// Ascending in time.
    pub(crate) steps: Vec<Step>,
}

/// How often things go wrong, in a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    /// A message between nodes is lost.
    pub(crate) lost: u64,
    /// It comes twice.
    pub(crate) doubled: u64,
    /// It is late.
    pub(crate) late: u64,
    /// A subscription fails.
    pub(crate) deaf: u64,
    /// An append has no known outcome, is refused, or takes long.
    pub(crate) append: u64,
    /// A read fails or takes long.
    pub(crate) read: u64,
    /// What the presence store is asked is answered late. In some schedules: the others replay as they
    /// were before this was thought of.
    pub(crate) slow: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// In ms from the start.
    pub(crate) at: u64,
    pub(crate) act: Act,
}

/// Users, nodes and rooms by number. User 0 owns every room and is never out of one.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Says something once, however often it has to be tried.
    Say {
        user: usize,
        room: usize,
    },
    /// Edits what they said last.
    Edit {
        user: usize,
        room: usize,
    },
    /// Reacts to what was said last, or takes that back.
    React {
        user: usize,
        room: usize,
        on: bool,
    },
    /// Opens a direct-message room, and says something there.
    Write {
        user: usize,
        to: usize,
    },
    Invite {
        user: usize,
        room: usize,
    },
    Kick {
        user: usize,
        room: usize,
    },
    Leave {
        user: usize,
        room: usize,
    },
    /// Comes into a lobby; leaves a group alone.
    Join {
        user: usize,
        room: usize,
    },
    /// A session starts.
    Start {
        user: usize,
        node: usize,
    },
    /// A user's sessions end.
    End {
        user: usize,
    },
    /// A node dies and comes back, with nothing in memory.
    Crash {
        node: usize,
        down: u64,
    },
    /// A node's link to the bus breaks; it is told so at once, or only when it stands again.
    Cut {
        node: usize,
        down: u64,
        told: bool,
    },
    /// A node cannot reach history.
    Away {
        node: usize,
        down: u64,
    },
    /// A node is told that something may have been lost.
    Doubt {
        node: usize,
    },
    /// A user sets a state on one of their devices.
    Set {
        user: usize,
        to: Availability,
    },
}

impl Plan {
    /// The schedule of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self::about(false, seed)
    }

    /// The schedule of a seed in which people come and go.
    pub(crate) fn of_presence(seed: u64) -> Self {
        Self::about(true, seed)
    }

    fn about(presence: bool, seed: u64) -> Self {
        let mut roll = Dice::new(seed).roll(Of::Plan, u64::from(presence), 0);
        let (nodes, users, rooms) = (
            roll.within(2, 4) as usize,
            roll.within(2, 5) as usize,
            roll.within(1, 3) as usize,
        );
        let mut some = |much: u64| match roll.below(3) {
            0 => 0,
            1 => much / 4,
            _ => much,
        };
        let faults = Faults {
            lost: some(300),
            doubled: some(200),
            late: some(300),
            deaf: some(300),
            append: some(300),
            read: some(200),
            slow: seed % 4 == 3,
        };
        let mut plan = Self {
            seed,
            nodes,
            users,
            rooms,
            presence,
            faults,
            steps: Vec::new(),
        };
        for user in 0..users {
            let node = roll.below(nodes as u64) as usize;
            plan.step(roll.below(30), Act::Start { user, node });
        }
        // Most of it within moments; now and then long enough for rooms to leave memory, for leases
        // to end and for looks at history to come round.
        let mut at = 0;
        for _ in 0..roll.within(4, 24) {
            at += match roll.below(100) {
                0..60 => roll.within(0, 12),
                60..90 => roll.within(5, 60),
                90..96 => roll.within(500, 4_000),
                _ => roll.within(10_000, 150_000),
            };
            let act = if presence {
                plan.coming_and_going(&mut roll)
            } else {
                plan.act(&mut roll)
            };
            plan.step(at, act);
        }
        plan.steps.sort_by_key(|step| step.at);
        plan
    }

    fn step(&mut self, at: u64, act: Act) {
        self.steps.push(Step { at, act });
    }

    fn act(&self, roll: &mut Roll) -> Act {
        let user = roll.below(self.users as u64) as usize;
        let other = 1 + roll.below(self.users as u64 - 1) as usize;
        let room = roll.below(self.rooms as u64) as usize;
        let node = roll.below(self.nodes as u64) as usize;
        let down = if roll.happens(900) {
            roll.within(1, 150)
        } else {
            roll.within(500, 20_000)
        };
        match roll.below(100) {
            0..42 => Act::Say { user, room },
            42..46 => Act::Edit { user, room },
            46..52 => Act::React {
                user,
                room,
                on: roll.happens(600),
            },
            52..58 => Act::Write {
                user,
                to: (user + other) % self.users,
            },
            58..64 => Act::Invite { user: other, room },
            64..68 => Act::Kick { user: other, room },
            68..71 => Act::Leave { user: other, room },
            71..75 => Act::Join { user: other, room },
            75..82 => Act::Start { user, node },
            82..84 => Act::End { user },
            84..89 => Act::Crash { node, down },
            89..94 => Act::Cut {
                node,
                down,
                told: roll.happens(500),
            },
            94..98 => Act::Away { node, down },
            _ => Act::Doubt { node },
        }
    }

    fn coming_and_going(&self, roll: &mut Roll) -> Act {
        let user = roll.below(self.users as u64) as usize;
        let node = roll.below(self.nodes as u64) as usize;
        let down = *roll.one(&[5, 60, 900, 4_000, 12_000, 17_000, 40_000]);
        let availabilities = [
            Availability::Away,
            Availability::Online,
            Availability::Busy,
            Availability::Invisible,
        ];
        match roll.below(100) {
            0..35 => Act::Start { user, node },
            35..60 => Act::Set {
                user,
                to: *roll.one(&availabilities),
            },
            60..75 => Act::End { user },
            75..84 => Act::Crash { node, down },
            84..91 => Act::Cut {
                node,
                down,
                told: roll.happens(500),
            },
            91..98 => Act::Away { node, down },
            _ => Act::Doubt { node },
        }
    }

    /// The same with something left out, in every way.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut plans = Vec::new();
        // First halves, then single steps: most of a schedule has nothing to do with its failing.
        let mut size = self.steps.len() / 2;
        while size > 0 {
            for from in (0..self.steps.len()).step_by(size) {
                let mut plan = self.clone();
                plan.steps.drain(from..(from + size).min(self.steps.len()));
                plans.push(plan);
            }
            size /= 2;
        }
        let knobs: [fn(&mut Faults) -> &mut u64; 6] = [
            |f| &mut f.lost,
            |f| &mut f.doubled,
            |f| &mut f.late,
            |f| &mut f.deaf,
            |f| &mut f.append,
            |f| &mut f.read,
        ];
        for knob in knobs {
            let mut plan = self.clone();
            if std::mem::take(knob(&mut plan.faults)) > 0 {
                plans.push(plan);
            }
        }
        plans
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: presence {}, {} nodes, {} users, {} rooms, {:?}",
            self.seed, self.presence, self.nodes, self.users, self.rooms, self.faults
        )?;
        for Step { at, act } in &self.steps {
            writeln!(f, "{at:>8} {act:?}")?;
        }
        Ok(())
    }
}
