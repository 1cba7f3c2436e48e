//! The exhaustive crash test: a worker, client or watchdog dies at any call of any port, before or after the call's effect,
//! whereupon messages come once, twice, at once and late.

use futures::future::join_all;
use shared::domain::{Step, TaskStatus};
use shared::testing::{Faults, When};

use crate::play::{MODEL_STEPS, Play, STEPS, TOOL_STEPS};

impl Play {
    /// Plays on until the task has ended, with so many deliveries at once, after these pauses, until the plan has struck
    /// someone; whoever comes after that is well.
    async fn play(&self, faults: &Faults, at_once: usize, pause: u64) {
        for _round in 0..300 {
            if self.is_over().await {
                return;
            }
            let well = Faults::default();
            let faults = || if faults.struck() { &well } else { faults };
            join_all((0..at_once).map(|_| self.deliver(faults()))).await;
            self.answer(faults(), "yes", false).await;
            self.world.pass(pause);
            self.sweep(faults()).await;
        }
    }
}

#[tokio::test]
async fn whoever_dies_wherever_the_task_completes_and_no_recorded_step_is_done_again() {
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for (at_once, pause) in [(1, 1), (1, 65), (2, 1), (2, 35), (3, 65)] {
            for at in 1.. {
                let play = Play::begin().await;
                let faults = Faults::default();
                faults.die_at(at, when);
                play.play(&faults, at_once, pause).await;
                let case = format!("death {when:?} call {at}, {at_once} at once, {pause} s later");
                check_end(&play, &case, at_once).await;
                if !faults.struck() {
                    assert!(at > 20, "{case}: a task of so many steps makes more calls");
                    break;
                }
                deaths += 1;
            }
        }
    }
    assert!(deaths > 300, "{deaths}");
}

async fn check_end(play: &Play, case: &str, at_once: usize) {
    let task = play.world.task(play.task).await;
    assert_eq!(task.status(), TaskStatus::Completed, "{case}: {:?}", task.progress());
    let steps: Vec<Step> = play.world.steps(play.task).await;
    let numbers: Vec<u32> = steps.iter().map(|step| step.number).collect();
    assert_eq!(numbers, (1..=STEPS).collect::<Vec<_>>(), "{case}");
    assert_eq!(task.progress().steps, STEPS, "{case}");
    let (asked, ran) = (play.world.model.asked().len(), play.world.tools.requests().len());
    // One for the pause that the model asks for, and one for the answer that a death may have lost.
    assert!((MODEL_STEPS + 1..=MODEL_STEPS + 2).contains(&asked), "{case}: {asked} questions");
    assert!((TOOL_STEPS..=TOOL_STEPS + 2).contains(&ran), "{case}: {ran} tool runs");
    assert!(task.attempts() <= 2 && at_once > 0, "{case}: {} attempts", task.attempts());
}
