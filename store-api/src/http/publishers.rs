//! What publishers put into the catalogue.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use shared::{id::UserId, problem::Problem};
use utoipa::ToSchema;

use super::{caller::Actor, catalogue::PublisherBody, imports, refusal::Answer};
use crate::{
    accounts::Scope,
    catalogue::{GameText, Imported},
    store::Store,
};

/// A publisher wanted.
#[derive(Deserialize, ToSchema)]
pub(super) struct PublisherRequest {
    /// Its name: 2 to 64 characters, nobody else's.
    #[schema(example = "Amber Lantern")]
    name: String,
    /// Who keeps its games; without one, those who run the store.
    #[schema(value_type = Option<String>)]
    owner: Option<UserId>,
}

/// A game put into the catalogue.
#[derive(Serialize, ToSchema)]
pub(super) struct PutBody {
    /// Its id.
    id: String,
}

/// What an import did.
#[derive(Serialize, ToSchema)]
pub(super) struct ImportBody {
    /// A line each.
    items: Vec<ImportedBody>,
}

/// What an import did with a line.
#[derive(Serialize, ToSchema)]
pub(super) struct ImportedBody {
    /// The line, from 1; of a CSV file, the one after its head is 1.
    line: usize,
    /// `created` or `changed`.
    outcome: &'static str,
    /// The game.
    id: String,
    /// Its name in addresses.
    slug: String,
}

/// A game, as its publisher says it.
#[derive(ToSchema)]
#[allow(dead_code)] // it describes what `GameText` reads
pub(super) struct GameShape {
    /// Its name in addresses, in an import; elsewhere the path has it.
    #[schema(example = "midnight-railway")]
    slug: Option<String>,
    /// Its title: 1 to 100 characters.
    #[schema(example = "Midnight Railway")]
    title: String,
    /// A line of 1 to 300 characters.
    #[schema(example = "A puzzle aboard a train that never stops.")]
    summary: String,
    /// Up to 8000 characters.
    description: Option<String>,
    /// `draft`, `published` or `withdrawn`.
    #[schema(example = "published")]
    state: String,
    /// When it came out, or comes, in milliseconds since the epoch.
    released_at: i64,
    /// One to four categories.
    #[schema(example = json!(["puzzle"]))]
    categories: Vec<String>,
    /// Up to 12 words of its own: a-z, 0-9 and hyphens.
    #[schema(example = json!(["story-rich"]))]
    tags: Option<Vec<String>>,
    /// Up to 12 pictures and films.
    media: Option<Vec<MediumShape>>,
    /// What it costs, by country, in minor units of the country's currency.
    #[schema(example = json!({"US": 1999, "KR": 22000}))]
    prices: Option<std::collections::BTreeMap<String, i64>>,
    /// Up to 100 times at which it costs less.
    sales: Option<Vec<SaleShape>>,
}

/// A picture or a film.
#[derive(ToSchema)]
#[allow(dead_code)] // it describes what `MediumText` reads
pub(super) struct MediumShape {
    /// `image` or `video`.
    #[schema(example = "image")]
    kind: String,
    /// An address of http or https.
    url: String,
}

/// A time at which a game costs less.
#[derive(ToSchema)]
#[allow(dead_code)] // it describes what `SaleText` reads
pub(super) struct SaleShape {
    /// Where.
    #[schema(example = "US")]
    country: String,
    /// What it costs then, in minor units.
    price: i64,
    /// From when, in milliseconds since the epoch.
    starts_at: i64,
    /// Until when.
    ends_at: i64,
}

/// Makes a publisher, for an operator or a service of the scope `catalogue`.
#[utoipa::path(post, path = "/v1/publishers", tag = "publishers", security(("bearer" = []), ("service" = [])), request_body = PublisherRequest, responses(
    (status = 201, body = PublisherBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 409, body = Problem, description = "`taken`: another has this name")))]
pub(super) async fn make(store: Store, actor: Actor, body: web::Json<PublisherRequest>) -> Answer {
    actor.operator_or(Scope::Catalogue)?;
    let publisher = store
        .make_publisher(&actor.name(), &body.name, body.owner.as_ref())
        .await?;
    Ok(HttpResponse::Created().json(PublisherBody::from(publisher)))
}

/// Puts a game into the catalogue, or changes it: for the publisher's owner, an operator or a
/// service of the scope `catalogue`.
#[utoipa::path(put, path = "/v1/publishers/{id}/games/{slug}", tag = "publishers", security(("bearer" = []), ("service" = [])),
    params(("id" = String, Path), ("slug" = String, Path)), request_body = GameShape, responses(
    (status = 200, body = PutBody, description = "it is changed"), (status = 201, body = PutBody, description = "it is new"),
    (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`taken`: a game of another publisher has this name")))]
pub(super) async fn put_game(
    store: Store,
    actor: Actor,
    path: web::Path<(String, String)>,
    body: web::Json<GameText>,
) -> Answer {
    let (publisher, slug) = path.into_inner();
    let game = GameText {
        slug,
        ..body.into_inner()
    };
    let keeper = actor.keeper(Scope::Catalogue)?;
    let (id, created) = store
        .put_game(&actor.name(), keeper, &publisher, game)
        .await?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(HttpResponse::build(status).json(PutBody { id }))
}

/// Puts many games into the catalogue, all of them or none: an array, or CSV with a head.
///
/// When lines break rules, `errors` names each with its place: `lines[3].title`. In CSV,
/// `categories` and `tags` are words with `;` between them, `prices` are `US=1999;KR=22000`, `media`
/// are `image=https://…`, and `sales` `US=999@FROM-TO`, with times in milliseconds since the epoch.
#[utoipa::path(post, path = "/v1/publishers/{id}/games", tag = "publishers", security(("bearer" = []), ("service" = [])),
    params(("id" = String, Path)), request_body(content((Vec<GameShape> = "application/json"), (String = "text/csv"))), responses(
    (status = 200, body = ImportBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem)))]
pub(super) async fn import(
    request: HttpRequest,
    store: Store,
    actor: Actor,
    id: web::Path<String>,
    body: web::Bytes,
) -> Answer {
    let keeper = actor.keeper(Scope::Catalogue)?;
    let kind = request.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let games = match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => imports::json(&body)?,
        "text/csv" => imports::csv(&body)?,
        _ => {
            let refused = Problem::invalid("send application/json or text/csv");
            return Err(refused
                .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .into());
        }
    };
    let imported = store
        .import_games(&actor.name(), keeper, &id, games)
        .await?;
    let items = imported.into_iter().map(ImportedBody::from).collect();
    Ok(HttpResponse::Ok().json(ImportBody { items }))
}

impl From<Imported> for ImportedBody {
    fn from(imported: Imported) -> Self {
        Self {
            line: imported.line,
            outcome: if imported.created {
                "created"
            } else {
                "changed"
            },
            id: imported.id,
            slug: imported.slug,
        }
    }
}
