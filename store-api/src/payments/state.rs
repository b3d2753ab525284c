//! The states of a payment, and what leads from one to another. Pure.

use serde::Serialize;

/// How far a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Written down; the provider may not know of it yet.
    Created,
    /// The payer can pay.
    Ready,
    /// The payer agreed; whether the provider has taken the money is being found out.
    Approving,
    /// The provider has taken the money, and it was credited.
    Paid,
    /// Some of it was paid back.
    PartlyCancelled,
    /// All of it was paid back.
    Cancelled,
    /// The provider, or the payer at the provider's, refused.
    Failed,
    /// Nobody paid in time.
    Expired,
}

/// What is found out about a payment, or asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The provider awaits the payer.
    Prepared,
    /// The payer came back from the provider, and agrees.
    Confirmed,
    /// The provider says that it has taken the money.
    Approved,
    /// The provider says that it did not, and will not.
    Refused,
    /// Its time is over.
    Lapsed,
    /// The provider paid a part back, and more is left.
    CancelledPart,
    /// The provider paid back what was left.
    CancelledRest,
}

impl PaymentState {
    pub(super) const ALL: [Self; 8] = [
        Self::Created,
        Self::Ready,
        Self::Approving,
        Self::Paid,
        Self::PartlyCancelled,
        Self::Cancelled,
        Self::Failed,
        Self::Expired,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Ready => "ready",
            Self::Approving => "approving",
            Self::Paid => "paid",
            Self::PartlyCancelled => "partly_cancelled",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Where `event` leads; none where it changes nothing: it came twice, or late.
    pub(super) fn on(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Created, Event::Prepared) => Some(Self::Ready),
            (Self::Ready, Event::Confirmed) => Some(Self::Approving),
            // What was given up is credited all the same once the provider says that it has the
            // money: it may have acted long after it was asked.
            (Self::Ready | Self::Approving | Self::Failed | Self::Expired, Event::Approved) => {
                Some(Self::Paid)
            }
            (Self::Created | Self::Ready | Self::Approving, Event::Refused) => Some(Self::Failed),
            (Self::Created | Self::Ready | Self::Approving, Event::Lapsed) => Some(Self::Expired),
            (Self::Paid | Self::PartlyCancelled, Event::CancelledPart) => {
                Some(Self::PartlyCancelled)
            }
            (Self::Paid | Self::PartlyCancelled, Event::CancelledRest) => Some(Self::Cancelled),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const EVENTS: [Event; 7] = [
        Event::Prepared,
        Event::Confirmed,
        Event::Approved,
        Event::Refused,
        Event::Lapsed,
        Event::CancelledPart,
        Event::CancelledRest,
    ];

    /// Whether the money was credited.
    fn is_credited(state: PaymentState) -> bool {
        use PaymentState::{Cancelled, Paid, PartlyCancelled};
        matches!(state, Paid | PartlyCancelled | Cancelled)
    }

    #[test]
    fn a_word_is_one_state() {
        for state in PaymentState::ALL {
            assert_eq!(PaymentState::parse(state.word()), Some(state));
            let json = serde_json::to_value(state).unwrap();
            assert_eq!(json, state.word());
        }
    }

    #[test]
    fn what_comes_twice_changes_nothing_but_parts_of_a_cancel() {
        for state in PaymentState::ALL {
            for event in EVENTS {
                let Some(next) = state.on(event) else {
                    continue;
                };
                let again = next.on(event);
                let part = event == Event::CancelledPart;
                assert_eq!(again, part.then_some(next), "{state:?} {event:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_credited_once_and_then_for_good(
            events in prop::collection::vec(select(EVENTS.to_vec()), 0..40),
        ) {
            let (mut state, mut credits) = (PaymentState::Created, 0);
            for event in events {
                let Some(next) = state.on(event) else { continue };
                prop_assert!(is_credited(next) || !is_credited(state));
                credits += i32::from(is_credited(next) && !is_credited(state));
                prop_assert_eq!(next == PaymentState::Paid, event == Event::Approved);
                state = next;
            }
            prop_assert_eq!(credits, i32::from(is_credited(state)));
        }

        #[test]
        fn money_that_the_provider_has_is_credited_in_the_end(
            events in prop::collection::vec(select(EVENTS.to_vec()), 0..40),
        ) {
            let mut state = PaymentState::Ready;
            for event in events.into_iter().chain([Event::Approved]) {
                state = state.on(event).unwrap_or(state);
            }
            prop_assert!(is_credited(state));
        }
    }
}
