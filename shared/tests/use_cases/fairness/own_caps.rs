//! The caps that tenants and keys have of their own.

use super::*;

/// Each task of the tenant is submitted with one of two keys, or with none. A tenant without a cap of
/// its own may run 6 tasks.
#[tokio::test]
async fn a_task_needs_a_slot_of_its_tenant_and_of_its_key() {
    let cap = |most| Caps::NONE.with(CapKind::RunningTasks, most).unwrap();
    let none = Caps::NONE;
    for (tenant, key, running) in [
        (none, none, 6),
        (cap(4), none, 4),
        (cap(8), none, 8),
        (none, cap(1), 3 + 1 + 1),
        (cap(4), cap(1), 4),
        (none, cap(100), 6),
    ] {
        let mut fair = Fair::new(6, []).await;
        fair.own = CapsOfTask { tenant, key };
        let keys = [
            Some(samples::token().id()),
            Some(samples::token().id()),
            None,
        ];
        let mut tasks = Vec::new();
        for number in 0..9 {
            tasks.push(fair.submit_with(keys[number % 3]).await);
        }
        fair.world.model.hold();
        let runner = fair.worker_failing(&Faults::default());
        let all = join_all(tasks.iter().map(|task| fair.run_by(&runner, task)));
        let (all, ()) = tokio::join!(all, async {
            fair.world.model.until_called(running).await;
            fair.world.model.release();
        });
        let ended = |ran: &&_| matches!(ran, Ok(RunOutcome::Ended(TaskStatus::Completed)));
        assert_eq!(all.iter().filter(ended).count(), running, "{:?}", fair.own);
        for ran in all.iter().filter(|ran| !ended(ran)) {
            turn_of(ran);
        }
        let owners = keys.into_iter().flatten().map(LimitOwner::Key);
        for owner in owners.chain([fair.tenant()]) {
            assert_eq!(fair.slots.held(&owner), [], "{owner:?} {:?}", fair.own);
        }
    }
}

#[tokio::test]
async fn a_cap_that_all_workers_together_never_reach_is_not_counted() {
    let fair = Fair::new(6, []).await;
    let task = fair.world.submit("hello").await.unwrap();
    let faults = Faults::default();
    let slots = fair.slots.with_faults(faults.clone());
    let runner = Runner {
        slots: Some(TaskSlots::new(
            Arc::new(slots),
            Arc::new(SameCaps::default()),
            Some(fair.most),
            Some(fair.most),
        )),
        ..fair.world.worker_failing(&Faults::default())
    };
    fair.run_by(&runner, &task).await.unwrap();
    assert_eq!(faults.calls(), 0);
}
