//! What the person at the machine does without a server: `migrate`, `ledger check`,
//! `role EMAIL ROLE`.

use std::{ffi::OsString, process::ExitCode};

use shared::{
    auth::TokenSettings,
    settings::{Loader, ServerSettings, Settings, Sources},
};

use crate::{accounts::Role, config::StoreSettings, store::Store};

/// What of a program's settings leads to its store.
#[derive(Debug, Clone)]
pub struct Books {
    /// Where it keeps its things.
    pub server: ServerSettings,
    /// How it signs.
    pub token: TokenSettings,
    /// The store.
    pub store: StoreSettings,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    /// Bring the tables up to date, which every start does too.
    Migrate,
    /// Hold the books to their rules.
    LedgerCheck,
    /// Give somebody a role.
    Role(String, String),
}

/// Runs the command that this process was started with, if its arguments begin with one, beside a
/// program that may be running; and gives the code to exit with.
///
/// `books` takes of the program's settings what leads to its store.
pub fn command<T: Settings>(loader: &Loader, books: impl FnOnce(T) -> Books) -> Option<ExitCode> {
    let mut sources = Sources::process();
    let command = Command::take(&mut sources.arguments)?;
    let settings = match loader.load::<T>(sources) {
        Ok(loaded) => books(loaded.settings),
        Err(error) => return Some(error.report()),
    };
    let ended = actix_web::rt::System::new().block_on(run(command, settings));
    Some(match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    })
}

impl Command {
    /// Takes a command off the front of the arguments; what follows are settings.
    fn take(arguments: &mut Vec<OsString>) -> Option<Self> {
        let word = |place: usize| arguments.get(place).and_then(|text| text.to_str());
        let (command, length) = match (word(0)?, word(1), word(2)) {
            ("migrate", ..) => (Self::Migrate, 1),
            ("ledger", Some("check"), _) => (Self::LedgerCheck, 2),
            ("role", Some(email), Some(role)) => (Self::Role(email.to_owned(), role.to_owned()), 3),
            _ => return None,
        };
        arguments.drain(..length);
        Some(command)
    }
}

/// Whether all is well.
async fn run(command: Command, books: Books) -> anyhow::Result<bool> {
    let data_dir = &books.server.data_dir;
    let key = books.token.signing_key(data_dir)?;
    let store = Store::open(&books.store, data_dir, &key, &books.token.jwt_issuer).await?;
    let well = match command {
        // Opening it has done that.
        Command::Migrate => {
            println!("the tables are up to date");
            true
        }
        Command::LedgerCheck => {
            let report = store.check_ledger().await?;
            for fault in &report.faults {
                println!("{}: {}", fault.rule, fault.what);
            }
            let (accounts, transfers) = (report.accounts, report.transfers);
            let faults = report.faults.len();
            println!("{accounts} accounts, {transfers} transfers, {faults} faults");
            report.faults.is_empty()
        }
        Command::Role(email, role) => {
            let role = Role::parse(&role).map_err(|broken| anyhow::anyhow!(broken.message))?;
            let user = store.set_role_of(&email, role).await?;
            println!("{user} is {} now", role.word());
            true
        }
    };
    store.close().await;
    Ok(well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_taken_off_the_front() {
        let taken = |words: &[&str]| {
            let mut arguments = words.iter().map(OsString::from).collect();
            (Command::take(&mut arguments), arguments)
        };
        let (command, rest) = taken(&["ledger", "check", "--data-dir", "x"]);
        assert_eq!(command, Some(Command::LedgerCheck));
        assert_eq!(rest, ["--data-dir", "x"]);
        let role = Command::Role("a@b.c".to_owned(), "operator".to_owned());
        assert_eq!(taken(&["role", "a@b.c", "operator"]).0, Some(role));
        assert_eq!(taken(&["migrate"]).0, Some(Command::Migrate));
        for other in [&["ledger"][..], &["--data-dir", "ledger", "check"], &[]] {
            assert_eq!(taken(other).0, None);
        }
    }
}
