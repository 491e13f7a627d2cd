//! How a long step says how far it is.

/// What a position counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Packages, entries, files: whatever the message names.
    Items,
}

/// Receives progress; called from the thread that works, often: implementations throttle.
pub trait Progress: Send + Sync {
    /// A new part begins, e.g. `unpacking base`.
    fn message(&self, text: &str);
    /// The current part is at `position` of `total` (`None`: unknown).
    fn position(&self, position: u64, total: Option<u64>, unit: Unit);
    /// A line that a tool printed; for the log, not for the screen.
    fn line(&self, line: &str) {
        let _ = line;
    }
    /// Whether nobody wants the result any more: what only waits gives up.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn message(&self, _text: &str) {}
    fn position(&self, _position: u64, _total: Option<u64>, _unit: Unit) {}
}
