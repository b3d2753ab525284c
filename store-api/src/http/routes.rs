//! Every route of the store, once: where it is mounted and that it is documented.

use actix_web::{HttpResponse, web};
use shared::openapi::{Refusals, Schemes};

use super::{
    BODY_LIMIT, GAME_LIMIT, IMPORT_LIMIT, audit, auth, campaigns, catalogue, coupons, drops, email,
    friends, gifts, guest_book, identities, internal, me, notices, operators, orders, payments,
    privacy, publishers, queues, recovery, reviews, searches, shelf, users, visits, wallet,
    webhooks,
};
use crate::store::Store;

shared::routes! {
    document "/v1/store/openapi.json";
    reference "/v1/store/reference";
    body_limit BODY_LIMIT;
    openapi(
        info(
            title = "Fireside store",
            description = "Accounts, users, friends and the shop.",
            license(name = "Apache-2.0", identifier = "Apache-2.0")
        ),
        modifiers(&Schemes, &Refusals)
    );
    "/v1/auth/register" => post auth::register;
    "/v1/auth/login" => post auth::login;
    "/v1/auth/refresh" => post auth::refresh;
    "/v1/auth/logout" => post auth::logout;
    "/v1/auth/logout-all" => post auth::logout_all;
    "/v1/auth/available" => get auth::available;
    "/v1/auth/password/forgot" => post recovery::forgot;
    "/v1/auth/password/reset" => post recovery::reset;
    "/v1/auth/providers" => get identities::providers;
    "/v1/auth/providers/{provider}" => post identities::begin;
    "/v1/auth/providers/{provider}/return" => get identities::came_back;
    "/v1/auth/finish" => post identities::finish;
    "/v1/auth/finish/register" => post identities::register;
    "/v1/me" => get me::me, patch me::change_me, delete me::withdraw;
    "/v1/me/email" => put email::change;
    "/v1/me/email/code" => post email::send_code;
    "/v1/me/email/verify" => post email::verify;
    "/v1/me/export" => get me::export;
    "/v1/me/identities" => get identities::identities, post identities::link;
    "/v1/me/identities/{provider}" => post identities::begin_link, delete identities::unlink;
    "/v1/me/password" => put me::change_password;
    "/v1/me/security-events" => get audit::security_events;
    "/v1/me/privacy" => get privacy::privacy, patch privacy::change;
    "/v1/users" => get users::search;
    "/v1/users/{id}" => get users::user;
    "/v1/users/{id}/friends" => get visits::friends;
    "/v1/users/{id}/library" => get visits::library;
    "/v1/users/{id}/wishlist" => get visits::wishlist;
    "/v1/users/{id}/guest-book" => get guest_book::read, post guest_book::write;
    "/v1/users/{id}/guest-book/{entry}" => delete guest_book::delete;
    "/v1/users/{id}/guest-book/{entry}/hidden" => put guest_book::hide, delete guest_book::show;
    "/v1/friends" => get friends::friends;
    "/v1/friends/{user_id}" => put friends::befriend, delete friends::part;
    "/v1/friends/{user_id}/mutual" => get friends::mutual;
    "/v1/blocks" => get friends::blocks;
    "/v1/blocks/{user_id}" => put friends::block, delete friends::unblock;
    "/v1/games" => get catalogue::games;
    "/v1/games/suggestions" => get catalogue::suggestions;
    "/v1/games/categories" => get catalogue::categories;
    "/v1/games/{game}" => get catalogue::game;
    "/v1/games/{game}/reviews" => get reviews::reviews;
    "/v1/games/{game}/review" => put reviews::write, delete reviews::take_back;
    "/v1/games/{game}/reviews/{user_id}/helpful" => put reviews::helpful, delete reviews::not_helpful;
    "/v1/publishers" => post publishers::make;
    "/v1/publishers/{id}" => get catalogue::publisher;
    "/v1/publishers/{id}/games" up to IMPORT_LIMIT => post publishers::import;
    "/v1/publishers/{id}/games/{slug}" up to GAME_LIMIT => put publishers::put_game;
    "/v1/searches" => get searches::recent, post searches::search_made, delete searches::forget_searches;
    "/v1/searches/top" => get searches::top;
    "/v1/lists/{list}" => get shelf::marked;
    "/v1/lists/{list}/{game}" => put shelf::mark, delete shelf::unmark;
    "/v1/follows" => get shelf::followed;
    "/v1/follows/{id}" => put shelf::follow, delete shelf::unfollow;
    "/v1/library" => get shelf::library;
    "/v1/library/{game}" => patch shelf::change_owned;
    "/v1/library/{game}/sessions/{session}" => put shelf::played;
    "/v1/orders" => get orders::orders, post orders::buy;
    "/v1/orders/preview" => post orders::preview;
    "/v1/orders/{id}" => get orders::order;
    "/v1/orders/{id}/refund" => post orders::refund;
    "/v1/gifts" => get gifts::gifts, post gifts::give;
    "/v1/gifts/{id}" => delete gifts::take_back;
    "/v1/gifts/{id}/accept" => put gifts::accept;
    "/v1/gifts/{id}/decline" => put gifts::decline;
    "/v1/coupons" => get coupons::coupons;
    "/v1/coupons/redeem" => post coupons::redeem;
    "/v1/drops" => get drops::drops;
    "/v1/drops/{id}/claim" => post drops::claim;
    "/v1/drops/{id}/queue" => get queues::place, put queues::join, delete queues::leave;
    "/v1/campaigns" => get campaigns::campaigns, post campaigns::make;
    "/v1/campaigns/{id}" => delete campaigns::end;
    "/v1/campaigns/{id}/coupons" up to GAME_LIMIT => post campaigns::grant;
    "/v1/notices" => get notices::notices;
    "/v1/notices/read" => put notices::read;
    "/v1/wallet" => get wallet::wallet;
    "/v1/wallet/country" => put wallet::move_to;
    "/v1/wallet/history" => get wallet::history;
    "/v1/payments" => get payments::payments, post payments::pay;
    "/v1/payments/webhooks/{provider}" => post payments::message;
    "/v1/payments/{id}" => get payments::payment;
    "/v1/payments/{id}/confirm" => post payments::confirm;
    "/v1/payments/{id}/return" => get payments::came_back;
    "/v1/payments/{id}/window" => get payments::window;
    "/v1/payments/{id}/cancel" => post payments::cancel;
    "/v1/gift-cards" => post wallet::issue;
    "/v1/gift-cards/redeem" => post wallet::redeem;
    "/v1/gift-cards/{batch}" => delete wallet::void;
    "/v1/users/{id}/role" => put operators::set_role;
    "/v1/audit" => get audit::audit;
    "/v1/webhooks" => get webhooks::webhooks, post webhooks::make;
    "/v1/webhooks/{id}" => get webhooks::webhook, patch webhooks::change, delete webhooks::delete;
    "/v1/webhooks/{id}/secret" => post webhooks::renew_secret;
    "/v1/webhooks/{id}/ping" => post webhooks::ping;
    "/v1/webhooks/{id}/deliveries" => get webhooks::deliveries;
    "/v1/webhooks/{id}/deliveries/{delivery}/replay" => post webhooks::replay;
    "/v1/webhooks/{id}/replay" => post webhooks::replay_dead;
    "/v1/service-tokens" => get operators::service_tokens, post operators::make_service_token;
    "/v1/service-tokens/{id}" => delete operators::revoke_service_token;
    "/v1/internal/users/{id}/friends" => get internal::graph;
    "/v1/internal/graphs" => post internal::graphs;
    "/v1/internal/names" => post internal::names;
    "/v1/internal/revocations" => get internal::revocations;
}

/// Mounts the public keys of access tokens, which are no part of the document.
pub(super) fn mount_keys(config: &mut web::ServiceConfig) {
    config.service(web::resource("/.well-known/jwks.json").route(web::get().to(jwks)));
}

/// The public keys of access tokens; none while they are signed with a shared secret.
async fn jwks(store: Store) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "public, max-age=300"))
        .json(store.tokens().jwks())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_describes_what_is_mounted() {
        let faults = shared::openapi::faults(&openapi(), MOUNTED);
        assert_eq!(faults, Vec::<String>::new());
    }
}
