//! Of what webhooks may hear.

use std::collections::BTreeSet;

use crate::error::Violation;

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// Somebody paid for games, for themselves or as a gift.
    OrderPaid,
    /// What was paid for games was given back, those of a gift that nobody took included.
    OrderRefunded,
    /// A gift was paid for and waits for its recipient.
    GiftGiven,
    /// A gift was accepted: its recipient owns the games.
    GiftAccepted,
    /// A gift was declined.
    GiftDeclined,
    /// A gift was taken back by its giver.
    GiftTakenBack,
    /// A gift waited for too long.
    GiftExpired,
    /// Somebody's account is no more.
    UserWithdrawn,
    /// Nothing happened: somebody tries whether they are heard.
    Ping,
}

/// Kinds that a webhook hears of: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventKinds(BTreeSet<EventKind>);

impl EventKind {
    /// All that one may subscribe to.
    pub const ALL: [Self; 8] = [
        Self::OrderPaid,
        Self::OrderRefunded,
        Self::GiftGiven,
        Self::GiftAccepted,
        Self::GiftDeclined,
        Self::GiftTakenBack,
        Self::GiftExpired,
        Self::UserWithdrawn,
    ];

    /// Its word, the `type` of the event.
    pub fn word(self) -> &'static str {
        match self {
            Self::OrderPaid => "order.paid",
            Self::OrderRefunded => "order.refunded",
            Self::GiftGiven => "gift.given",
            Self::GiftAccepted => "gift.accepted",
            Self::GiftDeclined => "gift.declined",
            Self::GiftTakenBack => "gift.taken_back",
            Self::GiftExpired => "gift.expired",
            Self::UserWithdrawn => "user.withdrawn",
            Self::Ping => "ping",
        }
    }

    /// Whether it is about people, of whom publishers hear nothing.
    fn is_about_people(self) -> bool {
        self == Self::UserWithdrawn
    }
}

impl EventKinds {
    /// Reads words; each known, and none about people for the webhook of a publisher.
    pub fn parse<'a>(
        words: impl IntoIterator<Item = &'a str>,
        of_publisher: bool,
    ) -> Result<Self, Violation> {
        let mut kinds = BTreeSet::new();
        for word in words {
            let known = EventKind::ALL.into_iter().find(|kind| kind.word() == word);
            let unknown = "one of these is no kind of event";
            let kind = known.ok_or(Violation::new("kinds", "unknown", unknown))?;
            if of_publisher && kind.is_about_people() {
                let message = "`user.withdrawn` is for those who run the store";
                return Err(Violation::new("kinds", "not_for_publishers", message));
            }
            kinds.insert(kind);
        }
        if kinds.is_empty() {
            return Err(Violation::new("kinds", "required", "at least one"));
        }
        Ok(Self(kinds))
    }

    /// Their words, in a fixed order.
    pub fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|kind| kind.word()).collect()
    }

    /// As a row has them.
    pub(super) fn stored(&self) -> String {
        format!(" {} ", self.words().join(" "))
    }

    /// Reads a row; a word of a newer store says nothing here.
    pub(super) fn read(stored: &str) -> Self {
        let known = |kind: &EventKind| stored.split(' ').any(|word| word == kind.word());
        Self(EventKind::ALL.into_iter().filter(known).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_words() {
        let kinds = EventKinds::parse(["order.refunded", "order.paid", "order.paid"], true);
        let kinds = kinds.unwrap();
        assert_eq!(kinds.words(), ["order.paid", "order.refunded"]);
        assert_eq!(EventKinds::read(&kinds.stored()), kinds);
        assert_eq!(
            EventKinds::read(" order.paid order.lost "),
            EventKinds::parse(["order.paid"], false).unwrap()
        );
        let rule = |words: &[&'static str], of_publisher| {
            let refused = EventKinds::parse(words.iter().copied(), of_publisher);
            refused.unwrap_err().rule
        };
        assert_eq!(rule(&["ping"], false), "unknown");
        assert_eq!(rule(&[], false), "required");
        assert_eq!(rule(&["user.withdrawn"], true), "not_for_publishers");
    }
}
