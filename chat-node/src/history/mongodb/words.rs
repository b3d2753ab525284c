//! What the words of a text are, for the index and for a query.
//!
//! The same as SQLite's index takes them (`unicode61 remove_diacritics 2`, and each character of a
//! script without spaces for itself): runs of letters and digits, without case and accents.

use unicode_normalization::char::{decompose_canonical, is_combining_mark};

/// The words of a text in their order.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if unspaced(c) {
            end(&mut word, &mut words);
            words.push(c.to_string());
        } else if c.is_alphanumeric() && !is_combining_mark(c) {
            word.extend(plain(c).to_lowercase());
        } else if !is_combining_mark(c) {
            end(&mut word, &mut words);
        }
    }
    end(&mut word, &mut words);
    words
}

fn end(word: &mut String, words: &mut Vec<String>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// A letter without its accents.
fn plain(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    let (mut base, mut marks) = (None, true);
    decompose_canonical(c, |part| match base {
        None => base = Some(part),
        Some(_) => marks &= is_combining_mark(part),
    });
    base.filter(|_| marks).unwrap_or(c)
}

/// Kana, Han (with its extensions) and the compatibility forms, and Thai, Lao and Khmer letters.
fn unspaced(c: char) -> bool {
    matches!(c,
        '\u{0E01}'..='\u{0E30}' | '\u{0E81}'..='\u{0EB0}' | '\u{1780}'..='\u{17B3}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3134F}')
}

/// Words of a query that have to stand one after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Phrase {
    pub(super) words: Vec<String>,
    /// The last one is only the beginning of a word.
    pub(super) prefix: bool,
}

impl Phrase {
    /// What was written without a space between; `None` when there is nothing to look for in it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (stem, prefix) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        let stem: String = stem.chars().filter(|c| !c.is_control()).collect();
        let words = words(&stem);
        (!words.is_empty()).then_some(Self { words, prefix })
    }

    /// Whether it stands in a text of these words.
    pub(super) fn is_in(&self, text: &[String]) -> bool {
        let last = self.words.len() - 1;
        text.windows(self.words.len()).any(|window| {
            window
                .iter()
                .zip(&self.words)
                .enumerate()
                .all(|(n, (there, word))| {
                    if n == last && self.prefix {
                        there.starts_with(word.as_str())
                    } else {
                        there == word
                    }
                })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_punctuation_do_not_matter() {
        assert_eq!(words("Café, ZÜRICH!"), ["cafe", "zurich"]);
        assert_eq!(words("Cafe\u{301}s"), ["cafes"]);
        assert_eq!(words("ПРИВЕТ мир"), ["привет", "мир"]);
        assert_eq!(words("don't 4ever_x"), ["don", "t", "4ever", "x"]);
        assert_eq!(words("한국어"), ["한국어"]);
        assert_eq!(words("… \u{300} 🎉"), Vec::<String>::new());
    }

    #[test]
    fn scripts_without_spaces_are_taken_character_by_character() {
        assert_eq!(words("が世界gg"), ["が", "世", "界", "gg"]);
    }

    #[test]
    fn a_phrase_stands_in_order_and_a_prefix_only_at_its_end() {
        let text = words("the quick-brown fox");
        let is_in = |query: &str| Phrase::parse(query).unwrap().is_in(&text);
        assert!(is_in("quick-brown") && is_in("QUICK") && is_in("qui*") && is_in("quick-bro*"));
        assert!(
            !is_in("brown-quick") && !is_in("qui") && !is_in("the-brown") && !is_in("qui-brown")
        );
        assert_eq!(Phrase::parse("***"), None);
        assert_eq!(Phrase::parse("\""), None);
    }
}
