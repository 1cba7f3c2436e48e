//! Reading a journal in parts.

use shared::app::AppError;
use shared::domain::task::Progress;
use shared::domain::{Step, Task, TaskId, ToolRunner};
use shared::ports::{Journal, TaskStore};
use shared::testing::samples;

use crate::world::World;

/// A task that began afresh after the steps 3 and 5, and workers of the runs before that recorded
/// steps all the same.
async fn restarted(world: &World, text: &str) -> TaskId {
    let task = world.submit("hello").await.unwrap();
    let progress = Progress {
        base: 5,
        revision: task.progress().revision + 1,
        ..task.progress().clone()
    };
    world
        .store
        .update(&Task::restore(task.spec().clone(), progress))
        .await
        .unwrap();
    for (number, base) in [
        (1, 0),
        (2, 0),
        (3, 0),
        (4, 0),
        (5, 0),
        (6, 0),
        (4, 3),
        (5, 3),
        (6, 3),
        (7, 3),
        (6, 5),
        (7, 5),
    ] {
        let said = format!("{number} of {base}{text}");
        let step = if number % 2 == 0 {
            samples::tool_step(task.id(), number, ToolRunner::Client, &said)
        } else {
            samples::step(task.id(), number, &said)
        };
        world.store.append(&Step { base, ..step }).await.unwrap();
    }
    task.id()
}

/// The journal in parts of so many steps.
async fn in_parts(world: &World, task: TaskId, limit: u32) -> Vec<Vec<Step>> {
    let (mut parts, mut after) = (Vec::new(), 0);
    loop {
        let part = world
            .tasks()
            .list_steps(world.tenant(), task, after, limit)
            .await
            .unwrap();
        assert!(
            part.steps.len() <= limit as usize && (!part.steps.is_empty() || !part.more),
            "{limit}"
        );
        after = part.steps.last().map_or(after, |step| step.number);
        parts.push(part.steps);
        if !part.more {
            return parts;
        }
    }
}

#[tokio::test]
async fn parts_of_any_size_have_each_step_that_counts_once() {
    let world = World::new().await;
    let task = restarted(&world, "").await;
    let all = world.steps(task).await;
    let places: Vec<(u32, u32)> = all.iter().map(|step| (step.number, step.base)).collect();
    assert_eq!(
        places,
        [(1, 0), (2, 0), (3, 0), (4, 3), (5, 3), (6, 5), (7, 5)]
    );
    for limit in 1..=8 {
        assert_eq!(in_parts(&world, task, limit).await.concat(), all, "{limit}");
    }
}

#[tokio::test]
async fn a_part_ends_early_when_its_steps_are_large() {
    let world = World::new().await;
    let task = restarted(&world, &" a".repeat(750_000)).await;
    let all = world.steps(task).await;
    let parts = in_parts(&world, task, 100).await;
    assert!(
        parts.iter().all(|part| (1..=2).contains(&part.len())),
        "1.5 MB each, and 4 MiB a part"
    );
    assert!(parts.concat() == all);
}

#[tokio::test]
async fn a_step_is_read_by_its_number_in_the_run_that_counts() {
    let world = World::new().await;
    let task = restarted(&world, "").await;
    for step in world.steps(task).await {
        let text = world
            .tasks()
            .step_text(world.tenant(), task, step.number)
            .await
            .unwrap();
        assert_eq!(text, format!("{} of {}", step.number, step.base));
    }
    for number in [0, 8, u32::MAX] {
        let missing = world.tasks().step_text(world.tenant(), task, number).await;
        assert!(matches!(missing, Err(AppError::NotFound(_))), "{missing:?}");
    }
}
