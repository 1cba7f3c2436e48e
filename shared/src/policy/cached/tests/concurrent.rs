//! Many callers at once, in one process and in several.

use crate::ports::Recovery;
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::domain::{BudgetScope, Caller, RetryRules, TaskId};

type Call = JoinHandle<Result<ModelAnswer, ModelError>>;

pub(super) fn spawn(process: &Arc<Cached>, request: ModelRequest) -> Call {
    let process = Arc::clone(process);
    tokio::spawn(async move { process.call(&request).await })
}

/// So many callers, evenly over the processes; what each got.
async fn call_all(
    processes: &[Arc<Cached>],
    callers: usize,
    request: &ModelRequest,
) -> Vec<&'static str> {
    let mut calls = JoinSet::new();
    for process in processes.iter().cycle().take(callers) {
        let (process, request) = (Arc::clone(process), request.clone());
        calls.spawn(async move { process.call(&request).await });
    }
    let mut got: Vec<_> = calls.join_all().await.iter().map(got).collect();
    got.sort_unstable();
    got
}

/// Lets all spawned tasks run until each of them waits.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn of_tenant(tenant: &str, request: ModelRequest) -> ModelRequest {
    let caller = Caller {
        tenant: samples::tenant(tenant),
        task: TaskId::new(samples::START),
        key: None,
    };
    ModelRequest { caller, ..request }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_in_ten_processes_make_one_call() {
    let world = World::new();
    let processes: Vec<_> = std::iter::repeat_with(|| world.process_with(CacheSettings::default()))
        .take(10)
        .collect();
    world.model.hold();
    let request = world.request(CacheMode::Default);
    let release = async {
        pass(8).await;
        world.model.release();
    };
    let (got, ()) = tokio::join!(call_all(&processes, 100, &request), release);
    assert_eq!(world.calls(), 1);
    assert_eq!(got, [&["provider"; 1][..], &["single_flight"; 99]].concat());
}

#[tokio::test(start_paused = true)]
async fn each_tenant_makes_its_own_call() {
    let world = World::new();
    let processes = [world.process(), world.process()];
    let mut calls = JoinSet::new();
    for number in 0..30 {
        let request = of_tenant(
            &format!("tenant-{}", number % 3),
            world.request(CacheMode::Default),
        );
        let process = Arc::clone(&processes[number % 2]);
        calls.spawn(async move { process.call(&request).await.unwrap() });
    }
    calls.join_all().await;
    let mut tenants: Vec<_> = world
        .model
        .requests()
        .iter()
        .map(|request| request.caller.tenant.to_string())
        .collect();
    tenants.sort_unstable();
    assert_eq!(tenants, ["tenant-0", "tenant-1", "tenant-2"]);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_in_one_process_cost_no_store_call() {
    let world = World::new();
    let got = call_all(&[world.process()], 10, &world.request(CacheMode::Default)).await;
    assert_eq!(got, [&["provider"; 1][..], &["single_flight"; 9]].concat());
    assert_eq!((world.calls(), world.faults.calls()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leader_is_followed_by_the_next_of_its_process_at_once() {
    let world = World::new();
    let process = world.process();
    world.model.hold();
    let leader = spawn(&process, world.request(CacheMode::Default));
    world.model.until_called(1).await;
    let follower = spawn(&process, world.request(CacheMode::Default));
    settle().await;
    leader.abort();
    world.model.until_called(2).await;
    world.model.release();
    assert_eq!(got(&follower.await.unwrap()), "provider");
    assert!(
        world.clock.now() < samples::after(1),
        "nobody waited for a lease"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_costs_one_more_call() {
    let world = World::new();
    world.model.hold();
    let leader = spawn(&world.process(), world.request(CacheMode::Default));
    world.model.until_called(1).await;
    leader.abort();
    drop(leader.await);
    world.model.release();
    let processes: Vec<_> = std::iter::repeat_with(|| world.process())
        .take(10)
        .collect();
    let early = call_all(&processes, 100, &world.request(CacheMode::Default)).await;
    assert_eq!((early, world.calls()), (vec!["parked"; 100], 1));
    pass(21).await;
    let late = call_all(&processes, 100, &world.request(CacheMode::Default)).await;
    assert_eq!((late.len(), late[0], world.calls()), (100, "provider", 2));
    assert!(
        late[1..].iter().all(|got| *got == "single_flight"),
        "{late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiting_caller_takes_over_a_claim_that_ended() {
    let world = World::new();
    world.held(5).await;
    let got = call_all(
        &[world.process(), world.process()],
        20,
        &world.request(CacheMode::Default),
    )
    .await;
    assert_eq!((got[0], world.calls()), ("provider", 1));
    assert!(
        world.clock.now() < samples::after(7),
        "{:?}",
        world.clock.now()
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_parked_until_the_claim_ends() {
    let world = World::new();
    world.held(50).await;
    world.faults.clear();
    let parked = world
        .process()
        .call(&world.request(CacheMode::Default))
        .await
        .unwrap_err();
    assert_eq!(parked.kind, ModelErrorKind::InFlight);
    let Some(Recovery {
        wait: Wait {
            until,
            reason: WaitReason::SingleFlight,
        },
        maybe_sooner: false,
    }) = parked.recovery
    else {
        panic!("{parked:?}")
    };
    assert!(
        (samples::after(50)..=samples::after(51)).contains(&until),
        "{until:?}"
    );
    assert_eq!(parked.spend, Spend::default());
    assert_eq!(world.clock.now().since(samples::START).as_secs(), 10);
    assert!(
        (11..=30).contains(&world.faults.calls()),
        "{} calls",
        world.faults.calls()
    );
    let short = ModelRequest {
        deadline: Deadline::at(samples::after(12)),
        ..world.request(CacheMode::Default)
    };
    assert_eq!(got(&world.process().call(&short).await), "parked");
    assert_eq!(world.clock.now(), samples::after(12));
}

#[tokio::test(start_paused = true)]
async fn a_slow_leader_keeps_its_claim() {
    let world = World::new();
    world.model.hold();
    let patient = ModelRequest {
        deadline: Deadline::at(samples::after(300)),
        ..world.request(CacheMode::Default)
    };
    let leader = spawn(&world.process(), patient.clone());
    for _ in 0..9 {
        pass(11).await;
        assert_eq!(got(&world.process().call(&patient).await), "parked");
    }
    world.model.release();
    assert_eq!(got(&leader.await.unwrap()), "provider");
    assert_eq!(
        got(&world
            .process()
            .call(&world.request(CacheMode::Default))
            .await),
        "cache"
    );
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_never_outlasts_its_holders_deadline() {
    let world = World::new();
    world.model.hold();
    let short = ModelRequest {
        deadline: Deadline::at(samples::after(3)),
        ..world.request(CacheMode::Default)
    };
    let leader = spawn(&world.process(), short);
    world.model.until_called(1).await;
    leader.abort();
    world.model.release();
    assert_eq!(
        got(&world
            .process()
            .call(&world.request(CacheMode::Default))
            .await),
        "provider"
    );
    assert!(world.clock.now() < samples::after(5));
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_one_process_hands_the_request_to_the_next() {
    let world = World::new();
    world.model.then(Reply::Fail(UNAVAILABLE));
    world.model.hold();
    let leader = spawn(&world.process(), world.request(CacheMode::Default));
    world.model.until_called(1).await;
    let others = [world.process(), world.process()];
    let request = world.request(CacheMode::Default);
    let release = async {
        pass(2).await;
        world.model.release();
    };
    let (others, ()) = tokio::join!(call_all(&others, 10, &request), release);
    assert_eq!(got(&leader.await.unwrap()), "failed");
    assert_eq!(
        (others, world.calls()),
        ([&["provider"; 1][..], &["single_flight"; 9]].concat(), 2)
    );
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_in_one_process_share_an_outage_but_not_its_cost() {
    let world = World::new();
    world.model.then(Reply::Fail(UNAVAILABLE));
    let (process, request) = (world.process(), world.request(CacheMode::Default));
    let calls: Vec<_> = std::iter::repeat_with(|| spawn(&process, request.clone()))
        .take(5)
        .collect();
    let mut attempts = 0;
    for call in calls {
        let failed = call.await.unwrap().unwrap_err();
        assert_eq!(failed.kind, UNAVAILABLE);
        attempts += failed.spend.attempts;
    }
    assert_eq!((world.calls(), attempts), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_in_one_process_share_what_nobody_would_be_spared() {
    for kind in [
        ModelErrorKind::QuotaExhausted,
        ModelErrorKind::Authentication,
        ModelErrorKind::KeyMissing,
        ModelErrorKind::Rejected,
        ModelErrorKind::Refused,
        ModelErrorKind::ContextTooLong,
        ModelErrorKind::BadAnswer,
        ModelErrorKind::RateLimited,
    ] {
        let world = World::new();
        let (spend, status) = (samples::answer("").spend, Some(418));
        world.model.then(Reply::FailWith {
            kind: kind.clone(),
            status,
            should_retry: Some(false),
            retry_after: None,
            spend,
        });
        let (process, request) = (world.process(), world.request(CacheMode::Default));
        let calls: Vec<_> = std::iter::repeat_with(|| spawn(&process, request.clone()))
            .take(5)
            .collect();
        let mut sum = Spend::default();
        for call in calls {
            let failed = call.await.unwrap().unwrap_err();
            assert_eq!(
                (failed.kind, failed.status, failed.should_retry),
                (kind.clone(), status, Some(false))
            );
            sum = sum.plus(failed.spend);
        }
        assert_eq!((world.calls(), sum), (1, spend), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_share_an_outage_share_the_old_answer() {
    let world = World::new();
    let process = world.process();
    process
        .call(&world.request(CacheMode::Default))
        .await
        .unwrap();
    pass(150).await;
    world.model.then(Reply::Fail(UNAVAILABLE));
    assert_eq!(
        call_all(&[process], 5, &world.request(CacheMode::Default)).await,
        ["stale"; 5]
    );
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_the_leaders_own_is_not_shared() {
    let retry = RetryRules::default().with_max_attempts(1).unwrap();
    let later = |kind, reason| {
        let until = samples::after(9);
        (kind, Some(Recovery::at(Wait { until, reason })))
    };
    let (standard, ample) = (RetryRules::default(), samples::after(60));
    let capped = (ModelErrorKind::BudgetExhausted(BudgetScope::Task), None);
    let reserved = later(ModelErrorKind::BudgetReserved, WaitReason::Budget);
    let late = later(ModelErrorKind::OutOfTime, WaitReason::OutOfTime);
    let cut_short = later(UNAVAILABLE, WaitReason::OutOfTime);
    for (failed, retry, deadline) in [
        (capped, standard, ample),
        ((ModelErrorKind::Unpriced, None), standard, ample),
        (reserved, standard, ample),
        (late, standard, ample),
        (cut_short, standard, ample),
        ((UNAVAILABLE, None), retry, ample),
        ((ModelErrorKind::Rejected, None), retry, ample),
        ((ModelErrorKind::Timeout, None), standard, samples::after(5)),
    ] {
        let world = World::new();
        let process = world.process();
        world.model.then(failed.into());
        world.model.hold();
        let own = ModelRequest {
            retry,
            deadline: Deadline::at(deadline),
            ..world.request(CacheMode::Default)
        };
        let leader = spawn(&process, own);
        world.model.until_called(1).await;
        let follower = spawn(&process, world.request(CacheMode::Default));
        pass(5).await;
        world.model.release();
        assert_eq!(got(&leader.await.unwrap()), "failed");
        assert_eq!(
            (got(&follower.await.unwrap()), world.calls()),
            ("provider", 2)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_in_turn_for_answers_that_can_not_be_cached() {
    let world = World::new();
    for _ in 0..20 {
        let refusal = ModelAnswer {
            stop_reason: StopReason::Refusal,
            ..samples::answer("no")
        };
        world.model.then(Reply::Answer(refusal));
    }
    world.model.hold();
    let (processes, request) = (
        [world.process(), world.process()],
        world.request(CacheMode::Default),
    );
    let release = async {
        world.model.until_called(1).await;
        pass(3).await;
        assert_eq!(world.calls(), 1);
        world.model.release();
        settle().await;
        world.model.hold();
        pass(2).await;
        assert_eq!(world.calls(), 20);
        world.model.release();
    };
    let (got, ()) = tokio::join!(call_all(&processes, 20, &request), release);
    assert_eq!(got, ["provider"; 20]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_beside_a_leader_is_parked_at_its_own_deadline() {
    let world = World::new();
    let process = world.process();
    world.model.hold();
    let leader = spawn(&process, world.request(CacheMode::Default));
    world.model.until_called(1).await;
    let short = ModelRequest {
        deadline: Deadline::at(samples::after(20)),
        ..world.request(CacheMode::Default)
    };
    assert_eq!(got(&process.call(&short).await), "parked");
    assert_eq!(world.clock.now(), samples::after(20));
    world.model.release();
    assert_eq!(got(&leader.await.unwrap()), "provider");
}
