//! Mail to people: written down in the transaction of what it is about, and sent after the commit.
//!
//! A row is a template, whom it is for and where it goes; what it says is made when it is sent, its
//! code included, which is therefore never stored. Unlike events, mails do not wait for each other:
//! one that is refused or put off holds up no other.
//!
//! Queue: the table, bounded by how often people may ask and by `mail_lifetime`, after which a mail
//! is dropped. Gauge: `fireside_store_mails_pending`.

use std::time::Duration;

use lettre::transport::smtp;
use sea_orm::{DatabaseTransaction, FromQueryResult};
use tokio::sync::{Notify, futures::Notified};
use ulid::Ulid;

use crate::{
    entity::user,
    error::{StoreError, Violation},
    sql::{self, values},
    store::Store,
};

pub(crate) use sender::send_mails;
pub use settings::MailSettings;
pub(crate) use templates::Template;
pub use templates::TemplateError;
use templates::Templates;
use transport::Transport;

mod sender;
mod settings;
mod templates;
mod transport;

/// How long mails are kept by a store that sends none any more, and may again.
const KEPT_WITHOUT_MAIL: Duration = Duration::from_hours(24);

/// Why mail cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The settings, which [`MailSettings`] says more about when it is validated.
    #[error("{0}")]
    Settings(&'static str),
    /// A template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Encryption, which needs the certificates of this machine.
    #[error("mail_url: {0}")]
    Transport(#[from] smtp::Error),
}

/// What sends mail.
pub(crate) struct Mailer {
    templates: Templates,
    transport: Transport,
    written: Notify,
    lifetime: Duration,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

impl Mailer {
    /// What the settings describe; none if no mail is sent.
    pub(crate) fn new(settings: &MailSettings) -> Result<Option<Self>, MailError> {
        let Some(route) = settings.route().map_err(MailError::Settings)? else {
            return Ok(None);
        };
        let from = settings
            .sender()
            .ok_or(MailError::Settings("mail_from is needed with `mail_url`"))?;
        Ok(Some(Self {
            templates: Templates::new(settings, from)?,
            transport: Transport::new(route)?,
            written: Notify::new(),
            lifetime: settings.mail_lifetime,
        }))
    }

    /// Wakes whoever sends; called after the commit.
    pub(crate) fn wake(&self) {
        self.written.notify_one();
    }

    fn woken(&self) -> Notified<'_> {
        self.written.notified()
    }
}

/// A mail to be written down.
pub(crate) struct NewMail<'a> {
    pub(crate) template: Template,
    /// Whom it is for, where that is known.
    pub(crate) user: Option<&'a str>,
    pub(crate) recipient: &'a str,
    /// The name of the provider it is about, if it is about one.
    pub(crate) about: &'a str,
}

impl Store {
    /// Refuses what cannot be done without mail, where none is sent.
    pub(crate) fn needs_mail(&self) -> Result<(), StoreError> {
        if self.mailer().is_some() {
            return Ok(());
        }
        let message = "this server sends no mail";
        Err(StoreError::Conflict {
            message,
            violations: vec![Violation::new("email", "no_mail", message)],
        })
    }

    /// Writes a mail down, under a name that is not older than any before it.
    pub(crate) async fn write_mail(
        &self,
        tx: &DatabaseTransaction,
        mail: NewMail<'_>,
    ) -> Result<Ulid, StoreError> {
        let id = Ulid::new();
        let now = self.now().as_millis();
        sql::execute(
            tx,
            "INSERT INTO mails (id, template, user_id, recipient, about, next_at, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            values![
                id.to_string(),
                mail.template.word(),
                mail.user.map(str::to_owned),
                mail.recipient,
                mail.about,
                now,
                now
            ],
        )
        .await?;
        Ok(id)
    }

    /// Tells the owner of an account what became of it, at its address, where mail is sent at all.
    pub(crate) async fn notify(
        &self,
        tx: &DatabaseTransaction,
        template: Template,
        row: &user::Model,
    ) -> Result<(), StoreError> {
        if let (Some(email), true) = (&row.email, self.mailer().is_some()) {
            let mail = NewMail {
                template,
                user: Some(&row.id),
                recipient: email,
                about: "",
            };
            self.write_mail(tx, mail).await?;
        }
        Ok(())
    }

    /// Tells the owner of an account that a provider is a way into it, or is not any more: at its address, once that is proved,
    /// where mail is sent at all.
    pub(crate) async fn notify_of_provider(
        &self,
        tx: &DatabaseTransaction,
        template: Template,
        row: &user::Model,
        provider: &str,
    ) -> Result<(), StoreError> {
        let proved = row
            .email
            .as_ref()
            .filter(|_| row.email_verified_at.is_some());
        if let (Some(email), true) = (proved, self.mailer().is_some()) {
            let mail = NewMail {
                template,
                user: Some(&row.id),
                recipient: email,
                about: provider,
            };
            self.write_mail(tx, mail).await?;
        }
        Ok(())
    }

    /// Drops mails that are too old to be sent, and shows how many wait.
    pub(crate) async fn forget_old_mails(&self) -> Result<(), StoreError> {
        let lifetime = self
            .mailer()
            .map_or(KEPT_WITHOUT_MAIL, |mailer| mailer.lifetime);
        let oldest = self.now().as_millis() - lifetime.as_millis() as i64;
        let tx = self.database().begin().await?;
        let delete = "DELETE FROM mails WHERE created_at < ?";
        let dropped = sql::execute(&tx, delete, values![oldest]).await?;
        self.database().commit(tx).await?;
        if dropped > 0 {
            metrics::counter!("fireside_store_mails_total", "result" => "dropped")
                .increment(dropped);
            tracing::warn!(
                dropped,
                "mails that could not be sent for too long are dropped"
            );
        }
        let count: Option<Count> = sql::one(
            self.database().reader(),
            "SELECT COUNT(*) AS count FROM mails",
            Vec::new(),
        )
        .await?;
        metrics::gauge!("fireside_store_mails_pending")
            .set(count.map_or(0, |row| row.count) as f64);
        Ok(())
    }
}
