//! Who kills: the store, its database, or both at once.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{Rng as _, rngs::StdRng};
use tokio::{task::spawn_blocking, time::sleep};

use crate::{postgres::PostgresServer, process::Program};

/// Longer than a request waits for a connection to its database.
const LONG: Duration = Duration::from_millis(6500);

/// The store and its database, for as long as they are killed and started.
pub struct Faults {
    dir: PathBuf,
    settings: Vec<(&'static str, String)>,
    program: Option<Program>,
    /// None where the database is a file.
    server: Option<PostgresServer>,
    dice: StdRng,
    pub kills: u32,
    pub database_kills: u32,
}

impl Faults {
    /// Starts the store.
    pub fn new(
        dir: &Path,
        settings: Vec<(&'static str, String)>,
        server: Option<PostgresServer>,
        dice: StdRng,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            program: Some(start(dir, &settings)),
            settings,
            server,
            dice,
            kills: 0,
            database_kills: 0,
        }
    }

    pub fn settings(&self) -> Vec<(&str, &str)> {
        borrowed(&self.settings)
    }

    /// Kills until then. In the end everything is up.
    pub async fn strike(&mut self, until: Instant) {
        while Instant::now() < until {
            sleep(Duration::from_millis(self.dice.random_range(100..1000))).await;
            self.hold_alive();
            match self.dice.random_range(0..10) {
                0..3 if self.server.is_some() => {
                    self.kill_database().await;
                    // Once for so long that whoever waits has to be told.
                    let away = if self.database_kills == 1 {
                        LONG
                    } else {
                        Duration::from_millis(self.dice.random_range(0..1500))
                    };
                    sleep(away).await;
                    self.hold_alive();
                    self.start_database().await;
                }
                3 if self.server.is_some() => {
                    self.kill_database().await;
                    self.kill_store();
                    self.start_database().await;
                    self.start_store().await;
                }
                _ => {
                    self.kill_store();
                    self.start_store().await;
                }
            }
        }
    }

    /// A store never ends because its database did.
    fn hold_alive(&mut self) {
        let ended = self.program.as_mut().unwrap().child.try_wait().unwrap();
        assert!(ended.is_none(), "the store ended by itself: {ended:?}");
    }

    fn kill_store(&mut self) {
        // Dropping kills it, and waits for that.
        self.program = None;
        self.kills += 1;
    }

    async fn start_store(&mut self) {
        let (dir, settings) = (self.dir.clone(), self.settings.clone());
        // Elsewhere: people go on asking meanwhile.
        let program = spawn_blocking(move || start(&dir, &settings)).await;
        self.program = Some(program.unwrap());
    }

    async fn kill_database(&mut self) {
        self.server.as_mut().unwrap().kill().await;
        self.database_kills += 1;
    }

    async fn start_database(&mut self) {
        let mut server = self.server.take().unwrap();
        let started = spawn_blocking(move || {
            server.restart();
            server
        });
        self.server = Some(started.await.unwrap());
    }
}

fn start(dir: &Path, settings: &[(&'static str, String)]) -> Program {
    Program::start(dir, &borrowed(settings))
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    let settings = settings.iter();
    settings
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}
