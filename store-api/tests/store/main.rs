//! The store as its clients see it: HTTP in, HTTP out, on SQLite and on PostgreSQL.
//!
//! Every test of a `both!` list runs twice. PostgreSQL is the one that `DATABASE_URL` names, or
//! one that the tests start themselves.

#![allow(clippy::unwrap_used)]
#![allow(unreachable_pub)] // a test has no outside

mod access;
mod accounts;
mod app;
mod audit;
mod blocks;
mod books;
mod campaigns;
mod catalogue;
mod coupons;
mod crowd;
mod documents;
mod drops;
mod drops_killed;
mod emails;
mod erasure;
mod events;
mod friends;
mod gifts;
mod guest_book;
mod identities;
mod identity_links;
mod kept;
mod limits;
mod money;
mod node;
mod notices;
mod oidc;
mod orders;
mod paid_orders;
mod payments;
mod postgres;
mod privacy;
mod process;
mod process_mail;
mod process_postgres;
mod process_webhooks;
mod purchases_killed;
mod queues;
mod queues_killed;
mod reads;
mod receiver;
mod recovery;
mod refunds;
mod reviews;
mod roles;
mod sessions;
mod several;
mod shelf;
mod simulator;
mod smtp;
mod users;
mod wallet;
mod webhooks;

/// Runs each test on both databases.
macro_rules! both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $name() { crate::app::run(crate::app::Backend::Sqlite, super::$name); })+
        }
        mod postgres {
            $(#[test] fn $name() { crate::app::run(crate::app::Backend::Postgres, super::$name); })+
        }
    };
}
pub(crate) use both;
