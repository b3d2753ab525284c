//! The kinds of coupons, and what has to be said of each: the registry.

use crate::error::Violation;

/// What a coupon does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A part off the games it is for.
    Percent,
    /// So much off the games it is for.
    Fixed,
    /// A part off some games, bought together.
    Bundle,
    /// A part off games of some categories, from so many of them on.
    Category,
    /// A part off, for whoever has not bought anything yet.
    FirstPurchase,
}

/// Something that is said of a coupon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Term {
    Percent,
    Cap,
    Amount,
    Games,
    Categories,
    AtLeast,
}

/// A kind: what must be said of a coupon of it, and what may be. What every coupon may say (who sells
/// the games, where, from which order on) is not named here.
pub(super) struct Entry {
    pub(super) kind: Kind,
    word: &'static str,
    must: &'static [Term],
    may: &'static [Term],
}

const REGISTRY: &[Entry] = &[
    Entry {
        kind: Kind::Percent,
        word: "percent",
        must: &[Term::Percent],
        may: &[Term::Cap, Term::Games, Term::Categories],
    },
    Entry {
        kind: Kind::Fixed,
        word: "fixed",
        must: &[Term::Amount],
        may: &[Term::Games, Term::Categories],
    },
    Entry {
        kind: Kind::Bundle,
        word: "bundle",
        must: &[Term::Percent, Term::Games],
        may: &[Term::Cap],
    },
    Entry {
        kind: Kind::Category,
        word: "category",
        must: &[Term::Percent, Term::Categories],
        may: &[Term::Cap, Term::AtLeast],
    },
    Entry {
        kind: Kind::FirstPurchase,
        word: "first_purchase",
        must: &[Term::Percent],
        may: &[Term::Cap, Term::Games, Term::Categories],
    },
];

impl Entry {
    /// The kind of this word.
    pub(super) fn find(word: &str) -> Result<&'static Self, Violation> {
        let message = "one of percent, fixed, bundle, category, first_purchase";
        let entry = REGISTRY.iter().find(|entry| entry.word == word);
        entry.ok_or(Violation::new("kind", "unknown", message))
    }

    /// The rule that saying, or not saying, a term breaks.
    pub(super) fn check(&self, term: Term, said: bool) -> Option<Violation> {
        let field = term.field();
        if said && !self.must.contains(&term) && !self.may.contains(&term) {
            let message = "coupons of this kind have none";
            return Some(Violation::new(field, "not_of_this_kind", message));
        }
        let missing = !said && self.must.contains(&term);
        missing.then(|| Violation::new(field, "required", "coupons of this kind need it"))
    }
}

impl Kind {
    /// Its word.
    pub fn word(self) -> &'static str {
        let entry = REGISTRY.iter().find(|entry| entry.kind == self);
        entry.map_or("", |entry| entry.word)
    }
}

impl Term {
    pub(super) const ALL: [Self; 6] = [
        Self::Percent,
        Self::Cap,
        Self::Amount,
        Self::Games,
        Self::Categories,
        Self::AtLeast,
    ];

    fn field(self) -> &'static str {
        match self {
            Self::Percent => "percent",
            Self::Cap => "cap",
            Self::Amount => "amount",
            Self::Games => "games",
            Self::Categories => "categories",
            Self::AtLeast => "at_least",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_in_the_registry_once() {
        let kinds = [
            Kind::Percent,
            Kind::Fixed,
            Kind::Bundle,
            Kind::Category,
            Kind::FirstPurchase,
        ];
        assert_eq!(REGISTRY.len(), kinds.len());
        for kind in kinds {
            assert_eq!(Entry::find(kind.word()).unwrap().kind, kind);
        }
        assert!(Entry::find("").is_err());
    }

    #[test]
    fn what_a_kind_needs_and_knows_is_checked() {
        let fixed = Entry::find("fixed").unwrap();
        let rule = |term, said| fixed.check(term, said).map(|broken| broken.rule);
        assert_eq!(rule(Term::Amount, false), Some("required"));
        assert_eq!(rule(Term::Amount, true), None);
        assert_eq!(rule(Term::Games, true), None);
        assert_eq!(rule(Term::Percent, true), Some("not_of_this_kind"));
        assert_eq!(rule(Term::Percent, false), None);
    }
}
