//! What readiness is told of the last writes.

use parking_lot::Mutex;
use shared::telemetry::Sparing;

/// Begins well; unwell from an append that could not be kept until one that could.
pub(super) struct Health {
    trouble: Mutex<Option<String>>,
    lines: Sparing,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            trouble: Mutex::default(),
            lines: Sparing::each_second(),
        }
    }
}

impl Health {
    /// Something could not be written. Logged here, at most once a second.
    pub(super) fn fails(&self, reason: &str) {
        if let Some(more) = self.lines.due() {
            tracing::error!(reason, more, "history could not be written to MongoDB");
        }
        *self.trouble.lock() = Some(reason.to_owned());
    }

    /// Something was written.
    pub(super) fn recovers(&self) {
        if self.trouble.lock().take().is_some() {
            tracing::info!("history can be written to MongoDB again");
        }
    }

    /// Why nothing can be kept just now, if that is so.
    pub(super) fn complaint(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
}
