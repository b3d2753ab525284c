//! What publishers put into the catalogue: games, one by one or many at once. Each that is new, or another
//! than before, is a line of the audit log.

use std::collections::HashSet;

use sea_orm::{DatabaseTransaction, FromQueryResult, Value};
use serde_json::json;
use ulid::Ulid;

use super::{
    changes::Before,
    draft::{Draft, GameText},
    drops::Prices,
    publishers::{Keeper, may_keep},
    words,
};
use crate::{
    audit::{By, Deed},
    error::{LineFault, StoreError, Violation},
    sql::{self, values},
    store::Store,
};

/// The most games of one import.
const MAX_IMPORT: usize = 500;

/// What an import did with one of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The line, from 1.
    pub line: usize,
    /// The game.
    pub id: String,
    /// Its name in addresses.
    pub slug: String,
    /// Whether it is new.
    pub created: bool,
}

#[derive(FromQueryResult)]
struct GameRow {
    id: String,
    publisher: String,
}

const GAMES: &str = "games (id, publisher, slug, title, title_key, summary, description, state, \
    released_at, created_at, updated_at)";

impl Store {
    /// Puts a game into the catalogue, or changes it, in the name of `by`, whose games `keeper` may keep.
    /// Answers its id, and whether it is new.
    pub async fn put_game(
        &self,
        by: &str,
        keeper: Keeper<'_>,
        publisher: &str,
        game: GameText,
    ) -> Result<(String, bool), StoreError> {
        may_keep(self.database().reader(), keeper, publisher).await?;
        let draft = Draft::parse(game).map_err(StoreError::Invalid)?;
        let tx = self.database().begin().await?;
        let put = self.write_game(&tx, by, publisher, &draft).await?;
        self.commit(tx).await?;
        self.edition().change();
        self.herald();
        Ok(put)
    }

    /// Puts many games into the catalogue, in the name of `by`: all, or none if one breaks a rule; then every
    /// line that does is named with what it breaks. A line that could not be read at all is an `Err`.
    pub async fn import_games(
        &self,
        by: &str,
        keeper: Keeper<'_>,
        publisher: &str,
        games: Vec<Result<GameText, String>>,
    ) -> Result<Vec<Imported>, StoreError> {
        may_keep(self.database().reader(), keeper, publisher).await?;
        if !(1..=MAX_IMPORT).contains(&games.len()) {
            return Err(Violation::new("lines", "range", "from 1 to 500").into());
        }
        let mut faults = Vec::new();
        let mut drafts = Vec::with_capacity(games.len());
        let mut slugs = HashSet::new();
        for (place, game) in games.into_iter().enumerate() {
            let line = place + 1;
            let mut note = |field: &'static str, rule: &'static str, message: &str| {
                faults.push(LineFault {
                    line,
                    field,
                    rule,
                    message: message.to_owned(),
                });
            };
            match game.map(Draft::parse) {
                Err(unreadable) => note("line", "malformed", &unreadable),
                Ok(Err(broken)) => broken
                    .iter()
                    .for_each(|broken| note(broken.field, broken.rule, broken.message)),
                Ok(Ok(draft)) if !slugs.insert(draft.slug.clone()) => {
                    note("slug", "taken", "an earlier line has it");
                }
                Ok(Ok(draft)) => drafts.push((line, draft)),
            }
        }
        let tx = self.database().begin().await?;
        let mut imported = Vec::with_capacity(drafts.len());
        for (line, draft) in drafts {
            match self.write_game(&tx, by, publisher, &draft).await {
                Ok((id, created)) => imported.push(Imported {
                    line,
                    id,
                    slug: draft.slug,
                    created,
                }),
                Err(StoreError::Conflict { violations, .. }) => {
                    faults.extend(violations.into_iter().map(|broken| LineFault {
                        line,
                        field: broken.field,
                        rule: broken.rule,
                        message: broken.message.to_owned(),
                    }));
                }
                Err(error) => return Err(error),
            }
        }
        if faults.is_empty() {
            let created = imported.iter().filter(|game| game.created).count();
            let details =
                json!({"publisher": publisher, "lines": imported.len(), "created": created});
            self.record(&tx, Deed::GamesImported, By::Named(by), None, details)
                .await?;
            self.commit(tx).await?;
            self.edition().change();
            self.herald();
            Ok(imported)
        } else {
            tx.rollback().await?;
            faults.sort_by_key(|fault| fault.line);
            Err(StoreError::Lines(faults))
        }
    }

    /// Writes games that nobody has written before, each with its publisher.
    pub(super) async fn insert_games(
        &self,
        tx: &DatabaseTransaction,
        games: &[(String, Draft)],
    ) -> Result<(), StoreError> {
        let now = self.now().as_millis();
        for piece in games.chunks(100) {
            let ids: Vec<_> = piece.iter().map(|_| Ulid::new().to_string()).collect();
            let rows = piece.iter().zip(&ids);
            let rows = rows.map(|((publisher, draft), id)| row(id, publisher, draft, now, now));
            insert_all(tx, GAMES, rows.collect()).await?;
            let drafts = piece.iter().map(|(_, draft)| draft);
            let games: Vec<_> = ids.iter().map(String::as_str).zip(drafts).collect();
            hang(tx, &games, true).await?;
        }
        Ok(())
    }

    /// Writes a game and everything that hangs on it, and what `by` changed of it.
    async fn write_game(
        &self,
        tx: &DatabaseTransaction,
        by: &str,
        publisher: &str,
        draft: &Draft,
    ) -> Result<(String, bool), StoreError> {
        let now = self.now().as_millis();
        // One statement, so that of two with one slug the later sees the earlier.
        let row: Option<GameRow> = sql::one(
            tx,
            &format!(
                "INSERT INTO {GAMES} VALUES {} \
                 ON CONFLICT (slug) DO UPDATE SET slug = games.slug RETURNING id, publisher",
                sql::list(11)
            ),
            row(&Ulid::new().to_string(), publisher, draft, now, -1),
        )
        .await?;
        let row = row.ok_or_else(|| StoreError::Internal("a game was not written".to_owned()))?;
        if row.publisher != publisher {
            let message = "a game of another publisher has it";
            return Err(StoreError::Conflict {
                message,
                violations: vec![Violation::new("slug", "taken", message)],
            });
        }
        // A new one has never been changed before.
        let changed = sql::execute(
            tx,
            "UPDATE games SET updated_at = ? WHERE id = ? AND updated_at = -1",
            values![now, row.id.as_str()],
        );
        let created = changed.await? > 0;
        let mut before = Prices::new();
        let mut differences = None;
        if !created {
            before = self.prices(tx, &row.id).await?;
            differences = Before::read(tx, &row.id).await?.differences(draft);
            sql::execute(
                tx,
                "UPDATE games SET title = ?, title_key = ?, summary = ?, description = ?, state = ?, \
                 released_at = ?, updated_at = ? WHERE id = ?",
                values![
                    draft.title.as_str(),
                    words::cut(&draft.title).join(" "),
                    draft.summary.as_str(),
                    draft.description.as_str(),
                    draft.state,
                    draft.released_at,
                    now,
                    row.id.as_str()
                ],
            )
            .await?;
        }
        hang(tx, &[(row.id.as_str(), draft)], created).await?;
        let mut details = json!({"game": row.id, "slug": draft.slug, "publisher": publisher});
        if created {
            let prices = draft.prices.iter();
            details["state"] = json!(draft.state);
            details["prices"] = prices
                .map(|(country, minor)| (country.code().to_owned(), json!(minor)))
                .collect::<serde_json::Map<_, _>>()
                .into();
            self.record(tx, Deed::GameMade, By::Named(by), None, details)
                .await?;
        } else if let Some(differences) = differences {
            details["changes"] = differences;
            self.record(tx, Deed::GameChanged, By::Named(by), None, details)
                .await?;
        }
        self.announce_drops(tx, (&row.id, &draft.title), &before)
            .await?;
        Ok((row.id, created))
    }
}

/// A row of [`GAMES`].
fn row(id: &str, publisher: &str, draft: &Draft, created_at: i64, updated_at: i64) -> Vec<Value> {
    values![
        id,
        publisher,
        draft.slug.as_str(),
        draft.title.as_str(),
        words::cut(&draft.title).join(" "),
        draft.summary.as_str(),
        draft.description.as_str(),
        draft.state,
        draft.released_at,
        created_at,
        updated_at
    ]
}

/// Writes what hangs on games: words, media, prices and sales, in place of those before unless the
/// games are new. A few statements, however many games; at most 100.
async fn hang(
    tx: &DatabaseTransaction,
    games: &[(&str, &Draft)],
    new: bool,
) -> Result<(), StoreError> {
    let (mut words, mut media, mut prices, mut sales, mut texts) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for &(id, draft) in games {
        let categories = draft.categories.iter().map(|word| ("category", *word));
        let tags = draft.tags.iter().map(|word| ("tag", word.as_str()));
        words.extend(
            categories
                .chain(tags)
                .map(|(kind, word)| values![id, kind, word]),
        );
        let places = draft.media.iter().enumerate();
        media.extend(
            places.map(|(place, (kind, url))| values![id, place as i64, *kind, url.as_str()]),
        );
        let paid = draft.prices.iter();
        prices.extend(paid.map(|(country, minor)| values![id, country.code(), *minor]));
        sales.extend(draft.sales.iter().map(|sale| {
            let (from, to) = (sale.starts_at, sale.ends_at);
            values![id, sale.country.code(), from, to, sale.minor]
        }));
        texts.push((id, draft.texts()));
    }
    for (table, rows) in [
        ("game_words (game, kind, word)", words),
        ("game_media (game, place, kind, url)", media),
        ("game_prices (game, country, minor)", prices),
        (
            "game_sales (game, country, starts_at, ends_at, minor)",
            sales,
        ),
    ] {
        if !new {
            let name = table.split(' ').next().unwrap_or_default();
            let ids = games.iter().map(|(id, _)| Value::from(*id)).collect();
            let delete = format!(
                "DELETE FROM {name} WHERE game IN {}",
                sql::list(games.len())
            );
            sql::execute(tx, &delete, ids).await?;
        }
        insert_all(tx, table, rows).await?;
    }
    words::index(tx, &texts, new).await
}

/// Inserts rows in pieces that both databases take.
async fn insert_all(
    tx: &DatabaseTransaction,
    table: &str,
    rows: Vec<Vec<Value>>,
) -> Result<(), StoreError> {
    for piece in rows.chunks(1000) {
        let marks = vec![sql::list(piece[0].len()); piece.len()].join(", ");
        let insert = format!("INSERT INTO {table} VALUES {marks}");
        sql::execute(tx, &insert, piece.concat()).await?;
    }
    Ok(())
}
