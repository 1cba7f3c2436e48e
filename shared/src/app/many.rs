//! Several operations of one request, each with its own outcome.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;

/// How many operations run at once.
const AT_ONCE: usize = 10;

/// After this time, no further operation begins. One that began may take as long again, and Lambda
/// ends the function after 29 seconds.
const TIME_TO_BEGIN: Duration = Duration::from_secs(10);

/// The outcomes of the operations, in their order. `None` stands for an operation that was not
/// begun within 10 seconds.
pub async fn each_in_time<F: Future>(operations: Vec<F>) -> Vec<Option<F::Output>> {
    let end = Instant::now() + TIME_TO_BEGIN;
    let begun = operations.into_iter().map(|operation| async move {
        if Instant::now() >= end {
            return None;
        }
        Some(operation.await)
    });
    // Gathered first: a stream of borrowing futures is not `Send` for every lifetime.
    let begun: Vec<_> = begun.collect();
    stream::iter(begun).buffered(AT_ONCE).collect().await
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_did_not_begin_in_time_is_not_tried() {
        let operations = (0..25).map(|number| async move {
            sleep(Duration::from_secs(8)).await;
            number
        });
        let outcomes = each_in_time(operations.collect()).await;
        let expected: Vec<Option<u32>> = (0..25).map(|n| (n < 20).then_some(n)).collect();
        assert_eq!(outcomes, expected);
    }
}
