//! Sends and their acknowledgements against the logs.

use std::collections::HashMap;

use shared::{
    codes::ErrorCode,
    id::{Seq, Timestamp},
    protocol::room::EntryBody,
};

use super::{Rule, SendKey, Verdict, logs::Logs, users};
use crate::record::{Happened, Line};

#[derive(Debug, Default)]
struct Sent {
    text: String,
    tries: usize,
    acks: Vec<Ack>,
    refused: Vec<ErrorCode>,
}

#[derive(Debug)]
struct Ack {
    seq: Seq,
    ts: Timestamp,
    dup: bool,
    /// How many tries there were before this answer.
    tries: usize,
}

/// Holds acknowledgements to the log and the log to what was sent. Answers what was sent.
pub(super) fn judge(
    lines: &[Line],
    logs: &Logs,
    verdict: &mut Verdict,
) -> HashMap<SendKey, String> {
    let users = users(lines);
    let mut sends: HashMap<SendKey, Sent> = HashMap::new();
    for line in lines {
        let (Happened::Sent { room, nonce, .. }
        | Happened::Acked { room, nonce, .. }
        | Happened::Refused { room, nonce, .. }) = &line.what
        else {
            continue;
        };
        let Some(user) = users.get(&line.c) else {
            verdict.breach(Rule::Record, format!("{} sends without a session", line.c));
            continue;
        };
        let sent = sends
            .entry((room.clone(), user.clone(), nonce.clone()))
            .or_default();
        match &line.what {
            Happened::Sent { text, .. } => {
                if sent.tries > 0 && sent.text != *text {
                    let what = format!("{} reuses nonce {nonce} for another text", line.c);
                    verdict.breach(Rule::Record, what);
                }
                sent.text.clone_from(text);
                sent.tries += 1;
            }
            Happened::Acked { seq, ts, dup, .. } => {
                verdict.seen.acks += 1;
                verdict.seen.dups += usize::from(*dup);
                sent.acks.push(Ack {
                    seq: *seq,
                    ts: *ts,
                    dup: *dup,
                    tries: sent.tries,
                });
            }
            Happened::Refused { code, .. } => sent.refused.push(*code),
            _ => {}
        }
    }
    verdict.seen.sends = sends.len();
    verdict.seen.retried = sends.values().filter(|sent| sent.tries > 1).count();
    let mut sorted: Vec<_> = sends.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(b.0));
    for (key, sent) in sorted {
        judge_one(key, sent, logs, verdict);
    }
    judge_origins(lines, logs, &sends, verdict);
    let tried = sends.into_iter().filter(|(_, sent)| sent.tries > 0);
    tried.map(|(key, sent)| (key, sent.text)).collect()
}

fn judge_one(key: &SendKey, sent: &Sent, logs: &Logs, verdict: &mut Verdict) {
    let (room, user, nonce) = key;
    let name = format!("{room}: {user}'s {nonce}");
    let Some(log) = logs.of(room) else {
        if !sent.acks.is_empty() {
            verdict.breach(Rule::Record, format!("{room}: its log was not read"));
        }
        return;
    };
    let stands = logs.messages.get(key).and_then(|seq| log.at(*seq));
    for ack in &sent.acks {
        let Some(entry) = stands else {
            if log.has_expired(ack.seq) {
                continue;
            }
            let what = format!("{name} was acknowledged at {} and is not there", ack.seq);
            verdict.breach(Rule::Lost, what);
            continue;
        };
        if entry.seq != ack.seq || entry.ts != ack.ts {
            verdict.breach(
                Rule::WrongAck,
                format!(
                    "{name} was acknowledged at {} ({}) and stands at {} ({})",
                    ack.seq,
                    ack.ts.as_millis(),
                    entry.seq,
                    entry.ts.as_millis(),
                ),
            );
        }
        if ack.dup && ack.tries < 2 {
            verdict.breach(Rule::DupWrong, format!("{name} is a dup of nothing"));
        }
    }
    if sent.acks.iter().filter(|ack| !ack.dup).count() > 1 {
        let what = format!("{name} was taken as new more than once");
        verdict.breach(Rule::DupWrong, what);
    }
    let Some(entry) = stands else { return };
    if let EntryBody::Message(message) = &entry.body
        && message.text != sent.text
        && !(message.text.is_empty() && log.is_blank(entry))
    {
        let what = format!("{name} reads {:?}, was {:?}", message.text, sent.text);
        verdict.breach(Rule::Altered, what);
    }
    // A refusal says that nothing was stored, except when the server itself does not know.
    let unknown = |code: &ErrorCode| matches!(code, ErrorCode::Internal | ErrorCode::Unavailable);
    let all_refused = sent.acks.is_empty() && sent.refused.len() == sent.tries;
    if all_refused && !sent.refused.iter().any(unknown) {
        let what = format!("{name} was refused ({:?}) and is in the log", sent.refused);
        verdict.breach(Rule::Unsent, what);
    }
}

/// A message of a recorded user must have been sent by one of the user's clients.
fn judge_origins(
    lines: &[Line],
    logs: &Logs,
    sends: &HashMap<SendKey, Sent>,
    verdict: &mut Verdict,
) {
    let recorded: std::collections::HashSet<_> = users(lines).into_values().collect();
    let mut unsent: Vec<_> = logs
        .messages
        .iter()
        .filter(|(key, _)| recorded.contains(&key.1))
        .filter(|(key, _)| sends.get(key).is_none_or(|sent| sent.tries == 0))
        .collect();
    unsent.sort();
    for ((room, user, nonce), seq) in unsent {
        let what = format!("{room}: {user}'s {nonce} at {seq} was never sent");
        verdict.breach(Rule::Unsent, what);
    }
}
