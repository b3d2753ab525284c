//! Search in the caller's rooms.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::{
    id::{RoomId, UserId},
    problem::{self, Problem},
    protocol::room::Message,
};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared,
    caller::Person,
    pages,
    refusal::{of_error, of_history},
};
use crate::history::Search;

/// What to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// Words that must all be there; a word may end in `*`. Up to 256 characters and 16 words.
    q: String,
    /// Only in this room.
    room: Option<RoomId>,
    /// Only by this author.
    author: Option<UserId>,
    /// `next` of the page before.
    after: Option<String>,
    /// 1–100; default 50.
    limit: Option<u32>,
}

/// A page of what was found.
#[derive(Serialize, ToSchema)]
pub(super) struct SearchPage {
    /// Newest first.
    items: Vec<Hit>,
    /// Pass as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A message that was found.
#[derive(Serialize, ToSchema)]
pub(super) struct Hit {
    /// Where it stands.
    room: RoomId,
    /// As it now reads.
    message: Message,
}

/// Finds messages by their words, in the rooms the caller belongs to
#[utoipa::path(get, path = "/v1/search", tag = "messages", security(("bearer" = [])),
    params(SearchQuery),
    responses((status = 200, body = SearchPage), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn find(
    person: Person,
    request: HttpRequest,
    query: web::Query<SearchQuery>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    problem::admit(&request, rest.searches.check(&person.user))?;
    let query = query.into_inner();
    let limit = pages::limit(query.limit, 1..=100, 50)?;
    if let Some(room) = &query.room {
        let access = rest.parts.rooms.authorize(&person.caller(), room).await;
        access.map_err(of_error)?;
    }
    let search = Search {
        user: person.user,
        text: query.q,
        room: query.room,
        author: query.author,
        after: query.after,
        limit,
    };
    let found = rest.parts.history.search(&search).await;
    let found = found.map_err(of_history)?;
    let items = found.items.into_iter();
    Ok(HttpResponse::Ok().json(SearchPage {
        items: items.map(|(room, message)| Hit { room, message }).collect(),
        next: found.next,
    }))
}
