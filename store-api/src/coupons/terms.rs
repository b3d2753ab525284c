//! What a coupon says: how much it takes off, and off what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::kind::{Entry, Kind, Term};
use crate::{
    catalogue::CATEGORIES,
    error::{StoreError, Violation},
    money::{Country, Currency, MOST},
};

/// The most games, and publishers, that a coupon names.
const MAX_NAMED: usize = 50;

/// The terms of a coupon, as they are said and kept. Which of them there are depends on the kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TermsText {
    /// A word of the registry.
    pub kind: String,
    /// So many hundredths of the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// No more than this, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<i64>,
    /// So much, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// The currency of all amounts; only what costs that is made cheaper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Only for what is bought there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Only if everything together costs as much, in minor units, before coupons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<i64>,
    /// Only these games.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub games: Vec<String>,
    /// Only games of these categories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Only games of these publishers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publishers: Vec<String>,
    /// From so many games on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u32>,
    /// Whether it goes together with others.
    pub stackable: bool,
}

/// The same, held to the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(super) kind: Kind,
    pub(super) discount: Discount,
    pub(super) currency: Option<Currency>,
    pub(super) country: Option<Country>,
    pub(super) minimum: i64,
    pub(super) games: BTreeSet<String>,
    categories: BTreeSet<String>,
    pub(super) publishers: BTreeSet<String>,
    pub(super) at_least: usize,
    pub(super) stackable: bool,
}

/// How much comes off the games that a coupon is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discount {
    /// So many hundredths of them, but no more than `cap` minor units.
    Percent { percent: u8, cap: i64 },
    /// So many minor units, but no more than there are.
    Fixed { amount: i64 },
}

/// A game of an order, as coupons see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ware {
    pub(crate) game: String,
    pub(crate) publisher: String,
    pub(crate) categories: BTreeSet<String>,
    /// What it costs before coupons, in minor units.
    pub(crate) price: i64,
}

impl Discount {
    /// What comes off `price` minor units: from nothing to all of it.
    pub(super) fn off(self, price: i64) -> i64 {
        match self {
            Self::Percent { percent, cap } => {
                let part = i128::from(price) * i128::from(percent) / 100;
                i64::try_from(part).unwrap_or(price).min(cap)
            }
            Self::Fixed { amount } => amount.min(price),
        }
    }
}

impl Terms {
    /// Holds terms to the rules: every one that is broken is named.
    pub(crate) fn parse(text: &TermsText) -> Result<Self, StoreError> {
        let entry = Entry::find(&text.kind)?;
        let mut broken: Vec<Violation> = Term::ALL
            .into_iter()
            .filter_map(|term| entry.check(term, text.says(term)))
            .collect();
        broken.extend(text.out_of_range());
        let mut note = |violation| broken.push(violation);
        let currency = text.currency.as_deref().map(Currency::parse);
        let currency = currency.and_then(|parsed| parsed.map_err(&mut note).ok());
        let country = text.country.as_deref().map(Country::parse);
        let country = country.and_then(|parsed| parsed.map_err(&mut note).ok());
        let amounts = [text.cap, text.amount, text.minimum];
        if text.currency.is_none() && amounts.iter().any(Option::is_some) {
            let message = "an amount is of a currency";
            note(Violation::new("currency", "required", message));
        }
        if let (Some(currency), Some(country)) = (currency, country)
            && currency != country.currency()
        {
            let message = "not the currency of the country";
            note(Violation::new("currency", "mismatch", message));
        }
        if !broken.is_empty() {
            return Err(StoreError::Invalid(broken));
        }
        let games: BTreeSet<_> = text.games.iter().cloned().collect();
        let discount = match text.amount {
            Some(amount) => Discount::Fixed { amount },
            None => Discount::Percent {
                percent: text.percent.unwrap_or_default(),
                cap: text.cap.unwrap_or(i64::MAX),
            },
        };
        Ok(Self {
            kind: entry.kind,
            discount,
            currency,
            country,
            minimum: text.minimum.unwrap_or_default(),
            // All games of a bundle, and one of anything else.
            at_least: match entry.kind {
                Kind::Bundle => games.len(),
                _ => text.at_least.unwrap_or(1) as usize,
            },
            games,
            categories: text.categories.iter().cloned().collect(),
            publishers: text.publishers.iter().cloned().collect(),
            stackable: text.stackable,
        })
    }

    /// Whether a game is one of those it is for.
    pub(super) fn is_for(&self, ware: &Ware) -> bool {
        let named =
            |names: &BTreeSet<String>, name: &String| names.is_empty() || names.contains(name);
        named(&self.games, &ware.game)
            && named(&self.publishers, &ware.publisher)
            && (self.categories.is_empty() || !self.categories.is_disjoint(&ware.categories))
    }
}

impl TermsText {
    fn says(&self, term: Term) -> bool {
        match term {
            Term::Percent => self.percent.is_some(),
            Term::Cap => self.cap.is_some(),
            Term::Amount => self.amount.is_some(),
            Term::Games => !self.games.is_empty(),
            Term::Categories => !self.categories.is_empty(),
            Term::AtLeast => self.at_least.is_some(),
        }
    }

    fn out_of_range(&self) -> Vec<Violation> {
        let mut broken = Vec::new();
        let mut require = |holds: bool, field, message| {
            if !holds {
                broken.push(Violation::new(field, "range", message));
            }
        };
        let percent = self
            .percent
            .is_none_or(|percent| (1..=100).contains(&percent));
        require(percent, "percent", "from 1 to 100");
        let at_least = self.at_least.is_none_or(|games| (1..=50).contains(&games));
        require(at_least, "at_least", "from 1 to 50");
        require(self.games.len() <= MAX_NAMED, "games", "at most 50");
        require(
            self.publishers.len() <= MAX_NAMED,
            "publishers",
            "at most 50",
        );
        let games: BTreeSet<&String> = self.games.iter().collect();
        let together = self.kind != Kind::Bundle.word() || games.len() != 1;
        require(together, "games", "a bundle is of two games or more");
        let known = |word: &String| CATEGORIES.contains(&word.as_str());
        if !self.categories.iter().all(known) {
            let message = "not a category: see /v1/games/categories";
            broken.push(Violation::new("categories", "unknown", message));
        }
        let amounts = [
            ("cap", self.cap),
            ("amount", self.amount),
            ("minimum", self.minimum),
        ];
        for (field, amount) in amounts {
            if amount.is_some_and(|minor| !(1..=MOST).contains(&minor)) {
                broken.push(Violation::new(
                    field,
                    "range",
                    "from 1 to 10^15 minor units",
                ));
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &TermsText) -> Vec<(&'static str, &'static str)> {
        match Terms::parse(text) {
            Err(StoreError::Invalid(broken)) => broken
                .iter()
                .map(|broken| (broken.field, broken.rule))
                .collect(),
            Err(_) => vec![("", "")],
            Ok(_) => Vec::new(),
        }
    }

    fn percent() -> TermsText {
        TermsText {
            kind: "percent".to_owned(),
            percent: Some(20),
            ..TermsText::default()
        }
    }

    #[test]
    fn every_broken_rule_is_named() {
        assert_eq!(rules(&percent()), []);
        let unknown = TermsText::default();
        assert_eq!(rules(&unknown), [("kind", "unknown")]);
        let bad = TermsText {
            percent: Some(0),
            amount: Some(0),
            country: Some("XX".to_owned()),
            categories: vec!["fish".to_owned()],
            at_least: Some(2),
            ..percent()
        };
        assert_eq!(
            rules(&bad),
            [
                ("amount", "not_of_this_kind"),
                ("at_least", "not_of_this_kind"),
                ("percent", "range"),
                ("categories", "unknown"),
                ("amount", "range"),
                ("country", "unknown"),
                ("currency", "required"),
            ]
        );
        let mixed = TermsText {
            currency: Some("USD".to_owned()),
            country: Some("KR".to_owned()),
            ..percent()
        };
        assert_eq!(rules(&mixed), [("currency", "mismatch")]);
        for games in [1, 2] {
            let alone = TermsText {
                kind: "bundle".to_owned(),
                games: vec!["one".to_owned(); games],
                ..percent()
            };
            assert_eq!(rules(&alone), [("games", "range")]);
        }
    }

    #[test]
    fn a_game_has_to_fit_everything_that_is_named() {
        let ware = |game: &str, publisher: &str, category: &str| Ware {
            game: game.to_owned(),
            publisher: publisher.to_owned(),
            categories: [category.to_owned()].into(),
            price: 100,
        };
        let terms = |games: &[&str], publishers: &[&str], categories: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
            let text = TermsText {
                games: owned(games),
                publishers: owned(publishers),
                categories: owned(categories),
                ..percent()
            };
            Terms::parse(&text).unwrap()
        };
        let star = ware("star", "oak", "puzzle");
        assert!(terms(&[], &[], &[]).is_for(&star));
        assert!(terms(&["moon", "star"], &["oak"], &["action", "puzzle"]).is_for(&star));
        assert!(!terms(&["moon"], &[], &[]).is_for(&star));
        assert!(!terms(&["star"], &["elm"], &[]).is_for(&star));
        assert!(!terms(&["star"], &["oak"], &["action"]).is_for(&star));
    }

    #[test]
    fn no_more_comes_off_than_there_is() {
        let part = Discount::Percent {
            percent: 33,
            cap: 50,
        };
        assert_eq!((part.off(0), part.off(100), part.off(1000)), (0, 33, 50));
        assert_eq!(part.off(i64::MAX), 50);
        let fixed = Discount::Fixed { amount: 70 };
        assert_eq!((fixed.off(0), fixed.off(69), fixed.off(1000)), (0, 69, 70));
    }
}
