//! What somebody is about to pay a provider for. The rules are held and the price is found when they go
//! to pay; what was agreed on then is bought once the money is there, whatever it costs by then.

use std::collections::BTreeMap;

use sea_orm::DatabaseTransaction;
use serde::{Deserialize, Serialize};
use shared::id::UserId;

use super::{GiftOrder, Parties, Purchase, gifts::words};
use crate::{
    coupons::{Choice, Combination},
    error::StoreError,
    money::{Country, Money},
    notices::News,
    store::{Store, stored_id},
};

/// What is to be bought, for whom and for how much.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Agreed {
    /// Where it is bought.
    country: String,
    /// Before coupons, in minor units, by games.
    pub(super) prices: BTreeMap<String, i64>,
    /// What coupons take off that, in the games' order; they are held until it is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) coupons: Option<Combination>,
    /// The friend whom it is for, if it is a gift.
    recipient: Option<String>,
    /// Its coupons are held no more: the provider told too late that it was paid.
    #[serde(skip)]
    pub(super) released: bool,
    /// The giver's words.
    message: Option<String>,
}

impl Agreed {
    /// The friend whom it is for, if it is a gift.
    pub(crate) fn recipient(&self) -> Result<Option<UserId>, StoreError> {
        self.recipient.as_deref().map(stored_id).transpose()
    }

    /// So many of its coupons were still held when it was paid. Where those are not all, they are judged anew.
    pub(crate) fn released_but(&mut self, held: u64) {
        let agreed = self.coupons.as_ref().map_or(0, |c| c.used.len() as u64);
        self.released = held < agreed;
    }

    /// The coupons it is bought with, if there are any.
    pub(crate) fn coupons(&self) -> Option<&Combination> {
        self.coupons.as_ref()
    }
}

impl Store {
    /// What `me` would buy by these words, and what it costs, if every rule holds.
    pub(crate) async fn agree(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
        purchase: &Purchase,
    ) -> Result<(Agreed, Money), StoreError> {
        let parties = self.alone(tx, me).await?;
        self.agree_between(tx, &parties, purchase, None).await
    }

    /// The same for a gift.
    pub(crate) async fn agree_on_gift(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
        gift: &GiftOrder,
    ) -> Result<(Agreed, Money), StoreError> {
        let message = words(gift.message.as_deref())?;
        let (_, parties) = self.between_friends(tx, me, &gift.recipient).await?;
        self.agree_between(tx, &parties, &gift.purchase, message)
            .await
    }

    async fn agree_between(
        &self,
        tx: &DatabaseTransaction,
        parties: &Parties<'_>,
        purchase: &Purchase,
        message: Option<String>,
    ) -> Result<(Agreed, Money), StoreError> {
        let choice = Choice::These(&purchase.coupons);
        let (priced, _) = self.priced(tx, parties, purchase, choice).await?;
        let order = priced.order;
        purchase.check_expected(&order)?;
        let prices = order.lines.into_iter().map(|line| {
            let price = line.price.minor() + line.discount.minor();
            (line.game, price)
        });
        let agreed = Agreed {
            country: order.country.code().to_owned(),
            prices: prices.collect(),
            coupons: Some(priced.combination).filter(|combination| !combination.used.is_empty()),
            recipient: order.gift_for.map(|user| user.to_string()),
            released: false,
            message,
        };
        Ok((agreed, order.total))
    }

    /// Buys what was agreed on from the wallet of `me`, and says who is to be told of it. Fails where a
    /// rule no longer holds, which may leave something half done.
    pub(crate) async fn buy_agreed(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
        agreed: &Agreed,
    ) -> Result<(String, News), StoreError> {
        let coupons = agreed.coupons().into_iter().flat_map(|c| &c.used);
        let purchase = Purchase {
            games: Some(agreed.prices.keys().cloned().collect()),
            expected_total: None,
            coupons: coupons.map(|used| used.id.clone()).collect(),
        };
        let country = Country::parse(&agreed.country)?;
        let Some(recipient) = agreed.recipient()? else {
            let parties = Parties {
                country,
                agreed: Some(agreed),
                ..self.alone(tx, me).await?
            };
            let (order, due, news) = self.bought(tx, &parties, &purchase).await?;
            due.settle(tx).await?;
            return Ok((order.id, news));
        };
        let (giver, parties) = self.between_friends(tx, me, &recipient).await?;
        let parties = Parties {
            country,
            agreed: Some(agreed),
            ..parties
        };
        let message = agreed.message.clone();
        let (gift, news) = self.given(tx, &giver, &parties, &purchase, message).await?;
        Ok((gift.order.id, news))
    }
}
