//! How often is too often.

use std::net::IpAddr;

use actix_web::HttpRequest;
use sha2::{Digest as _, Sha256};
use shared::{
    id::UserId,
    limits::{Decision, Limiter, Quota, address_key},
    problem::{self, Problem},
};

use crate::accounts::login_key;

/// Buckets kept for each kind before newcomers share.
const KEYS: usize = 100_000;

/// Who may do what how often.
#[derive(Debug, Clone, Copy)]
pub struct RateLimits {
    /// Log-ins, and other guesses at the password of one account.
    pub account: Quota,
    /// Log-ins and other exchanges of credentials from one address.
    pub address: Quota,
    /// Registrations from one address.
    pub registrations: Quota,
    /// Token refreshes from one address.
    pub refreshes: Quota,
    /// Questions whether a name or an address is free, from one address.
    pub availability: Quota,
    /// Requests of one person.
    pub user: Quota,
    /// Looks at the catalogue from one address, by people who are not logged in.
    pub visitors: Quota,
    /// Mails to one e-mail address that somebody asks for.
    pub mailed_account: Quota,
    /// Mails that somebody asks for, from one address.
    pub mailed_address: Quota,
}

/// The buckets.
pub(super) struct Limits {
    account: Limiter<[u8; 16]>,
    address: Limiter<IpAddr>,
    registrations: Limiter<IpAddr>,
    refreshes: Limiter<IpAddr>,
    availability: Limiter<IpAddr>,
    user: Limiter<UserId>,
    visitors: Limiter<IpAddr>,
    mailed_account: Limiter<[u8; 16]>,
    mailed_address: Limiter<IpAddr>,
}

impl Limits {
    pub(super) fn new(limits: &RateLimits) -> Self {
        Self {
            account: Limiter::new(limits.account, KEYS),
            address: Limiter::new(limits.address, KEYS),
            registrations: Limiter::new(limits.registrations, KEYS),
            refreshes: Limiter::new(limits.refreshes, KEYS),
            availability: Limiter::new(limits.availability, KEYS),
            user: Limiter::new(limits.user, KEYS),
            visitors: Limiter::new(limits.visitors, KEYS),
            mailed_account: Limiter::new(limits.mailed_account, KEYS),
            mailed_address: Limiter::new(limits.mailed_address, KEYS),
        }
    }

    /// A guess at the password of an account, known or not: the bucket belongs to the address
    /// that was written, so its filling tells nothing.
    pub(super) fn of_account(&self, request: &HttpRequest, account: &str) -> Result<(), Problem> {
        allow(request, "account", self.account.check(&hashed(account)))
    }

    /// A mail that somebody asks for, to an e-mail address or to that of an account: whose it is, if
    /// anybody's, makes no difference.
    pub(super) fn of_mail(
        &self,
        request: &HttpRequest,
        from: IpAddr,
        to: &str,
    ) -> Result<(), Problem> {
        allow(
            request,
            "mail",
            self.mailed_address.check(&address_key(from)),
        )?;
        allow(request, "mail", self.mailed_account.check(&hashed(to)))
    }

    pub(super) fn of_address(&self, request: &HttpRequest, address: IpAddr) -> Result<(), Problem> {
        allow(
            request,
            "address",
            self.address.check(&address_key(address)),
        )
    }

    pub(super) fn of_registration(
        &self,
        request: &HttpRequest,
        address: IpAddr,
    ) -> Result<(), Problem> {
        allow(
            request,
            "registration",
            self.registrations.check(&address_key(address)),
        )
    }

    pub(super) fn of_refresh(&self, request: &HttpRequest, address: IpAddr) -> Result<(), Problem> {
        allow(
            request,
            "refresh",
            self.refreshes.check(&address_key(address)),
        )
    }

    pub(super) fn of_availability(
        &self,
        request: &HttpRequest,
        address: IpAddr,
    ) -> Result<(), Problem> {
        allow(
            request,
            "availability",
            self.availability.check(&address_key(address)),
        )
    }

    pub(super) fn of_visitor(&self, request: &HttpRequest, address: IpAddr) -> Result<(), Problem> {
        allow(
            request,
            "visitor",
            self.visitors.check(&address_key(address)),
        )
    }

    pub(super) fn of_user(&self, request: &HttpRequest, user: &UserId) -> Result<(), Problem> {
        allow(request, "user", self.user.check(user))
    }
}

/// An account as it is written, by hash: what is written is as long as its writer likes.
fn hashed(account: &str) -> [u8; 16] {
    let digest = Sha256::digest(login_key(account));
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

fn allow(request: &HttpRequest, limit: &'static str, decision: Decision) -> Result<(), Problem> {
    if !decision.is_allowed() {
        metrics::counter!("fireside_store_rate_limited_total", "limit" => limit).increment(1);
    }
    problem::admit(request, decision)
}
