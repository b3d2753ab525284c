//! What is sold: publishers, games, prices and sales, reviews, and what people search for.

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0007_catalogue"
    }
}

#[async_trait]
#[allow(elided_lifetimes_in_paths)] // as the trait has it; async_trait cannot match `'_` to it
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let Dialect { ordered_text, .. } = Dialect::of(db.get_database_backend());
        // Each database finds words in its own way.
        let texts = if db.get_database_backend() == DbBackend::Postgres {
            "CREATE TABLE game_texts (game TEXT COLLATE \"C\" PRIMARY KEY, words TSVECTOR NOT NULL);
             CREATE INDEX game_texts_words ON game_texts USING GIN (words);"
        } else {
            // The words come folded already; nothing is to be folded on top.
            "CREATE VIRTUAL TABLE game_texts USING fts5 (game UNINDEXED, words, tokenize = 'unicode61 remove_diacritics 0');"
        };
        db.execute_unprepared(&format!(
            "
            CREATE TABLE publishers (
                id {ordered_text} PRIMARY KEY,
                name TEXT NOT NULL,
                name_key {ordered_text} NOT NULL,
                -- Null where nobody keeps its games but operators.
                owner {ordered_text} REFERENCES users (id),
                created_at BIGINT NOT NULL
            );
            CREATE UNIQUE INDEX publishers_name ON publishers (name_key);
            CREATE INDEX publishers_owner ON publishers (owner);

            CREATE TABLE games (
                id {ordered_text} PRIMARY KEY,
                publisher {ordered_text} NOT NULL REFERENCES publishers (id),
                slug {ordered_text} NOT NULL,
                title TEXT NOT NULL,
                title_key {ordered_text} NOT NULL,
                summary TEXT NOT NULL,
                description TEXT NOT NULL,
                state TEXT NOT NULL CHECK (state IN ('draft', 'published', 'withdrawn')),
                released_at BIGINT NOT NULL,
                -- The sum and the number of the stars of its reviews, kept with them.
                rating_sum BIGINT NOT NULL DEFAULT 0,
                rating_count BIGINT NOT NULL DEFAULT 0,
                sold BIGINT NOT NULL DEFAULT 0,
                created_at BIGINT NOT NULL,
                updated_at BIGINT NOT NULL
            );
            CREATE UNIQUE INDEX games_slug ON games (slug);
            CREATE INDEX games_publisher ON games (publisher);
            CREATE INDEX games_title ON games (title_key);

            CREATE TABLE game_words (
                game {ordered_text} NOT NULL REFERENCES games (id) ON DELETE CASCADE,
                kind TEXT NOT NULL CHECK (kind IN ('category', 'tag')),
                word {ordered_text} NOT NULL,
                PRIMARY KEY (game, kind, word)
            );
            CREATE INDEX game_words_word ON game_words (kind, word, game);

            CREATE TABLE game_media (
                game {ordered_text} NOT NULL REFERENCES games (id) ON DELETE CASCADE,
                place BIGINT NOT NULL,
                kind TEXT NOT NULL CHECK (kind IN ('image', 'video')),
                url TEXT NOT NULL,
                PRIMARY KEY (game, place)
            );

            -- In the currency of the country. A game without a price in a country is not sold there.
            CREATE TABLE game_prices (
                game {ordered_text} NOT NULL REFERENCES games (id) ON DELETE CASCADE,
                country {ordered_text} NOT NULL,
                minor BIGINT NOT NULL CHECK (minor >= 0),
                PRIMARY KEY (game, country)
            );
            CREATE INDEX game_prices_country ON game_prices (country, game);
            CREATE TABLE game_sales (
                game {ordered_text} NOT NULL REFERENCES games (id) ON DELETE CASCADE,
                country {ordered_text} NOT NULL,
                starts_at BIGINT NOT NULL,
                ends_at BIGINT NOT NULL,
                minor BIGINT NOT NULL CHECK (minor >= 0),
                PRIMARY KEY (game, country, starts_at),
                CHECK (starts_at < ends_at)
            );

            {texts}

            CREATE TABLE reviews (
                game {ordered_text} NOT NULL REFERENCES games (id) ON DELETE CASCADE,
                author {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                stars BIGINT NOT NULL CHECK (stars BETWEEN 1 AND 5),
                text TEXT NOT NULL,
                -- How many votes stand for it, kept with them.
                helpful BIGINT NOT NULL DEFAULT 0,
                created_at BIGINT NOT NULL,
                updated_at BIGINT NOT NULL,
                PRIMARY KEY (game, author)
            );
            CREATE INDEX reviews_author ON reviews (author);
            CREATE TABLE review_votes (
                game {ordered_text} NOT NULL,
                author {ordered_text} NOT NULL,
                voter {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                PRIMARY KEY (game, author, voter),
                FOREIGN KEY (game, author) REFERENCES reviews (game, author) ON DELETE CASCADE
            );
            CREATE INDEX review_votes_voter ON review_votes (voter);

            CREATE TABLE recent_searches (
                user_id {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                words {ordered_text} NOT NULL,
                searched_at BIGINT NOT NULL,
                PRIMARY KEY (user_id, words)
            );
            -- How many people searched for it on a day.
            CREATE TABLE search_days (
                day BIGINT NOT NULL,
                words {ordered_text} NOT NULL,
                people BIGINT NOT NULL,
                PRIMARY KEY (day, words)
            );
            "
        ))
        .await?;
        Ok(())
    }
}
