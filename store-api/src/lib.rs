//! Accounts, users, friends and the shop over REST.
//!
//! A request comes in through [`Routes`] (`http/`), whose handlers only read it and spell the
//! answer. The domain is [`Store`]: `accounts/` (registering, logging in, sessions, revocation),
//! `users/` (profiles, names, search), `identities/` (logging in by other providers), `audit` (who did what), `mail/` (what people are written), `friends/` (requests, friendships, blocks), `privacy` (who sees
//! what of whom), `guest_book`, and of the shop
//! `catalogue/` (games, search, reviews), `shelf/` (wishlist, cart, library), `orders/` (buying, gifts,
//! refunds), `coupons/` (what makes orders cheaper), `notices` (what people are told of all that; many of them by `announcements`), and `wallet/` over `ledger/`, where money moves by double entry, each request once (`idempotency`); it comes in through `payments/`.
//! Each of its methods is one transaction, on SQLite or PostgreSQL (`database`, `entity/`, `migration/`).
//!
//! What changes is told to the chat nodes: the transaction that makes a change also writes its
//! events into a table, and after the commit `outbox/` delivers them, in order and at least once,
//! to each [`EventTarget`]: a chat node over HTTP, or whatever implements [`EventSink`] in the same
//! process. [`Store::start`] sets that going; [`Store::friend_graphs`], [`Store::names`] and
//! [`Store::active_revocations`] are what a node asks in return. Programs of others are told by `webhooks/`.
//!
//! Invariants: nobody else writes these tables; the store never calls a chat node but to deliver
//! events; what one person may not know of another is decided here and nowhere else: blocks in
//! `friends/relation.rs`, everything else in `privacy`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accounts;
mod announcements;
mod app;
mod audit;
mod background;
mod catalogue;
mod command;
mod config;
mod coupons;
mod database;
mod entity;
mod error;
mod friends;
mod guest_book;
mod health;
mod http;
mod idempotency;
mod identities;
mod ledger;
mod mail;
mod metrics;
mod migration;
mod money;
mod notices;
mod orders;
mod outbox;
mod paging;
mod payments;
mod privacy;
mod shelf;
mod sql;
mod store;
#[cfg(all(test, feature = "redis"))]
mod test_redis;
mod typed_code;
mod users;
mod wallet;
mod webhooks;
mod wrong_codes;

pub use accounts::{
    Confirmation, LoggedIn, Login, NewAccount, NewServiceToken, Role, Scope, Scopes, ServiceToken,
};
pub use app::OpenError;
pub use audit::{AuditEntry, AuditFilter};
pub use background::Background;
pub use catalogue::{
    CATEGORIES, GameCard, GameFilter, GamePage, GameText, Imported, Keeper, Medium, MediumText,
    NewReview, Publisher, Review, ReviewSort, SaleText, Sort, TopSearch,
};
pub use command::{Books, command};
pub use config::{ServiceSettings, StoreSettings};
pub use coupons::{
    Campaign, CampaignText, Claimed, Coupon, CouponDrop, CouponState, DropState, Granted,
    Kind as CouponKind, QueuePlace, QueueState, Reason, TermsText,
};
pub use error::{LineFault, StoreError, Violation};
pub use friends::{Blocked, Friend, FriendGraph, Relation};
pub use guest_book::GuestBookEntry;
pub use http::{HttpOptions, RateLimits, Routes, openapi};
pub use idempotency::{Answered, IdempotencyKey};
pub use identities::{
    BegunLogin, FinishedLogin, Identity, LoginProvider, LoginSettings, NewPerson,
};
pub use ledger::{LedgerFault, LedgerReport};
pub use mail::{MailError, MailSettings, TemplateError};
pub use metrics::METRICS;
pub use money::{Country, Currency, Money};
pub use notices::{Notice, Notices};
pub use orders::{
    Gift, GiftOrder, GiftSide, GiftState, Order, OrderLine, Preview, Purchase, Spare, UsedCoupon,
};
#[cfg(feature = "http-client")]
pub use outbox::NodeSink;
pub use outbox::{DeliveryError, EventSink, EventTarget};
pub use paging::{DEFAULT_PAGE, MAX_PAGE, Page, PageRequest};
pub use payments::{Payment, PaymentOrder, PaymentSettings, PaymentState, Proof, Purpose};
pub use privacy::{Audience, Privacy, Section};
pub use shelf::{LibraryChange, List, Marked, OwnedGame, ShownGame};
pub use store::{Clock, Store};
pub use users::{Change, OwnProfile, Profile, ProfileChange};
pub use wallet::{CardOrder, IssuedCards, Redeemed, VoidedCards, Wallet, WalletEntry};
pub use webhooks::{
    Delivery, DeliveryState, Disabled, EventKind, EventKinds, NewWebhook, Replayed, Webhook,
    WebhookChange, WebhookSettings,
};
