//! What this process knows of all circuits, and how it reads them from the store.
//!
//! Calls that find the same circuit stale wait for one look-up together. The store has half a
//! second for everything: past that it counts as failed, which is logged once per
//! [`BreakerSettings::view_for`] and model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use super::settings::BreakerSettings;
use super::view::{CallSignal, Decision, LONGEST_LEASE, ProbeClaim, SKEW, View};
use crate::domain::{
    Causes, Circuit, CircuitCause, CircuitState, Deadline, ModelRef, TaskId, Timestamp,
};
use crate::metric;
use crate::ports::{Circuits, Clock, Replaced, StoreError};

/// How long the store may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many models are remembered before those with closed circuits are dropped.
const MANY: usize = 1_000;

type LookUp = Shared<BoxFuture<'static, ()>>;

/// What this process knows of all circuits.
pub(super) struct SharedCircuits {
    store: Arc<dyn Circuits>,
    settings: BreakerSettings,
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<ModelRef, Entry>>,
}

#[derive(Default)]
struct Entry {
    view: View,
    /// The look-up under way. Weak, so that it ends with the last call that waits for it.
    look_up: Option<WeakShared<BoxFuture<'static, ()>>>,
}

impl SharedCircuits {
    pub(super) fn new(
        store: Arc<dyn Circuits>,
        settings: BreakerSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            settings,
            clock,
            entries: Mutex::default(),
        }
    }

    pub(super) const fn settings(&self) -> &BreakerSettings {
        &self.settings
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Reads the circuit if it was not read for a while.
    pub(super) async fn refresh(self: &Arc<Self>, model: &ModelRef) {
        let look_up = self.with(model, |entry, now| {
            entry
                .view
                .is_stale(self.settings.view_for(), now)
                .then(|| self.join(model, entry))
        });
        if let Some(look_up) = look_up {
            look_up.await;
        }
    }

    pub(super) fn decide(&self, model: &ModelRef, deadline: Deadline) -> Decision {
        self.with(model, |entry, now| entry.view.decide(deadline, now))
    }

    pub(super) fn count(
        &self,
        model: &ModelRef,
        task: TaskId,
        signal: CallSignal,
    ) -> Option<Circuit> {
        self.with(model, |entry, now| {
            entry.view.count(signal, task, &self.settings, now)
        })
    }

    /// How many failures in a row this process has counted.
    pub(super) fn failures(&self, model: &ModelRef) -> u32 {
        self.with(model, |entry, _| entry.view.failures())
    }

    /// Refuses calls here for `wait`, because the other functions could not be notified.
    pub(super) fn hold(&self, model: &ModelRef, cause: CircuitCause, wait: Duration) {
        self.with(model, |entry, now| entry.view.hold(cause, wait, now));
    }

    pub(super) fn withdraw(&self, model: &ModelRef, claim: ProbeClaim) {
        self.with(model, |entry, _| entry.view.withdraw(claim));
    }

    /// Stores a change and takes over the circuit that is stored then; `None` if the store failed.
    pub(super) async fn replace(&self, model: &ModelRef, next: &Circuit) -> Option<Replaced> {
        match in_time(self.store.replace(model, next, self.now())).await {
            Ok(replaced) => {
                let replaced = match replaced {
                    Replaced::Done => Replaced::Done,
                    Replaced::Otherwise(other) => Replaced::Otherwise(self.trusted(model, other)),
                };
                let stored = match &replaced {
                    Replaced::Done => next,
                    Replaced::Otherwise(other) => other,
                };
                self.with(model, |entry, now| entry.view.learn(stored.clone(), now));
                Some(replaced)
            }
            Err(error) => {
                self.failed(model, &error);
                None
            }
        }
    }

    /// The look-up under way, or a new one.
    fn join(self: &Arc<Self>, model: &ModelRef, entry: &mut Entry) -> LookUp {
        if let Some(look_up) = entry
            .look_up
            .as_ref()
            .and_then(WeakShared::upgrade)
            .filter(|it| it.peek().is_none())
        {
            return look_up;
        }
        let (this, model) = (Arc::clone(self), model.clone());
        let look_up = async move { this.look_up(&model).await }.boxed().shared();
        entry.look_up = look_up.downgrade();
        look_up
    }

    async fn look_up(&self, model: &ModelRef) {
        let begun = self.now();
        match in_time(self.store.load(model, begun)).await {
            Ok(found) => {
                let found = self.trusted(model, found);
                self.with(model, |entry, now| entry.view.read(found, begun, now));
            }
            Err(error) => self.failed(model, &error),
        }
    }

    /// The stored circuit. If it refuses calls for longer than any executor makes it, its record is
    /// damaged, and a probe finds out at once whether the provider works. The claim of the probe
    /// replaces the record.
    fn trusted(&self, model: &ModelRef, circuit: Circuit) -> Circuit {
        let longest = match circuit.state {
            CircuitState::Open { .. } | CircuitState::Closed => self.settings.longest_open(),
            CircuitState::HalfOpen { .. } => LONGEST_LEASE.saturating_add(SKEW),
        };
        let now = self.now();
        let latest = now.plus(longest).plus(SKEW);
        let Some(until) = circuit.refuses_until().filter(|until| *until > latest) else {
            return circuit;
        };
        tracing::warn!(
            provider = %model.provider(),
            model = model.name(),
            cause = circuit.cause.as_str(),
            open_seconds = until.since(now).as_secs(),
            until_ms = until.as_millis(),
            "circuit record is open for longer than any executor opens it"
        );
        circuit.to_be_probed()
    }

    fn failed(&self, model: &ModelRef, error: &StoreError) {
        metric::EPHEMERAL_FAILURES.add([], 1);
        if self.with(model, |entry, now| {
            entry.view.blinded(self.settings.view_for(), now)
        }) {
            let (provider, error) = (model.provider(), Causes(error));
            tracing::warn!(%provider, model = model.name(), %error, "shared circuit state unavailable");
        }
    }

    fn with<T>(&self, model: &ModelRef, act: impl FnOnce(&mut Entry, Timestamp) -> T) -> T {
        let now = self.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(model) {
            return act(entry, now);
        }
        if entries.len() >= MANY {
            entries.retain(|_, entry| entry.view.matters(self.settings.view_for(), now));
        }
        act(entries.entry(model.clone()).or_default(), now)
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |elapsed| Err(StoreError::Unavailable(Box::new(elapsed)));
    tokio::time::timeout(PATIENCE, call)
        .await
        .unwrap_or_else(late)
}
