//! Gifts: bought by one, owned by another once they accept. Until then the money is spent and
//! nobody owns the games; a gift that is declined, taken back or never answered is paid back whole
//! (`answers`).

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::id::{Timestamp, UserId};

use super::{Kept, Order, Parties, Purchase, count_order, find, named_games, read, refusal};
use crate::{
    entity::user,
    error::{StoreError, Violation},
    friends::are_friends,
    idempotency::{Answered, IdempotencyKey, Named},
    notices::{News, Topic},
    paging::{Page, PageRequest},
    privacy::{Section, shows},
    sql::{self, values},
    store::{Store, lock_users, stored_id},
    users::line,
    webhooks::{EventKind, OrderEvent},
};

mod answers;

/// What somebody wants to give.
#[derive(Debug, Clone, Serialize)]
pub struct GiftOrder {
    /// To this friend.
    pub recipient: UserId,
    /// With these words.
    pub message: Option<String>,
    /// What, and what the giver was told it costs.
    #[serde(flatten)]
    pub purchase: Purchase,
}

/// What became of a gift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GiftState {
    /// Not answered yet.
    Waiting,
    /// Owned by the recipient.
    Accepted,
    /// Not wanted; paid back.
    Declined,
    /// Taken back by the giver; paid back.
    TakenBack,
    /// Not answered in time; paid back.
    Expired,
}

/// A gift.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gift {
    /// What was bought, and its name.
    pub order: Order,
    /// Who gives.
    pub giver: UserId,
    /// To whom.
    pub recipient: UserId,
    /// With which words.
    pub message: Option<String>,
    /// What became of it.
    pub state: GiftState,
    /// Until when it waits for an answer.
    pub expires_at: Timestamp,
}

/// From which side somebody looks at gifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiftSide {
    /// Those they get.
    Received,
    /// Those they give.
    Sent,
}

#[derive(FromQueryResult)]
struct Row {
    order_id: String,
    giver: String,
    recipient: String,
    message: Option<String>,
    state: String,
    expires_at: i64,
}

const GIFT: &str = "SELECT order_id, giver, recipient, message, state, expires_at FROM gifts";

impl GiftState {
    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::TakenBack => "taken_back",
            Self::Expired => "expired",
        }
    }

    fn stored(word: &str) -> Result<Self, StoreError> {
        [
            Self::Waiting,
            Self::Accepted,
            Self::Declined,
            Self::TakenBack,
            Self::Expired,
        ]
        .into_iter()
        .find(|state| state.word() == word)
        .ok_or_else(|| StoreError::Internal(format!("a gift is {word:?}")))
    }
}

impl Store {
    /// Buys games for a friend, who has to accept them. The rules are those of [`Store::buy`], with
    /// the friend for owner, who also has to live where the games are sold.
    pub async fn give(
        &self,
        me: &UserId,
        key: &IdempotencyKey,
        gift: &GiftOrder,
    ) -> Result<Answered<Gift>, StoreError> {
        let message = words(gift.message.as_deref())?;
        let caller = format!("user:{me}");
        let named = Named::new(&caller, key, "gifts", gift)?;
        let tx = self.database().begin().await?;
        if let Some(kept) = named.claim::<Kept>(self, &tx).await? {
            let gift = self.find_gift(&tx, me, &kept.answer.id).await?;
            self.database().end_settled(tx).await?;
            return Ok(Answered {
                answer: gift,
                replayed: true,
            });
        }
        let (giver, parties) = self.between_friends(&tx, me, &gift.recipient).await?;
        let (gift, news) = self
            .given(&tx, &giver, &parties, &gift.purchase, message)
            .await?;
        let kept = Kept {
            id: gift.order.id.clone(),
        };
        named.keep(&tx, &kept).await?;
        self.tell(&tx, vec![news]).await?;
        self.commit_contended(tx).await?;
        count_order(&gift.order);
        Ok(Answered::first(gift))
    }

    /// `me`, who pays, and a friend of theirs, who is to own; and `me` as they are stored.
    pub(super) async fn between_friends<'a>(
        &self,
        tx: &DatabaseTransaction,
        me: &'a UserId,
        recipient: &'a UserId,
    ) -> Result<(user::Model, Parties<'a>), StoreError> {
        let mut users = lock_users(tx, &[me, recipient]).await?;
        let giver = users.iter().position(|user| user.id == me.as_str());
        let giver = giver.ok_or(StoreError::Unauthenticated("the account is withdrawn"))?;
        let parties = self.giver_and_friend(tx, me, recipient).await?;
        Ok((users.swap_remove(giver), parties))
    }

    /// Whom a gift is from and for, if they are friends.
    pub(super) async fn giver_and_friend<'a>(
        &self,
        db: &impl ConnectionTrait,
        me: &'a UserId,
        recipient: &'a UserId,
    ) -> Result<Parties<'a>, StoreError> {
        if recipient == me {
            return Err(Violation::new("recipient", "self", "that is you yourself").into());
        }
        // A stranger and nobody at all are one answer.
        if !are_friends(db, me, recipient).await? {
            let message = "gifts are for friends";
            return Err(refusal("recipient", "not_a_friend", message));
        }
        Ok(Parties {
            payer: me,
            country: self.country_of(db, me).await?,
            owner: recipient,
            owners_country: self.country_of(db, recipient).await?,
            knows_owned: shows(db, me, recipient, Section::Library).await?,
            agreed: None,
        })
    }

    /// Buys a gift, and says what the recipient is to be told.
    pub(super) async fn given(
        &self,
        tx: &DatabaseTransaction,
        giver: &user::Model,
        parties: &Parties<'_>,
        purchase: &Purchase,
        message: Option<String>,
    ) -> Result<(Gift, News), StoreError> {
        let (me, recipient) = (parties.payer, parties.owner);
        let (order, due) = self.ordered(tx, parties, purchase).await?;
        let expires_at = order
            .at
            .plus_millis(self.limits().gift_lifetime.as_millis() as i64);
        sql::execute(
            tx,
            "INSERT INTO gifts (order_id, giver, recipient, message, state, expires_at) \
             VALUES (?, ?, ?, ?, 'waiting', ?)",
            values![
                order.id.as_str(),
                me.as_str(),
                recipient.as_str(),
                message.clone(),
                expires_at.as_millis()
            ],
        )
        .await?;
        self.publish_gift(tx, EventKind::GiftGiven, me, &order)
            .await?;
        due.settle(tx).await?;
        let mut data = json!({
            "gift": order.id, "from": person(giver), "games": named_games(&order.lines),
            "expires_at": expires_at.as_millis(),
        });
        if let Some(message) = &message {
            data["message"] = message.as_str().into();
        }
        let received = News {
            user: recipient.clone(),
            topic: Topic::GiftReceived,
            data,
        };
        let gift = Gift {
            giver: me.clone(),
            recipient: recipient.clone(),
            message,
            state: GiftState::Waiting,
            expires_at,
            order,
        };
        Ok((gift, received))
    }

    /// Gifts of `me` or to them, the newest first.
    pub async fn gifts(
        &self,
        me: &UserId,
        side: GiftSide,
        page: &PageRequest,
    ) -> Result<Page<Gift>, StoreError> {
        let db = self.database().reader();
        let column = match side {
            GiftSide::Received => "recipient",
            GiftSide::Sent => "giver",
        };
        let mut values = values![me.as_str()];
        let mut before = "";
        if !page.after().is_empty() {
            before = " AND order_id < ?";
            values.push(page.after().into());
        }
        values.push((page.fetch() as i64).into());
        let text = format!("{GIFT} WHERE {column} = ?{before} ORDER BY order_id DESC LIMIT ?");
        let rows: Vec<Row> = sql::all(db, &text, values).await?;
        let page = page.cut(rows, |row| row.order_id.clone());
        Ok(Page {
            items: with_orders(db, page.items).await?,
            next: page.next,
        })
    }

    async fn publish_gift(
        &self,
        tx: &DatabaseTransaction,
        kind: EventKind,
        giver: &UserId,
        order: &Order,
    ) -> Result<(), StoreError> {
        let event = OrderEvent {
            kind,
            order,
            payer: giver,
            games: None,
        };
        self.publish_order(tx, &event).await
    }

    /// A gift of `me` or to them.
    async fn find_gift(
        &self,
        db: &impl ConnectionTrait,
        me: &UserId,
        id: &str,
    ) -> Result<Gift, StoreError> {
        let text = format!("{GIFT} WHERE order_id = ? AND (giver = ? OR recipient = ?)");
        let row: Option<Row> = sql::one(db, &text, values![id, me.as_str(), me.as_str()]).await?;
        let row = row.ok_or(StoreError::NotFound)?;
        let order = find(db, &stored_id(&row.giver)?, id).await?;
        gift(row, order)
    }
}

/// Puts orders to gifts.
async fn with_orders(db: &impl ConnectionTrait, rows: Vec<Row>) -> Result<Vec<Gift>, StoreError> {
    let ids: Vec<_> = rows.iter().map(|row| row.order_id.as_str()).collect();
    let mut orders = read::by_id(db, &ids).await?;
    let find = |row: Row| {
        let order = orders.remove(&row.order_id).ok_or(StoreError::NotFound)?;
        gift(row, order)
    };
    rows.into_iter().map(find).collect()
}

fn gift(row: Row, order: Order) -> Result<Gift, StoreError> {
    Ok(Gift {
        giver: stored_id(&row.giver)?,
        recipient: stored_id(&row.recipient)?,
        message: row.message,
        state: GiftState::stored(&row.state)?,
        expires_at: Timestamp::from_millis(row.expires_at),
        order,
    })
}

/// A giver's words, if there are any.
pub(super) fn words(message: Option<&str>) -> Result<Option<String>, StoreError> {
    let message = message.map(|text| line("message", text)).transpose()?;
    Ok(message.filter(|text| !text.is_empty()))
}

fn person(row: &user::Model) -> serde_json::Value {
    json!({"id": row.id, "name": row.name})
}
