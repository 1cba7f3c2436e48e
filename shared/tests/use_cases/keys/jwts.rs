//! JWTs: for whom they open the API, and what they never allow.

use shared::app::{JwtCheck, PresentTenants};
use shared::testing::MemoryIssuer;

use super::*;

fn check_of(world: &World, faults: &Faults) -> JwtCheck {
    let tenants = Arc::new(world.tenant_store.with_faults(faults.clone()));
    let clock = || Arc::new(world.clock.clone());
    let present = PresentTenants::new(tenants, home());
    JwtCheck::new(Arc::new(MemoryIssuer), present, clock())
}

async fn outcome(check: &JwtCheck, token: &str, lasting: u64) -> &'static str {
    verdict(&check.check(token, Duration::from_secs(lasting)).await)
}

#[tokio::test]
async fn a_jwt_acts_for_its_tenant_and_manages_no_keys_or_tenants() {
    let world = World::new();
    let acme = samples::tenant("acme");
    let rate = Some(RequestRate::per_minute(7).unwrap());
    let limits = (rate, Caps::NONE, CountLimits::default());
    world
        .tenants
        .create_tenant(acme.clone(), limits)
        .await
        .unwrap();
    let check = check_of(&world, &Faults::default());
    let (access, subject) = check
        .check("jwt.acme.signed", Duration::ZERO)
        .await
        .unwrap();
    assert_eq!((access.tenant, access.key), (acme, None));
    assert_eq!(access.tenant_rate, rate);
    assert_eq!(subject.as_deref(), Some("user-7"));
    let never = Scopes::all().beyond(&access.scopes);
    assert_eq!(never, Some(Scope::Keys));
    assert!(!access.scopes.contain(Scope::Operator));
    assert_eq!(access.scopes.iter().count(), Scope::ALL.len() - 2);
    // The deployment's own tenant needs no record.
    assert_eq!(outcome(&check, "jwt.default.signed", 0).await, "accepted");
}

#[tokio::test]
async fn a_jwt_is_refused_that_is_not_valid_or_of_no_tenant() {
    let world = World::new();
    let check = check_of(&world, &Faults::default());
    for (token, expected) in [
        ("jwt.forged.signed", "signature"),
        ("jwt.unreadable.signed", "failed"),
        ("jwt.nobody.signed", "tenant"),
    ] {
        assert_eq!(outcome(&check, token, 0).await, expected, "{token}");
    }
    world.clock.advance(Duration::from_secs(3_659));
    assert_eq!(outcome(&check, "jwt.default.signed", 0).await, "accepted");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(
        outcome(&check, "jwt.default.signed", 0).await,
        "jwt_expired"
    );
}

#[tokio::test]
async fn a_suspension_and_a_deletion_take_effect_within_30_seconds() {
    let world = World::new();
    let acme = samples::tenant("acme");
    let check = check_of(&world, &Faults::default());
    assert_eq!(outcome(&check, "jwt.acme.signed", 0).await, "tenant");
    world.create_tenant(&acme).await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(outcome(&check, "jwt.acme.signed", 0).await, "accepted");
    let suspension = TenantChanges {
        status: Some(TenantStatus::Suspended),
        ..TenantChanges::default()
    };
    world
        .tenants
        .change_tenant(&acme, suspension)
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(outcome(&check, "jwt.acme.signed", 0).await, "accepted");
    // A wait of 20 s would end when what is known is too old.
    assert_eq!(outcome(&check, "jwt.acme.signed", 20).await, "suspended");
    world.tenants.delete_tenant(&acme).await.unwrap();
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(outcome(&check, "jwt.acme.signed", 0).await, "tenant");
}

#[tokio::test]
async fn without_the_store_no_jwt_is_trusted_for_longer() {
    let world = World::new();
    let faults = Faults::default();
    let check = check_of(&world, &faults);
    assert_eq!(outcome(&check, "jwt.default.signed", 0).await, "accepted");
    faults.fail_next(When::Before);
    assert_eq!(outcome(&check, "jwt.default.signed", 0).await, "accepted");
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(outcome(&check, "jwt.default.signed", 0).await, "failed");
    assert_eq!(outcome(&check, "jwt.default.signed", 0).await, "accepted");
}
