//! What is asked of a room and leaves no entry: the room itself, its members, what somebody missed.

use shared::{
    id::{RoomId, Seq, UserId},
    protocol::{
        command::{Command, RoomMembers, RoomSync},
        reply::{Empty, ErrorBody, MembersReply, Synced},
        room::{Entry, EntryBody},
    },
};

use super::{
    Access, Caller, ReplyBody,
    ask::{Answer, Ask},
    consult::out_of_reach,
    live::{Away, Parts, Room},
    repair::expired_between,
    rules,
};
use crate::{
    history::HistoryError,
    presence::{MAX_WATCHED_MEMBERS, Opened},
    transport::SessionKey,
};

/// About how many bytes of entries one answer carries: a page of long messages is cut short and says
/// that there is more, because it has to fit into an outbox with what else is going on.
pub const MAX_SYNC_BYTES: usize = 160 * 1024;

impl Room {
    /// Does what was permitted and leaves no entry. What has to be read for the answer is read
    /// beside the room's turn: a thousand who come back at once keep nobody from speaking.
    pub(super) fn perform(&mut self, ask: Ask) {
        let Ask {
            caller,
            command,
            answer,
            followed: _,
        } = ask;
        match &command {
            Command::RoomGet(_) => self.show(caller, None, answer),
            Command::RoomMembers(page) => self.members(&caller, page, answer),
            Command::RoomSync(sync) => self.sync(sync, answer),
            Command::Read(read) => self.read(&caller, read.seq, answer),
            Command::Typing(typing) => {
                self.types(&caller, typing);
                answer.give(Ok(ReplyBody::Empty(Empty {})));
            }
            _ => answer.give(Ok(ReplyBody::Empty(Empty {}))),
        }
    }

    fn members(&self, caller: &Caller, page: &RoomMembers, answer: Answer) {
        let (limit, state) = match (page_limit(page.limit), self.state()) {
            (Err(error), _) => return answer.give(Err(error)),
            (_, None) => return answer.give(Err(rules::no_room())),
            (Ok(limit), Some(state)) => (limit as usize, state),
        };
        let mut members = state.member_page(page.after.as_ref(), limit + 1);
        let more = members.len() > limit;
        members.truncate(limit);
        let next = members.last().filter(|_| more).map(|last| last.id.clone());
        if !caller.service {
            // How far somebody has read says that they were there: nothing for who is blocked.
            let hidden = self.hidden_from(&caller.user);
            let shown = |id: &UserId| match &hidden {
                Some(hidden) => !hidden.contains(id),
                None => *id == caller.user,
            };
            for member in members.iter_mut().filter(|member| !shown(&member.id)) {
                member.read = None;
            }
        }
        let parts = self.parts.clone();
        actix_rt::spawn(async move {
            let ids: Vec<UserId> = members.iter().map(|m| m.id.clone()).collect();
            let mut names = parts.friends.names(&ids).await;
            for member in &mut members {
                member.name = names.remove(&member.id);
            }
            answer.give(Ok(ReplyBody::Members(MembersReply { members, next })));
        });
    }

    fn sync(&self, sync: &RoomSync, answer: Answer) {
        let (limit, state) = match (page_limit(sync.limit), self.state()) {
            (Err(error), _) => return answer.give(Err(error)),
            (_, None) => return answer.give(Err(rules::no_room())),
            (Ok(limit), Some(state)) => (limit, state),
        };
        let ours = sync
            .epoch
            .as_ref()
            .is_none_or(|epoch| epoch == state.epoch());
        let mut synced = Synced {
            epoch: state.epoch().clone(),
            head: state.head(),
            reset: !ours || sync.after > state.head(),
            first: None,
            entries: Vec::new(),
            more: false,
        };
        if synced.reset {
            return answer.give(Ok(ReplyBody::Synced(synced)));
        }
        let (parts, id, after) = (self.parts.clone(), self.id.clone(), sync.after);
        actix_rt::spawn(async move {
            let log = read(&parts, &id, after, limit).await;
            answer.give(log.map_err(out_of_reach).map(|(entries, first)| {
                let last = entries.last().map_or(after, |last| last.seq);
                synced.head = synced.head.max(last);
                synced.first = first;
                // Of what the caller holds nothing is kept. Who holds nothing has no gap either.
                synced.reset = first.is_some() && after > Seq::ZERO;
                if !synced.reset {
                    let entries = as_many_as_fit(entries);
                    let last = entries.last().map_or(after, |last| last.seq);
                    synced.more = last < synced.head;
                    synced.entries = entries;
                }
                ReplyBody::Synced(synced)
            }));
        });
    }

    pub(super) async fn access(&mut self, caller: &Caller) -> Result<Access, ErrorBody> {
        self.caught_up()
            .await
            .map_err(|Away| rules::unavailable())?;
        let state = self.state().ok_or_else(rules::no_room)?;
        state.visible_to(caller)?;
        Ok(Access {
            kind: state.kind(),
            role: state.member(&caller.user).map(|member| member.role),
            epoch: state.epoch().clone(),
            head: state.head(),
            members: state.members().len() as u32,
        })
    }

    pub(super) async fn open_for(
        &mut self,
        caller: &Caller,
        session: SessionKey,
    ) -> Result<Opened, ErrorBody> {
        self.access(caller).await?;
        let state = self.state().ok_or_else(rules::no_room)?;
        // One more than may be watched, so that a larger room is refused, not shown in part.
        let members = state.members().take(MAX_WATCHED_MEMBERS + 1).cloned();
        let presence = &self.parts.presence;
        presence.open(session, &caller.user, &self.id, members.collect())
    }
}

/// Entries after a position, and where they begin when what stood between has expired.
async fn read(
    parts: &Parts,
    room: &RoomId,
    after: Seq,
    limit: u32,
) -> Result<(Vec<Entry>, Option<Seq>), HistoryError> {
    let entries = parts.history.log(room, after, limit).await?;
    let first = expired_between(parts, room, after, &entries).await?;
    Ok((entries, first))
}

/// The first of these, as long as they fit into an answer; at least one.
fn as_many_as_fit(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = entries.iter().take_while(|entry| {
        bytes += weight(entry);
        bytes <= MAX_SYNC_BYTES
    });
    let fits = fits.count().max(1);
    entries.truncate(fits);
    entries
}

/// About how many bytes an entry has on the wire.
fn weight(entry: &Entry) -> usize {
    const FRAME: usize = 160;
    const MENTION: usize = 64;
    FRAME
        + match &entry.body {
            EntryBody::Message(said) => {
                let data = said.data.as_ref().map_or(0, |_| rules::MAX_DATA_BYTES);
                rules::length_in_json(&said.text) + MENTION * said.mentions.len() + data
            }
            EntryBody::Edit { text, mentions, .. } => {
                rules::length_in_json(text) + MENTION * mentions.len()
            }
            _ => 0,
        }
}

fn page_limit(limit: Option<u32>) -> Result<u32, ErrorBody> {
    match limit.unwrap_or(100) {
        limit @ 1..=500 => Ok(limit),
        _ => Err(rules::invalid("limit goes from 1 to 500")),
    }
}
