//! Sends what is written down: one mail after the other, each until it is taken, refused for good,
//! or too old.
//!
//! At least once: who is killed between the server's answer and its own note of it sends a mail
//! again, under the same name and with the same code.

use std::time::Duration;

use rand::Rng as _;
use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult};
use tokio::{sync::watch, time::timeout};

use super::{Mailer, Template, templates::Facts, transport::Failure};
use crate::{
    accounts::Purpose,
    entity::user,
    error::StoreError,
    sql::{self, values},
    store::{Store, stored_id},
};

/// How often to look without having been woken: a mail was put off, or another process wrote one.
const POLL: Duration = Duration::from_secs(1);
/// Pauses while the server takes no mail at all: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How long a mail that is just being sent may take once all is to stop.
const LAST_MOMENTS: Duration = Duration::from_secs(3);
/// How long a mail is put off that the server does not take now: doubled from the first to the last.
const FIRST_DELAY: Duration = Duration::from_mins(1);
const LAST_DELAY: Duration = Duration::from_hours(1);

/// A mail written down.
#[derive(Debug, FromQueryResult)]
struct Mail {
    id: String,
    template: String,
    user_id: Option<String>,
    recipient: String,
    about: String,
    failures: i64,
}

/// What became of one look into the table.
enum Look {
    /// Nothing is due.
    Empty,
    /// There may be more.
    Done,
    /// The server takes nothing.
    Away(String),
}

/// What becomes of a row.
enum Outcome {
    Gone(&'static str),
    PutOff,
    Kept(String),
}

/// Sends mails until `stop` turns true; what is not sent then is sent after the next start.
pub(crate) async fn send_mails(store: Store, mut stop: watch::Receiver<bool>) {
    let Some(mailer) = store.mailer() else { return };
    let mut failures = 0_u32;
    while !*stop.borrow() {
        let Some(look) = unhurried(&mut stop, store.send_next(mailer)).await else {
            return;
        };
        let trouble = match look {
            Ok(Look::Done) => {
                failures = 0;
                continue;
            }
            Ok(Look::Empty) => {
                failures = 0;
                None
            }
            Ok(Look::Away(why)) => Some(why),
            Err(error) => Some(error.to_string()),
        };
        let pause = match trouble {
            None => POLL,
            Some(why) => {
                // Told once an outage: the counter tells the rest.
                if failures == 0 {
                    tracing::warn!(%why, "mails wait");
                }
                failures = failures.saturating_add(1);
                metrics::counter!("fireside_store_mail_failures_total", "kind" => "away")
                    .increment(1);
                pause_after(failures, FIRST_PAUSE, LAST_PAUSE)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // While the server is away each new mail must not be one more knock at its door.
            () = mailer.woken(), if failures == 0 => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

/// What `work` comes to; none if it is told to stop, and does not come to its end soon after. What
/// is cut off is begun again after the next start.
async fn unhurried<T>(
    stop: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => Some(done),
        () = async { drop(stop.wait_for(|stop| *stop).await) } => {
            timeout(LAST_MOMENTS, work).await.ok()
        }
    }
}

impl Store {
    async fn send_next(&self, mailer: &Mailer) -> Result<Look, StoreError> {
        let db = self.database();
        let Some(mail) = self.due(db.reader(), "").await? else {
            return Ok(Look::Empty);
        };
        if !db.is_shared() {
            // The only process on this database: no transaction is open while the server takes its
            // time.
            let outcome = self.send(mailer, &mail).await?;
            let tx = db.begin().await?;
            let look = self.conclude(&tx, &mail, outcome).await?;
            db.commit(tx).await?;
            return Ok(look);
        }
        // Of several processes one has a mail, and the others the next; when one dies the database
        // lets go of what it had. Nothing else is locked by whoever waits for this row.
        let tx = db.begin_delivery().await?;
        let Some(mail) = self.due(&tx, " FOR UPDATE SKIP LOCKED").await? else {
            return Ok(Look::Empty);
        };
        let outcome = self.send(mailer, &mail).await?;
        let look = self.conclude(&tx, &mail, outcome).await?;
        db.commit(tx).await?;
        Ok(look)
    }

    async fn due(&self, db: &impl ConnectionTrait, lock: &str) -> Result<Option<Mail>, StoreError> {
        let text = format!(
            "SELECT id, template, user_id, recipient, about, failures FROM mails \
             WHERE next_at <= ? ORDER BY next_at, id LIMIT 1{lock}"
        );
        Ok(sql::one(db, &text, values![self.now().as_millis()]).await?)
    }

    async fn send(&self, mailer: &Mailer, mail: &Mail) -> Result<Outcome, StoreError> {
        let Some(template) = Template::stored(&mail.template) else {
            tracing::error!(id = %mail.id, template = %mail.template, "a mail of a kind nobody knows is dropped");
            return Ok(Outcome::Gone("outdated"));
        };
        let Some((row, code)) = self.addressee(mail, template).await? else {
            return Ok(Outcome::Gone("outdated"));
        };
        let facts = Facts {
            id: &mail.id,
            name: row.name.as_deref().unwrap_or_default(),
            recipient: &mail.recipient,
            code: &code,
            provider: self.by_providers().label(&mail.about),
        };
        let message = mailer
            .templates
            .message(template, &facts)
            .map_err(|error| StoreError::Internal(error.to_string()))?;
        let Some(message) = message else {
            tracing::warn!(user = %row.id, "mail cannot go to an address of this kind");
            return Ok(Outcome::Gone("refused"));
        };
        Ok(match mailer.transport.send(&mail.id, &message).await {
            Ok(()) => Outcome::Gone("sent"),
            Err(Failure::Refused(why)) => {
                tracing::warn!(user = %row.id, %why, "a mail was refused");
                Outcome::Gone("refused")
            }
            Err(Failure::Later(why)) => {
                tracing::info!(user = %row.id, %why, "a mail was put off");
                Outcome::PutOff
            }
            Err(Failure::Away(why)) => Outcome::Kept(why),
        })
    }

    /// Whom a mail is for, and the code in it, which holds from now on; none if there is nobody,
    /// or the code has been used, called off or replaced meanwhile.
    async fn addressee(
        &self,
        mail: &Mail,
        template: Template,
    ) -> Result<Option<(user::Model, String)>, StoreError> {
        let row = match &mail.user_id {
            Some(id) => self.active_user(&stored_id(id)?).await?,
            None => self.user_of_address(&mail.recipient).await?,
        };
        let Some(row) = row else { return Ok(None) };
        let Some(purpose) = template.purpose() else {
            return Ok(Some((row, String::new())));
        };
        let tx = self.database().begin().await?;
        if purpose == Purpose::Password {
            self.make_code(&tx, &row.id, purpose, &mail.id, &mail.recipient)
                .await?;
        }
        let code = self.renew_code(&tx, &row.id, purpose, &mail.id).await?;
        self.database().commit(tx).await?;
        Ok(code.map(|code| (row, code)))
    }

    async fn conclude(
        &self,
        tx: &DatabaseTransaction,
        mail: &Mail,
        outcome: Outcome,
    ) -> Result<Look, StoreError> {
        match outcome {
            Outcome::Gone(result) => {
                let delete = "DELETE FROM mails WHERE id = ?";
                sql::execute(tx, delete, values![mail.id.as_str()]).await?;
                metrics::counter!("fireside_store_mails_total", "result" => result).increment(1);
                Ok(Look::Done)
            }
            Outcome::PutOff => {
                let failures = mail.failures + 1;
                let delay = pause_after(failures as u32, FIRST_DELAY, LAST_DELAY);
                let next = self.now().plus_millis(delay.as_millis() as i64);
                sql::execute(
                    tx,
                    "UPDATE mails SET failures = ?, next_at = ? WHERE id = ?",
                    values![failures, next.as_millis(), mail.id.as_str()],
                )
                .await?;
                metrics::counter!("fireside_store_mail_failures_total", "kind" => "later")
                    .increment(1);
                Ok(Look::Done)
            }
            Outcome::Kept(why) => Ok(Look::Away(why)),
        }
    }
}

/// Doubled with each failure, and shortened at random so that many processes do not knock together.
fn pause_after(failures: u32, first: Duration, last: Duration) -> Duration {
    first
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(last)
        .mul_f64(rand::rng().random_range(0.5..1.0))
}
