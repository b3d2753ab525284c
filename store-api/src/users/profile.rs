//! What a picture's address and a status line have to look like.

use shared::text::is_unseen;
use unicode_normalization::UnicodeNormalization as _;
use url::Url;

use crate::error::Violation;

/// The longest address of a picture, in bytes.
const MAX_URL: usize = 512;
/// The longest line, in characters.
const MAX_LINE: usize = 140;

/// The address of a picture on the web.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AvatarUrl(String);

impl AvatarUrl {
    /// Accepts http and https with a host and without credentials: what a browser may put into an
    /// image without asking. Spelled anew, so that nothing in it can leave an attribute.
    pub(crate) fn parse(text: &str) -> Result<Self, Violation> {
        const FIELD: &str = "avatar_url";
        if text.len() > MAX_URL {
            return Err(Violation::new(FIELD, "too_long", "at most 512 characters"));
        }
        let Ok(url) = Url::parse(text.trim()) else {
            return Err(Violation::new(FIELD, "malformed", "not a URL"));
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(Violation::new(FIELD, "scheme", "http or https only"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Violation::new(
                FIELD,
                "credentials",
                "no user name or password in it",
            ));
        }
        let spelled = String::from(url);
        if spelled.len() > MAX_URL {
            return Err(Violation::new(FIELD, "too_long", "at most 512 characters"));
        }
        Ok(Self(spelled))
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// A line that says what somebody is up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusText(String);

impl StatusText {
    pub(crate) fn parse(text: &str) -> Result<Self, Violation> {
        line("status_text", text).map(Self)
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// One line of at most 140 characters that somebody writes, trimmed and composed.
pub(crate) fn line(field: &'static str, text: &str) -> Result<String, Violation> {
    let too_long = Violation::new(field, "too_long", "at most 140 characters");
    if text.len() > 16 * MAX_LINE {
        return Err(too_long);
    }
    let text: String = text.trim().nfc().collect();
    if text.chars().count() > MAX_LINE {
        return Err(too_long);
    }
    // Joiners and variation selectors stay allowed here: emoji are made of them.
    let joins = |c| matches!(c, '\u{200d}' | '\u{fe0e}' | '\u{fe0f}');
    if text.chars().any(|c| is_unseen(c) && !joins(c)) {
        let message = "one line, no control characters";
        return Err(Violation::new(field, "characters", message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_on_the_web_and_nowhere_else() {
        let ok = AvatarUrl::parse(" https://example.org/a b\".png ").unwrap();
        assert_eq!(ok.into_string(), "https://example.org/a%20b%22.png");
        let rule = |text: &str| AvatarUrl::parse(text).unwrap_err().rule;
        assert_eq!(rule("javascript:alert(1)"), "scheme");
        assert_eq!(rule("data:image/png;base64,AAAA"), "scheme");
        assert_eq!(rule("file:///etc/passwd"), "scheme");
        assert_eq!(rule("/a.png"), "malformed");
        assert_eq!(rule("https://me:secret@example.org/a.png"), "credentials");
        assert_eq!(
            rule(&format!("https://example.org/{}", "a".repeat(600))),
            "too_long"
        );
    }

    #[test]
    fn a_status_is_one_short_line() {
        assert!(StatusText::parse("in the lobby 👩\u{200d}🚀").is_ok());
        let rule = |text: &str| StatusText::parse(text).unwrap_err().rule;
        assert_eq!(rule("two\nlines"), "characters");
        assert_eq!(rule(&"a".repeat(141)), "too_long");
    }
}
