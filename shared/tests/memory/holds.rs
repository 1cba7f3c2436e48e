//! For how long one task keeps the thread of a runtime from the others.

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use cpu_time::ThreadTime;
use tokio::runtime::Runtime;

/// How often the thread is asked for.
const PACE: Duration = Duration::from_millis(1);

/// The longest hold so far.
pub(crate) struct Holds(Arc<Mutex<Duration>>);

impl Holds {
    /// The longest, in time on the processor: what else the machine does counts for nothing.
    pub(crate) fn longest(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

/// Has a task of the runtime come to its turn again and again. What its thread did since the last
/// time is a hold; when the runtime has gone on another thread, there was none.
pub(crate) fn watch(runtime: &Runtime) -> Holds {
    let longest = Arc::new(Mutex::new(Duration::ZERO));
    let watched = Arc::clone(&longest);
    runtime.spawn(async move {
        let mut last: Option<(ThreadId, Duration)> = None;
        loop {
            let (thread, time) = (thread::current().id(), ThreadTime::now().as_duration());
            if let Some((_, before)) = last.filter(|(before, _)| *before == thread) {
                let mut longest = watched.lock().unwrap();
                *longest = time.saturating_sub(before).max(*longest);
            }
            last = Some((thread, time));
            tokio::time::sleep(PACE).await;
        }
    });
    Holds(longest)
}
