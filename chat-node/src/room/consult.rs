//! What a room has to ask before it can decide.

use shared::{
    codes::ErrorCode,
    id::UserId,
    protocol::{
        command::{Command, MessageSend},
        reply::{Appended, ErrorBody},
    },
    telemetry::Sparing,
};

use super::{
    ReplyBody,
    ask::Ask,
    live::Room,
    place::Known,
    rules,
    state::{Facts, Question, Tie},
};
use crate::history::HistoryError;

impl Room {
    /// Answers a question of the state.
    pub(super) async fn consult(
        &mut self,
        ask: &Ask,
        question: Question,
        facts: &mut Facts,
    ) -> Result<(), ErrorBody> {
        let history = self.parts.history.clone();
        match question {
            Question::Tie(other) => {
                facts.tie = Some(self.tie(&ask.caller.user, &other).await?);
            }
            Question::Message(seq) => {
                let found = history
                    .messages(&self.id, &[seq])
                    .await
                    .map_err(out_of_reach)?;
                facts.read = Some(seq);
                let known = match &mut self.place.known {
                    Known::State(state) => state.learn(seq, found.first()),
                    _ => false,
                };
                if !known {
                    return Err(rules::no_message());
                }
            }
            Question::Reacted(seq) => {
                let (Command::ReactionAdd(react) | Command::ReactionRemove(react)) = &ask.command
                else {
                    return Err(ErrorBody::new(ErrorCode::Internal, "not a reaction"));
                };
                let reacted = history.reacted(&self.id, seq, &ask.caller.user, &react.emoji);
                facts.reacted = Some(reacted.await.map_err(out_of_reach)?);
            }
        }
        Ok(())
    }

    /// How two people stand to each other, from the first one's graph.
    pub(super) async fn tie(&self, user: &UserId, other: &UserId) -> Result<Tie, ErrorBody> {
        let graph = self.parts.graph(user).await?;
        Ok(Tie {
            friends: graph.friends.contains(other),
            unblocked: graph.unblocked(other),
        })
    }

    /// A send the rules refuse now may be the retry of one that stands.
    pub(super) async fn refuse_new_send(&mut self, ask: Ask, error: ErrorBody) {
        let Command::MessageSend(MessageSend { nonce, .. }) = &ask.command else {
            return ask.answer.give(Err(error));
        };
        let sent = self.parts.history.sent(&self.id, &ask.caller.user, nonce);
        let reply = match sent.await {
            Ok(Some(first)) => Ok(ReplyBody::Appended(Appended {
                seq: first.seq,
                ts: first.ts,
                dup: true,
            })),
            Ok(None) => Err(error),
            Err(error) => Err(out_of_reach(error)),
        };
        ask.answer.give(reply);
    }
}

/// What a caller is told when history does not answer. Logged here, where it is handled, at most
/// once a second.
pub(super) fn out_of_reach(error: HistoryError) -> ErrorBody {
    static LINES: Sparing = Sparing::each_second();
    if let Some(more) = LINES.due() {
        tracing::warn!(%error, more, "history has no answer");
    }
    match error {
        HistoryError::Unavailable(_) => rules::unavailable(),
        HistoryError::Invalid(message) => rules::invalid(message),
        HistoryError::NoRoom => rules::no_room(),
    }
}
