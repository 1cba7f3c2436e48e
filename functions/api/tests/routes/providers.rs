//! `/v1/providers`, over circuits and notes of executors.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::domain::{
    Circuit, CircuitCause, CircuitState, FailureCode, HealthKey, HealthNote, LastFailure, Latency,
    ModelRef, Provider,
};
use shared::ports::{Circuits, Clock};
use shared::testing::{Faults, When, samples};

use crate::platform::Platform;

const OPEN_FOR: Duration = Duration::from_secs(30);

/// What is shown of a model of Anthropic's.
async fn shown(platform: &Platform, model: &str) -> Value {
    let answer = platform.get("/v1/providers").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let models = answer.body["data"][0]["models"].as_array().unwrap();
    let is_wanted = |shown: &&Value| shown["model"] == model;
    models.iter().find(is_wanted).unwrap().clone()
}

fn failed() -> HealthNote {
    HealthNote::Failed {
        failure: LastFailure {
            at: samples::START,
            code: FailureCode::ModelRateLimited,
            status: Some(429),
        },
        cooldown_until: Some(samples::after(20)),
    }
}

fn answered() -> HealthNote {
    HealthNote::Answered(Latency {
        at: samples::START,
        mean_ms: 900,
        longest_ms: 1_500,
    })
}

fn nothing_noted() -> Value {
    json!({ "last_failure": null, "cooldown_until": null, "latency": null })
}

#[tokio::test]
async fn all_models_of_the_price_table_are_listed_and_their_circuits_are_closed_at_first() {
    let platform = Platform::without_compatible_server();
    let body = platform.get("/v1/providers").await.body;
    let listed = platform.get("/v1/models").await.body;
    let names = |of: &Value, provider: &str| -> Vec<String> {
        let models = of.as_array().unwrap().iter();
        let models = models.filter(|it| it.get("provider").is_none_or(|name| name == provider));
        models
            .map(|it| it["model"].as_str().unwrap().to_owned())
            .collect()
    };
    let expected = [
        ("anthropic", true),
        ("openai", true),
        ("openai_compatible", false),
    ];
    assert_eq!(body["data"].as_array().unwrap().len(), expected.len());
    for (shown, (provider, available)) in body["data"].as_array().unwrap().iter().zip(expected) {
        assert_eq!(shown["provider"], provider);
        assert_eq!(shown["available"], available);
        assert_eq!(
            names(&shown["models"], provider),
            names(&listed["data"], provider)
        );
        assert_eq!(shown["other_models"], nothing_noted());
    }
    assert_eq!(
        shown(&platform, samples::model().name()).await,
        json!({
            "model": "claude-sonnet-5-5", "circuit": { "state": "closed", "cause": null, "until": null },
            "last_failure": null, "cooldown_until": null, "latency": null,
        })
    );
}

#[tokio::test]
async fn each_state_of_a_circuit_is_shown_with_its_end() {
    let lease = samples::lease_until(samples::after(90));
    let half_open = |probe| CircuitState::HalfOpen {
        successes: 0,
        probe,
    };
    let until = samples::after(30);
    let (at_30, at_90) = ("2026-11-18T11:07:10.000Z", "2026-11-18T11:08:10.000Z");
    let (outage, limit) = (CircuitCause::Outage, CircuitCause::RateLimit);
    let table = [
        (
            outage,
            0,
            CircuitState::Open { until },
            0,
            "open",
            Some(at_30),
        ),
        (outage, 0, CircuitState::Open { until }, 30, "open", None),
        (
            outage,
            1,
            half_open(Some(lease)),
            30,
            "half_open",
            Some(at_90),
        ),
        (limit, 1, half_open(None), 30, "half_open", None),
        (limit, 0, half_open(None), 0, "suspected", None),
    ];
    for (cause, failed_probes, state, seconds, name, until) in table {
        let platform = Platform::new();
        let circuit = Circuit {
            revision: 1,
            failed_probes,
            cause,
            state,
        };
        let (model, now) = (samples::model(), platform.clock.now());
        let stored = platform.circuits.replace(&model, &circuit, now);
        stored.await.unwrap();
        platform.clock.advance(Duration::from_secs(seconds));
        let shown = shown(&platform, samples::model().name()).await;
        let expected = json!({ "state": name, "cause": cause.as_str(), "until": until });
        assert_eq!(shown["circuit"], expected);
    }
}

#[tokio::test]
async fn a_closed_circuit_has_no_cause() {
    let platform = Platform::new();
    let (model, now) = (samples::model(), platform.clock.now());
    let open = Circuit::default()
        .trip(CircuitCause::Outage, OPEN_FOR, now)
        .unwrap();
    let closed = Circuit {
        revision: 2,
        state: CircuitState::Closed,
        ..open.clone()
    };
    for circuit in [open, closed] {
        let stored = platform.circuits.replace(&model, &circuit, now);
        stored.await.unwrap();
    }
    assert_eq!(
        shown(&platform, model.name()).await["circuit"],
        json!({ "state": "closed", "cause": null, "until": null })
    );
}

#[tokio::test]
async fn the_notes_of_executors_are_shown_and_a_cooldown_until_it_is_over() {
    let platform = Platform::new();
    let (own, others) = (
        HealthKey::Model(samples::model()),
        HealthKey::OtherModels(Provider::OpenAiCompatible),
    );
    for (key, note) in [(&own, failed()), (&own, answered()), (&others, answered())] {
        let noted = platform.circuits.note(key, note, platform.clock.now());
        noted.await.unwrap();
    }
    let at = "2026-11-18T11:06:40.000Z";
    let latency = json!({ "at": at, "mean_ms": 900, "longest_ms": 1_500 });
    let expected = json!({
        "model": "claude-sonnet-5-5", "circuit": { "state": "closed", "cause": null, "until": null },
        "last_failure": { "at": at, "code": "model_rate_limited", "status": 429 },
        "cooldown_until": "2026-11-18T11:07:00.000Z", "latency": latency,
    });
    assert_eq!(shown(&platform, "claude-sonnet-5-5").await, expected);
    platform.clock.advance(Duration::from_secs(20));
    let body = platform.get("/v1/providers").await.body;
    let mut expected = nothing_noted();
    expected["latency"] = latency;
    assert_eq!(body["data"][2]["other_models"], expected);
    assert_eq!(
        shown(&platform, "claude-sonnet-5-5").await["cooldown_until"],
        Value::Null
    );
}

#[tokio::test]
async fn without_the_ephemeral_table_the_answer_says_so() {
    let faults = Faults::default();
    let platform = Platform::failing(&faults);
    faults.fail_next(When::Before);
    let answer = platform.get("/v1/providers").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("ephemeral table"), "{detail}");
    assert_eq!(platform.get("/v1/providers").await.status, StatusCode::OK);
    let refused = platform.get("/v1/providers?provider=openai").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_dated_snapshot_has_a_circuit_of_its_own() {
    let platform = Platform::new();
    let model = ModelRef::new(Provider::Anthropic, "claude-sonnet-5-5-20260901").unwrap();
    let open = Circuit::default()
        .trip(CircuitCause::Outage, OPEN_FOR, samples::START)
        .unwrap();
    let stored = platform.circuits.replace(&model, &open, samples::START);
    stored.await.unwrap();
    assert_eq!(
        shown(&platform, "claude-sonnet-5-5").await["circuit"]["state"],
        "closed"
    );
}
