//! A catalogue of invented games, so that a store which is just tried out is not empty.
//!
//! Everything follows from a number: the same games every time, on every machine.

use std::collections::{BTreeMap, HashSet};

use shared::id::Timestamp;

use super::{
    CATEGORIES,
    draft::{Draft, GameText, SaleText},
    seed_words::{ENDINGS, FIRST, PUBLISHERS, SCENES, SECOND, TAGS, TWISTS},
};
use crate::{
    error::StoreError,
    migration,
    money::Country,
    sql::{self, values},
    store::Store,
};

/// The most games that are invented.
pub(crate) const MAX_GAMES: u32 = 1000;
const DAY: i64 = 24 * 60 * 60 * 1000;

#[derive(sea_orm::FromQueryResult)]
struct Count {
    count: i64,
}

impl Store {
    /// Fills an empty catalogue with so many invented games. Answers how many were put in: none
    /// where there is anything already.
    pub async fn seed(&self, games: u32) -> Result<u32, StoreError> {
        let tx = self.database().begin().await?;
        // Stores that start together on one database take turns.
        migration::take_turns(&tx).await?;
        let there: Option<Count> =
            sql::one(&tx, "SELECT COUNT(*) AS count FROM publishers", values![]).await?;
        if games == 0 || there.is_none_or(|row| row.count > 0) {
            return Ok(0);
        }
        let mut publishers = Vec::with_capacity(PUBLISHERS.len());
        for name in PUBLISHERS {
            publishers.push(self.insert_publisher(&tx, name, None).await?.id);
        }
        let mut dice = Dice::new();
        let mut slugs = HashSet::new();
        let mut drafts = Vec::new();
        // More than there are titles would not end.
        while drafts.len() < games.min(MAX_GAMES) as usize {
            let game = invent(&mut dice, self.now());
            if slugs.insert(game.slug.clone()) {
                let publisher = dice.pick(&publishers).clone();
                drafts.push((publisher, Draft::parse(game).map_err(StoreError::Invalid)?));
            }
        }
        self.insert_games(&tx, &drafts).await?;
        self.database().commit(tx).await?;
        tracing::info!(
            games = drafts.len(),
            "filled an empty catalogue with invented games"
        );
        Ok(drafts.len() as u32)
    }
}

/// Numbers that look like chance and are the same every time (splitmix64). Not `rand`, whose
/// numbers may differ from one version to the next.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        Self(0x5EED_0F6A_3E50)
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % sides.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.roll(things.len())]
    }
}

/// A game that nobody made.
fn invent(dice: &mut Dice, now: Timestamp) -> GameText {
    let (first, second) = (*dice.pick(FIRST), *dice.pick(SECOND));
    let title = match dice.roll(4) {
        0 => format!("{first} {second}: {}", dice.pick(ENDINGS)),
        1 => format!("{second} of the {first}"),
        2 => format!("{first} {second} {}", 2 + dice.roll(3)),
        _ => format!("{first} {second}"),
    };
    let category = *dice.pick(CATEGORIES);
    let mut categories = vec![category.to_owned()];
    if dice.roll(3) == 0 {
        let other = (*dice.pick(CATEGORIES)).to_owned();
        if other != category {
            categories.push(other);
        }
    }
    let mut tags: Vec<String> = Vec::new();
    for _ in 0..2 + dice.roll(4) {
        let tag = (*dice.pick(TAGS)).to_owned();
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let (scene, twist) = (*dice.pick(SCENES), *dice.pick(TWISTS));
    let article = if category.starts_with(['a', 'e', 'i', 'o', 'u']) {
        ["An", "an"]
    } else {
        ["A", "a"]
    };
    let summary = format!("{} {category} game {scene}, where {twist}.", article[0]);
    let description = format!(
        "{title} is {} {category} game {scene}.\n\nNothing here is what it seems: {twist}. \
         Play it for an evening or for a year; it remembers what you did.",
        article[1]
    );
    let prices = prices(dice);
    let today = now.as_millis() / DAY * DAY;
    let sales = if dice.roll(5) == 0 {
        sales(dice, &prices, today)
    } else {
        Vec::new()
    };
    GameText {
        slug: slug(&title),
        title,
        summary,
        description,
        state: "published".to_owned(),
        // Somewhere in the last six years.
        released_at: today - DAY * (1 + dice.roll(6 * 365) as i64),
        categories,
        tags,
        media: Vec::new(),
        prices,
        sales,
    }
}

fn slug(title: &str) -> String {
    super::words::cut(title).join("-")
}

/// One price, said in the money of every country.
fn prices(dice: &mut Dice) -> BTreeMap<String, i64> {
    let cents = *dice.pick(&[0, 299, 499, 799, 999, 1499, 1999, 2499, 2999, 3999, 5999]);
    let price = |country: Country| match country.currency().code() {
        // As shops there like to spell a price.
        "KRW" => (cents * 13 + 50) / 100 * 100,
        "JPY" => (cents + cents / 2) / 10 * 10,
        "GBP" => cents - cents / 7,
        _ => cents,
    };
    let of = |country: Country| (country.code().to_owned(), price(country));
    Country::all().map(of).collect()
}

/// A fifth to a half off, for some weeks around today, everywhere.
fn sales(dice: &mut Dice, prices: &BTreeMap<String, i64>, today: i64) -> Vec<SaleText> {
    let off = *dice.pick(&[20, 25, 30, 50]);
    let starts_at = today - DAY * dice.roll(5) as i64;
    let ends_at = today + DAY * (14 + dice.roll(60) as i64);
    let paid = prices.iter().filter(|(_, price)| **price > 0);
    paid.map(|(country, price)| SaleText {
        country: country.clone(),
        price: price * (100 - off) / 100,
        starts_at,
        ends_at,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_invented_is_sound_and_the_same_every_time() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        let invented = |count: usize| {
            let mut dice = Dice::new();
            let games: Vec<_> = (0..count).map(|_| invent(&mut dice, now)).collect();
            games
        };
        let games = invented(500);
        let spelled: Vec<_> = games.iter().map(|game| format!("{game:?}")).collect();
        let again: Vec<_> = invented(500)
            .iter()
            .map(|game| format!("{game:?}"))
            .collect();
        assert_eq!(spelled, again);
        let mut slugs = HashSet::new();
        let mut categories = HashSet::new();
        for game in games {
            let text = format!("{game:?}");
            let draft = Draft::parse(game).unwrap_or_else(|broken| panic!("{broken:?}: {text}"));
            categories.extend(draft.categories.iter().copied());
            slugs.insert(draft.slug);
        }
        assert!(slugs.len() > 300, "{}", slugs.len());
        assert_eq!(categories.len(), CATEGORIES.len());
    }
}
