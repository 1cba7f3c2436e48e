//! Hearing what the code under test says with `tracing`, in the test's own thread.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use super::lock;

/// Makes `subscriber` receive this thread's events until the guard is dropped, independent of other
/// tests.
///
/// `tracing` caches for each place in the code whether a subscriber listens to it. If there is only
/// one subscriber, the first thread that runs the place decides for all threads, and a thread of a
/// test that does not listen has no subscriber. If there are several, `tracing` consults all of
/// them. So two silent subscribers are registered, which are never dropped.
pub fn listen(subscriber: impl Subscriber + Send + Sync) -> DefaultGuard {
    register_silent_subscribers();
    #[expect(clippy::disallowed_methods, reason = "the one place that may")]
    tracing::subscriber::set_default(subscriber)
}

/// Makes a layer receive this thread's events until the guard is dropped. It writes to what is
/// returned.
pub fn listen_to<L>(layer: impl FnOnce(Captured) -> L) -> (Captured, DefaultGuard)
where
    L: Layer<Registry> + Send + Sync,
{
    let captured = Captured::default();
    let guard = listen(tracing_subscriber::registry().with(layer(captured.clone())));
    (captured, guard)
}

/// Makes `subscriber` receive the events of all threads that don't listen themselves. Only the
/// first call in a process has an effect.
pub fn listen_everywhere(subscriber: impl Subscriber + Send + Sync) {
    register_silent_subscribers();
    // The first subscriber of the process receives them.
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// Registers two subscribers with no level. Must run before any subscriber with a level exists.
fn register_silent_subscribers() {
    static SILENT: OnceLock<[Dispatch; 2]> = OnceLock::new();
    SILENT.get_or_init(|| {
        [(); 2].map(|()| Dispatch::new(tracing_subscriber::registry().with(LevelFilter::OFF)))
    });
}

/// What is written. Every clone reads it.
#[derive(Debug, Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// All of it, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_does_not_listen_silences_nobody() {
        fn say() {
            tracing::warn!("said");
        }
        let captured = Captured::default();
        let _listening = listen(
            tracing_subscriber::fmt()
                .with_writer(captured.clone())
                .finish(),
        );
        thread::spawn(say).join().unwrap();
        say();
        assert_eq!(captured.text().matches("said").count(), 1);
    }
}
