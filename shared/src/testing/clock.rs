//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::Timestamp;
use crate::ports::Clock;

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    millis: Arc<AtomicU64>,
}

impl ManualClock {
    /// Stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            millis: Arc::new(AtomicU64::new(now.as_millis())),
        }
    }

    /// Moves on.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().plus(duration));
    }

    /// Moves to `now`, which may be earlier, as real clocks sometimes do.
    pub fn set(&self, now: Timestamp) {
        self.millis.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }
}

/// A clock on tokio's time, from [`START`](super::samples::START) on: where a test pauses that
/// time, this clock stands still and moves with it.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    begun: tokio::time::Instant,
}

impl Default for TokioClock {
    fn default() -> Self {
        Self {
            begun: tokio::time::Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        super::samples::START.plus(self.begun.elapsed())
    }
}
