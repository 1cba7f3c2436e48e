//! A worker in a process of its own, as Lambda would run it: makes the same model call many times
//! at once, through the whole stack of a model call, and says how many answers it got. A call that
//! is better made later is made later, as the executor would.
//!
//! Called with: the ephemeral table, the state table, the provider's URL, the model, the tenant,
//! the prompt, the times.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test without its surroundings can only fail"
)]

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use shared::domain::{Deadline, ModelAnswer};
use shared::ports::clock::SystemClock;
use shared::ports::{Clock, Model, Recovery};
use tests::LocalAws;
use tests::calls::{self, Call};

/// How long one call may take; a dead leader's claim ends with its deadline.
const PATIENCE: Duration = Duration::from_secs(12);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ephemeral, state, url, model, tenant, prompt, times] = arguments.as_slice() else {
        panic!("seven arguments are needed, not {}", arguments.len());
    };
    let stack = calls::stack(&LocalAws::from_env().await, ephemeral, state, url);
    let call = Call {
        tenant,
        model,
        prompt,
    };
    let answers =
        join_all((0..times.parse().unwrap()).map(|_| until_answered(&stack, &call))).await;
    println!(
        "{}",
        answers
            .iter()
            .filter(|answer| answer.text() == "canary answer")
            .count()
    );
}

async fn until_answered(stack: &Arc<dyn Model>, call: &Call<'_>) -> ModelAnswer {
    loop {
        let now = SystemClock.now();
        let mut request = call.cached();
        request.deadline = Deadline::at(now.plus(PATIENCE));
        match stack.call(&request).await {
            Ok(answer) => return answer,
            Err(error) => {
                let Some(Recovery { wait, .. }) = error.recovery else {
                    panic!("{error:?}")
                };
                tokio::time::sleep(wait.until.since(SystemClock.now())).await;
            }
        }
    }
}
