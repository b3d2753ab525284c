//! A node's way to the store: the History port, slow and unreliable.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use chat_node::history::{
    AppendError, Cursor, Expired, Found, History, HistoryError, Missed, NewEntry, Outcome, Overdue,
    Page, RoomRecord, Search,
};
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{Entry, Message, RoomKind, RoomView},
};
use tokio::time::sleep;

use crate::{
    dice::{Dice, Of, Roll},
    plan::Faults,
    plant::Plant,
    store::Store,
    trace::note,
};

/// The link of one life of a node.
pub(crate) struct Link {
    pub(crate) store: Arc<Store>,
    pub(crate) dice: Arc<Dice>,
    pub(crate) node: usize,
    pub(crate) faults: Faults,
    pub(crate) plant: Plant,
    /// The node has died: whatever of it is still in memory finds an empty store and changes
    /// nothing more.
    pub(crate) dead: AtomicBool,
    /// How many reasons there are why the store cannot be reached.
    pub(crate) away: AtomicU64,
    /// Nothing fails any more.
    pub(crate) calm: Arc<AtomicBool>,
}

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stands,
    /// It never arrives.
    Lost,
    /// It stands, and the answer is lost.
    Unanswered,
    /// Some of it stands, and the answer is lost.
    Half,
    /// It is given up, and arrives afterwards.
    Late,
    /// It is refused.
    Busy,
}

fn away<T>() -> Result<T, HistoryError> {
    Err(HistoryError::Unavailable("the link is cut".into()))
}

fn unknown() -> AppendError {
    AppendError::Unavailable("the link is cut".into())
}

async fn ms(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// A number for a room, the same in every run.
pub(crate) fn number(room: &str) -> u64 {
    room.bytes()
        .fold(7, |sum: u64, byte| sum.wrapping_mul(131) + u64::from(byte))
}

impl Link {
    fn dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    fn roll(&self, of: Of, room: &RoomId) -> (Roll, bool) {
        let mut roll = self.dice.roll(of, self.node as u64, number(room.as_str()));
        let often = if of == Of::Append {
            self.faults.append
        } else {
            self.faults.read
        };
        let fails = roll.happens(often) && !self.calm.load(Relaxed);
        (roll, fails)
    }

    /// Waits as long as a question takes; `Err` when it fails.
    async fn asked(&self, room: &RoomId) -> Result<(), HistoryError> {
        let (mut roll, fails) = self.roll(Of::Read, room);
        ms(if fails && roll.happens(500) {
            roll.within(20, 80)
        } else {
            roll.within(0, 4)
        })
        .await;
        if self.away.load(Relaxed) > 0 || (fails && roll.happens(600)) {
            note(|| format!("n{} reads {room}: no answer", self.node));
            return away();
        }
        Ok(())
    }
}

#[async_trait]
impl History for Link {
    async fn append(
        &self,
        room: &RoomId,
        expected_head: Seq,
        mut entries: Vec<NewEntry>,
    ) -> Result<Vec<Outcome>, AppendError> {
        if self.dead() {
            return Err(AppendError::Busy);
        }
        let (mut roll, fails) = self.roll(Of::Append, room);
        let fate = if self.away.load(Relaxed) > 0 {
            Fate::Lost
        } else if fails {
            let fates = [
                Fate::Lost,
                Fate::Unanswered,
                Fate::Half,
                Fate::Late,
                Fate::Busy,
            ];
            *roll.one(&fates)
        } else {
            Fate::Stands
        };
        let (there, back) = (roll.within(0, 8), roll.within(0, 8));
        let (count, node) = (entries.len(), self.node);
        ms(there).await;
        if fate == Fate::Half {
            entries.truncate(count / 2);
        }
        let result = match fate {
            Fate::Lost => Err(unknown()),
            Fate::Busy => Err(AppendError::Busy),
            Fate::Late => {
                let (store, room) = (self.store.clone(), room.clone());
                let late = roll.within(1, 60);
                tokio::spawn(async move {
                    ms(late).await;
                    let stands = store.append(&room, expected_head, entries);
                    note(|| format!("n{node}'s late append to {room}: {stands:?}"));
                });
                Err(unknown())
            }
            Fate::Stands => self.store.append(room, expected_head, entries),
            Fate::Unanswered | Fate::Half => {
                let stands = self.store.append(room, expected_head, entries);
                note(|| format!("n{node} appends to {room}, unknown to it: {stands:?}"));
                Err(unknown())
            }
        };
        note(|| {
            format!("n{node} appends {count} to {room} after {expected_head}: {fate:?} {result:?}")
        });
        if self.plant == Plant::Forget && result.is_ok() && roll.happens(200) {
            self.store.lose_last(room);
        }
        ms(back).await;
        result
    }

    async fn room(&self, room: &RoomId) -> Result<Option<RoomRecord>, HistoryError> {
        if self.dead() {
            return Ok(None);
        }
        self.asked(room).await?;
        Ok(self.store.with(room, |log| log.record.clone()))
    }

    async fn log(&self, room: &RoomId, after: Seq, limit: u32) -> Result<Vec<Entry>, HistoryError> {
        if self.dead() {
            return Ok(Vec::new());
        }
        self.asked(room).await?;
        let page = self.store.with(room, |log| {
            let after = log.entries.iter().filter(|entry| entry.seq > after);
            after.take(limit as usize).cloned().collect::<Vec<_>>()
        });
        let mut page = page.unwrap_or_default();
        if self.plant == Plant::ShortPage {
            page.pop();
        }
        note(|| {
            format!(
                "n{} reads {} of {room} after {after}",
                self.node,
                page.len()
            )
        });
        Ok(page)
    }

    async fn page(&self, room: &RoomId, at: Cursor, limit: u32) -> Result<Page, HistoryError> {
        self.asked(room).await?;
        let epoch = self.store.with(room, |log| log.record.epoch.clone());
        let epoch = epoch.ok_or(HistoryError::NoRoom)?;
        let before = match at {
            Cursor::Newest => Seq::new(u64::MAX),
            Cursor::Before(seq) => seq,
            Cursor::After(_) | Cursor::Around(_) => {
                return Err(HistoryError::Invalid("rooms look back only".into()));
            }
        };
        let mut items = self.store.messages(room, |seq| seq < before);
        let has_before = items.len() > limit as usize;
        items.drain(..items.len().saturating_sub(limit as usize));
        Ok(Page {
            items,
            has_before,
            has_after: false,
            first: Seq::FIRST,
            epoch,
        })
    }

    async fn messages(&self, room: &RoomId, seqs: &[Seq]) -> Result<Vec<Message>, HistoryError> {
        self.asked(room).await?;
        Ok(self.store.messages(room, |seq| seqs.contains(&seq)))
    }

    async fn sent(
        &self,
        room: &RoomId,
        user: &UserId,
        nonce: &Nonce,
    ) -> Result<Option<Outcome>, HistoryError> {
        self.asked(room).await?;
        Ok(self.store.sent(room, user, nonce))
    }

    async fn reacted(
        &self,
        room: &RoomId,
        seq: Seq,
        user: &UserId,
        emoji: &str,
    ) -> Result<bool, HistoryError> {
        self.asked(room).await?;
        Ok(self.store.reacted(room, seq, user, emoji))
    }

    async fn memberships(&self, user: &UserId) -> Result<Vec<RoomId>, HistoryError> {
        self.asked(&named(user.as_str())).await?;
        Ok(self.store.memberships(user))
    }

    async fn views(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<RoomView>, HistoryError> {
        self.asked(only.unwrap_or(&named(user.as_str()))).await?;
        Ok(self.store.views(user, only))
    }

    async fn deserted_lobbies(&self, _: u32) -> Result<Vec<RoomId>, HistoryError> {
        if self.dead() {
            return Ok(Vec::new());
        }
        Ok(self.store.deserted())
    }

    async fn mark_read(&self, room: &RoomId, user: &UserId, seq: Seq) -> Result<Seq, HistoryError> {
        self.asked(room).await?;
        Ok(self.store.mark_read(room, user, seq))
    }

    async fn search(&self, _: &Search) -> Result<Found, HistoryError> {
        Err(HistoryError::Invalid(
            "nobody searches in a schedule".into(),
        ))
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, HistoryError> {
        if self.dead() {
            return Ok(Vec::new());
        }
        self.asked(&named("heads")).await?;
        let heads = rooms.iter().filter_map(|room| {
            let head = self.store.with(room, |log| log.record.head)?;
            Some((room.clone(), head))
        });
        Ok(heads.collect())
    }

    async fn since(&self, users: &[UserId], since: Timestamp) -> Result<Missed, HistoryError> {
        if self.dead() {
            return Ok(Missed::default());
        }
        self.asked(&named("since")).await?;
        // In whatever order a node keeps its people: the answer is the same in every run.
        let mut users = users.to_vec();
        users.sort_unstable();
        Ok(self.store.since(&users, since))
    }

    async fn remove(&self, room: &RoomId, at: Seq) -> Result<bool, HistoryError> {
        if self.dead() {
            return Ok(true);
        }
        self.asked(room).await?;
        let gone = self.store.remove(room, at);
        note(|| format!("n{} removes {room} at {at}: {gone}", self.node));
        Ok(gone)
    }

    async fn first(&self, room: &RoomId) -> Result<Seq, HistoryError> {
        self.asked(room).await?;
        let first = self.store.with(room, |_| Seq::FIRST);
        Ok(first.unwrap_or(Seq::ZERO))
    }

    async fn overdue(
        &self,
        _: RoomKind,
        _: Timestamp,
        _: Option<String>,
    ) -> Result<Overdue, HistoryError> {
        // Everything is kept for as long as a schedule lasts.
        Ok(Overdue::default())
    }

    async fn expire(&self, _: &RoomId, _: Timestamp) -> Result<Expired, HistoryError> {
        Ok(Expired::default())
    }

    async fn ping(&self) -> Result<(), HistoryError> {
        Ok(())
    }
}

/// Under what name a question is rolled for that is about no one room.
fn named(what: &str) -> RoomId {
    RoomId::parse(what).expect("as good a name as a room's")
}
