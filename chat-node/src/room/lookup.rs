//! What is asked of a room and leaves no entry: the room itself, its members, what somebody missed.

use shared::{
    id::UserId,
    protocol::{
        command::{Command, RoomMembers, RoomSync},
        reply::{Empty, ErrorBody, MembersReply, Synced},
    },
};

use super::{
    Access, Caller, Reply, ReplyBody,
    ask::Ask,
    live::{Away, Room, out_of_reach},
    rules,
};

impl Room {
    /// Does what was permitted and leaves no entry.
    pub(super) async fn perform(&mut self, ask: Ask) {
        let Ask {
            caller,
            command,
            answer,
        } = ask;
        let reply = match &command {
            Command::RoomGet(_) => self.view(&caller, None).await,
            Command::RoomMembers(page) => self.members(page).await,
            Command::RoomSync(sync) => self.sync(sync).await,
            Command::Typing(typing) => self.types(&caller, typing),
            Command::Read(read) => self.read(&caller, read.seq).await,
            _ => Ok(ReplyBody::Empty(Empty {})),
        };
        answer.give(reply);
    }

    async fn members(&self, page: &RoomMembers) -> Reply {
        let limit = page_limit(page.limit)?;
        let state = self.state().ok_or_else(rules::no_room)?;
        let mut members = state.member_page(page.after.as_ref(), limit as usize + 1);
        let more = members.len() > limit as usize;
        members.truncate(limit as usize);
        let next = members.last().filter(|_| more).map(|last| last.id.clone());
        let ids: Vec<UserId> = members.iter().map(|m| m.id.clone()).collect();
        let mut names = self.parts.friends.names(&ids).await;
        for member in &mut members {
            member.name = names.remove(&member.id);
        }
        Ok(ReplyBody::Members(MembersReply { members, next }))
    }

    async fn sync(&self, sync: &RoomSync) -> Reply {
        let limit = page_limit(sync.limit)?;
        let state = self.state().ok_or_else(rules::no_room)?;
        let other_log = sync
            .epoch
            .as_ref()
            .is_some_and(|epoch| epoch != state.epoch());
        if other_log || sync.after > state.head() {
            return Ok(ReplyBody::Synced(Synced {
                epoch: state.epoch().clone(),
                head: state.head(),
                reset: true,
                entries: Vec::new(),
                more: false,
            }));
        }
        let log = self.parts.history.log(&self.id, sync.after, limit);
        let entries = log.await.map_err(out_of_reach)?;
        let last = entries.last().map_or(sync.after, |last| last.seq);
        let head = state.head().max(last);
        Ok(ReplyBody::Synced(Synced {
            epoch: state.epoch().clone(),
            head,
            reset: false,
            entries,
            more: last < head,
        }))
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

    pub(super) async fn watchable(&mut self, caller: &Caller) -> Result<Vec<UserId>, ErrorBody> {
        self.access(caller).await?;
        let state = self.state().ok_or_else(rules::no_room)?;
        Ok(state
            .members()
            .take(rules::MAX_TYPING_MEMBERS)
            .cloned()
            .collect())
    }
}

fn page_limit(limit: Option<u32>) -> Result<u32, ErrorBody> {
    match limit.unwrap_or(100) {
        limit @ 1..=500 => Ok(limit),
        _ => Err(rules::invalid("limit goes from 1 to 500")),
    }
}
