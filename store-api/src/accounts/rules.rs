//! What an e-mail address, a nickname and a password have to look like.

use std::fmt;

use shared::text::is_unseen;
use unicode_normalization::UnicodeNormalization;

use crate::error::Violation;

/// The longest e-mail address, by RFC 5321.
const MAX_EMAIL: usize = 254;
/// Characters in a nickname.
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 2..=32;
/// Characters in a password.
const PASSWORD_LENGTH: std::ops::RangeInclusive<usize> = 10..=128;

/// A normalised e-mail address: the name under which an account logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email(String);

impl Email {
    /// Trims, normalises and lowers the case, then checks the shape. Whether mail arrives there is
    /// for a later verification to find out.
    pub(crate) fn parse(text: &str) -> Result<Self, Violation> {
        const FIELD: &str = "email";
        // Before any work on it: normalising a megabyte is work.
        if text.len() > 4 * MAX_EMAIL {
            return Err(Violation::new(FIELD, "too_long", "at most 254 characters"));
        }
        let email: String = text.trim().nfkc().flat_map(char::to_lowercase).collect();
        if email.len() > MAX_EMAIL {
            return Err(Violation::new(FIELD, "too_long", "at most 254 characters"));
        }
        let malformed = Violation::new(FIELD, "malformed", "not an e-mail address");
        let Some((local, domain)) = email.split_once('@') else {
            return Err(malformed);
        };
        let local_fits = (1..=64).contains(&local.len())
            && local.split('.').all(|part| !part.is_empty())
            && local
                .chars()
                .all(|c| !c.is_whitespace() && !is_unseen(c) && !"()<>[],;:\\\"".contains(c));
        let domain_fits = domain.contains('.')
            && domain.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            });
        if local_fits && domain_fits {
            Ok(Self(email))
        } else {
            Err(malformed)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A nickname, as shown and as compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    shown: String,
    key: String,
}

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Self, Violation> {
        const FIELD: &str = "name";
        if text.len() > 1024 {
            return Err(Violation::new(FIELD, "too_long", "at most 32 characters"));
        }
        let shown: String = text.trim().nfc().collect();
        if shown.chars().any(is_unseen) {
            return Err(Violation::new(
                FIELD,
                "characters",
                "no control or invisible characters",
            ));
        }
        if shown.chars().any(|c| c.is_whitespace() && c != ' ') || shown.contains("  ") {
            return Err(Violation::new(
                FIELD,
                "spaces",
                "single plain spaces between words only",
            ));
        }
        let length = shown.chars().count();
        if length < *NAME_LENGTH.start() {
            return Err(Violation::new(FIELD, "too_short", "at least 2 characters"));
        }
        if length > *NAME_LENGTH.end() {
            return Err(Violation::new(FIELD, "too_long", "at most 32 characters"));
        }
        if Email::parse(&shown).is_ok() {
            let message = "not an e-mail address: people log in with either";
            return Err(Violation::new(FIELD, "email", message));
        }
        let key = fold(&shown);
        Ok(Self { shown, key })
    }

    /// The name as its owner wrote it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The name as it is compared: two names with one key are the same name.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// Folds text for comparison: compatibility forms and case do not tell two names apart.
pub(crate) fn fold(text: &str) -> String {
    // Lowering can denormalise (İ becomes i and a dot above), hence normalised once more.
    text.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

/// A password of acceptable length; never shown.
#[derive(Clone)]
pub(crate) struct Password(String);

impl Password {
    /// Checks a new password against every rule, naming each that fails under `field`.
    pub(crate) fn choose(
        field: &'static str,
        text: &str,
        email: Option<&Email>,
    ) -> Result<Self, Violation> {
        let password = Self::given(text);
        let length = password.0.chars().count();
        if length < *PASSWORD_LENGTH.start() {
            return Err(Violation::new(field, "too_short", "at least 10 characters"));
        }
        if length > *PASSWORD_LENGTH.end() {
            return Err(Violation::new(field, "too_long", "at most 128 characters"));
        }
        if email.is_some_and(|email| password.0.to_lowercase() == email.0) {
            return Err(Violation::new(
                field,
                "same_as_email",
                "not the e-mail address itself",
            ));
        }
        if let Some(first) = password.0.chars().next()
            && password.0.chars().all(|c| c == first)
        {
            return Err(Violation::new(
                field,
                "one_character",
                "not one character repeated",
            ));
        }
        Ok(password)
    }

    /// A password somebody offers to be compared: no rule is checked, or a rule made later would
    /// lock people out. Normalised, because keyboards differ in how they compose é.
    pub(crate) fn given(text: &str) -> Self {
        // Nothing longer than this can be right; cut it so that hashing it costs nothing extra.
        let mut end = text.len().min(4 * *PASSWORD_LENGTH.end() + 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text[..end].nfc().collect())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_is_normalised_and_checked() {
        assert_eq!(
            Email::parse("  Ann@Example.ORG ").unwrap().as_str(),
            "ann@example.org"
        );
        for bad in [
            "",
            "ann",
            "@example.org",
            "ann@",
            "ann@org",
            "a nn@example.org",
            "a@b@c.de",
            "ann@-x.org",
            "ann@x..org",
            ".ann@x.org",
            "ann\u{200b}@x.org",
            "<ann>@x.org",
        ] {
            assert_eq!(Email::parse(bad).unwrap_err().rule, "malformed", "{bad}");
        }
        let long = format!("{}@example.org", "a".repeat(300));
        assert_eq!(Email::parse(&long).unwrap_err().rule, "too_long");
    }

    #[test]
    fn a_name_keeps_its_look_and_is_compared_without_case() {
        let name = Name::parse("  Ünal Öz ").unwrap();
        assert_eq!(name.shown(), "Ünal Öz");
        assert_eq!(name.key(), Name::parse("U\u{308}NAL öZ").unwrap().key());
        assert_eq!(
            Name::parse("ＡＬＩＣＥ").unwrap().key(),
            Name::parse("alice").unwrap().key()
        );
    }

    #[test]
    fn a_name_says_which_rule_it_breaks() {
        let rule = |text: &str| Name::parse(text).unwrap_err().rule;
        assert_eq!(rule("a"), "too_short");
        assert_eq!(rule("   "), "too_short");
        assert_eq!(rule(&"a".repeat(33)), "too_long");
        assert_eq!(rule("a\u{0}b"), "characters");
        assert_eq!(rule("al\u{202e}ice"), "characters");
        assert_eq!(rule("a  b"), "spaces");
        assert_eq!(rule("a\u{a0}b"), "spaces");
        assert_eq!(rule("ann@example.org"), "email");
        assert!(Name::parse(&"ж".repeat(32)).is_ok());
    }

    #[test]
    fn a_password_says_which_rule_it_breaks_and_never_prints() {
        let email = Email::parse("someone@example.org").unwrap();
        let rule = |text: &str| {
            Password::choose("password", text, Some(&email))
                .unwrap_err()
                .rule
        };
        assert_eq!(rule("short"), "too_short");
        assert_eq!(rule(&"ab".repeat(65)), "too_long");
        assert_eq!(rule("SomeOne@example.org"), "same_as_email");
        assert_eq!(rule("aaaaaaaaaaaa"), "one_character");
        let password = Password::choose("password", "correct horse", Some(&email)).unwrap();
        assert!(!format!("{password:?}").contains("horse"));
    }

    #[test]
    fn an_endless_password_is_cut_before_it_is_hashed() {
        assert!(Password::given(&"é".repeat(1 << 20)).as_bytes().len() <= 4 * 128 + 1);
    }
}
