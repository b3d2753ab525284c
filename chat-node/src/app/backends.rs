//! The backends of a node: what keeps its history, what joins it to others. The only place of the
//! crate that names them.

use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use shared::{id::NodeId, settings::private_file};

use crate::{
    bus::{Bus, BusReceiver, LocalBus},
    history::{
        History,
        sqlite::{SqliteHistory, SqliteSettings},
    },
    overload::Overload,
    presence::{LocalPresence, PresenceStore},
};

/// What the bus may hold for this node.
const BUS_CAPACITY: usize = 8192;

/// What a node works on.
pub(super) struct Backends {
    pub(super) history: Arc<dyn History>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) heard: BusReceiver,
    pub(super) presence: Arc<dyn PresenceStore>,
    pub(super) closing: Closing,
}

/// What has to be ended in an orderly manner.
pub(super) struct Closing {
    history: Arc<SqliteHistory>,
    /// Held for as long as the node lives.
    _claim: File,
}

impl Backends {
    /// Everything in this process, and in one file of its data directory.
    pub(super) fn embedded(
        node: &NodeId,
        data_dir: &Path,
        settings: &SqliteSettings,
        overload: &Overload,
    ) -> anyhow::Result<Self> {
        let claim = claim(data_dir)?;
        let path = data_dir.join("history.db");
        // It holds what everybody said to each other.
        private_file(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let history = Arc::new(SqliteHistory::open(&path, settings)?);
        history.report_to(overload);
        let (bus, heard) = LocalBus::new().node(node.clone(), BUS_CAPACITY);
        let presence = LocalPresence::remembering(history.clone()).node(node.clone());
        Ok(Self {
            history: history.clone(),
            bus: Arc::new(bus),
            heard,
            presence: Arc::new(presence),
            closing: Closing {
                history,
                _claim: claim,
            },
        })
    }
}

impl Closing {
    /// Writes what waits to be written. Nothing is asked of the backends afterwards.
    pub(super) async fn close(&self) {
        let history = self.history.clone();
        if tokio::task::spawn_blocking(move || history.close())
            .await
            .is_err()
        {
            tracing::error!("history did not close");
        }
    }
}

/// Claims a data directory for one node: two on one history would not hear each other's messages.
/// The claim ends with the process, however it ends.
fn claim(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join("node.lock");
    let file = private_file(&path)
        .and_then(|()| File::open(&path))
        .with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "the data directory {} is used by another process; stop that one, or give this one a \
             directory of its own (--data-dir)",
            data_dir.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}
