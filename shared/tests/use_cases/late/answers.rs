//! Clients that answer at once, twice, or late.

use super::*;

/// Two clients, each with texts and an order of its own, at any distance in time.
#[tokio::test]
async fn of_two_clients_that_answer_at_once_one_is_heard_whole() {
    for turns in 0..12 {
        let world = world([calling([ask_human("a"), ask_human("b")])]).await;
        let task = world.submit("hello").await.unwrap().id();
        world.run(task).await.unwrap();
        let tasks = world.tasks();
        let one = tasks.answer_task(
            world.tenant(),
            task,
            vec![answer("a", "one"), answer("b", "one")],
        );
        let two = async {
            for _ in 0..turns {
                yield_now().await;
            }
            tasks
                .answer_task(
                    world.tenant(),
                    task,
                    vec![answer("b", "two"), answer("a", "two")],
                )
                .await
        };
        let (one, two) = tokio::join!(one, two);
        let (heard, refused) = if one.is_ok() {
            ("one", two)
        } else {
            ("two", one)
        };
        assert!(
            matches!(refused, Err(AppError::AnsweredOtherwise(_))),
            "{refused:?}"
        );
        let text = |kind| {
            if let StepKind::ToolCall { text, .. } = kind {
                Some(text)
            } else {
                None
            }
        };
        let texts: Vec<String> = world
            .steps(task)
            .await
            .into_iter()
            .filter_map(|step| text(step.kind))
            .collect();
        assert_eq!(texts, [heard, heard]);
        assert_eq!(
            world.run(task).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Completed)
        );
    }
}

/// The client dies at any call, and comes back with another mind or the same.
#[tokio::test]
async fn a_client_that_died_over_its_answers_may_give_them_again() {
    for at in 1..5 {
        for when in [When::Before, When::After] {
            let world = world([calling([ask_human("a"), ask_human("b")])]).await;
            let task = world.submit("hello").await.unwrap().id();
            world.run(task).await.unwrap();
            let faults = Faults::default();
            faults.die_at(at, when);
            let dying = Tasks {
                store: Arc::new(world.store.with_faults(faults.clone())),
                ..world.tasks_failing(&faults)
            };
            let first = vec![answer("a", "one"), answer("b", "one")];
            drop(dying.answer_task(world.tenant(), task, first.clone()).await);
            let tasks = world.tasks();
            let second = vec![answer("a", "two"), answer("b", "two")];
            let again = match tasks.answer_task(world.tenant(), task, second).await {
                Err(AppError::AnsweredOtherwise(_)) => {
                    tasks.answer_task(world.tenant(), task, first).await
                }
                other => other,
            };
            assert_eq!(
                again.unwrap().status(),
                TaskStatus::Queued,
                "{when:?} call {at}"
            );
            assert_eq!(
                world.run(task).await.unwrap(),
                RunOutcome::Ended(TaskStatus::Completed)
            );
        }
    }
}

#[tokio::test]
async fn an_answer_may_come_again_while_the_next_one_is_waited_for() {
    let world = world([calling([ask_human("a")]), calling([ask_human("b")])]).await;
    let task = world.submit("hello").await.unwrap().id();
    let tasks = world.tasks();
    world.run(task).await.unwrap();
    tasks
        .answer_task(world.tenant(), task, vec![answer("a", "yes")])
        .await
        .unwrap();
    world.run(task).await.unwrap();
    let again = tasks
        .answer_task(world.tenant(), task, vec![answer("a", "yes")])
        .await
        .unwrap();
    assert_eq!(again.status(), TaskStatus::InputRequired);
    let other = tasks
        .answer_task(world.tenant(), task, vec![answer("a", "no")])
        .await;
    assert!(matches!(other, Err(AppError::Invalid(_))), "{other:?}");
}

/// A model that uses its ids again, and a client that comes late to the first call.
#[tokio::test]
async fn an_answer_that_says_its_step_is_not_taken_for_another_calls() {
    let world = world([
        calling([ask_human("call_0")]),
        calling([ask_human("call_0")]),
    ])
    .await;
    let task = world.submit("hello").await.unwrap().id();
    let tasks = world.tasks();
    let to = |step, text| {
        vec![ToolAnswer {
            step: Some(step),
            ..answer("call_0", text)
        }]
    };
    world.run(task).await.unwrap();
    let early = tasks
        .answer_task(world.tenant(), task, to(4, "early"))
        .await;
    assert!(matches!(early, Err(AppError::Invalid(_))), "{early:?}");
    tasks
        .answer_task(world.tenant(), task, to(2, "first"))
        .await
        .unwrap();
    world.run(task).await.unwrap();
    let late = tasks
        .answer_task(world.tenant(), task, to(2, "other"))
        .await;
    assert!(matches!(late, Err(AppError::Invalid(_))), "{late:?}");
    let again = tasks
        .answer_task(world.tenant(), task, to(2, "first"))
        .await
        .unwrap();
    assert_eq!(again.status(), TaskStatus::InputRequired);
    tasks
        .answer_task(world.tenant(), task, to(4, "second"))
        .await
        .unwrap();
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
}

/// An answer meets a cancel and a new run at any distance in time: it belongs to the old run or is
/// refused.
#[tokio::test]
async fn an_answer_that_meets_a_new_run_costs_it_nothing() {
    for turns in 0..25 {
        let calls = || calling([ask_human("a"), ask_human("b")]);
        let world = world([calls(), calls()]).await;
        let task = world.submit("hello").await.unwrap().id();
        world.run(task).await.unwrap();
        let tasks = world.tasks();
        let answers = async {
            for _ in 0..turns {
                yield_now().await;
            }
            tasks
                .answer_task(
                    world.tenant(),
                    task,
                    vec![answer("a", "one"), answer("b", "one")],
                )
                .await
        };
        let afresh = async {
            let (tasks, none) = (world.tasks(), LimitChanges::default());
            tasks.cancel_task(world.tenant(), task).await.unwrap();
            tasks
                .retry_task(world.tenant(), task, RetryFrom::Start, none)
                .await
                .unwrap();
            world.run(task).await.unwrap()
        };
        let (_, ran) = tokio::join!(answers, afresh);
        assert_eq!(
            ran,
            RunOutcome::AwaitsClient(TaskStatus::InputRequired),
            "{turns} turns"
        );
        if world.status(task).await == TaskStatus::InputRequired {
            tasks
                .answer_task(
                    world.tenant(),
                    task,
                    vec![answer("a", "two"), answer("b", "two")],
                )
                .await
                .unwrap();
        }
        assert_eq!(
            world.run(task).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Completed)
        );
        assert_eq!(world.model.requests().len(), 3, "{turns} turns");
    }
}

/// A model may make any number of calls at once; its client gets them in portions.
#[tokio::test]
async fn no_more_calls_are_open_at_once_than_can_be_answered_together() {
    let calls: Vec<ToolCall> = (0..100)
        .map(|number| ask_human(&number.to_string()))
        .collect();
    let world = world([calling(calls)]).await.with_agent(|config| {
        config.tools = vec![asking().into()];
        config.limits = config.limits.with_max_steps(1_000).unwrap();
    });
    let world = world.await;
    let task = world.submit("hello").await.unwrap().id();
    for open in [64, 36] {
        assert_eq!(
            world.run(task).await.unwrap(),
            RunOutcome::AwaitsClient(TaskStatus::InputRequired)
        );
        let waiting = world.task(task).await;
        let TaskState::InputRequired { calls, .. } = waiting.state() else {
            panic!("{waiting:?}")
        };
        assert_eq!(calls.len(), open);
        let answers = calls
            .iter()
            .map(|call| answer(&call.call.id, "yes"))
            .collect();
        world
            .tasks()
            .answer_task(world.tenant(), task, answers)
            .await
            .unwrap();
    }
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    assert_eq!(
        (world.steps(task).await.len(), world.model.requests().len()),
        (102, 2)
    );
}
