//! The three functions over ports in memory, as each `main.rs` builds them over AWS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{Api, Auth, DeploymentKey, Origins, router};
use axum::Router;
use cleanup::Cleanup;
use executor::Executor;
use shared::app::{
    AgentPurger, Agents, DeadLetterHandler, KeyPorts, ProviderReports, Purger, Readiness,
    RequestRates, Room, Runner, Sweeper, TaskSlots, Tasks, TenantWalker, UsageChecker,
    UsageReports, Waits, WorkTimes,
};
use shared::domain::{CacheRules, CacheTerms, Provider};
use shared::policy::{
    Backoff, Breaker, BreakerSettings, CacheSettings, Cached, CostCaps, DailyCaps, Fallback,
    Metered, Observed, PriceTable, Retry, RetryBudget,
};
use shared::ports::{Clock, Model, Secrets};
use shared::testing::{
    Faults, ManualClock, MemoryAnswers, MemoryBudgets, MemoryCircuits, MemoryKeys, MemoryQueue,
    MemoryRequestCounts, MemorySlots, MemoryStore, MemoryTenantRetention, MemoryTenants,
    MemoryUsage, SameCaps, ScriptedModel,
};
use shared::tools::{BuiltinTools, Credentials};

use super::stack::{Secretive, tenant};

/// The layers around a model call, as in `shared::llm::model`, around a scripted provider.
pub(crate) fn model(
    provider: Arc<ScriptedModel>,
    ephemeral: &Faults,
    caps: DailyCaps,
    clock: &ManualClock,
) -> Arc<dyn Model> {
    let time = || -> Arc<dyn Clock> { Arc::new(clock.clone()) };
    let circuits = Arc::new(MemoryCircuits::default().with_faults(ephemeral.clone()));
    let answers = Arc::new(MemoryAnswers::default().with_faults(ephemeral.clone()));
    let metered = Metered::new(
        provider,
        PriceTable::current(),
        CostCaps {
            budgets: Arc::new(MemoryBudgets::default()),
            daily: caps,
            own: Arc::new(SameCaps::default()),
        },
        time(),
    );
    let observed = Observed::new(
        Arc::new(metered),
        PriceTable::current(),
        Arc::<MemoryCircuits>::clone(&circuits),
        time(),
    );
    let breaker = Breaker::new(
        Arc::new(observed),
        circuits,
        BreakerSettings::default(),
        time(),
    );
    let retry = Retry::new(
        Arc::new(breaker),
        RetryBudget::default(),
        Backoff::Steady,
        time(),
    );
    let retry = retry.with_longest_cooldown(BreakerSettings::default().longest_cooldown());
    Arc::new(Cached::new(
        Arc::new(Fallback::new(Arc::new(retry))),
        answers,
        CacheSettings::default(),
        time(),
    ))
}

/// What the functions share.
pub(crate) struct Ports {
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryStore,
    pub(crate) queue: MemoryQueue,
}

impl Ports {
    fn store(&self) -> Arc<MemoryStore> {
        Arc::new(self.store.clone())
    }

    fn time(&self) -> Arc<ManualClock> {
        Arc::new(self.clock.clone())
    }

    pub(crate) fn api(&self, secrets: &Arc<Secretive>) -> Router {
        let tasks = Tasks {
            agents: self.store(),
            store: self.store(),
            journal: self.store(),
            queue: Arc::new(self.queue.clone()),
            providers: Provider::ALL.to_vec(),
            clock: self.time(),
        };
        let secrets: Arc<dyn Secrets> = Arc::<Secretive>::clone(secrets);
        let ports = KeyPorts {
            keys: Arc::new(MemoryKeys::default()),
            tenants: Arc::new(MemoryTenants::default()),
            secrets: Arc::clone(&secrets),
            pepper_secret: "pepper".to_owned(),
            home: tenant(),
            clock: self.time(),
        };
        let (keys, tenants, check) = ports.use_cases();
        let key = "api-key".to_owned();
        router(Api {
            agents: Agents {
                store: self.store(),
                retention: self.store(),
                providers: Provider::ALL.to_vec(),
                clock: self.time(),
            },
            waits: Waits::new(tasks.clone(), Arc::new(MemorySlots::default()), None),
            tasks,
            readiness: Arc::new(Readiness::new(Vec::new(), self.time())),
            keys,
            tenants,
            usage: UsageReports::new(Arc::new(MemoryUsage::default())),
            providers: ProviderReports::new(
                Arc::new(MemoryCircuits::default()),
                Provider::ALL.to_vec(),
                self.time(),
            ),
            auth: Auth {
                deployment_key: DeploymentKey::new(secrets, key, Duration::ZERO, tenant()),
                keys: Arc::new(check),
                jwts: None,
                rates: RequestRates::new(Arc::new(MemoryRequestCounts::default()), self.time()),
            },
            version: "v1",
            runbook_url: "docs/operations.md".to_owned(),
            origins: Origins::default(),
        })
    }

    pub(crate) fn executor(&self, model: Arc<dyn Model>, slots: TaskSlots) -> Executor {
        let runner = Runner {
            usage: Arc::new(MemoryUsage::default()),
            agents: self.store(),
            tasks: self.store(),
            journal: self.store(),
            queue: Arc::new(self.queue.clone()),
            model,
            tools: Arc::new(BuiltinTools::new(Credentials::default(), self.time()).unwrap()),
            clock: self.time(),
            cache: CacheRules::On(CacheTerms::default()),
            times: WorkTimes {
                step_reserve: Duration::ZERO,
                ..WorkTimes::default()
            },
            slots: Some(slots),
            room: Room::default(),
        };
        Executor {
            runner: Arc::new(runner),
            queue: Arc::new(self.queue.clone()),
        }
    }

    pub(crate) fn cleanup(&self) -> Cleanup {
        Cleanup {
            sweeper: Sweeper {
                tasks: self.store(),
                journal: self.store(),
                queue: Arc::new(self.queue.clone()),
                clock: self.time(),
            },
            purger: Purger {
                retention: self.store(),
                keep_for: None,
                clock: self.time(),
            },
            agents: AgentPurger {
                retention: self.store(),
                clock: self.time(),
            },
            usage: UsageChecker {
                usage: Arc::new(MemoryUsage::default()),
                tasks: self.store(),
                tenants: Arc::new(MemoryTenants::default()),
                home: tenant(),
                clock: self.time(),
                ended: Mutex::default(),
            },
            tenants: TenantWalker {
                tenants: Arc::new(MemoryTenantRetention {
                    store: self.store.clone(),
                    ..MemoryTenantRetention::default()
                }),
                tasks: self.store(),
                journal: self.store(),
                retention: self.store(),
                clock: self.time(),
            },
            undelivered: DeadLetterHandler {
                tasks: self.store(),
                clock: self.time(),
            },
            task_queue_url: String::new(),
        }
    }
}
