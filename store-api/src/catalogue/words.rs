//! Words: how texts are cut into them, so that both databases find the same.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};

use crate::{
    accounts::fold,
    error::{StoreError, Violation},
    sql::{self, values},
};

/// The most words of a search that count.
const MAX_WORDS: usize = 8;
/// The longest search, in bytes.
const MAX_SEARCH: usize = 256;

/// What somebody searches for: at least one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Search {
    words: Vec<String>,
}

impl Search {
    /// Reads what somebody typed.
    pub(crate) fn parse(text: &str) -> Result<Self, Violation> {
        if text.len() > MAX_SEARCH {
            return Err(Violation::new("q", "too_long", "at most 256 bytes"));
        }
        let mut words = cut(text);
        words.truncate(MAX_WORDS);
        if words.is_empty() {
            return Err(Violation::new(
                "q",
                "too_short",
                "a letter or a digit at least",
            ));
        }
        Ok(Self { words })
    }

    /// The words, with a space between them.
    pub(crate) fn key(&self) -> String {
        self.words.join(" ")
    }

    /// A condition that a game has every one of the words, or one that begins with it; and its one
    /// value.
    pub(super) fn condition(&self, backend: DbBackend) -> (&'static str, String) {
        if backend == DbBackend::Postgres {
            // Letters and digits only: nothing in them is an operator.
            let words: Vec<_> = self
                .words
                .iter()
                .map(|word| format!("'{word}':*"))
                .collect();
            let condition =
                "x.id IN (SELECT game FROM game_texts WHERE words @@ CAST(? AS tsquery))";
            (condition, words.join(" & "))
        } else {
            let words: Vec<_> = self
                .words
                .iter()
                .map(|word| format!("\"{word}\"*"))
                .collect();
            let condition = "x.id IN (SELECT game FROM game_texts WHERE game_texts MATCH ?)";
            (condition, words.join(" "))
        }
    }
}

/// The words of a text: what lies between characters that are no letters or digits, folded.
pub(super) fn cut(text: &str) -> Vec<String> {
    let folded = fold(text);
    let words = folded.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Makes games be found by the words of their texts, in place of those before unless the games are
/// `new`.
pub(super) async fn index(
    tx: &DatabaseTransaction,
    games: &[(&str, String)],
    new: bool,
) -> Result<(), StoreError> {
    if !new {
        for (game, _) in games {
            sql::execute(tx, "DELETE FROM game_texts WHERE game = ?", values![*game]).await?;
        }
    }
    let row = if tx.get_database_backend() == DbBackend::Postgres {
        "(?, array_to_tsvector(string_to_array(?, ' ')))"
    } else {
        "(?, ?)"
    };
    let rows = vec![row; games.len()].join(", ");
    let insert = format!("INSERT INTO game_texts (game, words) VALUES {rows}");
    let mut values = Vec::with_capacity(2 * games.len());
    for (game, text) in games {
        let mut words = cut(text);
        words.sort_unstable();
        words.dedup();
        // PostgreSQL refuses a lexeme beyond this.
        words.retain(|word| word.len() < 2000);
        values.extend(values![*game, words.join(" ")]);
    }
    sql::execute(tx, &insert, values).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_no_letter_is() {
        assert_eq!(
            cut("Half-Life: Ünder  №5"),
            ["half", "life", "ünder", "no5"]
        );
        assert_eq!(cut("별의 커비"), ["별의", "커비"]);
        assert!(cut("--- '\" \u{0}").is_empty());
    }

    #[test]
    fn a_search_has_a_word_and_no_operators() {
        assert_eq!(Search::parse(" !? ").unwrap_err().rule, "too_short");
        assert_eq!(
            Search::parse(&"a".repeat(257)).unwrap_err().rule,
            "too_long"
        );
        let search = Search::parse("Star' | \"OR\"* ) dawn").unwrap();
        assert_eq!(search.key(), "star or dawn");
        let (_, postgres) = search.condition(DbBackend::Postgres);
        assert_eq!(postgres, "'star':* & 'or':* & 'dawn':*");
        let (_, sqlite) = search.condition(DbBackend::Sqlite);
        assert_eq!(sqlite, "\"star\"* \"or\"* \"dawn\"*");
    }
}
