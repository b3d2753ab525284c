//! What happened in a schedule, to be read by a person: kept only while a seed is replayed.

use std::cell::RefCell;

use tokio::time::Instant;

thread_local! {
    static LINES: RefCell<Option<(Instant, Vec<String>)>> = const { RefCell::new(None) };
}

/// Begins to keep lines, on this thread.
pub(crate) fn begin() {
    LINES.set(Some((Instant::now(), Vec::new())));
}

/// What was kept.
pub(crate) fn end() -> Vec<String> {
    LINES.take().map(|(_, lines)| lines).unwrap_or_default()
}

/// Keeps a line, made only if somebody is to read it.
pub(crate) fn note(line: impl FnOnce() -> String) {
    LINES.with_borrow_mut(|kept| {
        if let Some((start, lines)) = kept {
            lines.push(format!("{:>8} {}", start.elapsed().as_millis(), line()));
        }
    });
}
