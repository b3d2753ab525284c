//! One user of a node: the devices here, what the store was given of them, what others were told.

use shared::id::Timestamp;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{News, Settled};
use crate::{
    presence::{Availability, DeviceState, merged, other_than, seen},
    transport::SessionKey,
};

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
pub(super) struct Tracked {
    pub(super) devices: SmallVec<[Device; 1]>,
    /// What the store has been given.
    pub(super) put: Option<DeviceState>,
    /// The store knows that the user is here.
    pub(super) noticed: bool,
    /// Since when changes of others were not told here, because it did not.
    pub(super) behind: Option<Timestamp>,
    pub(super) told: Told,
    /// The version of what was told, or found to be as it was told already.
    pub(super) version: u64,
    /// The version of what friends were told last.
    shown: u64,
    /// What was found here at that version was as friends knew it, so nobody told them.
    pub(super) silent: bool,
    /// Put and tell even if nothing seems to have changed.
    pub(super) owed: bool,
    /// It came to be owed while a put was under way, whose answer may be from before.
    again: bool,
    /// The lease ended while a put was under way: what was put is not this node's any more.
    lapsed: bool,
    /// What others know is not certain: the next change is told whatever was told before. So when the
    /// store may have taken a change without an answer, which other nodes take to be told.
    pub(super) unsure: bool,
    /// Not again before this.
    pub(super) rests: Option<Instant>,
    pub(super) queued: Option<Instant>,
    pub(super) under_way: bool,
}

/// What was last told of a user, over all nodes.
#[derive(Debug, Clone, Default)]
pub(super) enum Told {
    /// Nothing yet by this node: others know what the store knew.
    #[default]
    Nothing,
    /// This.
    This(Option<DeviceState>),
}

#[derive(Debug)]
pub(super) struct Device {
    pub(super) session: SessionKey,
    pub(super) state: DeviceState,
    pub(super) link: Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Grace(Instant),
    Down,
}

impl Device {
    fn counts(&self) -> bool {
        self.link != Link::Down
    }
}

impl Tracked {
    pub(super) fn held(&self) -> Option<DeviceState> {
        let counting = self.devices.iter().filter(|device| device.counts());
        merged(counting.map(|device| &device.state))
    }

    pub(super) fn owe(&mut self) {
        self.owed = true;
        self.again = self.under_way;
    }

    pub(super) fn changed(&self) -> bool {
        self.owed || self.held() != self.put
    }

    /// Nothing is here, nothing is owed, and damping has nothing to remember.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.devices.is_empty() && !self.changed() && self.rests.is_none_or(|until| until <= now)
    }

    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        if self.under_way {
            return None;
        }
        let rested = self.rests.map_or(now, |until| until.max(now));
        if self.changed() || self.devices.is_empty() {
            return Some(rested);
        }
        let graces = self.devices.iter().filter_map(|device| match device.link {
            Link::Grace(until) => Some(until),
            Link::Up | Link::Down => None,
        });
        graces.min()
    }

    /// Whether others do not know that the user is here.
    pub(super) fn unseen(&self) -> bool {
        let invisible = |state: &DeviceState| state.availability == Availability::Invisible;
        self.held().as_ref().is_some_and(invisible)
            || matches!(&self.told, Told::This(Some(state)) if invisible(state))
    }

    /// Devices do not count any more whose grace is over.
    pub(super) fn end_graces(&mut self, now: Instant) {
        for device in &mut self.devices {
            if matches!(device.link, Link::Grace(until) if until <= now) {
                device.link = Link::Down;
            }
        }
    }

    /// A change is on its way to the store.
    pub(super) fn goes_to_store(&mut self, here: bool) {
        self.under_way = true;
        // From now on the store may know of nobody here, whatever becomes of the answer.
        self.noticed &= here;
    }

    /// Another node told others this, and friends if it `shows`; answers whether it is news here.
    pub(super) fn heard(&mut self, total: Option<&DeviceState>, version: u64, shows: bool) -> bool {
        // What nobody here told at this version, another may have had to tell.
        let known = self.version > version || (self.version == version && !self.silent);
        if !known {
            // What this node owes others know only from it: who told this took them to know better.
            let owes = matches!(&self.told, Told::This(told) if seen(told.as_ref()) != seen(total));
            self.unsure |= self.owed && owes;
            self.told = Told::This(total.cloned());
            self.version = version;
            self.silent &= !shows;
            if shows {
                self.shown = version;
            }
        }
        !known
    }

    /// Another node told others this, which is older than what stands here; answers whether they have
    /// to be told again.
    pub(super) fn overtook(&mut self, total: Option<&DeviceState>, version: u64) -> bool {
        if !self.silent || version >= self.version {
            return false;
        }
        let other = matches!(&self.told, Told::This(told) if told.as_ref() != total);
        if other {
            // A put under way tells it, too.
            self.unsure = true;
            self.owed = true;
        }
        other
    }

    /// To be told as having been `before`.
    pub(super) fn owe_as(&mut self, before: Option<DeviceState>) {
        // Whatever this node heard last, others were told what stood in the store; unless it was to
        // tell of it itself.
        if matches!(self.told, Told::Nothing) || !(self.owed || self.under_way) {
            self.told = Told::This(before);
        }
        self.owe();
    }

    /// Somebody else may have told that the user is not here.
    pub(super) fn doubt_told(&mut self) {
        if !self.owed {
            self.told = Told::Nothing;
        }
        // Until it is reaped, what the store was given stands there as another life's; a put under way is
        // one of that life, too.
        self.put = None;
        self.lapsed = self.under_way;
        // Nor was the user told of what others changed.
        self.noticed = false;
        self.behind = Some(Timestamp::from_millis(0));
    }

    /// The store has what it was given. Answers since when the user has missed what others changed,
    /// if so.
    pub(super) fn taken(&mut self, here: bool) -> Option<Timestamp> {
        self.noticed = here;
        if here { self.behind.take() } else { None }
    }

    /// The store took a change; nothing more is told until it `rests` no longer. Answers what is to be
    /// told, if anything.
    pub(super) fn settled(&mut self, settled: Settled, rests: Instant) -> Option<News> {
        self.under_way = false;
        self.rests = Some(rests);
        let given = self.put.take();
        // What stood in the store before; perhaps another node has told it, and that has not come here.
        let stood = merged(given.iter().chain(&settled.elsewhere));
        // Remembered also when nothing is told now: this change must not count as known.
        let known = match &self.told {
            Told::Nothing => stood.clone(),
            Told::This(state) => state.clone(),
        };
        self.told = Told::This(known.clone());
        let lapsed = std::mem::take(&mut self.lapsed);
        self.put = settled.held.filter(|_| !lapsed);
        self.owed = !settled.tell | std::mem::take(&mut self.again);
        // Somebody else told something newer while the store answered.
        let overtaken = settled.version < self.version;
        let mut news = None;
        if settled.tell && !overtaken {
            let before = if std::mem::take(&mut self.unsure) {
                other_than(settled.total.as_ref())
            } else if seen(known.as_ref()) == seen(settled.total.as_ref())
                && seen(stood.as_ref()) != seen(settled.total.as_ref())
            {
                stood
            } else {
                known
            };
            // What was told at a version stays told when the same is found again.
            let told = seen(before.as_ref()) != seen(settled.total.as_ref());
            if told {
                self.shown = settled.version;
            }
            self.silent = !told && (self.silent || settled.version > self.version);
            self.version = settled.version;
            self.told = Told::This(settled.total.clone());
            news = (before != settled.total).then_some(News {
                before,
                after: settled.total,
            });
        } else if settled.tell && settled.version >= self.shown {
            // What overtook it does not show, so friends still have to be told what came before.
            let before = if std::mem::take(&mut self.unsure) {
                other_than(settled.total.as_ref())
            } else {
                stood
            };
            if seen(before.as_ref()) != seen(settled.total.as_ref()) {
                self.shown = settled.version;
                news = Some(News {
                    before,
                    after: settled.total,
                });
            }
        }
        news
    }

    /// The store did not take a change.
    pub(super) fn failed(&mut self, rests: Instant) {
        self.under_way = false;
        self.owed = true;
        self.again = false;
        self.lapsed = false;
        self.unsure = true;
        self.rests = Some(rests);
    }

    /// Telling did not come about: as if nothing had been told since `before`.
    pub(super) fn untold(&mut self, before: Option<DeviceState>) {
        self.told = Told::This(before);
        // If it was not certain before, it still is not.
        self.unsure = true;
        self.owed = true;
    }
}
