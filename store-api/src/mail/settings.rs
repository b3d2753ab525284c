//! How mail is sent, and what it says of this service.

use std::{path::PathBuf, time::Duration};

use lettre::message::Mailbox;
use shared::{
    limits::Quota,
    settings::{Report, Secret, Settings, duration},
};
use url::Url;

/// What the store is told of mail.
#[derive(Debug, Clone, clap::Args)]
pub struct MailSettings {
    /// How mail is sent: smtp://USER:PASSWORD@HOST:PORT (with STARTTLS), smtps://… or file:DIRECTORY;
    /// none is sent when not given
    #[arg(long, value_name = "URL")]
    pub mail_url: Option<Secret>,
    /// Whom mail is from, such as `Oak Games <no-reply@oak.example>`; needed with `mail_url`
    #[arg(long)]
    pub mail_from: Option<String>,
    /// What mails call this service
    #[arg(long, default_value = "Fireside")]
    pub mail_name: String,
    /// The page that mails lead to
    #[arg(long, value_name = "URL")]
    pub mail_link: Option<String>,
    /// A directory of templates that stand in for ours, those that are there
    #[arg(long, value_name = "DIRECTORY")]
    pub mail_templates: Option<PathBuf>,
    /// How long a mail is tried that does not get through
    #[arg(long, value_parser = duration, default_value = "1d")]
    pub mail_lifetime: Duration,
    /// How long a code holds that proves an e-mail address
    #[arg(long, value_parser = duration, default_value = "1d")]
    pub email_code_lifetime: Duration,
    /// How long a code holds that is good for a new password
    #[arg(long, value_parser = duration, default_value = "30m")]
    pub password_code_lifetime: Duration,
    /// Mails to one address that somebody asks for
    #[arg(long, default_value = "5/h burst 5")]
    pub mail_account_rate: Quota,
    /// Mails that somebody asks for, from one address
    #[arg(long, default_value = "60/h burst 60")]
    pub mail_address_rate: Quota,
}

/// Where mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a server.
    Smtp(SmtpRoute),
    /// Into files, for whoever develops.
    Directory(PathBuf),
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SmtpRoute {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) tls: Tls,
    pub(crate) credentials: Option<(String, String)>,
}

/// How the link to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    /// From the first byte.
    Wrapped,
    /// From STARTTLS on; without it nothing is sent.
    Upgraded,
    /// Not at all.
    None,
}

impl MailSettings {
    /// Where mail goes; none if none is sent. An error says what is wrong with the setting.
    pub(crate) fn route(&self) -> Result<Option<Route>, &'static str> {
        let Some(url) = &self.mail_url else {
            return Ok(None);
        };
        if let Some(directory) = url.expose().strip_prefix("file:") {
            let directory = directory.trim_start_matches("//");
            return match directory {
                "" => Err("file: needs a directory"),
                path => Ok(Some(Route::Directory(path.into()))),
            };
        }
        let url = Url::parse(url.expose()).map_err(|_| "not a URL")?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let plain = match url.query() {
            None => false,
            Some("tls=none") => true,
            Some(_) => return Err("knows `tls=none` and nothing else behind the `?`"),
        };
        let tls = match url.scheme() {
            "smtps" if plain => return Err("smtps: is encrypted"),
            "smtps" => Tls::Wrapped,
            "smtp" if plain => Tls::None,
            "smtp" => Tls::Upgraded,
            _ => return Err("begins with smtp:, smtps: or file:"),
        };
        let decode = |text: &str| {
            let pair = format!("x={}", text.replace('+', "%2B"));
            let mut pairs = url::form_urlencoded::parse(pair.as_bytes());
            pairs.next().map(|(_, value)| value.into_owned())
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) => decode(user).zip(decode(password)),
            (_, None) => return Err("has a user, and no password"),
        };
        if plain && credentials.is_some() {
            return Err("shows no password to a server that does not encrypt");
        }
        Ok(Some(Route::Smtp(SmtpRoute {
            host: host.ok_or("names no server")?.to_owned(),
            port: url.port(),
            tls,
            credentials,
        })))
    }

    /// Whom mail is from.
    pub(crate) fn sender(&self) -> Option<Mailbox> {
        self.mail_from.as_ref().and_then(|from| from.parse().ok())
    }
}

impl Settings for MailSettings {
    fn validate(&self, report: &mut Report) {
        if let Err(complaint) = self.route() {
            report.require(false, "mail_url", complaint);
        }
        let sender = self.mail_from.is_none() || self.sender().is_some();
        report.require(sender, "mail_from", "not an e-mail address");
        let named = self.mail_url.is_none() || self.mail_from.is_some();
        report.require(named, "mail_from", "is needed with `mail_url`");
        let link = self.mail_link.as_ref().is_none_or(|link| {
            Url::parse(link).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        });
        report.require(link, "mail_link", "begins with http: or https:");
        for (setting, lifetime) in [
            ("mail_lifetime", self.mail_lifetime),
            ("email_code_lifetime", self.email_code_lifetime),
            ("password_code_lifetime", self.password_code_lifetime),
        ] {
            report.require(lifetime >= Duration::from_secs(1), setting, "at least 1s");
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::settings::{Loader, Sources};

    use super::*;

    fn route(url: &str) -> Result<Option<Route>, &'static str> {
        let sources = Sources {
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        let mut settings = Loader::new("test", "0", "")
            .load::<MailSettings>(sources)
            .unwrap()
            .settings;
        settings.mail_url = Some(Secret::new(url.to_owned()));
        settings.route()
    }

    #[test]
    fn a_url_says_how_mail_is_sent() {
        let server = |url| match route(url) {
            Ok(Some(Route::Smtp(server))) => server,
            other => panic!("{url}: {other:?}"),
        };
        let relay = server("smtp://oak:p%40ss%2Bword+@mail.example:2525");
        let credentials = ("oak".to_owned(), "p@ss+word+".to_owned());
        assert_eq!(relay.credentials, Some(credentials));
        assert_eq!((relay.port, relay.tls), (Some(2525), Tls::Upgraded));
        assert_eq!(server("smtps://mail.example").tls, Tls::Wrapped);
        assert_eq!(server("smtp://127.0.0.1:25?tls=none").tls, Tls::None);
        let files = Ok(Some(Route::Directory("./mails".into())));
        assert_eq!(route("file:./mails"), files);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "mail.example",
            "http://mail.example",
            "smtp://",
            "smtp://user@mail.example",
            "smtp://mail.example?tls=maybe",
            "smtps://mail.example?tls=none",
            "smtp://user:password@mail.example?tls=none",
            "file:",
        ] {
            assert!(route(bad).is_err(), "{bad}");
        }
    }
}
