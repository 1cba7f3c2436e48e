//! When a stale answer serves in place of a failed model call.

use super::*;

#[tokio::test(start_paused = true)]
async fn only_an_outage_of_models_lets_an_old_answer_serve() {
    let wait = |reason| {
        ModelErrorKind::Park(Wait {
            until: samples::after(500),
            reason,
        })
    };
    for (kind, expected) in [
        (UNAVAILABLE, "stale"),
        (ModelErrorKind::Timeout, "stale"),
        (ModelErrorKind::RateLimited, "stale"),
        (
            ModelErrorKind::CircuitOpen {
                until: samples::after(500),
            },
            "stale",
        ),
        (wait(WaitReason::RetryAfter), "stale"),
        (wait(WaitReason::OutOfTime), "failed"),
        (wait(WaitReason::Budget), "failed"),
        (ModelErrorKind::Rejected, "failed"),
        (ModelErrorKind::Refused, "failed"),
        (ModelErrorKind::Authentication, "failed"),
        (ModelErrorKind::KeyMissing, "failed"),
        (ModelErrorKind::ContextTooLong, "failed"),
    ] {
        for mode in [CacheMode::Default, CacheMode::Bypass, CacheMode::Refresh] {
            let world = World::new();
            world
                .process()
                .ask(&world.question(CacheMode::Default))
                .await
                .unwrap();
            pass(150).await;
            world.model.then(Reply::Fail(kind.clone()));
            assert_eq!(
                got(&world.process().ask(&world.question(mode)).await),
                expected,
                "{kind:?}, {mode:?}"
            );
        }
    }
}

/// A model whose calls fail, and which there is no time to ask again.
struct Rushed;

#[async_trait::async_trait]
impl Model for Rushed {
    async fn ask(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let wait = Wait {
            until: samples::after(500),
            reason: WaitReason::OutOfTime,
        };
        let earlier = ModelError::new(request.model().clone(), UNAVAILABLE).attempts();
        Err(ModelError {
            earlier,
            ..ModelError::new(request.model().clone(), ModelErrorKind::Park(wait))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_serves_when_models_failed_and_time_for_another_try_is_lacking() {
    let world = World::new();
    world
        .process()
        .ask(&world.question(CacheMode::Default))
        .await
        .unwrap();
    pass(150).await;
    let (answers, clock) = (Arc::new(world.answers.clone()), Arc::new(world.clock));
    let rushed = Cached::new(Arc::new(Rushed), answers, CacheSettings::default(), clock);
    let question = world.question(CacheMode::Default);
    let both = tokio::join!(rushed.ask(&question), rushed.ask(&question));
    assert_eq!((got(&both.0), got(&both.1)), ("stale", "stale"));
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_names_what_failed_and_what_it_cost() {
    let world = World::new();
    world
        .process()
        .ask(&world.question(CacheMode::Default))
        .await
        .unwrap();
    pass(150).await;
    world.model.then(Reply::Fail(UNAVAILABLE));
    let stale = world
        .process()
        .ask(&world.question(CacheMode::Default))
        .await
        .unwrap();
    assert_eq!(stale.origin, Origin::Stale { age_seconds: 150 });
    assert_eq!(
        stale.spend,
        Spend {
            attempts: 1,
            ..Spend::default()
        }
    );
    assert_eq!(
        stale.failed,
        ModelError::new(samples::model(), UNAVAILABLE).attempts()
    );
}

#[tokio::test(start_paused = true)]
async fn terms_without_stale_answers_cost_no_look_for_one() {
    let world = World::new();
    let terms = CacheRules::On(CacheTerms::default());
    world.model.then(Reply::Fail(UNAVAILABLE));
    world.model.then(Reply::Fail(UNAVAILABLE));
    world.model.then(Reply::Fail(UNAVAILABLE));
    for (mode, calls) in [
        (CacheMode::Default, 2),
        (CacheMode::Bypass, 2),
        (CacheMode::Refresh, 2),
    ] {
        let question = ModelRequest {
            cache: terms,
            ..world.question(mode)
        };
        assert_eq!(got(&world.process().ask(&question).await), "failed");
        assert_eq!(world.faults.calls(), calls);
    }
}
