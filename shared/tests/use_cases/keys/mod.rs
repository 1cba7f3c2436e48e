//! API keys: what opens the API, what does not, and how soon a change takes effect.

use std::sync::Arc;
use std::time::Duration;

use shared::app::{
    Access, AppError, KeyChanges, KeyCheck, KeyPorts, Keys, Refused, RequestRates, TenantChanges,
    Tenants,
};
use shared::domain::{
    ApiToken, Caps, CountLimits, Grace, KeyId, KeyTerms, Pepper, RequestRate, Scope, Scopes,
    Tenant, TenantId, TenantStatus,
};
use shared::ports::{Clock, KeyStore, PageRequest, SealedCredential};
use shared::testing::{
    Faults, ManualClock, MemoryKeys, MemoryRequestCounts, MemorySecrets, MemoryTenants, When,
    samples,
};

mod jwts;
mod tenants;

/// One deployment. Each function has its own check.
struct World {
    keys: Keys,
    tenants: Tenants,
    store: MemoryKeys,
    tenant_store: MemoryTenants,
    secrets: MemorySecrets,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        let (store, tenant_store) = (MemoryKeys::default(), MemoryTenants::default());
        let (secrets, clock) = (MemorySecrets::default(), ManualClock::at(samples::START));
        secrets.set("pepper", "first");
        let faults = Faults::default();
        let ports = ports(&store, &tenant_store, &secrets, &clock, &faults);
        let (keys, tenants, _) = ports.use_cases();
        Self {
            keys,
            tenants,
            store,
            tenant_store,
            secrets,
            clock,
        }
    }

    /// The check of another function.
    fn function(&self) -> KeyCheck {
        self.failing_function(&Faults::default())
    }

    fn failing_function(&self, faults: &Faults) -> KeyCheck {
        ports(
            &self.store,
            &self.tenant_store,
            &self.secrets,
            &self.clock,
            faults,
        )
        .use_cases()
        .2
    }

    /// Creates a tenant without limits of its own.
    async fn create_tenant(&self, id: &TenantId) -> Result<Tenant, AppError> {
        let no_limits = (None, Caps::NONE, CountLimits::default());
        self.tenants.create_tenant(id.clone(), no_limits).await
    }

    async fn key(&self) -> ApiToken {
        let terms = KeyTerms {
            scopes: Scopes::all(),
            ..samples::key_terms()
        };
        self.keys.create_key(&operator(), terms).await.unwrap().1
    }
}

fn ports(
    keys: &MemoryKeys,
    tenants: &MemoryTenants,
    secrets: &MemorySecrets,
    clock: &ManualClock,
    faults: &Faults,
) -> KeyPorts {
    KeyPorts {
        keys: Arc::new(keys.with_faults(faults.clone())),
        tenants: Arc::new(tenants.with_faults(faults.clone())),
        secrets: Arc::new(secrets.clone()),
        pepper_secret: "pepper".to_owned(),
        home: home(),
        clock: Arc::new(clock.clone()),
    }
}

fn home() -> TenantId {
    samples::tenant("default")
}

/// The caller with the deployment's own key.
fn operator() -> Access {
    Access {
        tenant: home(),
        key: None,
        scopes: Scopes::all(),
        key_rate: None,
        tenant_rate: None,
        tenant_caps: Caps::NONE,
        count_limits: CountLimits::HIGHEST,
    }
}

async fn outcome(check: &KeyCheck, token: &ApiToken) -> &'static str {
    verdict(&check.check(token, Duration::ZERO).await)
}

fn verdict<T>(checked: &Result<T, Refused>) -> &'static str {
    match checked {
        Ok(_) => "accepted",
        Err(Refused::Invalid(reason)) => reason,
        Err(Refused::Expired) => "jwt_expired",
        Err(Refused::Suspended(_)) => "suspended",
        Err(Refused::Failed(_)) => "failed",
    }
}

#[tokio::test]
async fn a_key_acts_for_its_tenant_with_its_scopes() {
    let world = World::new();
    let terms = samples::key_terms();
    let (key, token) = world
        .keys
        .create_key(&operator(), terms.clone())
        .await
        .unwrap();
    let access = world
        .function()
        .check(&token, Duration::ZERO)
        .await
        .unwrap();
    let expected = Access {
        tenant: home(),
        key: Some(key.id),
        scopes: terms.scopes,
        key_rate: None,
        tenant_rate: None,
        tenant_caps: Caps::NONE,
        count_limits: CountLimits::HIGHEST,
    };
    assert_eq!(access, expected);
}

#[tokio::test]
async fn a_warm_check_reads_nothing_and_notes_the_use_once_a_day() {
    let world = World::new();
    let token = world.key().await;
    let faults = Faults::default();
    let function = world.failing_function(&faults);
    assert_eq!(outcome(&function, &token).await, "accepted");
    // The key, its tenant, and the note of its use.
    assert_eq!(faults.calls(), 3);
    for _ in 0..10 {
        assert_eq!(outcome(&function, &token).await, "accepted");
    }
    assert_eq!(faults.calls(), 3);
    let used = async || {
        let found = world.keys.find_key(&home(), token.id()).await.unwrap();
        found.last_used_day
    };
    let today = samples::START.as_millis() / 86_400_000;
    assert_eq!(used().await, Some(today));
    world.clock.advance(Duration::from_hours(24));
    assert_eq!(outcome(&function, &token).await, "accepted");
    assert_eq!(used().await, Some(today + 1));
    assert_eq!(faults.calls(), 6);
}

#[tokio::test]
async fn a_revoked_key_is_refused_everywhere_within_thirty_seconds() {
    let world = World::new();
    let token = world.key().await;
    let functions = [world.function(), world.function()];
    for function in &functions {
        assert_eq!(outcome(function, &token).await, "accepted");
    }
    world.keys.revoke_key(&home(), token.id()).await.unwrap();
    assert_eq!(outcome(&world.function(), &token).await, "revoked");
    world.clock.advance(Duration::from_secs(29));
    assert_eq!(outcome(&functions[0], &token).await, "accepted");
    // A wait of 25 s would end later than that, so its key is read again.
    let waiting = functions[1].check(&token, Duration::from_secs(25)).await;
    assert!(
        matches!(waiting, Err(Refused::Invalid("revoked"))),
        "{waiting:?}"
    );
    world.clock.advance(Duration::from_secs(1));
    for function in &functions {
        assert_eq!(outcome(function, &token).await, "revoked");
    }
}

#[tokio::test]
async fn a_key_expires_on_time_although_it_is_remembered() {
    let world = World::new();
    let terms = KeyTerms {
        expires_at: Some(samples::after(10)),
        ..samples::key_terms()
    };
    let (_, token) = world.keys.create_key(&operator(), terms).await.unwrap();
    let function = world.function();
    assert_eq!(outcome(&function, &token).await, "accepted");
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(outcome(&function, &token).await, "expired");
}

#[tokio::test]
async fn a_rotated_key_is_accepted_and_the_earlier_secret_until_the_grace_ends() {
    let world = World::new();
    let old = world.key().await;
    let function = world.function();
    assert_eq!(outcome(&function, &old).await, "accepted");
    let grace = Grace::from_seconds(60).unwrap();
    let rotate = async || {
        let rotated = world.keys.rotate_key(&operator(), old.id(), grace).await;
        rotated.unwrap().1
    };
    let new = rotate().await;
    assert_eq!(outcome(&function, &new).await, "accepted");
    assert_eq!(outcome(&function, &old).await, "accepted");
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(outcome(&function, &old).await, "wrong");
    assert_eq!(outcome(&function, &new).await, "accepted");
    rotate().await;
    let newest = rotate().await;
    // The wrong secret above had the key read again.
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(outcome(&function, &newest).await, "accepted");
    assert_eq!(outcome(&function, &new).await, "wrong");
}

#[tokio::test]
async fn wrong_secrets_read_a_key_again_once_in_five_seconds() {
    let world = World::new();
    let token = world.key().await;
    let function = world.function();
    assert_eq!(outcome(&function, &token).await, "accepted");
    let wrong = ApiToken::from_random(token.id(), [1; 32]);
    let before = world.store.reads();
    for _ in 0..20 {
        assert_eq!(outcome(&function, &wrong).await, "wrong");
    }
    world.clock.advance(Duration::from_secs(1));
    for _ in 0..20 {
        assert_eq!(outcome(&function, &wrong).await, "wrong");
    }
    assert!(world.store.reads() - before <= 1, "{}", world.store.reads());
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(outcome(&function, &wrong).await, "wrong");
    assert_eq!(world.store.reads() - before, 2);
}

#[tokio::test]
async fn an_unknown_key_is_read_once_in_five_seconds() {
    let world = World::new();
    let function = world.function();
    let token = samples::token();
    for _ in 0..10 {
        assert_eq!(outcome(&function, &token).await, "unknown");
    }
    assert_eq!(world.store.reads(), 1);
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(outcome(&function, &token).await, "unknown");
    assert_eq!(world.store.reads(), 2);
}

#[tokio::test]
async fn a_thousand_keys_are_remembered_and_no_more() {
    let world = World::new();
    let function = world.function();
    let token = world.key().await;
    assert_eq!(outcome(&function, &token).await, "accepted");
    for _ in 0..1_000 {
        world.clock.advance(Duration::from_millis(1));
        outcome(&function, &samples::token()).await;
    }
    let before = world.store.reads();
    assert_eq!(outcome(&function, &token).await, "accepted");
    assert_eq!(world.store.reads(), before + 1);
}

#[tokio::test]
async fn a_record_that_somebody_edited_or_moved_is_refused() {
    let world = World::new();
    let token = world.key().await;
    let sealed = world.store.credential(token.id()).await.unwrap().unwrap();
    let edits: [fn(&mut SealedCredential); 5] = [
        |record| record.credential.key.tenant = samples::tenant("default-2"),
        |record| record.credential.key.terms.scopes = [Scope::Operator].into_iter().collect(),
        |record| record.credential.key.terms.expires_at = Some(samples::after(100_000)),
        |record| record.credential.key.revision += 1,
        |record| record.credential.current = samples::token().secret_hash(),
    ];
    for edit in edits {
        let mut edited = sealed.clone();
        edit(&mut edited);
        world.store.put(token.id(), edited);
        assert_eq!(outcome(&world.function(), &token).await, "unknown");
    }
    world.store.put(token.id(), sealed.clone());
    assert_eq!(outcome(&world.function(), &token).await, "accepted");
    let moved_to = samples::token();
    let moved = ApiToken::from_random(moved_to.id(), [7; 32]);
    world.store.put(moved_to.id(), sealed);
    assert_eq!(outcome(&world.function(), &moved).await, "unknown");
}

#[tokio::test]
async fn an_edited_key_cannot_be_changed_but_can_be_revoked() {
    let world = World::new();
    let token = world.key().await;
    let mut edited = world.store.credential(token.id()).await.unwrap().unwrap();
    edited.credential.key.terms.scopes = Scopes::all();
    edited.credential.key.revision += 1;
    world.store.put(token.id(), edited);
    let rotated = world
        .keys
        .rotate_key(&operator(), token.id(), Grace::default())
        .await;
    assert!(
        matches!(rotated, Err(AppError::Unreadable(_))),
        "{rotated:?}"
    );
    world.keys.revoke_key(&home(), token.id()).await.unwrap();
    assert_eq!(outcome(&world.function(), &token).await, "revoked");
}

#[tokio::test]
async fn keys_survive_two_rotations_of_the_pepper_in_a_row() {
    let world = World::new();
    let (used, forgotten) = (world.key().await, world.key().await);
    world.secrets.rotate("pepper", "second");
    assert_eq!(outcome(&world.function(), &used).await, "accepted");
    let sealed = world.store.credential(used.id()).await.unwrap().unwrap();
    assert_eq!(sealed.seal.pepper, *Pepper::new("second").version());
    let all = PageRequest {
        limit: 10,
        after: None,
    };
    let renewed = world.tenants.renew_seals(&all).await.unwrap();
    assert_eq!((renewed.keys, renewed.next), (1, None));
    assert_eq!(world.tenants.renew_seals(&all).await.unwrap().keys, 0);
    world.secrets.rotate("pepper", "third");
    for token in [used, forgotten] {
        assert_eq!(outcome(&world.function(), &token).await, "accepted");
    }
}

#[tokio::test]
async fn if_the_store_fails_nothing_stale_is_accepted() {
    let world = World::new();
    let token = world.key().await;
    let faults = Faults::default();
    let function = world.failing_function(&faults);
    assert_eq!(outcome(&function, &token).await, "accepted");
    faults.die_now();
    world.clock.advance(Duration::from_secs(29));
    assert_eq!(outcome(&function, &token).await, "accepted");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(outcome(&function, &token).await, "failed");
    assert_eq!(outcome(&function, &samples::token()).await, "failed");
    faults.clear();
    assert_eq!(outcome(&function, &token).await, "accepted");
    world.secrets.remove("pepper");
    assert_eq!(outcome(&world.function(), &token).await, "failed");
}

#[tokio::test]
async fn a_use_that_can_not_be_noted_hinders_nobody() {
    let world = World::new();
    let token = world.key().await;
    let faults = Faults::default();
    let function = world.failing_function(&faults);
    faults.die_at(3, When::Before);
    assert_eq!(outcome(&function, &token).await, "accepted");
}

#[tokio::test]
async fn nobody_gets_a_scope_through_another_key() {
    let world = World::new();
    let weak = Access {
        scopes: [Scope::Keys, Scope::TasksRead].into_iter().collect(),
        ..operator()
    };
    let strong = world.key().await.id();
    let terms = KeyTerms {
        scopes: [Scope::Keys, Scope::AgentsWrite].into_iter().collect(),
        ..samples::key_terms()
    };
    let created = world.keys.create_key(&weak, terms).await;
    assert!(matches!(created, Err(AppError::Invalid(_))), "{created:?}");
    let rotated = world.keys.rotate_key(&weak, strong, Grace::default()).await;
    assert!(
        matches!(rotated, Err(AppError::MissingScope(_))),
        "{rotated:?}"
    );
    let own = KeyTerms {
        scopes: weak.scopes.clone(),
        ..samples::key_terms()
    };
    let own = world.keys.create_key(&weak, own).await.unwrap().0.id;
    let changes = KeyChanges {
        scopes: Some(Scopes::all()),
        ..KeyChanges::default()
    };
    let refused = world.keys.change_key(&weak, own, changes).await;
    assert!(matches!(refused, Err(AppError::Invalid(_))), "{refused:?}");
    let refused = world
        .keys
        .change_key(&weak, strong, KeyChanges::default())
        .await;
    assert!(
        matches!(refused, Err(AppError::MissingScope(_))),
        "{refused:?}"
    );
}
