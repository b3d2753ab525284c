//! Publishers, and what they put into the catalogue.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult, Value};
use shared::id::UserId;
use ulid::Ulid;

use super::{
    draft::{Draft, GameText, line},
    drops::Prices,
    words,
};
use crate::{
    accounts::{Role, fold},
    error::{LineFault, StoreError, Violation},
    sql::{self, values},
    store::{Store, lock_users},
};

/// The most games of one import.
const MAX_IMPORT: usize = 500;

/// A publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// Its name in addresses.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many follow it.
    pub followers: u64,
}

/// Who keeps games: an operator or a service, or somebody who may only keep their own.
#[derive(Debug, Clone, Copy)]
pub enum Keeper<'a> {
    /// May keep every publisher's.
    Store,
    /// May keep those of the publishers they own.
    Owner(&'a UserId),
}

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
struct PublisherRow {
    id: String,
    name: String,
    owner: Option<String>,
    followers: i64,
}

#[derive(FromQueryResult)]
struct GameRow {
    id: String,
    publisher: String,
}

const PUBLISHER: &str = "SELECT b.id, b.name, b.owner, \
    (SELECT COUNT(*) FROM follows f WHERE f.publisher = b.id) AS followers FROM publishers b WHERE b.id = ?";

const GAMES: &str = "games (id, publisher, slug, title, title_key, summary, description, state, \
    released_at, created_at, updated_at)";

impl Store {
    /// Makes a publisher whose games `owner` keeps. Whoever was a player is a publisher then.
    pub async fn make_publisher(
        &self,
        name: &str,
        owner: Option<&UserId>,
    ) -> Result<Publisher, StoreError> {
        let name = line("name", name, 2, 64)?;
        let tx = self.database().begin().await?;
        if let Some(owner) = owner {
            let row = lock_users(&tx, &[owner]).await?.pop();
            let row = row.ok_or(Violation::new("owner", "unknown", "nobody has this id"))?;
            if Role::stored(&row.role) == Role::Player {
                sql::execute(
                    &tx,
                    "UPDATE users SET role = ? WHERE id = ?",
                    values![Role::Publisher.word(), owner.as_str()],
                )
                .await?;
            }
        }
        let publisher = self.insert_publisher(&tx, &name, owner).await?;
        self.database().commit(tx).await?;
        Ok(publisher)
    }

    pub(super) async fn insert_publisher(
        &self,
        tx: &DatabaseTransaction,
        name: &str,
        owner: Option<&UserId>,
    ) -> Result<Publisher, StoreError> {
        let id = Ulid::new().to_string();
        let made = sql::execute(
            tx,
            "INSERT INTO publishers (id, name, name_key, owner, created_at) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (name_key) DO NOTHING",
            values![
                id.as_str(),
                name,
                fold(name),
                owner.map(|owner| owner.as_str().to_owned()),
                self.now().as_millis()
            ],
        )
        .await?;
        if made == 0 {
            let message = "another publisher has this name";
            return Err(StoreError::Conflict {
                message,
                violations: vec![Violation::new("name", "taken", message)],
            });
        }
        Ok(Publisher {
            id,
            name: name.to_owned(),
            followers: 0,
        })
    }

    /// A publisher.
    pub async fn publisher(&self, id: &str) -> Result<Publisher, StoreError> {
        let row: Option<PublisherRow> =
            sql::one(self.database().reader(), PUBLISHER, values![id]).await?;
        let row = row.ok_or(StoreError::NotFound)?;
        Ok(Publisher {
            id: row.id,
            name: row.name,
            followers: row.followers.unsigned_abs(),
        })
    }

    /// Puts a game into the catalogue, or changes it. Answers its id, and whether it is new.
    pub async fn put_game(
        &self,
        keeper: Keeper<'_>,
        publisher: &str,
        game: GameText,
    ) -> Result<(String, bool), StoreError> {
        may_keep(self.database().reader(), keeper, publisher).await?;
        let draft = Draft::parse(game).map_err(StoreError::Invalid)?;
        let tx = self.database().begin().await?;
        let put = self.write_game(&tx, publisher, &draft).await?;
        self.commit(tx).await?;
        self.herald();
        Ok(put)
    }

    /// Puts many games into the catalogue: all, or none if one breaks a rule; then every line that
    /// does is named with what it breaks. A line that could not be read at all is an `Err`.
    pub async fn import_games(
        &self,
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
            match self.write_game(&tx, publisher, &draft).await {
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
            self.commit(tx).await?;
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
            let rows = piece.iter().zip(&ids).map(|((publisher, draft), id)| {
                values![
                    id.as_str(),
                    publisher.as_str(),
                    draft.slug.as_str(),
                    draft.title.as_str(),
                    words::cut(&draft.title).join(" "),
                    draft.summary.as_str(),
                    draft.description.as_str(),
                    draft.state,
                    draft.released_at,
                    now,
                    now
                ]
            });
            insert_all(tx, GAMES, rows.collect()).await?;
            let drafts = piece.iter().map(|(_, draft)| draft);
            let games: Vec<_> = ids.iter().map(String::as_str).zip(drafts).collect();
            hang(tx, &games, true).await?;
        }
        Ok(())
    }

    /// Writes a game and everything that hangs on it.
    pub(super) async fn write_game(
        &self,
        tx: &DatabaseTransaction,
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
            values![
                Ulid::new().to_string(),
                publisher,
                draft.slug.as_str(),
                draft.title.as_str(),
                words::cut(&draft.title).join(" "),
                draft.summary.as_str(),
                draft.description.as_str(),
                draft.state,
                draft.released_at,
                now,
                -1_i64
            ],
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
        if !created {
            before = self.prices(tx, &row.id).await?;
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
        self.announce_drops(tx, (&row.id, &draft.title), &before)
            .await?;
        Ok((row.id, created))
    }
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

/// Whether the publisher is there, and `keeper` may keep its games.
/// Whether this keeper may keep what a publisher has.
pub(crate) async fn may_keep(
    db: &impl ConnectionTrait,
    keeper: Keeper<'_>,
    publisher: &str,
) -> Result<(), StoreError> {
    let row: Option<PublisherRow> = sql::one(db, PUBLISHER, values![publisher]).await?;
    let row = row.ok_or(StoreError::NotFound)?;
    match keeper {
        Keeper::Store => Ok(()),
        Keeper::Owner(user) if row.owner.as_deref() == Some(user.as_str()) => Ok(()),
        Keeper::Owner(_) => Err(StoreError::Forbidden("this publisher is somebody else's")),
    }
}
