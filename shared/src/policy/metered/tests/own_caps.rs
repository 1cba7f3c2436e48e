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

#[tokio::test(start_paused = true)]
async fn a_cap_of_a_key_or_a_tenant_refuses_the_call_that_could_pass_it() {
    let bound = bound(&request());
    let of_key = |key| CapsOfTask {
        key,
        ..CapsOfTask::default()
    };
    let of_tenant = |tenant| CapsOfTask {
        tenant,
        ..CapsOfTask::default()
    };
    let (day, month) = (CapKind::CostOfDay, CapKind::CostOfMonth);
    for (default, own, refused) in [
        (
            Some(PLENTY),
            of_key(cap(day, bound - 1)),
            Some((BudgetScope::Key, day)),
        ),
        (
            Some(PLENTY),
            of_key(cap(month, bound - 1)),
            Some((BudgetScope::Key, month)),
        ),
        (
            Some(PLENTY),
            of_tenant(cap(day, bound - 1)),
            Some((BudgetScope::Tenant, day)),
        ),
        (
            Some(PLENTY),
            of_tenant(cap(month, bound - 1)),
            Some((BudgetScope::Tenant, month)),
        ),
        (
            None,
            of_tenant(cap(month, bound - 1)),
            Some((BudgetScope::Tenant, month)),
        ),
        // A tenant's own cap of the day is instead of the deployment's default.
        (Some(1), of_tenant(cap(day, bound)), None),
        (Some(bound), of_tenant(cap(month, bound)), None),
        (None, of_key(cap(day, bound)), None),
        (None, of_key(cap(CapKind::RunningTasks, 1)), None),
    ] {
        let script = [Reply::Answer(answer(USED))];
        let setup = setup_with(script, default, Arc::new(SameCaps(own)));
        let called = setup.metered.call(&request()).await;
        let Some((scope, limit)) = refused else {
            assert!(called.is_ok(), "{own:?}: {called:?}");
            continue;
        };
        let error = called.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::BudgetExhausted(scope));
        let message = error.said.unwrap().message.unwrap();
        let reset = if limit == day {
            "2026-11-19"
        } else {
            "2026-12-01"
        };
        assert_eq!(
            message,
            format!(
                "{} of the {scope} is {most}, {most} are left, and the call may cost {bound}; it begins anew on {reset} (UTC)",
                limit.field(),
                most = bound - 1,
            )
        );
        assert_eq!(setup.model.requests(), vec![]);
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
