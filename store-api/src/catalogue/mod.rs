//! The catalogue: games and their publishers, looked through, searched, reviewed.
//!
//! A price is that of a country, and of a moment: a sale that is on takes the place of the full
//! price. A game without a price in a country is not there for those who buy in it.

pub(crate) use draft::prose;
pub use draft::{CATEGORIES, GameText, MediumText, SaleText};
pub(crate) use drops::PriceDrop;
pub use games::Imported;
pub(crate) use kept::{Edition, Kept};
pub(crate) use list::{EFFECTIVE_PRICE, cards};
pub use list::{GameCard, GameFilter, Sort};
pub use page::{GamePage, Medium};
pub(crate) use publishers::may_keep;
pub use publishers::{Keeper, Publisher};
pub use reviews::{NewReview, Review, ReviewSort};
pub use searches::TopSearch;
pub(crate) use seed::MAX_GAMES;
pub(crate) use words::Search;

mod changes;
mod draft;
mod drops;
mod games;
mod kept;
mod list;
mod page;
mod publishers;
mod reviews;
mod searches;
mod seed;
mod seed_words;
mod words;
