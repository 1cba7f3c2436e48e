//! Keeps long computations of one task from stopping the others.
//!
//! The executor's tasks share one thread, because they mostly wait for models. But to parse an
//! answer of 8 MB or to compress a step of 16 MB takes long, and the other tasks could not renew
//! their leases or notice a cancel meanwhile. Such work is [`computed`]: it keeps its thread, and
//! the runtime continues all other tasks on another thread.

use std::future::pending;
use std::io;
use std::panic::resume_unwind;

use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::task::{self, JoinSet};

/// The least bytes for which work is worth another thread. Fewer take a few milliseconds at most.
const LONG_FROM_BYTES: usize = 128 * 1_024;

/// A runtime for many tasks that wait: one thread, and another one while a task's work is
/// [`computed`].
pub fn for_tasks() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Does work whose length grows with this many bytes, without an `await` in it.
///
/// If they are many, the runtime continues its other tasks on another thread
/// (<https://docs.rs/tokio/latest/tokio/task/fn.block_in_place.html>). Other
/// futures of the same task, as in a `join!`, have to wait. In a runtime with only one thread,
/// everything waits.
pub fn computed<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let may_move = Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes < LONG_FROM_BYTES || !may_move {
        work()
    } else {
        task::block_in_place(work)
    }
}

/// Does the work in a task of its own. If the caller is dropped, so is the task; if the task
/// panics, so does the caller.
pub async fn in_own_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
        // Only the end of the runtime cancels the task, and it ends this task too.
        Some(Err(_)) | None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::Arc;
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn while_one_task_computes_for_long_the_others_continue() {
        let (say, heard) = std::sync::mpsc::channel();
        let computing = tokio::spawn(async move {
            computed(LONG_FROM_BYTES, || {
                heard.recv_timeout(Duration::from_mins(1))
            })
        });
        tokio::spawn(async move { say.send("we went on") })
            .await
            .unwrap()
            .unwrap();
        assert_eq!(computing.await.unwrap(), Ok("we went on"));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_computes_all_the_same() {
        assert_eq!([computed(0, || 1), computed(usize::MAX, || 2)], [1, 2]);
    }

    #[test]
    fn without_a_runtime_it_is_just_done() {
        assert_eq!(computed(usize::MAX, || 3), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_a_task_of_its_own_is_dropped_and_panics_with_the_caller() {
        let held = Arc::new(());
        let holding = Arc::clone(&held);
        let endless = in_own_task(async move { pending::<()>().map(|()| drop(holding)).await });
        assert!(
            tokio::time::timeout(Duration::from_secs(1), endless)
                .await
                .is_err()
        );
        task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 1);
        let panicking = AssertUnwindSafe(in_own_task(async { panic!("on purpose") }));
        assert!(
            panicking
                .catch_unwind()
                .await
                .is_err_and(|panic| panic.is::<&str>())
        );
    }
}
