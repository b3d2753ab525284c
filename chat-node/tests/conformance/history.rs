//! What every backend of the history port has to do. A backend runs all of it by [`suite!`] with a
//! factory of its own; each test keeps to rooms and people of its own, so one store serves all.

mod counts;
mod crash;
mod expiring;
mod folding;
mod log;
mod membership;
mod missed;
mod model;
#[cfg(feature = "mongodb")]
mod mongodb;
mod pages;
mod random;
mod searching;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use chat_node::history::{AppendError, History, NewEntry, Outcome};
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{
        EntryBody, MemberAction, MemberChange, Message, MessageBody, Role, RoomChange, RoomKind,
    },
};

/// A store that can be opened and, as after a restart of the process, opened again.
#[async_trait]
pub(crate) trait HistoryFactory: Send + Sync {
    /// The store.
    async fn open(&self) -> Arc<dyn History>;

    /// The same store after everything that held it open has gone.
    async fn reopen(&self, held: Arc<dyn History>) -> Arc<dyn History>;
}

/// One test for each rule, run against the factory that `$factory` makes.
macro_rules! suite {
    ($factory:expr) => {
        $crate::history::suite! { $factory;
            log: seq_is_dense_and_the_log_gives_back_what_was_appended,
                a_log_begins_with_its_creation, a_moved_head_is_a_conflict_and_appends_nothing,
                a_nonce_is_appended_once, a_nonce_twice_in_one_batch_is_appended_once,
                a_nonce_belongs_to_its_sender_and_room, a_nonce_is_known_after_a_restart,
                racing_appenders_neither_lose_nor_double, everything_survives_a_restart,
                a_removed_room_is_gone_and_may_begin_anew;
            folding: an_edit_changes_text_and_mentions, a_deleted_message_is_a_tombstone,
                deleting_takes_the_words_out_of_the_log, what_cannot_apply_changes_nothing,
                reactions_are_counted_once_each, an_emoji_keeps_its_place_while_it_is_held,
                only_the_first_hundred_who_reacted_are_named, settings_stay_unless_they_are_named,
                whoever_reads_after_an_append_sees_it;
            membership: members_come_and_go, a_ban_removes_and_is_kept_until_lifted,
                mutes_and_roles_are_kept_and_strangers_have_none,
                memberships_leave_direct_messages_out, deserted_lobbies_are_found,
                views_show_each_member_their_own;
            missed: heads_are_told_of_the_rooms_there_are, what_happened_lately_is_found;
            pages: pages_meet_without_a_gap, the_edges_of_pages_are_known,
                a_page_around_a_position_has_both_sides, an_unknown_room_has_no_page,
                messages_are_found_by_position;
            counts: own_and_deleted_messages_are_not_unread, mentions_follow_what_a_message_says,
                channels_count_nothing, a_read_marker_only_goes_forward_and_not_past_the_head,
                a_marker_begins_where_its_member_came_in, the_newest_message_is_shown;
            searching: all_words_must_be_there, accents_and_case_do_not_matter,
                edited_words_are_found_and_deleted_ones_are_not, only_the_callers_rooms_are_searched,
                room_and_author_narrow_a_search, pages_of_hits_meet, hostile_queries_are_only_words,
                bad_queries_are_invalid, scripts_without_spaces_are_found;
            expiring: what_is_old_goes_from_the_front, pages_end_where_the_log_begins,
                the_head_is_always_kept, only_the_front_goes, what_is_unread_is_what_is_kept,
                what_is_derived_from_it_goes_too, overdue_rooms_are_found_by_kind,
                much_goes_a_little_at_a_time;
            random: random_entries_fold_as_the_model_folds_them;
        }
    };
    ($factory:expr; $($module:ident: $($test:ident),*;)*) => {
        $($(
            #[tokio::test]
            async fn $test() {
                $crate::history::$module::$test(&$factory).await;
            }
        )*)*
    };
}
pub(crate) use suite;

/// A room under test: it knows its head, as a room actor does.
pub(crate) struct Log {
    pub(crate) history: Arc<dyn History>,
    pub(crate) id: RoomId,
    pub(crate) head: Seq,
    clock: i64,
}

impl Log {
    /// A group of `members`, the first of them its owner.
    pub(crate) async fn group(history: &Arc<dyn History>, id: &str, members: &[&str]) -> Self {
        Self::of(history, id, RoomKind::Group, members).await
    }

    /// A room of `members`; their join entries are 2, 3, …
    pub(crate) async fn of(
        history: &Arc<dyn History>,
        id: &str,
        kind: RoomKind,
        members: &[&str],
    ) -> Self {
        let mut log = Self {
            history: Arc::clone(history),
            id: room(id),
            head: Seq::ZERO,
            clock: 1_000,
        };
        let mut bodies = vec![created(kind)];
        for (n, member) in members.iter().enumerate() {
            let role = if n == 0 { Role::Owner } else { Role::Member };
            bodies.push(change(MemberAction::Join, member, Some(role)));
        }
        log.put(members[0], bodies).await;
        log
    }

    /// What is appended from here on is of this time or later.
    pub(crate) fn sleep_until(&mut self, time: Timestamp) {
        self.clock = self.clock.max(time.as_millis());
    }

    /// Appends and expects that it stands.
    pub(crate) async fn put(&mut self, by: &str, bodies: Vec<EntryBody>) -> Vec<Outcome> {
        let outcomes = self.try_put(by, bodies).await.unwrap();
        for outcome in &outcomes {
            if !outcome.dup {
                assert_eq!(outcome.seq, self.head.next(), "seq is dense");
                self.head = outcome.seq;
            }
        }
        outcomes
    }

    /// Appends at the head that is known.
    pub(crate) async fn try_put(
        &mut self,
        by: &str,
        bodies: Vec<EntryBody>,
    ) -> Result<Vec<Outcome>, AppendError> {
        let entries = bodies
            .into_iter()
            .map(|body| {
                self.clock += 1;
                NewEntry {
                    user: user(by),
                    ts: Timestamp::from_millis(self.clock),
                    body,
                }
            })
            .collect();
        self.history.append(&self.id, self.head, entries).await
    }

    /// Appends one entry and says where.
    pub(crate) async fn one(&mut self, by: &str, body: EntryBody) -> Seq {
        self.put(by, vec![body]).await[0].seq
    }

    /// Says something under a new nonce.
    pub(crate) async fn say(&mut self, by: &str, text: &str) -> Seq {
        self.one(by, said(text)).await
    }

    /// The message at a position, as it now reads.
    pub(crate) async fn message(&self, seq: Seq) -> Message {
        let mut found = self.history.messages(&self.id, &[seq]).await.unwrap();
        assert_eq!(found.len(), 1, "there is a message at {seq}");
        found.remove(0)
    }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub(crate) fn room(id: &str) -> RoomId {
    RoomId::parse(id).unwrap()
}

pub(crate) fn created(kind: RoomKind) -> EntryBody {
    EntryBody::Room(RoomChange {
        created: Some(kind),
        name: (kind != RoomKind::Dm).then(|| "a room".to_owned()),
        ..RoomChange::default()
    })
}

pub(crate) fn change(action: MemberAction, member: &str, role: Option<Role>) -> EntryBody {
    EntryBody::Member(MemberChange {
        action,
        member: user(member),
        role,
        until: None,
    })
}

pub(crate) fn message(text: &str) -> MessageBody {
    MessageBody {
        unreadable: false,
        nonce: Nonce::generate(),
        text: text.to_owned(),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
    }
}

pub(crate) fn said(text: &str) -> EntryBody {
    EntryBody::Message(message(text))
}

pub(crate) fn mentioning(text: &str, mentions: &[&str]) -> EntryBody {
    EntryBody::Message(MessageBody {
        mentions: mentions.iter().map(|id| user(id)).collect(),
        ..message(text)
    })
}

pub(crate) fn under(nonce: &str, text: &str) -> EntryBody {
    EntryBody::Message(MessageBody {
        nonce: Nonce::parse(nonce).unwrap(),
        ..message(text)
    })
}

pub(crate) fn edit(target: Seq, text: &str) -> EntryBody {
    EntryBody::Edit {
        target,
        text: text.to_owned(),
        mentions: Vec::new(),
    }
}

pub(crate) fn delete(target: Seq) -> EntryBody {
    EntryBody::Delete { target }
}

pub(crate) fn react(target: Seq, emoji: &str, on: bool) -> EntryBody {
    EntryBody::Reaction {
        target,
        emoji: emoji.to_owned(),
        on,
    }
}
