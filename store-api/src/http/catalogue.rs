//! Looking through the catalogue, logged in or not.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::ContentType,
    web::{self, Bytes},
};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::{
    Http,
    caller::{Person, Visitor},
    money::MoneyBody,
    refusal::Answer,
};
use crate::{
    catalogue::{GameCard, GameFilter, GamePage, Publisher, Search, Sort},
    error::StoreError,
    money::Country,
    paging::{DEFAULT_PAGE, PageRequest},
    store::Store,
};

/// A game in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct CardBody {
    /// Its id.
    id: String,
    /// Its name in addresses.
    #[schema(example = "midnight-railway")]
    slug: String,
    /// Its title.
    #[schema(example = "Midnight Railway")]
    title: String,
    /// A line or two.
    summary: String,
    /// Who sells it.
    publisher: SellerBody,
    /// When it came out, or comes, in milliseconds since the epoch.
    released_at: i64,
    /// What it costs now.
    price: MoneyBody,
    /// What it costs when there is no sale; absent while it costs that.
    #[serde(skip_serializing_if = "Option::is_none")]
    full_price: Option<MoneyBody>,
    /// What those who own it think.
    rating: RatingBody,
    /// How many bought it.
    sold: u64,
    /// Its first picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    cover: Option<String>,
    /// What kind of game it is.
    categories: Vec<String>,
    /// Words of its own.
    tags: Vec<String>,
}

/// Who sells a game.
#[derive(Serialize, ToSchema)]
pub(super) struct SellerBody {
    /// The publisher.
    id: String,
    /// Its name.
    name: String,
}

/// Stars, exactly: their average is `sum / count`.
#[derive(Serialize, ToSchema)]
pub(super) struct RatingBody {
    /// All stars together.
    #[schema(example = 13)]
    sum: u64,
    /// How many reviews gave them.
    #[schema(example = 3)]
    count: u64,
}

/// Games.
#[derive(Serialize, ToSchema)]
pub(super) struct GamesPage {
    /// In the order asked for.
    items: Vec<CardBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Everything about a game.
#[derive(Serialize, ToSchema)]
pub(super) struct GameBody {
    #[serde(flatten)]
    card: CardBody,
    /// All there is to say.
    description: String,
    /// `published`; `draft` for its publisher, `withdrawn` for those who own it.
    state: String,
    /// Pictures and films, in order.
    media: Vec<MediumBody>,
    /// How many like it.
    likes: u64,
    /// On which lists of the caller it stands: `library`, `wishlist`, `cart`, `likes`.
    mine: Vec<String>,
}

/// A picture or a film.
#[derive(Serialize, ToSchema)]
pub(super) struct MediumBody {
    /// `image` or `video`.
    kind: String,
    /// Where it is.
    url: String,
}

/// Which games, and in which order.
#[derive(Deserialize, IntoParams)]
pub(super) struct GamesQuery {
    /// Words, each of which the game has, or one that begins with it.
    q: Option<String>,
    /// Only of this category.
    category: Option<String>,
    /// Only with this tag.
    tag: Option<String>,
    /// Only of this publisher.
    publisher: Option<String>,
    /// Only what costs no more now, in minor units.
    max_price: Option<i64>,
    /// Only what is on sale.
    #[serde(default)]
    on_sale: bool,
    /// `title`, `newest`, `price`, `-price`, `rating`, `popular` (without `q` by itself), `relevance` (with `q` by itself).
    sort: Option<String>,
    /// Where one buys; otherwise where the caller does, or the store is at home.
    country: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Length of the page, 1 to 500.
    limit: Option<u64>,
}

/// Where one buys.
#[derive(Deserialize, IntoParams)]
pub(super) struct CountryQuery {
    /// Otherwise where the caller does, or the store is at home.
    country: Option<String>,
}

/// What somebody is typing.
#[derive(Deserialize, IntoParams)]
pub(super) struct SuggestionQuery {
    /// Words, the last one unfinished.
    q: String,
    /// Where one buys; otherwise where the caller does, or the store is at home.
    country: Option<String>,
}

/// Titles.
#[derive(Serialize, ToSchema)]
pub(super) struct SuggestionsBody {
    /// At most ten.
    items: Vec<SuggestionBody>,
}

/// A title.
#[derive(Serialize, ToSchema)]
pub(super) struct SuggestionBody {
    /// The game's name in addresses.
    slug: String,
    /// Its title.
    title: String,
}

/// Categories.
#[derive(Serialize, ToSchema)]
pub(super) struct CategoriesBody {
    /// All there are, by name.
    items: Vec<CategoryBody>,
}

/// A category.
#[derive(Serialize, ToSchema)]
pub(super) struct CategoryBody {
    /// Its word.
    #[schema(example = "strategy")]
    category: String,
    /// How many games of it are sold in the country.
    games: u64,
}

/// A publisher.
#[derive(Serialize, ToSchema)]
pub(super) struct PublisherBody {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// How many follow it.
    followers: u64,
}

/// Games that are sold in a country.
#[utoipa::path(get, path = "/v1/games", tag = "catalogue", security((), ("bearer" = [])), params(GamesQuery), responses(
    (status = 200, body = GamesPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn games(
    http: web::Data<Http>,
    visitor: Visitor,
    request: HttpRequest,
    query: web::Query<GamesQuery>,
) -> Answer {
    let store = http.store.clone();
    let query = query.into_inner();
    let country = visitor.country(&store, query.country.as_deref())?;
    let search = query.q.as_deref().filter(|q| !q.trim().is_empty());
    let search = search.map(Search::parse).transpose();
    let search = search.map_err(StoreError::from)?;
    let sort = Sort::parse(query.sort.as_deref(), search.is_some()).map_err(StoreError::from)?;
    let filter = GameFilter {
        country,
        search,
        category: query.category,
        tag: query.tag,
        publisher: query.publisher,
        max_price: query.max_price,
        on_sale: query.on_sale,
        sort,
    };
    let page = PageRequest::parse(query.cursor.as_deref(), query.limit)?;
    let read = move || async move {
        let page = store.games(&filter, &page).await?;
        spelled(&GamesPage {
            items: page.items.into_iter().map(CardBody::from).collect(),
            next: page.next,
        })
    };
    let body = if query.limit.is_some_and(|limit| limit > DEFAULT_PAGE) {
        // Long pages are for programs, and would take much room.
        read().await
    } else {
        http.lists
            .get(&http.store, question(&request, country), read)
            .await
    };
    Ok(json(body?))
}

/// Titles with the words somebody is typing.
#[utoipa::path(get, path = "/v1/games/suggestions", tag = "catalogue", security((), ("bearer" = [])), params(SuggestionQuery), responses(
    (status = 200, body = SuggestionsBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn suggestions(
    http: web::Data<Http>,
    visitor: Visitor,
    request: HttpRequest,
    query: web::Query<SuggestionQuery>,
) -> Answer {
    let store = http.store.clone();
    let country = visitor.country(&store, query.country.as_deref())?;
    let read = move || async move {
        let found = store.suggestions(&query.q, country).await?;
        let items = found.into_iter();
        let items = items.map(|(slug, title)| SuggestionBody { slug, title });
        spelled(&SuggestionsBody {
            items: items.collect(),
        })
    };
    let question = question(&request, country);
    Ok(json(http.lists.get(&http.store, question, read).await?))
}

/// The categories there are.
#[utoipa::path(get, path = "/v1/games/categories", tag = "catalogue", security((), ("bearer" = [])), params(CountryQuery), responses(
    (status = 200, body = CategoriesBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn categories(
    http: web::Data<Http>,
    visitor: Visitor,
    request: HttpRequest,
    query: web::Query<CountryQuery>,
) -> Answer {
    let store = http.store.clone();
    let country = visitor.country(&store, query.country.as_deref())?;
    let read = move || async move {
        let categories = store.categories(country).await?.into_iter();
        let items = categories.map(|(category, games)| CategoryBody { category, games });
        spelled(&CategoriesBody {
            items: items.collect(),
        })
    };
    let question = question(&request, country);
    Ok(json(http.lists.get(&http.store, question, read).await?))
}

/// One game, by its id or its name in addresses.
#[utoipa::path(get, path = "/v1/games/{game}", tag = "catalogue", security((), ("bearer" = [])), params(("game" = String, Path), CountryQuery), responses(
    (status = 200, body = GameBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 404, body = Problem, description = "no such game, or it is not sold in the country"), (status = 429, body = Problem)))]
pub(super) async fn game(
    http: web::Data<Http>,
    visitor: Visitor,
    game: web::Path<String>,
    query: web::Query<CountryQuery>,
) -> Answer {
    let store = &http.store;
    let country = visitor.country(store, query.country.as_deref())?;
    let viewer = visitor.0.as_ref().map(Person::id);
    let question = format!("{} {game}", country.code());
    let read = {
        let (store, game) = (store.clone(), game.clone());
        move || async move { store.game(&game, country, None).await.map(Arc::new) }
    };
    let page = match (http.games.get(store, question, read).await, viewer) {
        (Ok(page), None) => GamePage::clone(&page),
        (Ok(page), Some(viewer)) => GamePage {
            mine: store.lists_with(viewer, &page.card.id).await?,
            ..GamePage::clone(&page)
        },
        // What is not for everybody may be for them.
        (Err(StoreError::NotFound), Some(_)) => store.game(&game, country, viewer).await?,
        (Err(error), _) => return Err(error.into()),
    };
    Ok(HttpResponse::Ok().json(GameBody::from(page)))
}

/// A publisher.
#[utoipa::path(get, path = "/v1/publishers/{id}", tag = "catalogue", security((), ("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = PublisherBody), (status = 401, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn publisher(store: Store, _: Visitor, id: web::Path<String>) -> Answer {
    let publisher = store.publisher(&id).await?;
    Ok(HttpResponse::Ok().json(PublisherBody::from(publisher)))
}

/// What a request asks, in full: whoever buys in one country is answered the same.
fn question(request: &HttpRequest, country: Country) -> String {
    format!(
        "{} {}?{}",
        country.code(),
        request.path(),
        request.query_string()
    )
}

fn spelled(body: &impl Serialize) -> Result<Bytes, StoreError> {
    let text = serde_json::to_vec(body);
    let text = text.map_err(|error| StoreError::Internal(format!("a list: {error}")))?;
    Ok(text.into())
}

fn json(body: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(body)
}

impl From<GameCard> for CardBody {
    fn from(card: GameCard) -> Self {
        let full_price = (card.full_price != card.price).then(|| card.full_price.into());
        Self {
            id: card.id,
            slug: card.slug,
            title: card.title,
            summary: card.summary,
            publisher: SellerBody {
                id: card.publisher.0,
                name: card.publisher.1,
            },
            released_at: card.released_at.as_millis(),
            price: card.price.into(),
            full_price,
            rating: RatingBody {
                sum: card.rating.0,
                count: card.rating.1,
            },
            sold: card.sold,
            cover: card.cover,
            categories: card.categories,
            tags: card.tags,
        }
    }
}

impl From<GamePage> for GameBody {
    fn from(game: GamePage) -> Self {
        let media = game.media.into_iter().map(|medium| MediumBody {
            kind: medium.kind,
            url: medium.url,
        });
        Self {
            card: game.card.into(),
            description: game.description,
            state: game.state,
            media: media.collect(),
            likes: game.likes,
            mine: game.mine,
        }
    }
}

impl From<Publisher> for PublisherBody {
    fn from(publisher: Publisher) -> Self {
        Self {
            id: publisher.id,
            name: publisher.name,
            followers: publisher.followers,
        }
    }
}
