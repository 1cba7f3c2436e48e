//! Records of a later version are left alone.

use shared::testing::MemoryUsage;

use super::*;

/// More than a page of each shard of the index.
#[tokio::test]
async fn unreadable_overdue_records_hide_no_task_from_the_watchdog() {
    let old = OldRecords::with(&[]).await;
    let later: Value = serde_json::from_str(&QUEUED.replace(r#""N": "1""#, r#""N": "4""#)).unwrap();
    let records: Vec<Value> = (0..800_u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            let id = TaskId::derived([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]);
            let mut record = later.clone();
            record["pk"]["S"] = format!("TASK#{id}").into();
            record["due_shard"]["S"] = format!("due#{}", number % 8).into();
            record
        })
        .collect();
    for some in records.chunks(50) {
        join_all(
            some.iter()
                .map(|record| old.aws.put_record(&old.table, record)),
        )
        .await;
    }
    let agent = samples::agent(&old.tenant);
    for _ in 0..20 {
        old.tasks
            .create(&samples::task(&agent, START))
            .await
            .unwrap();
    }
    let sweeper = Sweeper {
        tasks: Arc::new(old.tasks.clone()),
        journal: Arc::new(DynamoJournal::new(old.aws.dynamodb(), old.table.as_str())),
        queue: Arc::new(MemoryQueue::default()),
        clock: Arc::new(ManualClock::at(after(3_000))),
    };
    let swept = sweeper.sweep(after(3_600)).await.unwrap();
    assert_eq!(
        (
            swept.failed,
            swept.timed_out + swept.resent,
            swept.unfinished
        ),
        (800, 20, false),
        "{swept:?}"
    );
    old.aws.delete_table(&old.table).await;
}

/// A newer version wrote a thousand live tasks in a form of its own, and then this version is back:
/// a rollback. It can't read them and must leave them as they are, in sweeps, for their messages
/// and for their dead letters. When the newer version is back, which here is this one on records of
/// its own form, every one of them completes.
#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, from its beginning to its end"
)]
async fn rollback_leaves_a_thousand_tasks_of_the_newer_version_unchanged() {
    let old = OldRecords::with(&[]).await;
    let agents = Arc::new(DynamoAgentStore::new(
        old.aws.dynamodb(),
        old.table.as_str(),
    ));
    let agent = samples::agent(&old.tenant);
    agents.create(&agent).await.unwrap();
    let tasks: Vec<Task> = (0..1_000).map(|_| samples::task(&agent, START)).collect();
    for (number, some) in tasks.chunks(50).enumerate() {
        join_all(some.iter().map(async |task| {
            old.tasks.create(task).await.unwrap();
            // Every fourth has a worker, whose lease ends like every other.
            if number % 4 == 0 {
                old.tasks
                    .claim(&old.tenant, task.id(), lease_until(after(60)), after(1))
                    .await
                    .unwrap();
            }
        }))
        .await;
    }
    old.rewrite(&tasks, "9").await;
    let before = old.records(&tasks).await;

    let (clock, queue) = (ManualClock::at(after(70)), MemoryQueue::default());
    let journal = Arc::new(DynamoJournal::new(old.aws.dynamodb(), old.table.as_str()));
    let sweeper = Sweeper {
        tasks: Arc::new(old.tasks.clone()),
        journal: Arc::<DynamoJournal>::clone(&journal),
        queue: Arc::new(queue.clone()),
        clock: Arc::new(clock.clone()),
    };
    let runner = Runner {
        usage: Arc::new(MemoryUsage::default()),
        agents,
        tasks: Arc::new(old.tasks.clone()),
        journal,
        queue: Arc::new(queue.clone()),
        model: Arc::new(ScriptedModel::default()),
        tools: Arc::new(ScriptedTools::default()),
        clock: Arc::new(clock.clone()),
        cache: CacheRules::Off,
        times: WorkTimes {
            step_reserve: Duration::ZERO,
            ..WorkTimes::default()
        },
        slots: None,
        room: Room::default(),
    };
    let undelivered = DeadLetterHandler {
        tasks: Arc::new(old.tasks.clone()),
        clock: Arc::new(clock.clone()),
    };
    let before_end = Horizon {
        ended_before: Some(after(90_000)),
        quiet_before: after(90_000),
    };
    let message = |task: &Task| TaskMessage {
        tenant: old.tenant.clone(),
        task: task.id(),
        alone: false,
    };
    let swept = sweeper.sweep(after(600)).await.unwrap();
    assert_eq!(
        (swept.failed, swept.overdue, queue.sent().len()),
        (1_000, 1_000, 0),
        "{swept:?}"
    );
    for some in tasks.chunks(50) {
        join_all(some.iter().map(async |task| {
            let ran = runner.run(&message(task), after(600)).await;
            assert!(
                matches!(ran, Err(RunError::Store(StoreError::Corrupt { .. }))),
                "{ran:?}"
            );
            let handled = undelivered.handle(&message(task).to_body(), 6).await;
            assert!(
                matches!(handled, Err(StoreError::Corrupt { .. })),
                "{handled:?}"
            );
            assert_eq!(
                old.retention.purge(task.id(), before_end).await.unwrap(),
                Purged::Unchanged
            );
        }))
        .await;
    }
    assert!(old.records(&tasks).await == before, "a record changed");

    old.rewrite(&tasks, "2").await;
    let swept = sweeper.sweep(after(600)).await.unwrap();
    assert_eq!(
        (
            swept.resent + swept.left_in_backlog,
            swept.requeued,
            swept.failed
        ),
        (750, 250, 0),
        "{swept:?}"
    );
    for some in tasks.chunks(50) {
        join_all(some.iter().map(async |task| {
            assert_eq!(
                runner.run(&message(task), after(600)).await.unwrap(),
                RunOutcome::Ended(TaskStatus::Completed)
            );
        }))
        .await;
    }
    old.aws.delete_table(&old.table).await;
}

#[tokio::test]
async fn a_task_of_a_later_version_is_reported_and_left_alone() {
    for (record, now) in [(QUEUED, after(1)), (FAILED, after(3))] {
        let old = OldRecords::with(&[&record.replace(r#""N": "1""#, r#""N": "4""#)]).await;
        let record = old.record().await;
        assert_eq!(record["v"], AttributeValue::N("4".to_owned()));
        let read = old.tasks.task(&old.tenant, old.id).await;
        assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
        let claimed = old.claim(lease_until(after(60)), now).await;
        assert!(
            matches!(claimed, Err(StoreError::Corrupt { .. })),
            "{claimed:?}"
        );
        assert_eq!(
            old.retention
                .purge(old.id, before(after(90_000)))
                .await
                .unwrap(),
            Purged::Unchanged
        );
        assert_eq!(old.record().await, record);
        old.aws.delete_table(&old.table).await;
    }
}

#[tokio::test]
async fn a_task_whose_steps_can_not_be_read_begins_afresh_or_is_canceled() {
    let old = OldRecords::with(&[FAILED, &STEP.replace(r#""N": "1""#, r#""N": "99""#)]).await;
    let journal = DynamoJournal::new(old.aws.dynamodb(), old.table.as_str());
    assert!(matches!(
        journal.steps(old.id).await,
        Err(StoreError::Corrupt { .. })
    ));
    let tasks = Tasks {
        agents: Arc::new(DynamoAgentStore::new(
            old.aws.dynamodb(),
            old.table.as_str(),
        )),
        store: Arc::new(old.tasks.clone()),
        journal: Arc::new(journal.clone()),
        queue: Arc::new(MemoryQueue::default()),
        providers: Vec::new(),
        clock: Arc::new(ManualClock::at(after(700))),
    };
    let retry = |from| tasks.retry_task(&old.tenant, old.id, from, LimitChanges::default());
    let refused = retry(RetryFrom::Checkpoint).await;
    assert!(
        matches!(refused, Err(AppError::Unreadable(_))),
        "{refused:?}"
    );
    let afresh = retry(RetryFrom::Start).await.unwrap();
    assert_eq!(afresh.status(), TaskStatus::Queued);
    let rest = StepsRequest {
        after: StepPlace::after(afresh.progress().base),
        limit: 10,
        max_bytes: 1_000,
    };
    assert_eq!(
        journal.page(old.id, &rest).await.unwrap().steps,
        [],
        "its worker reads no step"
    );
    assert_eq!(
        tasks
            .cancel_task(&old.tenant, old.id)
            .await
            .unwrap()
            .status(),
        TaskStatus::Canceled
    );
    old.aws.delete_table(&old.table).await;
}

#[tokio::test]
async fn an_agent_of_a_later_version_hides_no_other_from_the_list() {
    let mut later: Value = serde_json::from_str(AGENT).unwrap();
    later["v"]["N"] = "99".into();
    let old = OldRecords::with(&[&later.to_string()]).await;
    let agents = DynamoAgentStore::new(old.aws.dynamodb(), old.table.as_str());
    let agent = samples::agent(&old.tenant);
    agents.create(&agent).await.unwrap();
    let page = agents
        .list(
            &old.tenant,
            &PageRequest {
                limit: 10,
                after: None,
            },
        )
        .await
        .unwrap();
    let [Err(unreadable), Ok(listed)] = page.entries.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!(
        (unreadable.id.to_string(), &listed.newest),
        (
            "agt_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10".to_owned(),
            &agent
        )
    );
    assert!(unreadable.reason.contains("version 99"), "{unreadable:?}");
    old.aws.delete_table(&old.table).await;
}
