//! What caps and breakers cost when many call at once.

use super::*;

/// Ten stacks are ten executors: what they know of each other is in the table.
#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, from its beginning to its end"
)]
async fn ten_executors_probe_a_provider_in_outage_one_at_a_time() {
    let shared = Shared::new().await;
    let stacks: Vec<_> = (0..10)
        .map(|_| {
            calls::stack(
                &shared.aws,
                &shared.table,
                &shared.table,
                shared.provider.url(),
            )
        })
        .collect();
    let chain = |prompt: &str| {
        let call = Call {
            tenant: "acme",
            model: "sturdy",
            prompt,
        };
        let models = ["sturdy", "backup"].map(|name| {
            ModelRef::new(Provider::OpenAiCompatible, name)
                .unwrap()
                .into()
        });
        ModelRequest {
            chain: ModelChain::new(models.into()).unwrap(),
            ..call.uncached()
        }
    };
    let round = async || {
        let prompt = unique("[ok]");
        let request = chain(&prompt);
        let outcome = join_all(stacks.iter().map(|stack| stack.call(&request))).await;
        outcome
            .into_iter()
            .map(|answer| answer.unwrap().model.name().to_owned())
            .collect::<Vec<_>>()
    };

    round().await;
    shared.aws.calls().reset();
    assert_eq!(round().await, ["sturdy"; 10]);
    let healthy = shared.aws.calls().counts();
    assert_eq!(
        healthy.keys().filter(|call| *call != "GetItem").count(),
        0,
        "a healthy call writes: {healthy:?}"
    );

    shared.provider.break_down("sturdy");
    let before = shared.calls();
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(20) {
        assert_eq!(round().await, ["backup"; 10]);
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let calls = shared.calls() - before;
    assert!(
        rounds > 10 && calls < 90,
        "{calls} calls in {rounds} rounds of ten"
    );

    shared.provider.recover("sturdy");
    let begun = Instant::now();
    while round().await != ["sturdy"; 10] {
        assert!(begun.elapsed() < Duration::from_mins(1), "it never closes");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    shared.end().await;
}

/// DynamoDB takes 1,000 write units a second of one partition, and a write costs one for each KB of
/// the record that it leaves. Here all calls come in one second, before any is settled.
#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, from its beginning to its end"
)]
async fn five_hundred_open_calls_of_a_day_stay_within_a_partitions_write_units() {
    const CALLS: u64 = 500;
    let shared = Shared::new().await;
    let now = SystemClock.now();
    let day = BudgetKey::tenant_day(&"acme".parse().unwrap(), now);
    let budgets = DynamoBudgets::new(shared.aws.dynamodb(), shared.table.as_str());
    let allowance = Allowance {
        cap_micro_usd: 1_000 * (CALLS + 100),
        spent_before_micro_usd: 0,
    };
    let reserve = async |_| {
        let expires_at = now.plus(Duration::from_mins(5));
        let call = Reservation {
            id: ReservationId::new(now),
            amount_micro_usd: 1_000,
            expires_at,
        };
        budgets.reserve(&day, &call, allowance, now).await.unwrap()
    };
    // The local AWS takes only so many requests at once; what counts is how many reservations are
    // open.
    let reserved: Vec<Reserved> = stream::iter(0..CALLS)
        .map(reserve)
        .buffer_unordered(16)
        .collect()
        .await;
    assert!(
        reserved
            .iter()
            .all(|reserved| *reserved == Reserved::Granted)
    );
    let stands = budgets.budget(&day, now).await.unwrap();
    assert_eq!(
        (stands.committed_micro_usd, stands.held.len() as u64),
        (1_000 * CALLS, CALLS)
    );

    let records = shared
        .aws
        .dynamodb()
        .scan()
        .table_name(&shared.table)
        .send()
        .await
        .unwrap()
        .items
        .unwrap();
    let parts: Vec<_> = records
        .iter()
        .filter(|item| item["pk"].as_s().unwrap().starts_with("BUDGET#"))
        .collect();
    assert_eq!(parts.len(), 8);
    for part in parts {
        let holds = part.keys().filter(|name| name.starts_with("hold_")).count();
        // The name, two names and two numbers inside, and what DynamoDB adds for each.
        let bytes_of_hold = 5
            + ReservationId::new(now).to_string().len()
            + "amount".len()
            + "expires_at".len()
            + 9
            + 4
            + 6;
        let units: usize = (1..=holds)
            .map(|open| (100 + open * bytes_of_hold).div_ceil(1_024))
            .sum();
        assert!(
            holds < 200 && units < 1_000,
            "{holds} open calls, {units} write units"
        );
    }
    shared.end().await;
}

/// The first hundred calls wait for an answer until each of them has or lacks what it sets aside,
/// and some are killed then; the second hundred race with the answers of the rest. The local AWS
/// takes only so many requests at once.
#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, from its beginning to its end"
)]
async fn two_hundred_racing_calls_never_pass_a_cap_that_allows_fifty() {
    const KILLED: usize = 10;
    let shared = Shared::new().await;
    let now = SystemClock.now();
    let request = || priced(&shared.prompt);
    let key: KeyId = "key_aaaaaaaaaaaa".parse().unwrap();
    // What fifty calls may cost at most, by a generous count of their bytes.
    let cap = PriceTable::current()
        .bound(request().model(), 2_500, 100, now)
        .unwrap()
        * 50;
    let of_deployment = DailyCaps {
        tenant: Some(1),
        deployment: Some(cap * 2),
    };
    let own = |day: u64| {
        let caps = Caps::NONE.with(CapKind::CostOfDay, day).unwrap();
        caps.with(CapKind::CostOfMonth, cap * 2).unwrap()
    };
    // Half of the calls are made with a key that may spend half of what its tenant may.
    let caps = CapsOfTask {
        tenant: own(cap),
        key: own(cap / 2),
    };
    let stacks: Vec<_> = (0..4)
        .map(|_| {
            calls::stack_with_caps(
                &shared.aws,
                &shared.table,
                &shared.table,
                shared.provider.url(),
                (of_deployment, caps),
            )
        })
        .collect();
    let call = |number: usize| {
        let (stack, mut request) = (Arc::clone(&stacks[number % 4]), request());
        request.caller.key = Some(key).filter(|_| number.is_multiple_of(2));
        tokio::spawn(async move { stack.call(&request).await })
    };

    shared.provider.hold(PRICED);
    let mut first = Vec::new();
    let open = || shared.provider.requests_to(PRICED).len();
    for round in 1..=10 {
        first.extend((0..10).map(call));
        let ended = |call: &&JoinHandle<_>| call.is_finished();
        shared
            .until(|| open() + first.iter().filter(ended).count() == 10 * round)
            .await;
    }
    let open = open();
    // As if their worker were killed.
    first
        .iter()
        .filter(|call| !call.is_finished())
        .take(KILLED)
        .for_each(JoinHandle::abort);
    shared.provider.release(PRICED);
    let second = stream::iter(0..100)
        .map(call)
        .buffer_unordered(16)
        .collect::<Vec<_>>();
    let (first, second) = tokio::join!(join_all(first), second);

    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in first.into_iter().chain(second) {
        let outcome = match outcome {
            Ok(Ok(_)) => "answered",
            Ok(Err(error)) => match error.kind {
                ModelErrorKind::BudgetExhausted(_) | ModelErrorKind::BudgetReserved => "refused",
                _ => panic!("{error:?}"),
            },
            Err(_) => "killed",
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    assert!(
        (30..=60).contains(&open),
        "{open} open of the first hundred; {outcomes:?}"
    );
    let outcome = |name| outcomes.get(name).copied().unwrap_or_default();
    assert_eq!(outcome("killed"), KILLED, "{outcomes:?}");
    assert!(
        outcome("answered") >= open - KILLED && outcome("refused") > 0,
        "{outcomes:?}"
    );

    // What the killed ones set aside is held until their deadlines have passed, and counts in full
    // from then on.
    let budgets = DynamoBudgets::new(shared.aws.dynamodb(), shared.table.as_str());
    let day = BudgetKey::tenant_day(&"acme".parse().unwrap(), now);
    let before = budgets.budget(&day, SystemClock.now()).await.unwrap();
    assert!(
        before.held.len() == KILLED && before.committed_micro_usd <= cap,
        "{before:?} of {cap}; {outcomes:?}"
    );
    let all = budgets
        .budget(&BudgetKey::deployment_day(now), SystemClock.now())
        .await
        .unwrap();
    assert_eq!(
        (all.held.len(), all.committed_micro_usd),
        (KILLED, before.committed_micro_usd),
        "the deployment's day"
    );
    let tenant: TenantId = "acme".parse().unwrap();
    for period in [Period::day(now), Period::month(now)] {
        let of_key = BudgetKey::Key(tenant.clone(), key, period);
        let of_key = budgets.budget(&of_key, SystemClock.now()).await.unwrap();
        let spent = of_key.committed_micro_usd;
        assert!(
            (1..=cap / 2).contains(&spent),
            "{period}: {spent} of {}",
            cap / 2
        );
    }
    let month = BudgetKey::Tenant(tenant, Period::month(now));
    let month = budgets.budget(&month, SystemClock.now()).await.unwrap();
    assert_eq!(month.committed_micro_usd, before.committed_micro_usd);
    let after = budgets
        .budget(&day, SystemClock.now().plus(Duration::from_mins(10)))
        .await
        .unwrap();
    assert!(after.held.is_empty(), "{after:?}");
    assert_eq!(after.committed_micro_usd, before.committed_micro_usd);
    shared.end().await;
}
