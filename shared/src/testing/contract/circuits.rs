//! The rules of [`Circuits`].

use std::sync::Arc;
use std::time::Duration;

use super::{Check, Outcome, eventually, same};
use crate::domain::{Circuit, CircuitCause, CircuitState, ModelRef, Provider};
use crate::ports::{Circuits, Replaced};
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
