//! Settings of log-ins by other providers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shared::settings::{Report, Secret, Settings, duration};

use super::{Identities, provider::Provider};
use crate::error::StoreError;

/// The name of Kakao in addresses and rows.
const KAKAO: &str = "kakao";

/// How people log in by providers; part of the settings of a store.
#[derive(Debug, Clone, clap::Args)]
pub struct LoginSettings {
    /// The address at which browsers reach this store, such as https://play.example.org; needed for log-ins by providers
    #[arg(long, value_name = "URL")]
    pub login_public_url: Option<String>,
    /// The page that people see once they are back from a provider; `login=TICKET` is added to it
    #[arg(long, default_value = "/#/login")]
    pub login_page: String,
    /// How long a log-in by a provider may take, from the first click on
    #[arg(long, value_parser = duration, default_value = "10m")]
    pub login_attempt_lifetime: Duration,
    /// How long a provider may take over an answer
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub login_provider_timeout: Duration,
    /// Our REST API key at Kakao; with it people log in by Kakao
    #[arg(long, value_name = "KEY")]
    pub kakao_login_id: Option<String>,
    /// Our client secret at Kakao
    #[arg(long, value_name = "KEY")]
    pub kakao_login_secret: Option<Secret>,
    /// What Kakao is asked for
    #[arg(long, default_value = "openid profile_nickname")]
    pub kakao_login_scopes: String,
    /// Where browsers log in at Kakao
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://kauth.kakao.com/oauth/authorize"
    )]
    pub kakao_login_authorize_url: String,
    /// Where Kakao takes codes
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://kauth.kakao.com/oauth/token"
    )]
    pub kakao_login_token_url: String,
    /// Where Kakao says who somebody is
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://kapi.kakao.com/v1/oidc/userinfo"
    )]
    pub kakao_login_user_url: String,
    /// The name of a provider by OpenID Connect in addresses: small letters, digits and dashes. To keep for ever
    #[arg(long, default_value = "oidc")]
    pub oidc_login_name: String,
    /// What people know it as
    #[arg(long, default_value = "OpenID Connect")]
    pub oidc_login_label: String,
    /// Our client id there; with it people log in by it
    #[arg(long, value_name = "ID")]
    pub oidc_login_id: Option<String>,
    /// Our client secret there
    #[arg(long, value_name = "KEY")]
    pub oidc_login_secret: Option<Secret>,
    /// What it is asked for
    #[arg(long, default_value = "openid profile email")]
    pub oidc_login_scopes: String,
    /// Its `authorization_endpoint`
    #[arg(long, value_name = "URL")]
    pub oidc_login_authorize_url: Option<String>,
    /// Its `token_endpoint`
    #[arg(long, value_name = "URL")]
    pub oidc_login_token_url: Option<String>,
    /// Its `userinfo_endpoint`
    #[arg(long, value_name = "URL")]
    pub oidc_login_user_url: Option<String>,
}

/// A provider, as settings say it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProviderText<'a> {
    pub(super) name: &'a str,
    pub(super) label: &'a str,
    pub(super) client_id: &'a str,
    pub(super) client_secret: Option<&'a Secret>,
    pub(super) scopes: &'a str,
    pub(super) authorize_url: &'a str,
    pub(super) token_url: &'a str,
    pub(super) user_url: &'a str,
}

impl LoginSettings {
    /// The providers that are set up, and what log-ins by them need.
    pub(crate) fn open(&self) -> Result<Identities, StoreError> {
        let public_url = self.login_public_url.as_deref().unwrap_or_default();
        Ok(Identities::new(
            self.providers()?,
            public_url.trim_end_matches('/'),
            &self.login_page,
            self.login_attempt_lifetime,
        ))
    }

    fn texts(&self) -> Vec<ProviderText<'_>> {
        let mut texts = Vec::new();
        if let Some(client_id) = &self.kakao_login_id {
            texts.push(ProviderText {
                name: KAKAO,
                label: "Kakao",
                client_id,
                client_secret: self.kakao_login_secret.as_ref(),
                scopes: &self.kakao_login_scopes,
                authorize_url: &self.kakao_login_authorize_url,
                token_url: &self.kakao_login_token_url,
                user_url: &self.kakao_login_user_url,
            });
        }
        if let Some(client_id) = &self.oidc_login_id {
            texts.push(ProviderText {
                name: &self.oidc_login_name,
                label: &self.oidc_login_label,
                client_id,
                client_secret: self.oidc_login_secret.as_ref(),
                scopes: &self.oidc_login_scopes,
                authorize_url: self.oidc_login_authorize_url.as_deref().unwrap_or_default(),
                token_url: self.oidc_login_token_url.as_deref().unwrap_or_default(),
                user_url: self.oidc_login_user_url.as_deref().unwrap_or_default(),
            });
        }
        texts
    }

    #[cfg(feature = "http-client")]
    fn providers(&self) -> Result<BTreeMap<String, Arc<dyn Provider>>, StoreError> {
        let mut providers: BTreeMap<String, Arc<dyn Provider>> = BTreeMap::new();
        for text in self.texts() {
            let provider = super::oauth::OAuthProvider::new(&text, self.login_provider_timeout)?;
            providers.insert(text.name.to_owned(), Arc::new(provider));
        }
        Ok(providers)
    }

    #[cfg(not(feature = "http-client"))]
    fn providers(&self) -> Result<BTreeMap<String, Arc<dyn Provider>>, StoreError> {
        if self.texts().is_empty() {
            return Ok(BTreeMap::new());
        }
        let message =
            "this build has no log-ins by providers: build with the feature `http-client`";
        Err(StoreError::Internal(message.to_owned()))
    }
}

impl Settings for LoginSettings {
    fn validate(&self, report: &mut Report) {
        let texts = self.texts();
        report.require(
            texts.is_empty() || self.login_public_url.as_deref().is_some_and(is_address),
            "login_public_url",
            "is needed for log-ins by providers: an http:// or https:// address",
        );
        let page = self.login_page.starts_with('/') && !self.login_page.starts_with("//");
        report.require(page, "login_page", "begins with one `/`");
        for text in &texts {
            for (setting, url) in [
                ("authorize_url", text.authorize_url),
                ("token_url", text.token_url),
                ("user_url", text.user_url),
            ] {
                let kind = if text.name == KAKAO { KAKAO } else { "oidc" };
                let setting = format!("{kind}_login_{setting}");
                report.require(
                    is_address(url),
                    &setting,
                    "is no http:// or https:// address",
                );
            }
        }
        let name = &self.oidc_login_name;
        let plain = (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        report.require(
            plain && name != KAKAO,
            "oidc_login_name",
            "1 to 32 small letters, digits and dashes, and not `kakao`",
        );
        for (setting, span) in [
            ("login_attempt_lifetime", self.login_attempt_lifetime),
            ("login_provider_timeout", self.login_provider_timeout),
        ] {
            let some = span >= Duration::from_millis(1);
            report.require(some, setting, "at least 1ms");
        }
    }
}

fn is_address(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
