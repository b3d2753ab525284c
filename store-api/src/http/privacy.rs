//! What the caller shows to whom.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{caller::Person, refusal::Answer};
use crate::{
    error::StoreError,
    privacy::{Audience, Privacy, Section},
    store::Store,
};

/// What the caller shows to whom: `public`, `friends` or `nobody`.
#[derive(Serialize, ToSchema)]
pub(super) struct PrivacyBody {
    /// Picture and status line; the nickname is for everybody.
    #[schema(example = "public")]
    profile: &'static str,
    /// Whose friend the caller is. With `nobody` they are left out of the friends of others, too.
    #[schema(example = "friends")]
    friends: &'static str,
    /// The games the caller owns. With `nobody` friends do not hear of purchases either.
    #[schema(example = "friends")]
    library: &'static str,
    /// The games the caller would like to have.
    #[schema(example = "friends")]
    wishlist: &'static str,
    /// How long and when the caller played, in reviews too.
    #[schema(example = "nobody")]
    play_time: &'static str,
    /// Reading the caller's guest book.
    #[schema(example = "public")]
    guest_book: &'static str,
    /// Writing in it.
    #[schema(example = "friends")]
    guest_book_entries: &'static str,
}

/// What the caller wants to show to others than before. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PrivacyChange {
    /// Picture and status line.
    #[schema(example = "friends")]
    profile: Option<String>,
    /// Whose friend the caller is.
    friends: Option<String>,
    /// The games the caller owns.
    #[schema(example = "nobody")]
    library: Option<String>,
    /// The games the caller would like to have.
    wishlist: Option<String>,
    /// How long and when the caller played.
    play_time: Option<String>,
    /// Reading the caller's guest book.
    guest_book: Option<String>,
    /// Writing in it.
    guest_book_entries: Option<String>,
}

/// What the caller shows to whom.
#[utoipa::path(get, path = "/v1/me/privacy", tag = "me", security(("bearer" = [])), responses(
    (status = 200, body = PrivacyBody), (status = 401, body = Problem)))]
pub(super) async fn privacy(store: Store, person: Person) -> Answer {
    let privacy = store.privacy(person.id()).await?;
    Ok(HttpResponse::Ok().json(PrivacyBody::from(&privacy)))
}

/// Shows things of the caller to others than before; it holds at once.
#[utoipa::path(patch, path = "/v1/me/privacy", operation_id = "change_privacy", tag = "me", security(("bearer" = [])), request_body = PrivacyChange, responses(
    (status = 200, body = PrivacyBody), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn change(store: Store, person: Person, body: web::Json<PrivacyChange>) -> Answer {
    let body = body.into_inner();
    let mut changes = Vec::new();
    let mut broken = Vec::new();
    for (section, audience) in [
        (Section::Profile, body.profile),
        (Section::Friends, body.friends),
        (Section::Library, body.library),
        (Section::Wishlist, body.wishlist),
        (Section::PlayTime, body.play_time),
        (Section::GuestBook, body.guest_book),
        (Section::GuestBookEntries, body.guest_book_entries),
    ] {
        let parsed = audience.map(|text| Audience::parse(section.word(), &text));
        match parsed {
            None => {}
            Some(Ok(audience)) => changes.push((section, audience)),
            Some(Err(violation)) => broken.push(violation),
        }
    }
    if !broken.is_empty() {
        return Err(StoreError::Invalid(broken).into());
    }
    let privacy = store.change_privacy(person.id(), &changes).await?;
    Ok(HttpResponse::Ok().json(PrivacyBody::from(&privacy)))
}

impl From<&Privacy> for PrivacyBody {
    fn from(privacy: &Privacy) -> Self {
        let of = |section| privacy.of(section).word();
        Self {
            profile: of(Section::Profile),
            friends: of(Section::Friends),
            library: of(Section::Library),
            wishlist: of(Section::Wishlist),
            play_time: of(Section::PlayTime),
            guest_book: of(Section::GuestBook),
            guest_book_entries: of(Section::GuestBookEntries),
        }
    }
}
