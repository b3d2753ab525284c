//! The server API: what the game's own backend may do.
//!
//! It is bound by no membership, role, mute or slow mode, but by the same limits of size and the
//! same order: its commands go through the rooms like everybody's.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use shared::{
    codes::ErrorCode,
    events::StoreEvent,
    id::{RoomId, Timestamp, UserId},
    live::NodeFigures,
    problem::Problem,
    protocol::{
        command::{Command, OfMember, Restrict},
        reply::{Appended, RoomReply},
    },
};
use utoipa::ToSchema;

use super::{
    Shared,
    caller::Service,
    messages::{self, NewMessage},
    presence::PresenceList,
    refusal::of_error,
    rooms::{self, NewRoom, answer},
};
use crate::room::{Caller, ReplyBody, rules};

/// Most people in one request.
const MAX_PEOPLE: usize = 500;
/// Most events in one delivery.
const MAX_EVENTS: usize = 100;

/// A room to be made for somebody.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewRoomFor {
    /// Who makes it and owns it; nobody when absent.
    #[serde(default, rename = "as")]
    acting: Option<UserId>,
    /// The room.
    #[serde(flatten)]
    room: NewRoom,
}

/// Something to say in somebody's name.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewMessageFrom {
    /// Who says it; `system` when absent.
    #[serde(default, rename = "as")]
    acting: Option<UserId>,
    /// What is said.
    #[serde(flatten)]
    message: NewMessage,
}

/// A person.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Target {
    /// Who.
    user: UserId,
}

/// A person and a time.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct TargetUntil {
    /// Who.
    user: UserId,
    /// When it ends; absent: never.
    #[serde(default)]
    until: Option<Timestamp>,
}

/// People.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct People {
    /// 1–500 people.
    users: Vec<UserId>,
}

/// What became of people who were to be brought in.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Brought {
    /// How many came in.
    added: usize,
    /// How many were in already.
    present: usize,
    /// Who did not come in.
    refused: Vec<Refused>,
}

/// Somebody who did not come in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Refused {
    /// Who.
    user: UserId,
    /// Why: `forbidden` (banned), `conflict` (the room is full), or one to be tried again.
    #[schema(value_type = String)]
    code: ErrorCode,
}

/// People who were let go.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Relocated {
    /// How many sockets were told so.
    sockets: usize,
}

/// Events of the store.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Events {
    /// Up to 100, in order.
    #[schema(value_type = Vec<Object>)]
    events: Vec<StoreEvent>,
}

fn acting(user: Option<UserId>) -> Result<Caller, Problem> {
    let user = match user {
        Some(user) => user,
        None => UserId::parse(rules::SYSTEM).map_err(Problem::internal)?,
    };
    Ok(Caller {
        user,
        service: true,
    })
}

/// Makes a room for people
#[utoipa::path(post, path = "/v1/server/rooms", tag = "server", security(("service" = [])), request_body = NewRoomFor,
    responses((status = 201, body = RoomReply), (status = 200, body = RoomReply),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn create_room(
    _: Service,
    body: web::Json<NewRoomFor>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let body = body.into_inner();
    rooms::make(&rest, acting(body.acting)?, body.room).await
}

/// Posts a message, as `system` or as somebody
#[utoipa::path(post, path = "/v1/server/rooms/{id}/messages", tag = "server", security(("service" = [])),
    params(("id" = RoomId, Path, description = "The room"),
        ("idempotency-key" = String, Header, description = "The name of this send")),
    request_body = NewMessageFrom,
    responses((status = 201, body = Appended), (status = 200, body = Appended),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn post(
    _: Service,
    request: HttpRequest,
    room: web::Path<RoomId>,
    body: web::Json<NewMessageFrom>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let nonce = messages::idempotency_key(&request)?;
    let body = body.into_inner();
    let command = body.message.command(room.into_inner(), nonce, &request);
    messages::say(&rest, acting(body.acting)?, command).await
}

/// Brings somebody in
#[utoipa::path(post, path = "/v1/server/rooms/{id}/invite", tag = "server", security(("service" = [])),
    params(("id" = RoomId, Path, description = "The room")), request_body = Target,
    responses((status = 200, body = RoomReply), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn invite(
    _: Service,
    room: web::Path<RoomId>,
    body: web::Json<Target>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let command = Command::RoomInvite(body.into_inner().of(room.into_inner()));
    answer(rest.parts.rooms.ask(acting(None)?, command).await)
}

/// Brings many in at once
#[utoipa::path(post, path = "/v1/server/rooms/{id}/members", tag = "server", security(("service" = [])),
    params(("id" = RoomId, Path, description = "The room")), request_body = People,
    responses((status = 200, body = Brought), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn bring(
    _: Service,
    room: web::Path<RoomId>,
    body: web::Json<People>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let (room, users) = (room.into_inner(), body.into_inner().some()?);
    let caller = acting(None)?;
    // All at once: the room appends together what waits for it.
    let replies = join_all(users.iter().map(|user| {
        let invite = OfMember {
            room: room.clone(),
            user: user.clone(),
        };
        let parts = &rest.parts;
        parts.rooms.ask(caller.clone(), Command::RoomInvite(invite))
    }));
    let mut brought = Brought::default();
    for (user, reply) in users.iter().zip(replies.await) {
        match reply {
            Ok(ReplyBody::Room(room)) if room.appended.is_some_and(|at| at.dup) => {
                brought.present += 1;
            }
            Ok(_) => brought.added += 1,
            Err(error) if error.code == ErrorCode::NotFound => return Err(of_error(error)),
            Err(error) => brought.refused.push(Refused {
                user: user.clone(),
                code: error.code,
            }),
        }
    }
    Ok(HttpResponse::Ok().json(brought))
}

/// Removes somebody, who may come back
#[utoipa::path(post, path = "/v1/server/rooms/{id}/kick", tag = "server", security(("service" = [])),
    params(("id" = RoomId, Path, description = "The room")), request_body = Target,
    responses((status = 200, body = RoomReply), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn kick(
    _: Service,
    room: web::Path<RoomId>,
    body: web::Json<Target>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let command = Command::RoomKick(body.into_inner().of(room.into_inner()));
    answer(rest.parts.rooms.ask(acting(None)?, command).await)
}

/// Removes somebody and keeps them out
#[utoipa::path(post, path = "/v1/server/rooms/{id}/ban", tag = "server", security(("service" = [])),
    params(("id" = RoomId, Path, description = "The room")), request_body = TargetUntil,
    responses((status = 200, body = RoomReply), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn ban(
    _: Service,
    room: web::Path<RoomId>,
    body: web::Json<TargetUntil>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let body = body.into_inner();
    let command = Command::RoomBan(Restrict {
        room: room.into_inner(),
        user: body.user,
        until: body.until,
    });
    answer(rest.parts.rooms.ask(acting(None)?, command).await)
}

/// Lifts a ban
#[utoipa::path(post, path = "/v1/server/rooms/{id}/unban", tag = "server", security(("service" = [])),
    params(("id" = RoomId, Path, description = "The room")), request_body = Target,
    responses((status = 200, body = RoomReply), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn unban(
    _: Service,
    room: web::Path<RoomId>,
    body: web::Json<Target>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let command = Command::RoomUnban(body.into_inner().of(room.into_inner()));
    answer(rest.parts.rooms.ask(acting(None)?, command).await)
}

/// How people are, as their friends see them
#[utoipa::path(post, path = "/v1/server/presence", tag = "server", security(("service" = [])), request_body = People,
    responses((status = 200, body = PresenceList), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn presence(
    _: Service,
    body: web::Json<People>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let users = body.into_inner().some()?;
    let views = rest.parts.presence.bulk(&users).await;
    Ok(HttpResponse::Ok().json(PresenceList::new(views)))
}

/// Ends every session of somebody, on every node
#[utoipa::path(post, path = "/v1/server/users/{id}/disconnect", tag = "server", security(("service" = [])),
    params(("id" = UserId, Path, description = "The person")),
    responses((status = 204, description = "Told to all nodes"), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn disconnect(
    _: Service,
    user: web::Path<UserId>,
    rest: web::Data<Shared>,
) -> HttpResponse {
    let user = user.into_inner();
    rest.parts.events.disconnect(&user);
    HttpResponse::NoContent().finish()
}

/// What this node has to do right now
#[utoipa::path(get, path = "/v1/server/live", tag = "server", security(("service" = [])),
    responses((status = 200, body = NodeFigures), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn live(_: Service, rest: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(rest.parts.live.now())
}

/// Lets people go who belong on another node: their sockets here close with 4009
#[utoipa::path(post, path = "/v1/server/relocate", tag = "server", security(("service" = [])), request_body = People,
    responses((status = 200, body = Relocated), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn relocate(
    _: Service,
    body: web::Json<People>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let users = body.into_inner().some()?;
    let sessions = &rest.parts.sessions;
    let sockets = users.iter().map(|user| sessions.relocate(user)).sum();
    Ok(HttpResponse::Ok().json(Relocated { sockets }))
}

/// Takes events of the store in, each once
#[utoipa::path(post, path = "/v1/server/events", tag = "server", security(("service" = [])), request_body = Events,
    responses((status = 204, description = "Taken in, here and on the other nodes"), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 413, body = Problem)))]
pub(super) async fn events(
    _: Service,
    body: web::Json<Events>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let events = body.into_inner().events;
    if events.len() > MAX_EVENTS {
        let allowed = format!("has up to {MAX_EVENTS} elements");
        return Err(Problem::invalid(format!("events {allowed}")).field("events", allowed));
    }
    rest.parts.events.intake(events).await;
    Ok(HttpResponse::NoContent().finish())
}

impl People {
    /// Them, if there are neither none nor too many.
    fn some(self) -> Result<Vec<UserId>, Problem> {
        if (1..=MAX_PEOPLE).contains(&self.users.len()) {
            return Ok(self.users);
        }
        let allowed = format!("has 1 to {MAX_PEOPLE} elements");
        Err(Problem::invalid(format!("users {allowed}")).field("users", allowed))
    }
}

impl Target {
    fn of(self, room: RoomId) -> OfMember {
        OfMember {
            room,
            user: self.user,
        }
    }
}
