//! Settings of payments, and the providers that they set up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shared::settings::{Report, Secret, Settings, duration};
use tokio::sync::Notify;

use super::{Payments, pace::Pace, provider::Provider, seal::Seals};
use crate::{error::StoreError, money::MOST};

/// How payments are taken; part of the settings of a store.
#[derive(Debug, Clone, clap::Args)]
pub struct PaymentSettings {
    /// The address at which the browsers of payers reach this store, such as https://play.example.org
    #[arg(long, value_name = "URL")]
    pub payment_public_url: Option<String>,
    /// The page that payers see once they are back from a provider; `payment=ID` is added to it
    #[arg(long, default_value = "/#/shop/wallet")]
    pub payment_page: String,
    /// The most that one payment may be, in minor units
    #[arg(long, default_value_t = 1_000_000)]
    pub payment_most: i64,
    /// For how long a payment can be paid
    #[arg(long, value_parser = duration, default_value = "15m")]
    pub payment_lifetime: Duration,
    /// How long a provider may take over an answer
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub payment_timeout: Duration,
    /// The longest pause after a first call without an answer; doubled with each, and shortened at random
    #[arg(long, value_parser = duration, default_value = "500ms")]
    pub payment_retry_first: Duration,
    /// The longest pause after any
    #[arg(long, value_parser = duration, default_value = "5m")]
    pub payment_retry_last: Duration,
    /// Where KakaoPay is
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://open-api.kakaopay.com"
    )]
    pub kakao_pay_url: String,
    /// Our merchant code at KakaoPay (CID); with it KakaoPay is a provider
    #[arg(long, value_name = "CID")]
    pub kakao_pay_cid: Option<String>,
    /// Our secret key at KakaoPay
    #[arg(long, value_name = "KEY")]
    pub kakao_pay_secret: Option<Secret>,
    /// Where Toss Payments is
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://api.tosspayments.com"
    )]
    pub toss_url: String,
    /// The script by which browsers open the window of Toss Payments
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://js.tosspayments.com/v2/standard"
    )]
    pub toss_sdk_url: String,
    /// Our client key at Toss Payments, which clients are told; with it Toss is a provider
    #[arg(long, value_name = "KEY")]
    pub toss_client_key: Option<String>,
    /// Our secret key at Toss Payments
    #[arg(long, value_name = "KEY")]
    pub toss_secret_key: Option<Secret>,
    /// Our security key at Toss Payments: messages that are not signed with it are refused
    #[arg(long, value_name = "KEY")]
    pub toss_security_key: Option<Secret>,
}

impl PaymentSettings {
    /// The providers that are set up, and how they are dealt with; `secret` seals the addresses that
    /// they send browsers back to.
    pub(crate) fn open(&self, secret: [u8; 32]) -> Result<Payments, StoreError> {
        let pace = Pace {
            timeout: self.payment_timeout,
            first: self.payment_retry_first,
            last: self.payment_retry_last,
        };
        let public_url = self.payment_public_url.as_deref().unwrap_or_default();
        Ok(Payments {
            providers: self.providers()?,
            pace,
            lifetime: self.payment_lifetime,
            most: self.payment_most,
            public_url: public_url.trim_end_matches('/').to_owned(),
            page: self.payment_page.clone(),
            seals: Seals::new(secret),
            wake: Notify::new(),
        })
    }

    #[cfg(feature = "http-client")]
    fn providers(&self) -> Result<BTreeMap<&'static str, Arc<dyn Provider>>, StoreError> {
        use super::{kakao_pay::KakaoPay, toss::Toss};
        let mut providers: BTreeMap<&'static str, Arc<dyn Provider>> = BTreeMap::new();
        if let (Some(cid), Some(secret)) = (&self.kakao_pay_cid, &self.kakao_pay_secret) {
            let kakao = KakaoPay::new(&self.kakao_pay_url, cid, secret, self.payment_timeout)?;
            providers.insert("kakao_pay", Arc::new(kakao));
        }
        if let (Some(client), Some(secret)) = (&self.toss_client_key, &self.toss_secret_key) {
            let security = self.toss_security_key.clone();
            let toss = Toss::new(
                (&self.toss_url, &self.toss_sdk_url),
                client,
                secret,
                security,
                self.payment_timeout,
            )?;
            providers.insert("toss", Arc::new(toss));
        }
        Ok(providers)
    }

    #[cfg(not(feature = "http-client"))]
    #[allow(clippy::unnecessary_wraps)] // the build with the feature can fail
    fn providers(&self) -> Result<BTreeMap<&'static str, Arc<dyn Provider>>, StoreError> {
        if self.kakao_pay_cid.is_some() || self.toss_client_key.is_some() {
            let message = "this build has no payments: build with the feature `http-client`";
            return Err(StoreError::Internal(message.to_owned()));
        }
        Ok(BTreeMap::new())
    }
}

impl Settings for PaymentSettings {
    fn validate(&self, report: &mut Report) {
        let whole = self.kakao_pay_cid.is_some() == self.kakao_pay_secret.is_some();
        report.require(whole, "kakao_pay_secret", "goes with `kakao_pay_cid`");
        let whole = self.toss_client_key.is_some() == self.toss_secret_key.is_some();
        report.require(whole, "toss_secret_key", "goes with `toss_client_key`");
        let any = self.kakao_pay_cid.is_some() || self.toss_client_key.is_some();
        report.require(
            self.payment_public_url.is_some() || !any,
            "payment_public_url",
            "is needed for payments",
        );
        for (setting, url) in [
            ("payment_public_url", self.payment_public_url.as_ref()),
            ("kakao_pay_url", Some(&self.kakao_pay_url)),
            ("toss_url", Some(&self.toss_url)),
            ("toss_sdk_url", Some(&self.toss_sdk_url)),
        ] {
            let address = url.is_none_or(|url| {
                url::Url::parse(url)
                    .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            });
            report.require(address, setting, "is no http:// or https:// address");
        }
        report.require(
            (1..=MOST / 4).contains(&self.payment_most),
            "payment_most",
            "from 1 to 250000000000000",
        );
        for (setting, span) in [
            ("payment_lifetime", self.payment_lifetime),
            ("payment_timeout", self.payment_timeout),
            ("payment_retry_first", self.payment_retry_first),
        ] {
            let some = span >= Duration::from_millis(1);
            report.require(some, setting, "at least 1ms");
        }
        report.require(
            self.payment_retry_first <= self.payment_retry_last,
            "payment_retry_last",
            "not less than the first pause",
        );
    }
}
