//! Acknowledged edits and deletions against the logs.

use shared::protocol::room::EntryBody;

use super::{Rule, Verdict, logs::Logs, users};
use crate::record::{Happened, Line};

/// Holds each to an entry of its author, where the server said it stands.
pub(super) fn judge(lines: &[Line], logs: &Logs, verdict: &mut Verdict) {
    let users = users(lines);
    for line in lines {
        let Happened::Done { room, seq, ts } = &line.what else {
            continue;
        };
        verdict.seen.acts += 1;
        let name = format!("{}: what was done at {seq} of {room}", line.c);
        let Some(user) = users.get(&line.c) else {
            verdict.breach(Rule::Record, format!("{} acts without a session", line.c));
            continue;
        };
        let Some(log) = logs.of(room) else {
            verdict.breach(Rule::Record, format!("{room}: its log was not read"));
            continue;
        };
        match log.at(*seq) {
            None if log.has_expired(*seq) => {}
            None => verdict.breach(Rule::Lost, format!("{name} is not there")),
            Some(entry) if entry.user != *user || entry.ts != *ts => {
                verdict.breach(Rule::WrongAck, format!("{name} is {entry:?}"));
            }
            Some(entry) if matches!(entry.body, EntryBody::Message(_)) => {
                verdict.breach(Rule::WrongAck, format!("{name} is a message"));
            }
            Some(_) => {}
        }
    }
}
