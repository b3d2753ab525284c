//! What a publisher says of a game, read and checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use shared::text::is_unseen;
use url::Url;

use crate::{
    error::Violation,
    money::{Country, MOST},
};

/// The categories there are; a game is in one to four.
pub const CATEGORIES: &[&str] = &[
    "action",
    "adventure",
    "casual",
    "horror",
    "platformer",
    "puzzle",
    "racing",
    "role-playing",
    "shooter",
    "simulation",
    "sports",
    "strategy",
];

/// A game as its publisher sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GameText {
    /// Its name in addresses: lower-case letters, digits, hyphens.
    #[serde(default)]
    pub slug: String,
    /// Its title.
    pub title: String,
    /// A line or two.
    pub summary: String,
    /// All there is to say.
    #[serde(default)]
    pub description: String,
    /// `draft`, `published` or `withdrawn`.
    pub state: String,
    /// When it came out, or comes, in milliseconds since the epoch.
    pub released_at: i64,
    /// One to four of [`CATEGORIES`].
    pub categories: Vec<String>,
    /// Up to 12 words of its own.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Up to 12 pictures and films.
    #[serde(default)]
    pub media: Vec<MediumText>,
    /// What it costs, by country, in minor units of the country's currency. Elsewhere it is not
    /// sold.
    #[serde(default)]
    pub prices: BTreeMap<String, i64>,
    /// Up to 100 times at which it costs less.
    #[serde(default)]
    pub sales: Vec<SaleText>,
}

/// A picture or a film.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediumText {
    /// `image` or `video`.
    pub kind: String,
    /// Where: http or https.
    pub url: String,
}

/// A time at which a game costs less.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaleText {
    /// Where.
    pub country: String,
    /// What it costs then, in minor units.
    pub price: i64,
    /// From when, in milliseconds since the epoch.
    pub starts_at: i64,
    /// Until when.
    pub ends_at: i64,
}

/// A game whose every rule holds.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(super) slug: String,
    pub(super) title: String,
    pub(super) summary: String,
    pub(super) description: String,
    pub(super) state: &'static str,
    pub(super) released_at: i64,
    pub(super) categories: Vec<&'static str>,
    pub(super) tags: Vec<String>,
    pub(super) media: Vec<(&'static str, String)>,
    pub(super) prices: BTreeMap<Country, i64>,
    pub(super) sales: Vec<Sale>,
}

/// A sale whose every rule holds.
#[derive(Debug, Clone)]
pub(super) struct Sale {
    pub(super) country: Country,
    pub(super) minor: i64,
    pub(super) starts_at: i64,
    pub(super) ends_at: i64,
}

impl Draft {
    /// Everything it is found by.
    pub(super) fn texts(&self) -> String {
        let mut texts = [&self.title, &self.summary, &self.description]
            .map(String::as_str)
            .to_vec();
        texts.extend(&self.categories);
        texts.extend(self.tags.iter().map(String::as_str));
        texts.join(" ")
    }

    /// Checks everything, so that the answer names every rule broken and not only the first.
    pub(crate) fn parse(text: GameText) -> Result<Self, Vec<Violation>> {
        let mut broken = Vec::new();
        let slug = checked(&mut broken, slug(&text.slug));
        let title = checked(&mut broken, line("title", &text.title, 1, 100));
        let summary = checked(&mut broken, line("summary", &text.summary, 1, 300));
        let description = checked(&mut broken, prose("description", &text.description, 8000));
        let state = checked(&mut broken, state(&text.state));
        let released_at = checked(&mut broken, moment("released_at", text.released_at));
        let categories = checked(&mut broken, categories(&text.categories));
        let tags = checked(&mut broken, tags(&text.tags));
        let media = checked(&mut broken, media(text.media));
        let prices = checked(&mut broken, prices(&text.prices));
        let sales = checked(&mut broken, sales(&text.sales, &text.prices));
        // Nothing is missing where nothing is broken.
        let draft = (|| {
            Some(Self {
                slug: slug?,
                title: title?,
                summary: summary?,
                description: description?,
                state: state?,
                released_at: released_at?,
                categories: categories?,
                tags: tags?,
                media: media?,
                prices: prices?,
                sales: sales?,
            })
        })();
        draft.ok_or(broken)
    }
}

fn checked<T>(broken: &mut Vec<Violation>, outcome: Result<T, Violation>) -> Option<T> {
    outcome.map_err(|violation| broken.push(violation)).ok()
}

fn slug(text: &str) -> Result<String, Violation> {
    let fits = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        Ok(text.to_owned())
    } else {
        let message = "1 to 64 of a-z, 0-9 and inner hyphens";
        Err(Violation::new("slug", "malformed", message))
    }
}

/// One line of so many characters.
pub(super) fn line(
    field: &'static str,
    text: &str,
    least: usize,
    most: usize,
) -> Result<String, Violation> {
    let text = prose(field, text, most)?;
    if text.chars().count() < least {
        return Err(Violation::new(field, "too_short", "has to say something"));
    }
    if text.contains('\n') {
        return Err(Violation::new(field, "characters", "one line only"));
    }
    Ok(text)
}

/// Text of several lines, and at most so many characters.
pub(crate) fn prose(field: &'static str, text: &str, most: usize) -> Result<String, Violation> {
    // Before any work on it.
    let too_long = Violation::new(field, "too_long", "longer than it may be");
    if text.len() > 4 * most + 64 {
        return Err(too_long);
    }
    let text = text.trim();
    if text.chars().count() > most {
        return Err(too_long);
    }
    let joins = |c| matches!(c, '\n' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}');
    if text.chars().any(|c| is_unseen(c) && !joins(c)) {
        let message = "no control or invisible characters";
        return Err(Violation::new(field, "characters", message));
    }
    Ok(text.to_owned())
}

fn state(text: &str) -> Result<&'static str, Violation> {
    ["draft", "published", "withdrawn"]
        .into_iter()
        .find(|state| *state == text)
        .ok_or(Violation::new(
            "state",
            "unknown",
            "`draft`, `published` or `withdrawn`",
        ))
}

/// A time from 1970 to 9999.
fn moment(field: &'static str, millis: i64) -> Result<i64, Violation> {
    if (0..=253_402_300_799_999).contains(&millis) {
        Ok(millis)
    } else {
        Err(Violation::new(field, "range", "milliseconds since 1970"))
    }
}

fn categories(words: &[String]) -> Result<Vec<&'static str>, Violation> {
    const FIELD: &str = "categories";
    let mut categories = Vec::with_capacity(words.len().min(4));
    if !(1..=4).contains(&words.len()) {
        return Err(Violation::new(FIELD, "range", "one to four"));
    }
    for word in words {
        let known = CATEGORIES.iter().find(|known| *known == word);
        let message = "not a category: see /v1/games/categories";
        let category = *known.ok_or(Violation::new(FIELD, "unknown", message))?;
        if !categories.contains(&category) {
            categories.push(category);
        }
    }
    Ok(categories)
}

fn tags(words: &[String]) -> Result<Vec<String>, Violation> {
    if words.len() > 12 {
        return Err(Violation::new("tags", "range", "at most 12"));
    }
    let mut tags: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let message = "each 1 to 32 of a-z, 0-9 and inner hyphens";
        let tag = slug(word).ok().filter(|tag| tag.len() <= 32);
        let tag = tag.ok_or(Violation::new("tags", "malformed", message))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn media(media: Vec<MediumText>) -> Result<Vec<(&'static str, String)>, Violation> {
    const FIELD: &str = "media";
    if media.len() > 12 {
        return Err(Violation::new(FIELD, "range", "at most 12"));
    }
    let read = |medium: MediumText| {
        let kind = match medium.kind.as_str() {
            "image" => "image",
            "video" => "video",
            _ => return Err(Violation::new(FIELD, "kind", "`image` or `video`")),
        };
        let url = Url::parse(&medium.url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
        });
        let url = url.map(String::from).filter(|url| url.len() <= 512);
        let message = "an address of http or https, at most 512 characters";
        Ok((
            kind,
            url.ok_or(Violation::new(FIELD, "malformed", message))?,
        ))
    };
    media.into_iter().map(read).collect()
}

fn amount(field: &'static str, minor: i64) -> Result<i64, Violation> {
    // Far below what an account holds, so that an order of many is not too much.
    if (0..=MOST / 1_000_000).contains(&minor) {
        Ok(minor)
    } else {
        Err(Violation::new(field, "range", "from 0 to 10^9 minor units"))
    }
}

fn prices(prices: &BTreeMap<String, i64>) -> Result<BTreeMap<Country, i64>, Violation> {
    let unknown = Violation::new("prices", "unknown", "a country this store does not sell to");
    let read = |(code, minor): (&String, &i64)| {
        let country = Country::parse(code).map_err(|_| unknown.clone())?;
        Ok((country, amount("prices", *minor)?))
    };
    prices.iter().map(read).collect()
}

fn sales(sales: &[SaleText], prices: &BTreeMap<String, i64>) -> Result<Vec<Sale>, Violation> {
    const FIELD: &str = "sales";
    if sales.len() > 100 {
        return Err(Violation::new(FIELD, "range", "at most 100"));
    }
    let mut read = Vec::with_capacity(sales.len());
    for sale in sales {
        let unknown = Violation::new(FIELD, "unknown", "a country without a price");
        let full = prices.get(&sale.country).ok_or(unknown.clone())?;
        if sale.price >= *full {
            return Err(Violation::new(FIELD, "price", "less than the full price"));
        }
        let sale = Sale {
            country: Country::parse(&sale.country).map_err(|_| unknown)?,
            minor: amount(FIELD, sale.price)?,
            starts_at: moment(FIELD, sale.starts_at)?,
            ends_at: moment(FIELD, sale.ends_at)?,
        };
        if sale.starts_at >= sale.ends_at {
            return Err(Violation::new(FIELD, "order", "begins before it ends"));
        }
        read.push(sale);
    }
    let mut times: Vec<_> = read
        .iter()
        .map(|sale| (sale.country, sale.starts_at, sale.ends_at))
        .collect();
    times.sort_unstable();
    let overlap = times
        .windows(2)
        .any(|two| two[0].0 == two[1].0 && two[1].1 < two[0].2);
    if overlap {
        return Err(Violation::new(
            FIELD,
            "overlap",
            "one at a time in a country",
        ));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(change: impl FnOnce(&mut serde_json::Value)) -> GameText {
        let mut game = json!({
            "slug": "star-of-dawn", "title": "Star of Dawn", "summary": "A star.", "state": "published",
            "released_at": 0, "categories": ["action"], "tags": ["co-op"], "prices": {"US": 1000, "KR": 12000},
            "sales": [{"country": "US", "price": 500, "starts_at": 10, "ends_at": 20}],
        });
        change(&mut game);
        serde_json::from_value(game).unwrap()
    }

    #[test]
    fn a_game_says_every_rule_it_breaks() {
        assert!(Draft::parse(text(|_| ())).is_ok());
        let rule = |field: &str, value: serde_json::Value| {
            let broken = Draft::parse(text(|game| game[field] = value)).unwrap_err();
            assert_eq!(broken[0].field, field);
            broken[0].rule
        };
        assert_eq!(rule("slug", json!("Star of")), "malformed");
        assert_eq!(rule("title", json!(" ")), "too_short");
        assert_eq!(rule("title", json!("a".repeat(101))), "too_long");
        assert_eq!(rule("summary", json!("a\nb")), "characters");
        assert_eq!(rule("state", json!("gone")), "unknown");
        assert_eq!(rule("released_at", json!(-1)), "range");
        assert_eq!(rule("categories", json!([])), "range");
        assert_eq!(rule("categories", json!(["best"])), "unknown");
        assert_eq!(rule("tags", json!(["No Spaces"])), "malformed");
        assert_eq!(
            rule("media", json!([{"kind": "image", "url": "javascript:x"}])),
            "malformed"
        );
        assert_eq!(rule("prices", json!({"US": 1000, "XX": 5})), "unknown");
        assert_eq!(rule("prices", json!({"US": 1000, "KR": -5})), "range");
        let broken = Draft::parse(text(|game| {
            game["slug"] = json!("");
            game["title"] = json!("");
        }));
        assert_eq!(broken.unwrap_err().len(), 2);
    }

    #[test]
    fn a_sale_is_cheaper_and_no_other_at_its_time() {
        let sale = |price: i64, starts_at: i64, ends_at: i64| json!({"country": "US", "price": price, "starts_at": starts_at, "ends_at": ends_at});
        let rule = |sales: serde_json::Value| {
            let parsed = Draft::parse(text(|game| game["sales"] = sales));
            parsed.err().map(|broken| broken[0].rule)
        };
        assert_eq!(rule(json!([sale(5, 1, 2), sale(6, 2, 3)])), None);
        assert_eq!(rule(json!([sale(1000, 1, 2)])), Some("price"));
        assert_eq!(rule(json!([sale(5, 2, 2)])), Some("order"));
        assert_eq!(rule(json!([sale(5, 1, 3), sale(5, 2, 4)])), Some("overlap"));
        let elsewhere = json!([{"country": "DE", "price": 1, "starts_at": 1, "ends_at": 2}]);
        assert_eq!(rule(elsewhere), Some("unknown"));
    }
}
