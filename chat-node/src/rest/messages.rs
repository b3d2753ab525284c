//! Messages: pages, the raw log, saying something, read markers.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    id::{Epoch, Nonce, RoomId, Seq, UserId},
    problem::Problem,
    protocol::{
        command::{Command, MessageSend, OfMessage, RoomSync},
        reply::{Appended, ReadReply, Synced},
        room::Message,
    },
    trace::TraceContext,
};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared,
    caller::Person,
    pages,
    refusal::{of_error, of_history},
    rooms::answer,
};
use crate::{
    history::Cursor,
    room::{Caller, ReplyBody},
};

/// A page of messages.
#[derive(Serialize, ToSchema)]
pub(super) struct MessagePage {
    /// As they now read, ascending: edits, reactions and deletions folded in.
    items: Vec<Message>,
    /// There are older ones.
    has_before: bool,
    /// There are newer ones.
    has_after: bool,
    /// The first entry of the log that is still kept: what was said before has expired. Absent while
    /// nothing has.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<Seq>,
    /// The identity of the room's log.
    epoch: Epoch,
}

/// Which messages; at most one of `before`, `after` and `around`, none for the newest.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The ones right before a position.
    before: Option<Seq>,
    /// The ones right after a position.
    after: Option<Seq>,
    /// Half before and half from a position on.
    around: Option<Seq>,
    /// 1–100; default 50.
    limit: Option<u32>,
}

impl PageQuery {
    fn cursor(&self) -> Result<Cursor, Problem> {
        match (self.before, self.after, self.around) {
            (None, None, None) => Ok(Cursor::Newest),
            (Some(seq), None, None) => Ok(Cursor::Before(seq)),
            (None, Some(seq), None) => Ok(Cursor::After(seq)),
            (None, None, Some(seq)) => Ok(Cursor::Around(seq)),
            _ => Err(Problem::invalid(
                "at most one of `before`, `after` and `around`",
            )),
        }
    }
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// The last entry the caller holds; default 0, before the first.
    #[serde(default)]
    after: Seq,
    /// The epoch of what the caller holds: another one answers `reset`.
    epoch: Option<Epoch>,
    /// 1–500; default 100.
    limit: Option<u32>,
}

/// Something to say.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewMessage {
    /// 1–4,000 characters; may be empty when `data` is there.
    #[serde(default)]
    text: String,
    /// The message it answers.
    #[serde(default)]
    reply_to: Option<Seq>,
    /// Members it mentions, up to 50.
    #[serde(default)]
    mentions: Vec<UserId>,
    /// Up to 4 KiB of JSON of the client's own.
    #[serde(default)]
    data: Option<Value>,
}

/// A read marker.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ReadUpTo {
    /// The last entry read.
    seq: Seq,
}

/// A page of a room's messages
#[utoipa::path(get, path = "/v1/rooms/{id}/messages", tag = "messages", security(("bearer" = [])),
    params(("id" = RoomId, Path, description = "The room"), PageQuery),
    responses((status = 200, body = MessagePage), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn page(
    person: Person,
    room: web::Path<RoomId>,
    query: web::Query<PageQuery>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let (at, limit) = (query.cursor()?, pages::limit(query.limit, 1..=100, 50)?);
    let rooms = &rest.parts.rooms;
    let access = rooms.authorize(&person.caller(), &room).await;
    access.map_err(of_error)?;
    let page = rest.parts.history.page(&room, at, limit).await;
    let page = page.map_err(of_history)?;
    Ok(HttpResponse::Ok().json(MessagePage {
        items: page.items,
        has_before: page.has_before,
        has_after: page.has_after,
        first: (page.first > Seq::FIRST).then_some(page.first),
        epoch: page.epoch,
    }))
}

/// Entries of a room's log after a position, as they were appended
#[utoipa::path(get, path = "/v1/rooms/{id}/log", tag = "messages", security(("bearer" = [])),
    params(("id" = RoomId, Path, description = "The room"), LogQuery),
    responses((status = 200, body = Synced), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn log(
    person: Person,
    room: web::Path<RoomId>,
    query: web::Query<LogQuery>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let command = Command::RoomSync(RoomSync {
        room: room.into_inner(),
        epoch: query.epoch,
        after: query.after,
        limit: Some(pages::limit(query.limit, 1..=500, 100)?),
    });
    answer(rest.parts.rooms.ask(person.caller(), command).await)
}

/// Says something
///
/// `Idempotency-Key` is the message's nonce: a retry under the same key answers the first message with
/// `dup: true`, on any node, after any crash.
#[utoipa::path(post, path = "/v1/rooms/{id}/messages", tag = "messages", security(("bearer" = [])),
    params(("id" = RoomId, Path, description = "The room"),
        ("idempotency-key" = Nonce, Header, description = "The client's name for this send, unique per sender and room")),
    request_body = NewMessage,
    responses((status = 201, body = Appended, description = "Durable"),
        (status = 200, body = Appended, description = "Was there already"),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 413, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn send(
    person: Person,
    request: HttpRequest,
    room: web::Path<RoomId>,
    body: web::Json<NewMessage>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let nonce = idempotency_key(&request)?;
    let command = body
        .into_inner()
        .command(room.into_inner(), nonce, &request);
    rest.admit(&person.user, &command)?;
    say(&rest, person.caller(), command).await
}

/// Moves the caller's read marker forward
#[utoipa::path(put, path = "/v1/rooms/{id}/read", tag = "messages", security(("bearer" = [])),
    params(("id" = RoomId, Path, description = "The room")), request_body = ReadUpTo,
    responses((status = 200, body = ReadReply, description = "Where the marker is now"),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn read(
    person: Person,
    room: web::Path<RoomId>,
    body: web::Json<ReadUpTo>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let command = Command::Read(OfMessage {
        room: room.into_inner(),
        seq: body.seq,
    });
    rest.admit(&person.user, &command)?;
    answer(rest.parts.rooms.ask(person.caller(), command).await)
}

impl NewMessage {
    /// As a command, in the trace that the request belongs to.
    pub(super) fn command(self, room: RoomId, nonce: Nonce, request: &HttpRequest) -> Command {
        let traceparent = request.headers().get("traceparent");
        let traceparent = traceparent.and_then(|value| TraceContext::parse(value.to_str().ok()?));
        let traceparent = traceparent.map(Box::new);
        Command::MessageSend(MessageSend {
            room,
            nonce,
            text: self.text,
            reply_to: self.reply_to,
            mentions: self.mentions,
            data: self.data,
            traceparent,
        })
    }
}

pub(super) async fn say(
    rest: &Shared,
    caller: Caller,
    command: Command,
) -> Result<HttpResponse, Problem> {
    match rest.parts.rooms.ask(caller, command).await {
        Ok(ReplyBody::Appended(appended)) if !appended.dup => {
            Ok(HttpResponse::Created().json(appended))
        }
        other => answer(other),
    }
}

/// The header as a nonce; quoted, as the draft standard has it, or bare.
pub(super) fn idempotency_key(request: &HttpRequest) -> Result<Nonce, Problem> {
    let missing = || {
        Problem::invalid("a message needs an `Idempotency-Key`: a name for this send, 1 to 64 of A-Z a-z 0-9 _ : . -")
            .field("idempotency-key", "is required")
    };
    let key = request
        .headers()
        .get("idempotency-key")
        .ok_or_else(missing)?;
    let text = key.to_str().unwrap_or_default().trim();
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    Nonce::parse(bare).map_err(|error| {
        Problem::invalid(format!("`Idempotency-Key`: {error}"))
            .field("idempotency-key", error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_page_has_one_cursor() {
        let seq = Some(Seq::new(7));
        let both = PageQuery {
            before: seq,
            around: seq,
            ..PageQuery::default()
        };
        assert!(both.cursor().is_err());
        let one = PageQuery {
            after: seq,
            ..PageQuery::default()
        };
        assert_eq!(one.cursor(), Ok(Cursor::After(Seq::new(7))));
        assert_eq!(PageQuery::default().cursor(), Ok(Cursor::Newest));
    }

    #[test]
    fn the_key_is_bare_or_quoted_and_has_to_be_there() {
        let key = |value: &str| {
            let request = TestRequest::default().insert_header(("idempotency-key", value));
            idempotency_key(&request.to_http_request()).map(|nonce| nonce.to_string())
        };
        assert_eq!(key("01J-a.b").as_deref(), Ok("01J-a.b"));
        assert_eq!(key("\"01J\"").as_deref(), Ok("01J"));
        for bad in ["", "a b", "\"", "é"] {
            assert!(key(bad).is_err(), "{bad}");
        }
        assert!(idempotency_key(&TestRequest::default().to_http_request()).is_err());
    }
}
