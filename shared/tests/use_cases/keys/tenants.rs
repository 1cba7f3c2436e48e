//! What tenants see of each other, and limits on their requests.

use shared::app::TenantRefused;
use shared::ports::TenantStore;

use super::*;

#[tokio::test]
async fn a_tenant_touches_no_key_of_another() {
    let world = World::new();
    let theirs = world.key().await.id();
    let acme = Access {
        tenant: samples::tenant("acme"),
        ..operator()
    };
    let unknown = KeyId::from_random([3; 12]);
    for id in [theirs, unknown] {
        let refusals = [
            world.keys.find_key(&acme.tenant, id).await.err(),
            world.keys.revoke_key(&acme.tenant, id).await.err(),
            world
                .keys
                .rotate_key(&acme, id, Grace::default())
                .await
                .err(),
            world
                .keys
                .change_key(&acme, id, KeyChanges::default())
                .await
                .err(),
        ];
        for refusal in refusals {
            let text = refusal.unwrap().to_string();
            assert_eq!(text, format!("key {id} not found"));
        }
    }
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    let listed = world.keys.list_keys(&acme.tenant, &page).await.unwrap();
    assert!(listed.entries.is_empty());
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_and_comes_back() {
    let world = World::new();
    let acme = samples::tenant("acme");
    world.create_tenant(&acme).await.unwrap();
    let first = world.tenants.create_key(&acme, samples::key_terms()).await;
    let token = first.unwrap().1;
    let function = world.function();
    assert_eq!(outcome(&function, &token).await, "accepted");
    let set = async |status| {
        let changes = TenantChanges {
            status: Some(status),
            ..TenantChanges::default()
        };
        world.tenants.change_tenant(&acme, changes).await.unwrap()
    };
    set(TenantStatus::Suspended).await;
    set(TenantStatus::Suspended).await;
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(outcome(&function, &token).await, "suspended");
    let wrong = ApiToken::from_random(token.id(), [1; 32]);
    assert_eq!(outcome(&function, &wrong).await, "wrong");
    set(TenantStatus::Active).await;
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(outcome(&function, &token).await, "accepted");
}

#[tokio::test]
async fn a_key_of_a_tenant_without_a_record_is_unknown() {
    let world = World::new();
    let token = samples::token();
    let terms = samples::key_terms();
    let credential = shared::domain::Credential::create(
        samples::tenant("gone"),
        terms,
        &token,
        world.clock.now(),
    );
    let seal = Pepper::new("first").seal(&credential);
    world
        .store
        .put(token.id(), SealedCredential { credential, seal });
    assert_eq!(outcome(&world.function(), &token).await, "unknown");
}

#[tokio::test]
async fn an_id_of_a_tenant_is_taken_once() {
    let world = World::new();
    let create = async |id: &str| world.create_tenant(&samples::tenant(id)).await;
    create("acme").await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    for taken in ["acme", "default"] {
        let refused = create(taken).await;
        assert!(
            matches!(refused, Err(AppError::Tenant(TenantRefused::Exists(_)))),
            "{refused:?}"
        );
    }
    let operator_key = KeyTerms {
        scopes: Scopes::all(),
        ..samples::key_terms()
    };
    let refused = world
        .tenants
        .create_key(&samples::tenant("acme"), operator_key)
        .await;
    assert!(matches!(refused, Err(AppError::Invalid(_))), "{refused:?}");
    let refused = world
        .tenants
        .create_key(&samples::tenant("nobody"), samples::key_terms())
        .await;
    assert!(matches!(refused, Err(AppError::NotFound(_))), "{refused:?}");
}

#[tokio::test]
async fn a_deleted_tenants_keys_are_unknown_and_its_id_is_never_used_again() {
    let world = World::new();
    let acme = samples::tenant("acme");
    world.create_tenant(&acme).await.unwrap();
    let first = world.tenants.create_key(&acme, samples::key_terms()).await;
    let token = first.unwrap().1;
    let function = world.function();
    assert_eq!(outcome(&function, &token).await, "accepted");
    let deleting = world.tenants.delete_tenant(&acme).await.unwrap();
    assert_eq!(outcome(&world.function(), &token).await, "unknown");
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(outcome(&function, &token).await, "unknown");
    let again = world.tenants.delete_tenant(&acme).await.unwrap();
    assert_eq!(again, deleting);

    let tombstone = deleting.deleted();
    world.tenant_store.update(&tombstone).await.unwrap();
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(outcome(&function, &token).await, "unknown");
    let again = world.tenants.delete_tenant(&acme).await.unwrap();
    assert_eq!(again, tombstone);
    let refused = world.create_tenant(&acme).await;
    assert!(
        matches!(refused, Err(AppError::Tenant(TenantRefused::Deleted(_)))),
        "{refused:?}"
    );
    let listed = world.tenants.list_tenants(&PageRequest {
        limit: 10,
        after: None,
    });
    assert_eq!(listed.await.unwrap().entries, []);
    let own = world.tenants.delete_tenant(&home()).await;
    assert!(
        matches!(own, Err(AppError::Tenant(TenantRefused::Own(_)))),
        "{own:?}"
    );
}

#[tokio::test]
async fn if_requests_cannot_be_counted_none_is_refused() {
    let faults = Faults::default();
    let counts = MemoryRequestCounts::default().with_faults(faults.clone());
    let clock = ManualClock::at(samples::START);
    let rates = RequestRates::new(Arc::new(counts), Arc::new(clock.clone()));
    let caller = Access {
        tenant_rate: RequestRate::per_minute(1).ok(),
        ..operator()
    };
    let left = async || {
        let counted = rates.count(&caller).await;
        counted.iter().map(|limit| limit.left).collect::<Vec<_>>()
    };
    assert_eq!(left().await, [Some(0)]);
    assert_eq!(left().await, [None]);
    faults.die_now();
    assert_eq!(left().await, []);
    faults.clear();
    assert_eq!(left().await, [None]);
    clock.advance(Duration::from_mins(1));
    assert_eq!(left().await, [Some(0)]);
    assert!(rates.count(&operator()).await.is_empty());
}
