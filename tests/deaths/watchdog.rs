//! The watchdog, run by many at once or with records in its way that nobody can read.

use futures::future::join_all;
use serde_json::{Value, json};
use shared::domain::{Event, TaskId, TaskStatus};

use tests::deployment::long_ago;
use tests::platform::{now, unique};
use tests::processes::kill;

use crate::evidence::{Prompts, five_steps};
use crate::{
    AWS, agent_on, all_ended, check_completed, deployment, own_model, submit_all, until_called,
    watched,
};

const SWEEPS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, from its beginning to its end"
)]
async fn of_twelve_sweeps_at_once_one_settles_each_task() {
    let _running = AWS.read().await;
    let deployment = deployment(&[]).await;
    let (provider, model) = (deployment.platform().unreliable(), own_model());
    let (agent, held_agent) = (
        deployment.agent_of(&five_steps()).await,
        deployment.agent_of(&agent_on(&model)).await,
    );
    // Workers die, and their leases end.
    provider.hold(&model);
    deployment.hold_messages().await;
    let lost_prompts: Vec<String> = (0..10).map(|_| unique("[ok]")).collect();
    let lost = submit_all(&deployment, &held_agent, &lost_prompts).await;
    deployment.deliver_messages().await;
    until_called(&deployment, &model, &lost_prompts).await;
    deployment.hold_messages().await;
    deployment.processes("executor").into_iter().for_each(kill);
    for task in &lost {
        deployment
            .until_task(*task, |task| task.has_lost_worker(now()), "the lease ends")
            .await;
    }
    provider.release(&model);
    // Other tasks never had a message.
    let prompts = Prompts::new(30);
    let mut unsent = Vec::new();
    for prompt in &prompts.all {
        unsent.push(
            deployment
                .write_task_of(&agent, prompt, long_ago(now()))
                .await
                .id(),
        );
    }
    deployment.purge_messages().await;
    join_all((0..SWEEPS).map(|_| deployment.sweep())).await;
    // On a busy machine, a call of the sweeps may have failed: then a task is left for the next.
    let all = [&*lost, &*unsent].concat();
    let times_settled = async |task: TaskId| {
        let task = deployment.until_task(task, |_| true, "it is read").await;
        let history = deployment.history(&task).await;
        let settled = |event: &Event| matches!(event, Event::Requeued | Event::Resent);
        history
            .iter()
            .filter(|change| settled(&change.event))
            .count()
    };
    for _ in 0..3 {
        let settled = join_all(all.iter().map(|task| times_settled(*task))).await;
        if !settled.contains(&0) {
            break;
        }
        deployment.sweep().await;
    }
    for task in &all {
        assert_eq!(times_settled(*task).await, 1, "{task} was settled again");
    }
    let messages = deployment.messages().await;
    assert!((1..=40).contains(&messages), "{messages} for 40 tasks");
    deployment.deliver_messages().await;
    check_completed(&deployment, &prompts, &unsent).await;
    for task in watched(&deployment, all_ended(&deployment, &lost)).await {
        assert_eq!(
            (task.status(), task.fence()),
            (TaskStatus::Completed, 2),
            "{task:?}"
        );
    }
    let requests = lost_prompts
        .iter()
        .map(|prompt| deployment.platform().model_requests(prompt));
    assert!(
        join_all(requests)
            .await
            .iter()
            .all(|requests| requests.len() == 1),
        "an answer was paid twice"
    );
}

/// A record as a later version may write it.
const LATER: &str = include_str!("../../shared/src/store/golden/task_queued.json");

#[tokio::test(flavor = "multi_thread")]
async fn tasks_complete_beside_eight_hundred_due_records_that_nobody_can_read() {
    let _running = AWS.read().await;
    let deployment = deployment(&[]).await;
    let later: Value = serde_json::from_str(&LATER.replace(r#""N": "1""#, r#""N": "99""#)).unwrap();
    let records: Vec<Value> = (0..800)
        .map(|number| {
            let mut record = later.clone();
            record["pk"]["S"] = json!(format!("TASK#{}", TaskId::new(now())));
            record["due_shard"]["S"] = json!(format!("due#{}", number % 8));
            record["due_at"]["N"] = json!("1");
            record
        })
        .collect();
    for some in records.chunks(20) {
        join_all(some.iter().map(|record| deployment.put_record(record))).await;
    }
    let agent = deployment.agent_of(&five_steps()).await;
    let (prompts, mut tasks) = (Prompts::new(20), Vec::new());
    for prompt in &prompts.all {
        tasks.push(
            deployment
                .write_task_of(&agent, prompt, long_ago(now()))
                .await
                .id(),
        );
    }
    for _ in 0..2 {
        deployment.sweep().await;
    }
    for task in &tasks {
        let task = deployment
            .until_task(*task, |_| true, "the task is read")
            .await;
        let was_found = deployment
            .history(&task)
            .await
            .iter()
            .any(|change| change.event == Event::Resent);
        assert!(was_found, "two sweeps did not find it: {task:?}");
    }
    check_completed(&deployment, &prompts, &tasks).await;
}
