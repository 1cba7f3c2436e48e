//! The exhaustive crash test: a worker, client or watchdog dies at any call of any port, before or
//! after the call's effect, whereupon messages come once, twice, at once, late, or never again.
//! Nobody works on the task without a message.

use std::time::Duration;

use shared::domain::{Step, TaskStatus};
use shared::testing::{Faults, When};

use crate::play::{MODEL_STEPS, Play, STEPS, TOOL_STEPS};
use crate::usage::usage_after_check;

impl Play {
    /// Plays until the task has ended; after the plan has struck, every later worker is well.
    async fn play(&self, faults: &Faults, way: Way) {
        for _round in 0..600 {
            if self.is_over().await {
                return;
            }
            let well = Faults::default();
            let faults = || if faults.struck() { &well } else { faults };
            self.deliver_next(faults, way.at_once, way.is_lost).await;
            self.answer(faults(), "yes", false).await;
            self.world.pass(way.pause);
            self.world.queue.elapse();
            self.sweep(faults()).await;
        }
    }
}

/// What the world does after a death.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// How many workers get each message, at the same time.
    at_once: usize,
    /// How many seconds pass between messages.
    pause: u64,
    /// Whether a message that nobody is done with is lost.
    is_lost: bool,
    /// How many seconds each answer of the model takes: with 35, each invocation ends after one.
    latency: u64,
}

const WAYS: [Way; 8] = [
    Way {
        at_once: 1,
        pause: 1,
        is_lost: false,
        latency: 0,
    },
    Way {
        at_once: 1,
        pause: 65,
        is_lost: false,
        latency: 0,
    },
    Way {
        at_once: 2,
        pause: 1,
        is_lost: false,
        latency: 0,
    },
    Way {
        at_once: 2,
        pause: 35,
        is_lost: false,
        latency: 0,
    },
    Way {
        at_once: 3,
        pause: 65,
        is_lost: false,
        latency: 0,
    },
    Way {
        at_once: 1,
        pause: 5,
        is_lost: true,
        latency: 0,
    },
    Way {
        at_once: 1,
        pause: 1,
        is_lost: false,
        latency: 35,
    },
    Way {
        at_once: 2,
        pause: 5,
        is_lost: true,
        latency: 35,
    },
];

#[tokio::test]
async fn death_at_any_call_repeats_no_recorded_step() {
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for way in WAYS {
            for at in 1.. {
                let play = Play::begin(Duration::from_secs(way.latency)).await;
                let faults = Faults::default();
                faults.die_at(at, when);
                play.play(&faults, way).await;
                let case = format!("death {when:?} call {at}, {way:?}");
                check_end(&play, &case, way).await;
                if !faults.struck() {
                    assert!(at > 20, "{case}: a task of so many steps makes more calls");
                    break;
                }
                deaths += 1;
            }
        }
    }
    assert!(deaths > 480, "{deaths}");
}

async fn check_end(play: &Play, case: &str, way: Way) {
    let task = play.world.task(play.task).await;
    assert_eq!(
        task.status(),
        TaskStatus::Completed,
        "{case}: {:?}",
        task.progress()
    );
    let steps: Vec<Step> = play.world.steps(play.task).await;
    let numbers: Vec<u32> = steps.iter().map(|step| step.number).collect();
    assert_eq!(numbers, (1..=STEPS).collect::<Vec<_>>(), "{case}");
    assert_eq!(task.progress().steps, STEPS, "{case}");
    let (requests, ran) = (
        play.world.model.requests().len(),
        play.world.tools.requests().len(),
    );
    // One for the pause that the model asks for, and one for the answer that a death may have lost.
    assert!(
        (MODEL_STEPS + 1..=MODEL_STEPS + 2).contains(&requests),
        "{case}: {requests} requests"
    );
    assert!(
        (TOOL_STEPS..=TOOL_STEPS + 2).contains(&ran),
        "{case}: {ran} tool runs"
    );
    assert_eq!(usage_after_check(&play.world).await, task.spend(), "{case}");
    assert!(task.attempts() <= 2, "{case}: {} attempts", task.attempts());
    assert_eq!(
        task.progress().hops > 0,
        way.latency > 0,
        "{case}: {} hops",
        task.progress().hops
    );
}
