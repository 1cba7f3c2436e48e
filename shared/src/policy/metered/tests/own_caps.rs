//! The caps that tenants and keys have of their own.

use super::*;
use crate::domain::{BudgetScope, CapKind, Caps, KeyId, Period};
use crate::ports::{CapsOfTask, StoreError};

/// The layer over `script`, under a default cap of a tenant's day and these caps.
fn setup_with(
    script: impl IntoIterator<Item = Reply>,
    tenant: Option<u64>,
    own: Arc<dyn TaskCaps>,
) -> Setup {
    let mut setup = setup(script, tenant);
    setup.metered.own_caps = own;
    setup
}

fn request() -> ModelRequest {
    let mut request = samples::model_request("hello");
    request.caller.key = Some("key_aaaaaaaaaaaa".parse::<KeyId>().unwrap());
    request
}

fn cap(kind: CapKind, most: u64) -> Caps {
    Caps::NONE.with(kind, most).unwrap()
}

/// The same cap of the owner: the key, or else the tenant.
fn own(scope: BudgetScope, cap: Caps) -> CapsOfTask {
    let none = CapsOfTask::default();
    if scope == BudgetScope::Key {
        CapsOfTask { key: cap, ..none }
    } else {
        CapsOfTask {
            tenant: cap,
            ..none
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cap_of_a_key_or_a_tenant_refuses_the_call_that_could_pass_it() {
    let bound = bound(&request());
    for scope in [BudgetScope::Key, BudgetScope::Tenant] {
        for (kind, reset) in [
            (CapKind::CostOfDay, "2026-11-19"),
            (CapKind::CostOfMonth, "2026-12-01"),
        ] {
            let own = own(scope, cap(kind, bound));
            let script = [Reply::Answer(answer(USED))];
            let setup = setup_with(script, Some(PLENTY), Arc::new(SameCaps(own)));
            setup.metered.call(&request()).await.unwrap();
            let error = setup.metered.call(&request()).await.unwrap_err();
            assert_eq!(error.kind, ModelErrorKind::BudgetExhausted(scope));
            let (name, left) = (kind.field(), bound - price(USED));
            assert_eq!(
                error.said.unwrap().message.unwrap(),
                format!(
                    "{name} of the {scope} is {bound}, {left} are left, and the call may cost {bound}; \
                     it begins anew on {reset} (UTC)"
                )
            );
            assert_eq!(setup.model.requests().len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_caps_that_are_used_up_the_one_that_begins_anew_last_is_named() {
    let bound = bound(&request());
    let day = cap(CapKind::CostOfDay, bound);
    let both = day.with(CapKind::CostOfMonth, bound).unwrap();
    let less = cap(CapKind::CostOfDay, bound - 1);
    for (caps, expected) in [
        (both, "it begins anew on 2026-12-01 (UTC)".to_owned()),
        (
            less,
            format!("which is less than the call may cost: {bound}"),
        ),
    ] {
        let script = [Reply::Answer(answer(USED))];
        let own = own(BudgetScope::Key, caps);
        let setup = setup_with(script, None, Arc::new(SameCaps(own)));
        drop(setup.metered.call(&request()).await);
        let error = setup.metered.call(&request()).await.unwrap_err();
        let message = error.said.unwrap().message.unwrap();
        assert!(message.ends_with(&expected), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenants_own_cap_of_a_day_is_instead_of_the_default() {
    let bound = bound(&request());
    let (key, tenant) = (BudgetScope::Key, BudgetScope::Tenant);
    let (day, month) = (CapKind::CostOfDay, CapKind::CostOfMonth);
    for (default, own, is_made) in [
        (Some(1), own(tenant, cap(day, bound)), true),
        (Some(1), own(tenant, cap(month, bound)), false),
        (Some(1), own(key, cap(day, bound)), false),
        (Some(bound), own(tenant, cap(day, 1)), false),
        (Some(bound), own(tenant, cap(month, bound)), true),
        (None, own(key, cap(CapKind::RunningTasks, 1)), true),
    ] {
        let script = [Reply::Answer(answer(USED))];
        let setup = setup_with(script, default, Arc::new(SameCaps(own)));
        let called = setup.metered.call(&request()).await;
        assert_eq!(called.is_ok(), is_made, "{default:?} {own:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_period_of_each_owner_has_a_budget_of_its_own() {
    let own = CapsOfTask {
        tenant: samples::all_caps(),
        key: samples::all_caps(),
    };
    let setup = setup_with([Reply::Answer(answer(USED))], None, Arc::new(SameCaps(own)));
    let request = request();
    setup.metered.call(&request).await.unwrap();
    let (tenant, key) = (&request.caller.tenant, request.caller.key.unwrap());
    for period in [Period::day(START), Period::month(START)] {
        for budget in [
            BudgetKey::Tenant(tenant.clone(), period),
            BudgetKey::Key(tenant.clone(), key, period),
        ] {
            assert_eq!(stands(&setup, &budget), (price(USED), 0), "{budget:?}");
        }
    }
    assert_eq!(
        setup.faults.calls(),
        2 * 4,
        "one reservation and one settlement each"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_without_a_key_is_under_no_cap_of_a_key() {
    let own = CapsOfTask {
        key: cap(CapKind::CostOfDay, 1),
        ..CapsOfTask::default()
    };
    let setup = setup_with([Reply::Answer(answer(USED))], None, Arc::new(SameCaps(own)));
    let request = samples::model_request("hello");
    setup.metered.call(&request).await.unwrap();
}

struct Unreadable;

#[async_trait]
impl TaskCaps for Unreadable {
    async fn of_task(
        &self,
        _tenant: &TenantId,
        _key: Option<KeyId>,
    ) -> Result<CapsOfTask, StoreError> {
        Err(StoreError::Throttled("as the test wants it".into()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_caps_can_not_be_read_is_made_later() {
    let setup = setup_with([], None, Arc::new(Unreadable));
    check_waits(setup.metered.call(&request()).await);
    assert_eq!(setup.model.requests(), vec![]);
}
