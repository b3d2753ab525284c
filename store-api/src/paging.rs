//! Pages of a list behind a key that only grows, and cursors into it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::error::{StoreError, Violation};

/// The longest page.
pub const MAX_PAGE: u64 = 500;
/// The page of a client that names no length.
pub const DEFAULT_PAGE: u64 = 100;

/// Which page is wanted.
#[derive(Debug, Clone)]
pub struct PageRequest {
    after: String,
    limit: u64,
}

/// A page, and where the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What stands on it.
    pub items: Vec<T>,
    /// Hand this in for the next page; none on the last.
    pub next: Option<String>,
}

impl PageRequest {
    /// Reads a cursor that an earlier page gave, and a length of 1 to [`MAX_PAGE`].
    pub fn parse(cursor: Option<&str>, limit: Option<u64>) -> Result<Self, StoreError> {
        let after = match cursor {
            None => String::new(),
            Some(cursor) => decode(cursor)
                .ok_or_else(|| Violation::new("cursor", "malformed", "not a cursor of ours"))?,
        };
        let limit = limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Violation::new("limit", "range", "from 1 to 500").into());
        }
        Ok(Self { after, limit })
    }

    /// The key after which the page begins; empty for the first, which sorts before every key.
    pub(crate) fn after(&self) -> &str {
        &self.after
    }

    /// The number after which the page begins, for a key that is one; none for the first page.
    pub(crate) fn after_number(&self) -> Result<Option<i64>, StoreError> {
        if self.after.is_empty() {
            return Ok(None);
        }
        let number = self.after.parse().ok();
        let malformed = || Violation::new("cursor", "malformed", "not a cursor of this list");
        Ok(Some(number.ok_or_else(malformed)?))
    }

    /// How many rows to fetch: one more than shown, to learn whether there is a next page.
    pub(crate) fn fetch(&self) -> u64 {
        self.limit + 1
    }

    /// Makes a page of the rows fetched.
    pub(crate) fn cut<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        let limit = self.limit as usize;
        let next = (rows.len() > limit)
            .then(|| rows.truncate(limit))
            .and_then(|()| rows.last())
            .map(|last| URL_SAFE_NO_PAD.encode(key(last)));
        Page { items: rows, next }
    }
}

impl<T> Page<T> {
    pub(crate) fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            next: self.next,
        }
    }

    pub(crate) fn filter_map<U>(self, f: impl FnMut(T) -> Option<U>) -> Page<U> {
        Page {
            items: self.items.into_iter().filter_map(f).collect(),
            next: self.next,
        }
    }
}

fn decode(cursor: &str) -> Option<String> {
    if cursor.len() > 1024 {
        return None;
    }
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    // PostgreSQL knows no text with a zero in it.
    (!text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_the_next_page_and_the_last_page_has_none() {
        let request = PageRequest::parse(None, Some(2)).unwrap();
        let page = request.cut(vec!["a", "b", "c"], |key| (*key).to_owned());
        assert_eq!(page.items, ["a", "b"]);
        let next = PageRequest::parse(page.next.as_deref(), Some(2)).unwrap();
        assert_eq!(next.after(), "b");
        assert_eq!(next.cut(vec!["c"], |key| (*key).to_owned()).next, None);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for bad in ["%%", "////", "AA", &"A".repeat(2000)] {
            assert!(PageRequest::parse(Some(bad), None).is_err(), "{bad}");
        }
        for limit in [0, 501] {
            assert!(PageRequest::parse(None, Some(limit)).is_err());
        }
    }
}
