//! The scripts, by what they do.

use crate::redis::Script;

macro_rules! script {
    ($file:literal) => {
        Script::new(|| ::redis::Script::new(include_str!($file)))
    };
}

pub(super) static LEASE: Script = script!("lease.lua");
pub(super) static RENEW: Script = script!("renew.lua");
pub(super) static ADMIT: Script = script!("admit.lua");
pub(super) static LOOK: Script = script!("look.lua");
pub(super) static EXPIRED: Script = script!("expired.lua");
pub(super) static RESIGN: Script = script!("resign.lua");
pub(super) static UNLIST: Script = script!("unlist.lua");
pub(super) static HOLD: Script = script!("hold.lua");
pub(super) static PORTION: Script = script!("portion.lua");
