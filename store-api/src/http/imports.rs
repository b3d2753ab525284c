//! Lists of games as publishers send them: JSON and CSV.

use serde::Deserialize;

use crate::{
    catalogue::{GameText, MediumText, SaleText},
    error::{StoreError, Violation},
};

/// The columns of a CSV file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    slug: String,
    title: String,
    summary: String,
    #[serde(default)]
    description: String,
    state: String,
    released_at: i64,
    categories: String,
    #[serde(default)]
    tags: String,
    #[serde(default)]
    media: String,
    #[serde(default)]
    prices: String,
    #[serde(default)]
    sales: String,
}

/// Reads an array of games; one that cannot be read is an `Err` in its place.
pub(super) fn json(body: &[u8]) -> Result<Vec<Result<GameText, String>>, StoreError> {
    let games: Vec<serde_json::Value> = serde_json::from_slice(body)
        .map_err(|_| Violation::new("lines", "malformed", "not a JSON array of games"))?;
    let read = |game| serde_json::from_value(game).map_err(|error| error.to_string());
    Ok(games.into_iter().map(read).collect())
}

/// Reads the lines of a CSV file with a head; one that cannot be read is an `Err` in its place.
pub(super) fn csv(body: &[u8]) -> Result<Vec<Result<GameText, String>>, StoreError> {
    // What spreadsheets put in front of UTF-8.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(body);
    let head = reader.headers().map(csv::StringRecord::is_empty);
    if head.unwrap_or(true) {
        return Err(Violation::new("lines", "malformed", "not a CSV file with a head").into());
    }
    let lines = reader.deserialize::<Line>();
    Ok(lines
        .map(|line| match line {
            Ok(line) => line.read(),
            Err(error) => Err(said(&error)),
        })
        .collect())
}

/// What a reader complains of, without the place: the line is named anyway.
fn said(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        csv::ErrorKind::Utf8 { err, .. } => err.to_string(),
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("{len} columns, where the head has {expected_len}"),
        _ => "cannot be read".to_owned(),
    }
}

impl Line {
    fn read(self) -> Result<GameText, String> {
        let words = |text: &str| parts(text).map(str::to_owned).collect();
        let mut media = Vec::new();
        for part in parts(&self.media) {
            let (kind, url) = pair(part, '=', "media are KIND=URL")?;
            media.push(MediumText {
                kind: kind.to_owned(),
                url: url.to_owned(),
            });
        }
        let mut prices = std::collections::BTreeMap::new();
        for part in parts(&self.prices) {
            const SHAPE: &str = "prices are COUNTRY=MINOR";
            let (country, minor) = pair(part, '=', SHAPE)?;
            prices.insert(country.to_owned(), number(minor, SHAPE)?);
        }
        let mut sales = Vec::new();
        for part in parts(&self.sales) {
            const SHAPE: &str = "sales are COUNTRY=MINOR@FROM-TO";
            let (country, rest) = pair(part, '=', SHAPE)?;
            let (minor, times) = pair(rest, '@', SHAPE)?;
            let (from, to) = pair(times, '-', SHAPE)?;
            sales.push(SaleText {
                country: country.to_owned(),
                price: number(minor, SHAPE)?,
                starts_at: number(from, SHAPE)?,
                ends_at: number(to, SHAPE)?,
            });
        }
        Ok(GameText {
            categories: words(&self.categories),
            tags: words(&self.tags),
            slug: self.slug,
            title: self.title,
            summary: self.summary,
            description: self.description,
            state: self.state,
            released_at: self.released_at,
            media,
            prices,
            sales,
        })
    }
}

/// What stands between semicolons.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn pair<'a>(text: &'a str, between: char, shape: &str) -> Result<(&'a str, &'a str), String> {
    let pair = text.split_once(between);
    let (one, other) = pair.ok_or_else(|| shape.to_owned())?;
    Ok((one.trim(), other.trim()))
}

fn number(text: &str, shape: &str) -> Result<i64, String> {
    text.parse().map_err(|_| shape.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "slug,title,summary,state,released_at,categories,tags,media,prices,sales\n";

    #[test]
    fn a_line_is_read_with_its_lists() {
        let text = format!(
            "\u{feff}{HEAD}a,\"A, \"\"b\"\"\",s,draft,5,puzzle; action,,image=https://x.org/a=b,US=100;KR=2000,US=50@1-9\n"
        );
        let games = csv(text.as_bytes()).unwrap();
        let game = games[0].as_ref().unwrap();
        assert_eq!(game.title, "A, \"b\"");
        assert_eq!(game.categories, ["puzzle", "action"]);
        assert!(game.tags.is_empty());
        assert_eq!(game.media[0].url, "https://x.org/a=b");
        assert_eq!(game.prices["KR"], 2000);
        assert_eq!((game.sales[0].price, game.sales[0].ends_at), (50, 9));
    }

    #[test]
    fn a_line_that_cannot_be_read_says_why_and_the_next_is_read() {
        let good = "a,A,s,draft,5,puzzle,,,,\n";
        let text =
            format!("{HEAD}a,A,s,draft,soon,puzzle,,,,\na,A\na,A,s,draft,5,puzzle,,,US,\n{good}");
        let games = csv(text.as_bytes()).unwrap();
        assert!(games[0].is_err());
        assert_eq!(
            games[1].as_ref().unwrap_err(),
            "2 columns, where the head has 10"
        );
        assert_eq!(games[2].as_ref().unwrap_err(), "prices are COUNTRY=MINOR");
        assert!(games[3].is_ok());
        let games = json(br#"[{"title": 5}]"#).unwrap();
        assert!(games[0].is_err());
        assert!(json(b"{}").is_err());
        assert!(csv(b"").is_err());
    }
}
