//! How a mail leaves: by SMTP, or into a directory.

use std::{fs, io, path::PathBuf, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::{self, authentication::Credentials},
};
use tokio::{task::spawn_blocking, time::timeout};

use super::settings::{Route, SmtpRoute, Tls};

/// How long a server may take to take one mail.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take over one step of that.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that are about us and not about the mail: what is wrong with the account at the server
/// is put right there, and the mails wait for that.
const ABOUT_US: [u16; 5] = [421, 530, 534, 535, 538];

/// The way out.
pub(crate) enum Transport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Directory(PathBuf),
}

/// Why a mail did not leave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It never will.
    #[error("refused: {0}")]
    Refused(String),
    /// Not now; others may.
    #[error("put off: {0}")]
    Later(String),
    /// None does at the moment.
    #[error("no mail is taken: {0}")]
    Away(String),
}

impl Transport {
    pub(crate) fn new(route: Route) -> Result<Self, smtp::Error> {
        Ok(match route {
            Route::Directory(path) => Self::Directory(path),
            Route::Smtp(server) => Self::Smtp(connect(server)?),
        })
    }

    /// Hands a mail over. When it answers, whoever is behind it is responsible for the mail.
    pub(crate) async fn send(&self, id: &str, message: &Message) -> Result<(), Failure> {
        match self {
            Self::Smtp(server) => match timeout(SEND_TIMEOUT, server.send(message.clone())).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(judge(&error, message)),
                Err(_) => Err(Failure::Away("no answer in time".to_owned())),
            },
            Self::Directory(path) => {
                let (path, name) = (path.clone(), format!("{id}.eml"));
                let bytes = message.formatted();
                let written = spawn_blocking(move || {
                    fs::create_dir_all(&path)?;
                    // Whoever watches the directory finds whole mails only.
                    let unfinished = path.join(format!(".{name}"));
                    fs::write(&unfinished, bytes)?;
                    fs::rename(unfinished, path.join(name))
                });
                let written = written
                    .await
                    .unwrap_or_else(|error| Err(io::Error::other(error)));
                written.map_err(|error| Failure::Away(error.to_string()))
            }
        }
    }
}

fn connect(route: SmtpRoute) -> Result<AsyncSmtpTransport<Tokio1Executor>, smtp::Error> {
    type Smtp = AsyncSmtpTransport<Tokio1Executor>;
    let mut builder = match route.tls {
        Tls::Wrapped => Smtp::relay(&route.host)?,
        Tls::Upgraded => Smtp::starttls_relay(&route.host)?,
        Tls::None => Smtp::builder_dangerous(&route.host),
    };
    if let Some(port) = route.port {
        builder = builder.port(port);
    }
    if let Some((user, password)) = route.credentials {
        builder = builder.credentials(Credentials::new(user, password));
    }
    Ok(builder.timeout(Some(STEP_TIMEOUT)).build())
}

fn judge(error: &smtp::Error, message: &Message) -> Failure {
    let said = with_causes(error);
    let about_us = error
        .status()
        .is_some_and(|code| ABOUT_US.contains(&u16::from(code)));
    // Some servers take no address of another script (RFC 6531). What else is found on our side is
    // about the server as a whole, such as that it does not encrypt.
    let mut recipients = message.envelope().to().iter().map(ToString::to_string);
    let unwritable = error.is_client() && recipients.any(|address| !address.is_ascii());
    if about_us {
        Failure::Away(said)
    } else if error.is_permanent() || unwritable {
        Failure::Refused(said)
    } else if error.is_transient() {
        Failure::Later(said)
    } else {
        Failure::Away(said)
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some say their cause themselves.
        if !said.contains(&more) {
            said.push_str(": ");
            said.push_str(&more);
        }
        cause = error.source();
    }
    said
}
