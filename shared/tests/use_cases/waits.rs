use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use shared::app::{Found, RunOutcome, Tasks, Waits};
use shared::domain::{Task, TaskStatus, Wait, WaitReason};
use shared::ports::{LimitOwner, ModelErrorKind, Recovery, Slots};
use shared::testing::{Faults, MemorySlots, Reply, ScriptedModel, TokioClock, samples};
use tokio::time::{Instant, sleep};

use crate::lines::{hear, lines};
use crate::world::World;

const LONGEST: Duration = Duration::from_secs(25);

/// The waits of the world's clients, and what they count.
struct Setup {
    world: World,
    slots: MemorySlots,
    /// The store's failures, and how often it was asked.
    store: Faults,
    waits: Waits,
}

impl Setup {
    /// A world whose model parks each task for so many seconds first, and in which a tenant may
    /// wait so often at once.
    async fn parking(seconds: &[u64], most: u32) -> Self {
        let park = |seconds: &u64| {
            let wait = Wait {
                until: samples::after(*seconds),
                reason: WaitReason::RateLimit,
            };
            Reply::FailUntil(ModelErrorKind::RateLimited, Recovery::at(wait))
        };
        let world = World::with_model(ScriptedModel::new(seconds.iter().map(park))).await;
        let (slots, store) = (MemorySlots::default(), Faults::default());
        let tasks = Tasks {
            clock: Arc::new(TokioClock::default()),
            ..world.tasks_with_store_failing(&store)
        };
        let waits = Waits::new(tasks, Arc::new(slots.clone()), NonZeroU32::new(most));
        Self {
            world,
            slots,
            store,
            waits,
        }
    }

    async fn new(most: u32) -> Self {
        Self::parking(&[], most).await
    }

    fn owner(&self) -> LimitOwner {
        LimitOwner::Tenant(self.world.tenant().clone())
    }

    /// The task as a client finds it, and for how long it waited.
    async fn wait(&self, task: &Task, wait: Duration) -> (Found, Duration) {
        let begun = Instant::now();
        let found = self
            .waits
            .find_task(self.world.tenant(), task.id(), wait)
            .await
            .unwrap();
        (found, begun.elapsed())
    }

    /// Passes the time of both clocks.
    async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
        self.world.pass(seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_task() {
    let setup = Setup::new(1).await;
    let task = setup.world.submit("hello").await.unwrap();
    let ((found, waited), ran) = tokio::join!(setup.wait(&task, LONGEST), async {
        setup.pass(3).await;
        setup.world.run(task.id()).await
    });
    assert_eq!(ran.unwrap(), RunOutcome::Ended(TaskStatus::Completed));
    assert_eq!(
        (found.task.status(), found.retry_after),
        (TaskStatus::Completed, None)
    );
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(setup.slots.held(&setup.owner()), []);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_over_after_its_time_and_reads_ever_more_seldom() {
    let setup = Setup::new(1).await;
    let task = setup.world.submit("hello").await.unwrap();
    let mut reads = Vec::new();
    for seconds in [0, 1, 25] {
        setup.store.clear();
        let (found, waited) = setup.wait(&task, Duration::from_secs(seconds)).await;
        assert_eq!(
            (found.task.status(), found.retry_after),
            (TaskStatus::Queued, None)
        );
        assert_eq!(waited, Duration::from_secs(seconds));
        reads.push(setup.store.calls());
    }
    assert_eq!(reads, [1, 5, 18]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_parked_beyond_the_wait_is_shown_at_once() {
    let setup = Setup::parking(&[26, 25], 1).await;
    for (retry_after, waited) in [
        (Some(Duration::from_secs(26)), Duration::ZERO),
        (None, LONGEST),
    ] {
        let task = setup.world.submit("hello").await.unwrap();
        assert!(matches!(
            setup.world.run(task.id()).await.unwrap(),
            RunOutcome::Parked(_)
        ));
        let (found, took) = setup.wait(&task, LONGEST).await;
        assert_eq!(
            (found.task.status(), found.retry_after),
            (TaskStatus::Waiting, retry_after)
        );
        assert_eq!(took, waited);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_parked_for_longer_meanwhile_ends_the_wait() {
    let setup = Setup::parking(&[90], 1).await;
    let task = setup.world.submit("hello").await.unwrap();
    let ((found, waited), ran) = tokio::join!(setup.wait(&task, LONGEST), async {
        setup.pass(3).await;
        setup.world.run(task.id()).await
    });
    assert!(matches!(ran.unwrap(), RunOutcome::Parked(_)));
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(
        found.retry_after,
        Some(Duration::from_secs(90).saturating_sub(waited))
    );
}

#[tokio::test(start_paused = true)]
async fn a_parked_task_is_read_soon_after_its_wait_is_over() {
    let setup = Setup::parking(&[10], 1).await;
    let task = setup.world.submit("hello").await.unwrap();
    setup.world.run(task.id()).await.unwrap();
    setup.store.clear();
    let ((found, waited), ran) = tokio::join!(setup.wait(&task, LONGEST), async {
        setup.pass(10).await;
        setup.world.run(task.id()).await
    });
    assert_eq!(ran.unwrap(), RunOutcome::Ended(TaskStatus::Completed));
    assert_eq!(found.task.status(), TaskStatus::Completed);
    assert!(waited <= Duration::from_millis(10_200), "{waited:?}");
    assert!(setup.store.calls() <= 8, "{}", setup.store.calls());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_waits_so_many_times_at_once_and_no_more() {
    let setup = Setup::new(2).await;
    let task = setup.world.submit("hello").await.unwrap();
    for _round in 0..2 {
        let wait = || setup.wait(&task, Duration::from_secs(5));
        let (first, second, third) = tokio::join!(wait(), wait(), wait());
        let mut waited = [first.1, second.1, third.1];
        waited.sort();
        assert_eq!(
            waited,
            [
                Duration::ZERO,
                Duration::from_secs(5),
                Duration::from_secs(5)
            ]
        );
        let refused = [first, second, third]
            .into_iter()
            .find(|(_, waited)| waited.is_zero())
            .unwrap();
        assert_eq!(refused.0.retry_after, Some(Duration::from_secs(2)));
        assert_eq!(refused.0.task.status(), TaskStatus::Queued);
    }
}

/// A client, or somebody with its key, that asks far more often than anything ends.
#[tokio::test(start_paused = true)]
async fn forty_polls_a_second_hold_no_more_functions_than_may_wait() {
    const MOST: u32 = 50;
    let setup = Setup::new(MOST).await;
    let task = setup.world.submit("hello").await.unwrap();
    let (begun, each) = (Instant::now(), Duration::from_secs(1) / 40);
    let polls = (0..1_200).map(async |number| {
        sleep(each * number).await;
        setup.wait(&task, LONGEST).await
    });
    let polls = join_all(polls).await;
    let held: Duration = polls.iter().map(|(_, waited)| *waited).sum();
    assert!(
        held <= begun.elapsed() * MOST,
        "{held:?} in {:?}",
        begun.elapsed()
    );
    let refused = polls
        .iter()
        .filter(|(found, waited)| found.retry_after.is_some() && waited.is_zero());
    assert_eq!(refused.count(), 1_100);
}

#[tokio::test(start_paused = true)]
async fn the_place_of_a_wait_that_was_cut_off_is_free_after_its_end() {
    let setup = Setup::new(1).await;
    let task = setup.world.submit("hello").await.unwrap();
    let cut_off = tokio::time::timeout(Duration::from_secs(1), setup.wait(&task, LONGEST)).await;
    assert!(cut_off.is_err());
    for (seconds, waited) in [(28, Duration::ZERO), (1, LONGEST)] {
        sleep(Duration::from_secs(seconds)).await;
        assert_eq!(setup.wait(&task, LONGEST).await.1, waited, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_does_not_wait_while_waits_cant_be_counted() {
    let mut setup = Setup::new(1).await;
    let faults = Faults::default();
    faults.die_now();
    let failing: Arc<dyn Slots> = Arc::new(setup.slots.with_faults(faults));
    setup.waits = Waits::new(setup.world.tasks(), failing, NonZeroU32::new(1));
    let task = setup.world.submit("hello").await.unwrap();
    let (found, waited) = setup.wait(&task, LONGEST).await;
    assert_eq!(
        (waited, found.retry_after),
        (Duration::ZERO, Some(Duration::from_secs(2)))
    );
}

#[tokio::test(start_paused = true)]
async fn requests_without_wait_or_without_cap_count_no_waits() {
    let setup = Setup::new(0).await;
    let task = setup.world.submit("hello").await.unwrap();
    let (_, counted) = tokio::join!(setup.wait(&task, LONGEST), async {
        sleep(Duration::from_secs(1)).await;
        setup.slots.held(&setup.owner())
    });
    assert_eq!(counted, []);
    setup.world.run(task.id()).await.unwrap();
    let faults = Faults::default();
    let counting: Arc<dyn Slots> = Arc::new(setup.slots.with_faults(faults.clone()));
    let waits = Waits::new(setup.world.tasks(), counting, NonZeroU32::new(1));
    let found = waits
        .find_task(setup.world.tenant(), task.id(), LONGEST)
        .await
        .unwrap();
    assert_eq!(
        (found.task.status(), faults.calls()),
        (TaskStatus::Completed, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_of_a_task_that_the_watchdog_missed_warns() {
    let setup = Setup::new(1).await;
    let task = setup.world.submit("hello").await.unwrap();
    let due_in = task.due_at().unwrap().since(setup.world.now()).as_secs();
    setup.pass(due_in + 180).await;
    let (heard, _guard) = hear();
    setup.wait(&task, Duration::ZERO).await;
    assert_eq!(heard.text(), "", "the next sweeps may handle it");
    setup.pass(1).await;
    setup.wait(&task, Duration::ZERO).await;
    let [line] = &lines(&heard)[..] else {
        panic!("{}", heard.text())
    };
    assert_eq!(line["message"], "task is overdue and was not handled");
    assert_eq!(
        (&line["level"], &line["status"]),
        (&json!("WARN"), &json!("queued"))
    );
    assert_eq!(line["overdue_ms"], 181_000);
}
