//! When a stale answer serves in place of a failed model call.

use super::*;
use crate::ports::Recovery;

#[tokio::test(start_paused = true)]
async fn only_an_outage_of_models_lets_an_old_answer_serve() {
    let later = |kind, reason| {
        let until = samples::after(500);
        (kind, Some(Recovery::at(Wait { until, reason })))
    };
    let open = later(ModelErrorKind::CircuitOpen, WaitReason::Breaker);
    let down = later(UNAVAILABLE, WaitReason::RetryAfter);
    let rushed = later(UNAVAILABLE, WaitReason::OutOfTime);
    let late = later(ModelErrorKind::OutOfTime, WaitReason::OutOfTime);
    let reserved = later(ModelErrorKind::BudgetReserved, WaitReason::Budget);
    for (failed, expected) in [
        ((UNAVAILABLE, None), "stale"),
        ((ModelErrorKind::Timeout, None), "stale"),
        ((ModelErrorKind::RateLimited, None), "stale"),
        (open, "stale"),
        (down, "stale"),
        (rushed, "stale"),
        (late, "failed"),
        (reserved, "failed"),
        ((ModelErrorKind::Rejected, None), "failed"),
        ((ModelErrorKind::Refused, None), "failed"),
        ((ModelErrorKind::Authentication, None), "failed"),
        ((ModelErrorKind::KeyMissing, None), "failed"),
        ((ModelErrorKind::ContextTooLong, None), "failed"),
    ] {
        for mode in [CacheMode::Default, CacheMode::Bypass, CacheMode::Refresh] {
            let world = World::with_answer(150).await;
            world.model.then(failed.clone().into());
            assert_eq!(
                got(&world.process().call(&world.request(mode)).await),
                expected,
                "{failed:?}, {mode:?}"
            );
        }
    }
}

/// A model whose calls fail, and which there is no time to ask again.
struct Rushed;

#[async_trait::async_trait]
impl Model for Rushed {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let wait = Wait {
            until: samples::after(500),
            reason: WaitReason::OutOfTime,
        };
        let earlier = ModelError::new(request.model().clone(), UNAVAILABLE).attempts();
        Err(ModelError {
            earlier,
            ..ModelError::new(request.model().clone(), ModelErrorKind::OutOfTime)
        }
        .with_recovery(Recovery::at(wait)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_serves_when_no_time_for_another_try_is_left() {
    let world = World::with_answer(150).await;
    let (answers, clock) = (Arc::new(world.answers.clone()), Arc::new(world.clock));
    let rushed = Cached::new(Arc::new(Rushed), answers, CacheSettings::default(), clock);
    let request = world.request(CacheMode::Default);
    let both = tokio::join!(rushed.call(&request), rushed.call(&request));
    assert_eq!((got(&both.0), got(&both.1)), ("stale", "stale"));
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_names_what_failed_and_what_it_cost() {
    let world = World::with_answer(150).await;
    world.model.then(Reply::Fail(UNAVAILABLE));
    let stale = world
        .process()
        .call(&world.request(CacheMode::Default))
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
async fn terms_without_stale_answers_cost_no_read_of_one() {
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
        let request = ModelRequest {
            cache: terms,
            ..world.request(mode)
        };
        assert_eq!(got(&world.process().call(&request).await), "failed");
        assert_eq!(world.faults.calls(), calls);
    }
}
