//! The rules of [`Circuits`].

use std::sync::Arc;
use std::time::Duration;

use super::{Check, Outcome, eventually, same};
use crate::domain::{
    Circuit, CircuitCause, CircuitState, FailureCode, HealthKey, HealthNote, LastFailure, Latency,
    ModelHealth, ModelRef, Provider,
};
use crate::ports::{Circuits, ModelState, Replaced};
use crate::testing::samples::{self, START, after};

type Store = Arc<dyn Circuits>;

pub(super) const CHECKS: &[Check<Store>] = &[
    ("the circuit of an unknown model never opened", |c| {
        Box::pin(unknown(c))
    }),
    (
        "a circuit comes back as it was stored, in every state",
        |c| Box::pin(every_state(c)),
    ),
    ("the circuit of another model is another", |c| {
        Box::pin(own_model_only(c))
    }),
    (
        "a change of another revision changes nothing and tells how the circuit stands",
        |c| Box::pin(stale(c)),
    ),
    ("the very same change may be stored twice", |c| {
        Box::pin(repetition(c))
    }),
    ("of concurrent probers one gets the lease", |c| {
        Box::pin(one_prober(c))
    }),
    (
        "an expired circuit counts as none, in reads and in changes",
        |c| Box::pin(expired(c)),
    ),
    (
        "a model that was never called has a closed circuit and no health",
        |c| Box::pin(nothing_known(c)),
    ),
    ("the last notes of each kind are a model's health", |c| {
        Box::pin(last_notes(c))
    }),
    ("a late note does not replace a newer one", |c| {
        Box::pin(late_note(c))
    }),
    (
        "any number of models is read at once, each with its own state",
        |c| Box::pin(many_states(c)),
    ),
];

const OPEN_FOR: Duration = Duration::from_secs(30);

/// A model that no one else uses.
fn fresh_model() -> Result<ModelRef, crate::domain::Invalid> {
    ModelRef::new(
        Provider::OpenAiCompatible,
        format!("org/model:{}#1", samples::fresh_tenant()),
    )
}

fn open(circuit: &Circuit) -> Result<Circuit, &'static str> {
    circuit
        .trip(CircuitCause::BadAnswer, OPEN_FOR, START)
        .ok_or("the circuit is not closed")
}

/// The circuit as some worker probes it, after its time has come.
fn probed(open: &Circuit) -> Result<Circuit, &'static str> {
    open.try_probe(samples::lease_until(after(90)), after(30))
        .ok_or("the circuit is not to be probed")
}

async fn loads(circuits: &Store, model: &ModelRef, expected: &Circuit) -> Outcome {
    eventually(|| async { same(&circuits.load(model, START).await?, expected) }).await
}

async fn unknown(circuits: Store) -> Outcome {
    same(
        &circuits.load(&fresh_model()?, START).await?,
        &Circuit::default(),
    )
}

async fn every_state(circuits: Store) -> Outcome {
    let model = fresh_model()?;
    let lease = samples::lease_until(after(90));
    let states = [
        CircuitState::Open { until: after(30) },
        CircuitState::HalfOpen {
            successes: 0,
            probe: Some(lease),
        },
        CircuitState::HalfOpen {
            successes: 1,
            probe: None,
        },
        CircuitState::Closed,
    ];
    for (revision, state) in (1..).zip(states) {
        let circuit = Circuit {
            revision,
            failed_probes: 2,
            cause: CircuitCause::RateLimit,
            state,
        };
        same(
            &circuits.replace(&model, &circuit, START).await?,
            &Replaced::Done,
        )?;
        loads(&circuits, &model, &circuit).await?;
    }
    Ok(())
}

async fn own_model_only(circuits: Store) -> Outcome {
    let (ours, theirs) = (fresh_model()?, fresh_model()?);
    same(
        &circuits
            .replace(&theirs, &open(&Circuit::default())?, START)
            .await?,
        &Replaced::Done,
    )?;
    same(&circuits.load(&ours, START).await?, &Circuit::default())
}

async fn stale(circuits: Store) -> Outcome {
    let model = fresh_model()?;
    let open = open(&Circuit::default())?;
    let ahead = probed(&open)?;
    same(
        &circuits.replace(&model, &ahead, START).await?,
        &Replaced::Otherwise(Circuit::default()),
    )?;
    circuits.replace(&model, &open, START).await?;
    circuits.replace(&model, &ahead, START).await?;
    let other = Circuit {
        failed_probes: 1,
        ..open
    };
    same(
        &circuits.replace(&model, &other, START).await?,
        &Replaced::Otherwise(ahead.clone()),
    )?;
    loads(&circuits, &model, &ahead).await
}

async fn repetition(circuits: Store) -> Outcome {
    let model = fresh_model()?;
    let open = open(&Circuit::default())?;
    for change in [&open, &probed(&open)?] {
        same(
            &circuits.replace(&model, change, START).await?,
            &Replaced::Done,
        )?;
        same(
            &circuits.replace(&model, change, after(1)).await?,
            &Replaced::Done,
        )?;
    }
    Ok(())
}

async fn one_prober(circuits: Store) -> Outcome {
    let model = fresh_model()?;
    let open = open(&Circuit::default())?;
    circuits.replace(&model, &open, START).await?;
    let mut elections = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (circuits, model, probed) = (Arc::clone(&circuits), model.clone(), probed(&open)?);
        elections.spawn(async move { (circuits.replace(&model, &probed, START).await, probed) });
    }
    let outcomes = elections.join_all().await;
    let won = |outcome: &&_| matches!(outcome, (Ok(Replaced::Done), _));
    let winners: Vec<&Circuit> = outcomes
        .iter()
        .filter(won)
        .map(|(_, probed)| probed)
        .collect();
    let [winner] = winners.as_slice() else {
        return Err(format!("{} won", winners.len()).into());
    };
    for (outcome, _) in outcomes.iter().filter(|outcome| !won(outcome)) {
        let told = outcome.as_ref().map_err(ToString::to_string)?;
        same(told, &Replaced::Otherwise(Circuit::clone(winner)))?;
    }
    loads(&circuits, &model, winner).await
}

async fn expired(circuits: Store) -> Outcome {
    let model = fresh_model()?;
    let open = open(&Circuit::default())?;
    let probed = probed(&open)?;
    circuits.replace(&model, &open, START).await?;
    loads(&circuits, &model, &open).await?;
    let late = START.plus(Circuit::RETENTION);
    same(
        &circuits
            .load(&model, late.minus(Duration::from_secs(1)))
            .await?,
        &open,
    )?;
    same(&circuits.load(&model, late).await?, &Circuit::default())?;
    same(
        &circuits.replace(&model, &probed, late).await?,
        &Replaced::Otherwise(Circuit::default()),
    )?;
    let anew = Circuit {
        failed_probes: 1,
        ..open
    };
    same(
        &circuits.replace(&model, &anew, late).await?,
        &Replaced::Done,
    )?;
    eventually(|| async { same(&circuits.load(&model, late).await?, &anew) }).await
}

fn answered(second: u64, mean_ms: u64) -> HealthNote {
    HealthNote::Answered(Latency {
        at: after(second),
        mean_ms,
        longest_ms: 2 * mean_ms,
    })
}

fn failed(second: u64, status: Option<u16>, cooldown: Option<u64>) -> HealthNote {
    HealthNote::Failed {
        failure: LastFailure {
            at: after(second),
            code: FailureCode::ModelRateLimited,
            status,
        },
        cooldown_until: cooldown.map(after),
    }
}

/// Adds the notes, and checks that the health is what they make in this order.
async fn adds_up(
    circuits: &Store,
    key: HealthKey,
    notes: impl IntoIterator<Item = HealthNote>,
) -> Outcome {
    let mut health = ModelHealth::default();
    for note in notes {
        circuits.note(&key, note, START).await?;
        health.add(note);
    }
    let expected = ModelState {
        circuit: Some(Circuit::default()),
        health: Some(health),
    };
    let keys = [key];
    eventually(|| async {
        same(
            &circuits.states(&keys, START).await?,
            &vec![expected.clone()],
        )
    })
    .await
}

async fn nothing_known(circuits: Store) -> Outcome {
    adds_up(&circuits, HealthKey::Model(fresh_model()?), []).await?;
    same(&circuits.states(&[], START).await?, &Vec::new())
}

async fn last_notes(circuits: Store) -> Outcome {
    let notes = [
        answered(1, 900),
        failed(2, Some(429), Some(60)),
        answered(3, 700),
        failed(4, None, None),
    ];
    for count in 1..=notes.len() {
        let key = HealthKey::Model(fresh_model()?);
        adds_up(&circuits, key, notes.into_iter().take(count)).await?;
    }
    Ok(())
}

async fn late_note(circuits: Store) -> Outcome {
    let notes = [
        answered(9, 900),
        failed(9, Some(503), None),
        answered(9, 800),
        answered(8, 700),
        failed(8, Some(429), Some(60)),
    ];
    adds_up(&circuits, HealthKey::Model(fresh_model()?), notes).await
}

async fn many_states(circuits: Store) -> Outcome {
    let (mut keys, mut expected) = (Vec::new(), Vec::new());
    for number in 0..60 {
        let model = fresh_model()?;
        let key = HealthKey::Model(model.clone());
        let (mut circuit, mut health) = (Circuit::default(), ModelHealth::default());
        if number % 20 == 1 {
            circuit = open(&circuit)?;
            circuits.replace(&model, &circuit, START).await?;
        }
        if number % 20 == 2 {
            let note = answered(1, number);
            circuits.note(&key, note, START).await?;
            health.add(note);
        }
        keys.push(key);
        expected.push(ModelState {
            circuit: Some(circuit),
            health: Some(health),
        });
    }
    eventually(|| async { same(&circuits.states(&keys, START).await?, &expected) }).await
}
