//! What people are told of the shop: kept for them until it is old, and said at once to whoever is
//! there.

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde_json::Value;
use shared::{
    events::{self, StoreEventKind},
    id::{Timestamp, UserId},
};
use ulid::Ulid;

use crate::{
    error::{StoreError, Violation},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};

/// How long a notice is kept, in milliseconds: 90 days.
const KEPT: i64 = 90 * 24 * 60 * 60 * 1000;

/// The topic of what people are told of their place in a queue: only at once, to whoever is there; it is not kept.
pub(crate) const QUEUE_RANK: &str = "queue_rank";

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// The reader bought games.
    Purchase,
    /// What the reader paid for games was given back.
    Refund,
    /// Somebody gives the reader games.
    GiftReceived,
    /// A gift of the reader's was accepted.
    GiftAccepted,
    /// A gift of the reader's was declined, and paid back.
    GiftDeclined,
    /// A gift of the reader's waited for too long, and was paid back.
    GiftExpired,
    /// A gift to the reader was taken back.
    GiftTakenBack,
    /// A game on the reader's wishlist costs less than before.
    PriceDropped,
    /// A friend of the reader's bought a game on the reader's wishlist.
    FriendBought,
    /// Somebody wrote in the reader's guest book.
    GuestBookEntry,
    /// A payment of the reader's went on.
    Payment,
    /// A webhook that the reader registered is sent nothing any more.
    WebhookDisabled,
    /// The reader was given a coupon.
    CouponReceived,
    /// It is the reader's turn at a drop.
    QueueAdmitted,
}

impl Topic {
    fn word(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Refund => "refund",
            Self::GiftReceived => "gift_received",
            Self::GiftAccepted => "gift_accepted",
            Self::GiftDeclined => "gift_declined",
            Self::GiftExpired => "gift_expired",
            Self::GiftTakenBack => "gift_taken_back",
            Self::PriceDropped => "price_dropped",
            Self::FriendBought => "friend_bought",
            Self::GuestBookEntry => "guest_book_entry",
            Self::Payment => "payment",
            Self::WebhookDisabled => "webhook_disabled",
            Self::CouponReceived => "coupon_received",
            Self::QueueAdmitted => "queue_admitted",
        }
    }
}

/// Something to be told.
#[derive(Debug)]
pub(crate) struct News {
    /// Whom.
    pub(crate) user: UserId,
    /// Of what.
    pub(crate) topic: Topic,
    /// The facts.
    pub(crate) data: Value,
}

/// Something somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its name.
    pub id: String,
    /// What it is about.
    pub topic: String,
    /// The facts.
    pub data: Value,
    /// When.
    pub at: Timestamp,
    /// Whether its reader has read it, as their client says.
    pub read: bool,
}

/// A page of notices, and how many of all are unread.
#[derive(Debug, Clone)]
pub struct Notices {
    /// The newest first.
    pub page: Page<Notice>,
    /// How many nobody has read yet.
    pub unread: u64,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    topic: String,
    data: String,
    created_at: i64,
    read: bool,
}

#[derive(FromQueryResult)]
struct Unread {
    unread: i64,
}

impl Store {
    /// Writes down what people are told, and enqueues it for whoever is there: like every event, as
    /// the last act of the caller's transaction.
    pub(crate) async fn tell(
        &self,
        tx: &DatabaseTransaction,
        news: Vec<News>,
    ) -> Result<(), StoreError> {
        let now = self.now().as_millis();
        let mut rows = Vec::with_capacity(6 * news.len());
        let mut events = Vec::with_capacity(news.len());
        for News { user, topic, data } in news {
            let notice = Ulid::new();
            rows.push(values![
                notice.to_string(),
                user.as_str(),
                topic.word(),
                data.to_string(),
                now
            ]);
            events.push(StoreEventKind::Notice(events::Notice {
                user,
                notice,
                topic: topic.word().to_owned(),
                data,
            }));
        }
        // In pieces: a game that many wish for is many bound values.
        for piece in rows.chunks(500) {
            let marks = vec![sql::list(5); piece.len()].join(", ");
            let insert = format!(
                "INSERT INTO notices (id, user_id, topic, data, created_at) VALUES {marks}"
            );
            sql::execute(tx, &insert, piece.concat()).await?;
        }
        self.enqueue(tx, events).await
    }

    /// What `me` was told, the newest first.
    pub async fn notices(&self, me: &UserId, page: &PageRequest) -> Result<Notices, StoreError> {
        let db = self.database().reader();
        let mut values = values![me.as_str()];
        let mut before = "";
        if !page.after().is_empty() {
            before = " AND id < ?";
            values.push(page.after().into());
        }
        values.push((page.fetch() as i64).into());
        let text = format!(
            "SELECT id, topic, data, created_at, read FROM notices \
             WHERE user_id = ?{before} ORDER BY id DESC LIMIT ?"
        );
        let rows: Vec<Row> = sql::all(db, &text, values).await?;
        let unread: Option<Unread> = sql::one(
            db,
            "SELECT COUNT(*) AS unread FROM notices WHERE user_id = ? AND read = ?",
            values![me.as_str(), false],
        )
        .await?;
        let page = page.cut(rows, |row| row.id.clone());
        Ok(Notices {
            page: page.map(|row| Notice {
                id: row.id,
                topic: row.topic,
                data: serde_json::from_str(&row.data).unwrap_or_default(),
                at: Timestamp::from_millis(row.created_at),
                read: row.read,
            }),
            unread: unread.map_or(0, |row| row.unread.unsigned_abs()),
        })
    }

    /// `me` has read everything up to this notice. Again, or one from before, is fine.
    pub async fn read_notices(&self, me: &UserId, up_to: &str) -> Result<(), StoreError> {
        if up_to.parse::<Ulid>().is_err() {
            return Err(Violation::new("up_to", "malformed", "the id of a notice").into());
        }
        let tx = self.database().begin().await?;
        sql::execute(
            &tx,
            "UPDATE notices SET read = ? WHERE user_id = ? AND id <= ? AND read = ?",
            values![true, me.as_str(), up_to, false],
        )
        .await?;
        self.database().commit(tx).await?;
        Ok(())
    }

    /// Forgets notices that are old.
    pub(crate) async fn forget_old_notices(&self) -> Result<(), StoreError> {
        let oldest = self.now().as_millis() - KEPT;
        let tx = self.database().begin().await?;
        let delete = "DELETE FROM notices WHERE created_at < ?";
        sql::execute(&tx, delete, values![oldest]).await?;
        self.database().commit(tx).await?;
        Ok(())
    }
}
