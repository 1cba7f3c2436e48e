//! The watchdog's trigger: each minute a schedule has it look after every overdue task.
//!
//! What is overdue and what is done about it is in `shared::app`; this runs it within the invocation's time and logs one
//! summary.

pub mod config;

use std::time::Duration;

use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use serde::de::IgnoredAny;
use shared::app::Sweeper;
use shared::domain::{Causes, Timestamp, whole_millis};
use shared::ports::StoreError;
use tracing::Instrument;

/// Kept free at the end of an invocation, so that the page in hand is finished.
const RESERVE: Duration = Duration::from_secs(10);

/// A sweep could not be finished. It is logged where it happens.
#[derive(Debug, thiserror::Error)]
#[error("the sweep broke off")]
pub struct SweepBrokeOff(#[from] StoreError);

impl From<SweepBrokeOff> for Diagnostic {
    fn from(error: SweepBrokeOff) -> Self {
        Self { error_type: "SweepBrokeOff".to_owned(), error_message: error.to_string() }
    }
}

/// Handles one invocation; what the schedule sends doesn't matter. Fails if the store does, so that the function's error
/// metric shows it; the next minute tries again.
pub async fn handle(sweeper: &Sweeper, event: LambdaEvent<IgnoredAny>) -> Result<(), SweepBrokeOff> {
    let Context { request_id, xray_trace_id, deadline, .. } = event.context;
    let span = tracing::info_span!("invoke", function_request_id = request_id, xray_trace_id);
    let until = Timestamp::from_millis(deadline.saturating_sub(whole_millis(RESERVE)));
    sweep(sweeper, until).instrument(span).await
}

async fn sweep(sweeper: &Sweeper, until: Timestamp) -> Result<(), SweepBrokeOff> {
    let started = sweeper.clock.now();
    let swept = sweeper.sweep(until).await.inspect_err(|error| {
        tracing::error!(error = %Causes(error), "sweep broke off");
    })?;
    tracing::info!(
        resent = swept.resent,
        requeued = swept.requeued,
        awakened = swept.awakened,
        timed_out = swept.timed_out,
        given_up = swept.given_up,
        moved_on = swept.moved_on,
        failed = swept.failed,
        unfinished = swept.unfinished,
        duration_ms = whole_millis(sweeper.clock.now().since(started)),
        "sweep finished"
    );
    Ok(())
}
