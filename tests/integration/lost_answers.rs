//! Answers of DynamoDB that get lost after the write. The SDK then sends the request again, and the
//! conditions of a second write fail; the stores see that it is their own first one that made them
//! fail. Of a transaction DynamoDB itself sees it, by the token that the SDK sends with both.

use shared::domain::{ReservationId, Task, TaskId, ToolRunner};
use shared::ports::{
    Allowance, Budget, BudgetKey, Budgets, Claimed, Created, Journal, Reservation, Reserved,
    Settled, TaskDetails, TaskStore,
};
use shared::store::{DynamoBudgets, DynamoJournal, DynamoTaskStore};
use shared::testing::samples::{self, START, after, lease_until};
use tests::{LocalAws, UnreliableAws};

/// A table, and a way to it on which answers get lost.
struct Lossy {
    aws: LocalAws,
    way: UnreliableAws,
    table: String,
}

impl Lossy {
    async fn new() -> Self {
        let (aws, way) = LocalAws::from_env().await.unreliable();
        let table = aws.create_state_table().await;
        Self { aws, way, table }
    }

    fn tasks(&self) -> DynamoTaskStore {
        DynamoTaskStore::new(self.aws.dynamodb(), &*self.table)
    }

    /// Makes a call whose first answer gets lost, and checks that the SDK sent it twice.
    async fn losing<T>(&self, operation: &str, call: impl Future<Output = T>) -> T {
        self.way
            .lose_answer(&format!("DynamoDB_20120810.{operation}"));
        self.aws.calls().reset();
        let outcome = call.await;
        assert_eq!(
            self.aws.calls().counts().get(operation),
            Some(&2),
            "{operation}"
        );
        outcome
    }

    /// The stored task equals this one.
    async fn has(&self, task: &Task) {
        let stored = self
            .tasks()
            .task(&task.spec().tenant, task.id())
            .await
            .unwrap();
        assert_eq!(stored.as_ref(), Some(task));
    }

    async fn end(self) {
        self.aws.delete_table(&self.table).await;
    }
}

fn task() -> Task {
    samples::task(&samples::agent(&samples::tenant("acme")), START)
}

#[tokio::test]
async fn a_task_is_created_and_new() {
    let lossy = Lossy::new().await;
    let (tasks, task) = (lossy.tasks(), task());
    assert_eq!(
        lossy.losing("PutItem", tasks.create(&task)).await.unwrap(),
        Created::New
    );
    lossy.has(&task).await;
    lossy.end().await;
}

#[tokio::test]
async fn a_task_with_a_large_input_is_created_and_new() {
    let lossy = Lossy::new().await;
    let agent = samples::agent(&samples::tenant("acme"));
    let (tasks, task) = (
        lossy.tasks(),
        samples::task_with_input(&agent, &samples::noise(64 * 1_024, 1), START),
    );
    assert_eq!(
        lossy
            .losing("TransactWriteItems", tasks.create(&task))
            .await
            .unwrap(),
        Created::New
    );
    lossy.has(&task.clone().with_input(None)).await;
    assert_eq!(tasks.input(task.id()).await.unwrap(), task.spec().input);
    lossy.end().await;
}

#[tokio::test]
async fn a_transition_that_moves_changes_is_stored_once() {
    let lossy = Lossy::new().await;
    let (tasks, mut task) = (lossy.tasks(), task());
    tasks.create(&task).await.unwrap();
    for hop in 1..10 {
        task.claim(lease_until(after(60)), after(1)).unwrap();
        tasks.update(&task).await.unwrap();
        task.hand_over(hop, after(2)).unwrap();
        tasks.update(&task).await.unwrap();
    }
    task.claim(lease_until(after(60)), after(1)).unwrap();
    tasks.update(&task).await.unwrap();
    task.hand_over(10, after(2)).unwrap();
    lossy
        .losing("TransactWriteItems", tasks.update(&task))
        .await
        .unwrap();
    lossy.has(&task).await;
    let moved = tasks
        .earlier_history(task.id(), 0..u32::MAX, 100)
        .await
        .unwrap();
    assert_eq!(moved.len(), task.progress().history.first() as usize);
    lossy.end().await;
}

#[tokio::test]
async fn a_task_is_claimed_under_one_fence() {
    let lossy = Lossy::new().await;
    let (tasks, mut task, lease) = (lossy.tasks(), task(), lease_until(after(60)));
    tasks.create(&task).await.unwrap();
    let claim = tasks.claim(&task.spec().tenant, task.id(), lease, after(1));
    let claimed = lossy.losing("UpdateItem", claim).await.unwrap();
    task.claim(lease, after(1)).unwrap();
    assert_eq!(claimed, Claimed::Granted(Box::new(task.clone())));
    lossy.has(&task).await;
    lossy.end().await;
}

#[tokio::test]
async fn a_transition_is_stored_once() {
    let lossy = Lossy::new().await;
    let (tasks, mut task) = (lossy.tasks(), task());
    tasks.create(&task).await.unwrap();
    task.cancel(after(1)).unwrap();
    lossy
        .losing("UpdateItem", tasks.update(&task))
        .await
        .unwrap();
    lossy.has(&task).await;
    lossy.end().await;
}

#[tokio::test]
async fn a_transition_and_its_steps_are_stored_once() {
    let lossy = Lossy::new().await;
    let (tasks, journal) = (
        lossy.tasks(),
        DynamoJournal::new(lossy.aws.dynamodb(), &*lossy.table),
    );
    let mut task = task();
    tasks.create(&task).await.unwrap();
    task.cancel(after(1)).unwrap();
    let steps =
        [1, 2].map(|number| samples::tool_step(task.id(), number, ToolRunner::Client, "18 °C"));
    lossy
        .losing("TransactWriteItems", tasks.update_with(&task, &steps))
        .await
        .unwrap();
    lossy.has(&task).await;
    assert_eq!(journal.steps(task.id()).await.unwrap(), steps);
    lossy.end().await;
}

#[tokio::test]
async fn a_step_is_recorded_once() {
    let lossy = Lossy::new().await;
    let journal = DynamoJournal::new(lossy.aws.dynamodb(), &*lossy.table);
    let step = samples::step(TaskId::new(START), 1, "Paris");
    lossy
        .losing("PutItem", journal.append(&step))
        .await
        .unwrap();
    assert_eq!(journal.steps(step.task).await.unwrap(), [step]);
    lossy.end().await;
}

#[tokio::test]
async fn money_is_set_aside_and_settled_once() {
    let lossy = Lossy::new().await;
    let budgets = DynamoBudgets::new(lossy.aws.dynamodb(), &*lossy.table);
    let key = BudgetKey::Task(TaskId::new(START));
    let reservation = Reservation {
        id: ReservationId::new(START),
        amount_micro_usd: 60,
        expires_at: after(60),
    };
    // There is no room for it twice.
    let allowance = Allowance {
        cap_micro_usd: 100,
        spent_before_micro_usd: 0,
    };
    let reserved = lossy
        .losing(
            "UpdateItem",
            budgets.reserve(&key, &reservation, allowance, START),
        )
        .await
        .unwrap();
    assert_eq!(reserved, Reserved::Granted);
    let held = Budget {
        committed_micro_usd: 60,
        held: vec![reservation.clone()],
    };
    assert_eq!(budgets.budget(&key, START).await.unwrap(), held);

    // Nothing is left to tell who settled it, and nobody needs to know.
    let settled = lossy
        .losing("UpdateItem", budgets.settle(&key, &reservation, 25, START))
        .await
        .unwrap();
    assert_eq!(settled, Settled::Gone);
    assert_eq!(
        budgets.budget(&key, START).await.unwrap(),
        Budget {
            committed_micro_usd: 25,
            held: vec![]
        }
    );
    lossy.end().await;
}
