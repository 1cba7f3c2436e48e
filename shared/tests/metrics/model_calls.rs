//! What is counted of model calls.

use super::*;

/// Two calls of a model with a price, one of a model without, and one that fails.
async fn make_model_calls() {
    let unlisted = ModelRef::new(Provider::OpenAiCompatible, "my-own").unwrap();
    let failing = Reply::FailWith {
        kind: ModelErrorKind::RateLimited,
        status: Some(429),
        should_retry: None,
        retry_after: None,
        spend: Spend {
            attempts: 1,
            ..Spend::default()
        },
    };
    let answers = [(); 3].map(|()| Reply::Answer(samples::answer("hi")));
    let model = Arc::new(ScriptedModel::new(answers.into_iter().chain([failing])));
    let clock = Arc::new(TokioClock::default());
    let metered = Metered::new(
        model,
        PriceTable::current(),
        CostCaps {
            budgets: Arc::new(MemoryBudgets::default()),
            daily: DailyCaps::default(),
            own: Arc::new(SameCaps::default()),
        },
        clock,
    );
    let priced = samples::model_request(CANARY);
    let unpriced = ModelRequest {
        chain: ModelChain::only(unlisted.into()),
        ..priced.clone()
    };
    for request in [&priced, &priced, &unpriced] {
        metered.call(request).await.unwrap();
    }
    metered.call(&priced).await.unwrap_err();
}

/// What each request to a provider adds: of a model with a price, of one without, and of one that
/// fails.
pub(super) async fn check_model_calls() {
    make_model_calls().await;
    let due = documents();
    due.iter().for_each(check_form);
    let of = |dimension: &str, value: &str| {
        due.iter()
            .find(|document| document[dimension] == value)
            .unwrap()
    };
    let used = samples::usage();
    let cost = PriceTable::current()
        .cost(&samples::model(), &used, samples::START)
        .unwrap();
    let claude = of("model", samples::model().name());
    let counted = [
        "ModelCalls",
        "InputTokens",
        "OutputTokens",
        "CacheReadTokens",
        "CacheWriteTokens",
    ];
    let counted = counted.map(|name| claude[name].as_u64().unwrap());
    let used = [
        used.input_tokens,
        used.output_tokens,
        used.cache_read_tokens,
        used.cache_write_tokens,
    ];
    assert_eq!(
        counted,
        [3, 2 * used[0], 2 * used[1], 2 * used[2], 2 * used[3]],
        "{claude}"
    );
    assert_eq!(
        (&claude["ModelCostMicroUsd"], &claude["UnpricedCalls"]),
        (&json!(2 * cost), &Value::Null),
        "{claude}"
    );
    assert_eq!(
        claude["ModelLatency"].as_array().map(Vec::len),
        Some(3),
        "{claude}"
    );
    let own = of("model", "unlisted");
    assert_eq!(own["provider"], "openai_compatible");
    let counted = ["ModelCalls", "ModelCostMicroUsd", "UnpricedCalls"].map(|name| &own[name]);
    assert_eq!(counted, [&json!(1), &Value::Null, &json!(1)], "{own}");
    let failed = of("error", "model_rate_limited");
    assert_eq!(
        (&failed["provider"], &failed["ModelErrors"]),
        (&json!("anthropic"), &json!(1)),
        "{failed}"
    );
}

/// A circuit is seen to be open by the calls that it refuses and by the probes that fail, but not
/// once it lets calls pass.
pub(super) async fn check_circuits() {
    let failures = [(); 2].map(|()| Reply::Fail(ModelErrorKind::Unavailable));
    let model = Arc::new(ScriptedModel::new(failures));
    let clock = ManualClock::at(samples::START);
    let settings = BreakerSettings::default().with_failures(1).unwrap();
    let breaker = Breaker::new(
        model,
        Arc::new(MemoryCircuits::default()),
        settings,
        Arc::new(clock.clone()),
    );
    let request = samples::model_request(CANARY);
    let call = async || drop(breaker.call(&request).await);
    call().await;
    let opened = counts();
    assert_eq!(
        (opened["CircuitsOpened"], opened.get("CircuitOpen")),
        (2, None),
        "{opened:?}"
    );
    call().await;
    assert_eq!(
        counts()["CircuitOpen"],
        2,
        "a refusal, by its model and of all"
    );
    clock.advance(Duration::from_secs(31));
    call().await;
    assert_eq!(
        counts()["CircuitOpen"],
        2,
        "a failed probe, by its model and of all"
    );
}

/// Only the first event of a stream says how soon an answer began.
pub(super) async fn check_streams() {
    const STREAM: &str = include_str!("../../src/llm/fixtures/anthropic_stream.txt");
    const DELAY: Duration = Duration::from_millis(20);
    let respond = async || {
        tokio::time::sleep(DELAY).await;
        ([(CONTENT_TYPE, "text/event-stream")], STREAM)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(async move {
        axum::serve(listener, Router::new().route("/v1/messages", post(respond))).await
    });
    let secrets = MemorySecrets::default();
    secrets.set("key", "sk-1");
    let access = Access {
        base_url,
        key: ApiKey::Secret {
            store: Arc::new(secrets),
            name: "key".to_owned(),
        },
    };
    let providers = Providers {
        anthropic: access.clone(),
        openai: access,
        openai_compatible: None,
        timeouts: Timeouts::default(),
    };
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    router(&http_client().unwrap(), providers, &clock)
        .call(&samples::model_request(CANARY))
        .await
        .unwrap();

    let due = documents();
    let of = |document: &&Value| document["model"] == samples::model().name();
    let took = due.iter().find(of).unwrap()["TimeToFirstChunk"]
        .as_array()
        .unwrap();
    let [took] = took.as_slice() else {
        panic!("{due:?}")
    };
    assert!(
        took.as_f64()
            .is_some_and(|millis| millis >= DELAY.as_secs_f64() * 1_000.0),
        "{due:?}"
    );
}
