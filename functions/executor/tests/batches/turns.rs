//! Tasks of one batch that can not run side by side.

use super::*;

/// The first of the batch, that is: each task of the others comes back with a message of its own.
#[tokio::test]
async fn tasks_that_do_not_fit_together_come_back_and_fail_no_message() {
    let platform = Platform::new().await;
    let tasks = [
        platform.task().await,
        platform.task().await,
        platform.task().await,
    ];
    let calling = || {
        Reply::Answer(samples::answer_calling([samples::tool_call(
            "a", "search", "{}",
        )]))
    };
    let model = Arc::new(ScriptedModel::new([calling(), calling(), calling()]));
    let mut completed = Vec::new();
    for _ in 0..3 {
        let runner = platform.runner(Arc::clone(&model), &Faults::default());
        let batch = platform.batch();
        let receipts: Vec<String> = batch
            .iter()
            .filter_map(|message| message.receipt_handle.clone())
            .collect();
        let response = platform
            .handle_by(
                batch,
                Runner {
                    room: Room::of(1),
                    ..runner
                },
            )
            .await;
        check_golden(&response, include_str!("../golden/all_ok.json"));
        for receipt in &receipts {
            platform.queue.acknowledge(receipt);
        }
        let mut statuses = Vec::new();
        for task in &tasks {
            statuses.push(platform.status(task).await);
        }
        completed.push(
            statuses
                .iter()
                .filter(|status| **status == TaskStatus::Completed)
                .count(),
        );
        platform.clock.advance(Duration::from_secs(10));
        platform.queue.elapse();
    }
    assert_eq!(completed, [1, 2, 3]);
    assert_eq!(
        (model.requests().len(), platform.queue.postponed()),
        (6, vec![]),
        "each task asks twice"
    );
}

/// A model whose answers are computed until a whole batch of them is.
#[derive(Default)]
struct Computing {
    begun: Mutex<usize>,
    all_have: Condvar,
}

#[async_trait]
impl Model for Computing {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        computed(usize::MAX, || {
            let mut begun = self.begun.lock().unwrap();
            *begun += 1;
            self.all_have.notify_all();
            let waited = self
                .all_have
                .wait_timeout_while(begun, Duration::from_mins(1), |begun| *begun < 10);
            assert!(
                !waited.unwrap().1.timed_out(),
                "a task waits until another one has computed"
            );
        });
        ScriptedModel::default().call(request).await
    }
}

#[test]
fn no_task_of_a_batch_waits_until_another_one_has_computed() {
    runtime::for_tasks().unwrap().block_on(async {
        let platform = Platform::new().await;
        let mut tasks = Vec::new();
        for _ in 0..10 {
            tasks.push(platform.task().await);
        }
        let runner = platform.runner(Arc::default(), &Faults::default());
        let runner = Runner {
            model: Arc::new(Computing::default()),
            ..runner
        };
        check_golden(
            &platform.handle_by(platform.batch(), runner).await,
            include_str!("../golden/all_ok.json"),
        );
        for task in &tasks {
            assert_eq!(platform.status(task).await, TaskStatus::Completed);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn tasks_that_may_kill_their_worker_run_last_and_alone() {
    let platform = Platform::new().await;
    let alone = |message| TaskMessage {
        alone: true,
        ..message
    };
    let suspects = [platform.task_of(alone).await, platform.task_of(alone).await];
    let others = [platform.task().await, platform.task().await];
    let answer = || Reply::Answer(samples::answer("Paris"));
    let model =
        ScriptedModel::new([answer(), answer(), Reply::Hang, answer()]).on(platform.clock.clone());
    let status = async |tasks: &[Task; 2]| {
        [
            platform.status(&tasks[0]).await,
            platform.status(&tasks[1]).await,
        ]
    };
    let watching = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(
            status(&others).await,
            [TaskStatus::Completed; 2],
            "the first to ask"
        );
        assert_eq!(
            status(&suspects).await,
            [TaskStatus::Running, TaskStatus::Queued]
        );
    };
    let (response, ()) = tokio::join!(platform.handle(platform.batch(), model), watching);
    check_golden(&response, include_str!("../golden/all_ok.json"));
}
