//! Rooms: which there are, making one, who is in.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::{
    id::{RoomId, UserId},
    problem::Problem,
    protocol::{
        command::{Command, OfRoom, OfUser, RoomCreate, RoomMembers},
        reply::{MembersReply, RoomReply},
        room::{RoomKind, RoomView},
    },
};
use utoipa::{IntoParams, ToSchema};

use super::{Shared, caller::Person, pages, refusal::of_error};
use crate::room::{Caller, Reply, ReplyBody};

/// The caller's rooms.
#[derive(Serialize, ToSchema)]
pub(super) struct RoomList {
    /// As the caller sees them, ordered by id.
    items: Vec<RoomView>,
}

/// A room to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewRoom {
    /// `group`, `lobby` or `channel`; or `dm`, which opens the direct-message room with the one
    /// member named, or answers it when it is open already.
    kind: RoomKind,
    /// The name, 1–100 characters; not for `dm`.
    #[serde(default)]
    name: Option<String>,
    /// Who else is in from the start.
    #[serde(default)]
    members: Vec<UserId>,
    /// The topic, up to 500 characters.
    #[serde(default)]
    topic: Option<String>,
}

/// Which members.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MembersQuery {
    /// The last member of the page before.
    after: Option<UserId>,
    /// 1–500; default 100.
    limit: Option<u32>,
}

/// Lists the caller's rooms
#[utoipa::path(get, path = "/v1/rooms", tag = "rooms", security(("bearer" = [])),
    responses((status = 200, body = RoomList), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn list(person: Person, rest: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let views = rest.parts.rooms.views(&person.user, None).await;
    let items = views.map_err(of_error)?;
    Ok(HttpResponse::Ok().json(RoomList { items }))
}

/// Makes a room
#[utoipa::path(post, path = "/v1/rooms", tag = "rooms", security(("bearer" = [])), request_body = NewRoom,
    responses(
        (status = 201, body = RoomReply, description = "Made; `Location` says where"),
        (status = 200, body = RoomReply, description = "The direct-message room"),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn create(
    person: Person,
    body: web::Json<NewRoom>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    make(&rest, person.caller(), body.into_inner()).await
}

/// Makes a room for somebody.
pub(super) async fn make(
    rest: &Shared,
    caller: Caller,
    new: NewRoom,
) -> Result<HttpResponse, Problem> {
    if new.kind == RoomKind::Dm {
        let [user] = <[UserId; 1]>::try_from(new.members).map_err(|_| {
            Problem::invalid("a dm has one other member").field("members", "has one element")
        })?;
        let command = Command::RoomOpenDm(OfUser { user });
        admit(rest, &caller, &command)?;
        return answer(rest.parts.rooms.ask(caller, command).await);
    }
    let name = new.name.ok_or_else(|| {
        Problem::invalid("a room has a name").field("name", "has 1 to 100 characters")
    })?;
    let command = Command::RoomCreate(RoomCreate {
        kind: new.kind,
        name,
        members: new.members,
        topic: new.topic,
    });
    admit(rest, &caller, &command)?;
    match rest.parts.rooms.ask(caller, command).await {
        Ok(ReplyBody::Room(reply)) => Ok(HttpResponse::Created()
            .insert_header(("location", format!("/v1/rooms/{}", reply.room.id)))
            .json(reply)),
        other => answer(other),
    }
}

/// A room as the caller sees it
#[utoipa::path(get, path = "/v1/rooms/{id}", tag = "rooms", security(("bearer" = [])),
    params(("id" = RoomId, Path, description = "The room")),
    responses((status = 200, body = RoomReply), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn get(
    person: Person,
    room: web::Path<RoomId>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let room = room.into_inner();
    let command = Command::RoomGet(OfRoom { room });
    answer(rest.parts.rooms.ask(person.caller(), command).await)
}

/// A page of a room's members, ordered by id
#[utoipa::path(get, path = "/v1/rooms/{id}/members", tag = "rooms", security(("bearer" = [])),
    params(("id" = RoomId, Path, description = "The room"), MembersQuery),
    responses((status = 200, body = MembersReply), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn members(
    person: Person,
    room: web::Path<RoomId>,
    query: web::Query<MembersQuery>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let command = Command::RoomMembers(RoomMembers {
        room: room.into_inner(),
        after: query.after.clone(),
        limit: Some(pages::limit(query.limit, 1..=500, 100)?),
    });
    answer(rest.parts.rooms.ask(person.caller(), command).await)
}

fn admit(rest: &Shared, caller: &Caller, command: &Command) -> Result<(), Problem> {
    if caller.service {
        return Ok(());
    }
    rest.admit(&caller.user, command)
}

/// A room's reply as a response.
pub(super) fn answer(reply: Reply) -> Result<HttpResponse, Problem> {
    Ok(match reply.map_err(of_error)? {
        ReplyBody::Empty(_) => HttpResponse::NoContent().finish(),
        ReplyBody::Appended(appended) => HttpResponse::Ok().json(appended),
        ReplyBody::Room(room) => HttpResponse::Ok().json(room),
        ReplyBody::Members(members) => HttpResponse::Ok().json(members),
        ReplyBody::Synced(synced) => HttpResponse::Ok().json(synced),
        ReplyBody::Read(read) => HttpResponse::Ok().json(read),
    })
}
