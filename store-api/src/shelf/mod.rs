//! What people want, like and follow, and what they own and play.
//!
//! Putting something on a list twice, or taking off what is not there, is fine and changes
//! nothing: a client that lost the answer asks again.

pub(crate) use leave::leave;
pub use library::{LibraryChange, OwnedGame};
pub use lists::{List, Marked};
pub use shown::ShownGame;

mod leave;
mod library;
mod lists;
mod shown;
