//! What each caller gets, and what it costs, for each state of the cached answer.

mod concurrent;
mod failing;
mod skew;
mod stale;

use std::sync::Arc;
use std::time::Duration;

use super::{CacheSettings, Cached};
use crate::domain::{
    CacheMode, CacheRules, CacheTerms, CacheUse, Deadline, ModelAnswer, ModelRequest, Origin,
    Spend, StopReason, Wait, WaitReason, WorkerId,
};
use crate::policy::cache_key;
use crate::ports::{
    AnswerCache, AnswerClaim, AnswerClaimed, Clock, Model, ModelError, ModelErrorKind,
};
use crate::testing::{Faults, MemoryAnswers, Reply, ScriptedModel, TokioClock, samples};

const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;

/// One store, one model and one clock for any number of processes.
struct World {
    model: Arc<ScriptedModel>,
    answers: MemoryAnswers,
    faults: Faults,
    clock: TokioClock,
}

impl World {
    /// A world whose cache has an answer that is so many seconds old.
    async fn with_answer(age: u64) -> Self {
        let world = Self::new();
        let request = world.request(CacheMode::Default);
        world.process().call(&request).await.unwrap();
        pass(age).await;
        world
    }

    fn new() -> Self {
        let (answers, faults) = (MemoryAnswers::default(), Faults::default());
        Self {
            model: Arc::default(),
            answers: answers.with_faults(faults.clone()),
            faults,
            clock: TokioClock::default(),
        }
    }

    /// A new process.
    fn process_with(&self, settings: CacheSettings) -> Arc<Cached> {
        let (model, answers) = (Arc::clone(&self.model), self.answers.clone());
        Arc::new(Cached::new(
            model,
            Arc::new(answers),
            settings,
            Arc::new(self.clock),
        ))
    }

    /// A new process without copies of its own.
    fn process(&self) -> Arc<Cached> {
        self.process_with(CacheSettings {
            local_for: Duration::ZERO,
            ..CacheSettings::default()
        })
    }

    /// A request that keeps answers fresh for 100 s (a tenth more or less) and stale for another
    /// 100 s, to be answered within a minute from now.
    fn request(&self, mode: CacheMode) -> ModelRequest {
        let terms = CacheTerms::default()
            .with_ttl_seconds(100)
            .unwrap()
            .with_stale_seconds(100)
            .unwrap();
        ModelRequest {
            cache: CacheRules::On(terms),
            cache_use: CacheUse {
                mode,
                max_age: None,
            },
            deadline: Deadline::at(self.clock.now().plus(seconds(60))),
            ..samples::model_request("hello")
        }
    }

    fn calls(&self) -> usize {
        self.model.requests().len()
    }

    /// Another process's claim on the request, until so many seconds from now.
    async fn held(&self, until: u64) {
        let (now, owner) = (self.clock.now(), WorkerId::new(samples::START));
        let until = now.plus(seconds(until));
        let claim = AnswerClaim {
            owner,
            now,
            until,
            not_before: now,
            forget_at: until,
        };
        let key = cache_key::of(&self.request(CacheMode::Default));
        assert_eq!(
            self.answers.claim(&key, &claim).await.unwrap(),
            AnswerClaimed::Granted
        );
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn pass(time: u64) {
    tokio::time::sleep(seconds(time)).await;
}

/// What a caller got, in one word.
fn got(outcome: &Result<ModelAnswer, ModelError>) -> &'static str {
    match outcome {
        Ok(answer) => answer.origin.as_str(),
        Err(ModelError {
            kind: ModelErrorKind::InFlight,
            ..
        }) => "parked",
        Err(_) => "failed",
    }
}

/// What callers' spans say of the cache, one after another.
/// What there is before the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Fresh,
    Stale,
    Ended,
    Held,
}

const BEFORE: [Before; 5] = [
    Before::Nothing,
    Before::Fresh,
    Before::Stale,
    Before::Ended,
    Before::Held,
];

/// Calls once and compares the outcome, how often the model was called and how often the store.
async fn check(mode: CacheMode, before: Before, up: bool, expected: (&str, usize, Option<u32>)) {
    let world = World::new();
    let earlier = world.request(CacheMode::Default);
    match before {
        Before::Nothing => {}
        Before::Held => world.held(50).await,
        Before::Fresh | Before::Stale | Before::Ended => {
            drop(world.process().call(&earlier).await.unwrap());
        }
    }
    pass(match before {
        Before::Nothing | Before::Held => 0,
        Before::Fresh => 50,
        Before::Stale => 150,
        Before::Ended => 250,
    })
    .await;
    let (before, process) = (world.calls(), world.process());
    world.faults.clear();
    if !up {
        world.model.then(Reply::Fail(UNAVAILABLE));
    }
    let outcome = process.call(&world.request(mode)).await;
    let calls = expected.2.map(|_| world.faults.calls());
    assert_eq!(
        (got(&outcome), world.calls() - before, calls),
        expected,
        "{mode:?}, {before:?}, up: {up}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_default_caller_reads_shares_and_writes() {
    for (before, up, expected) in [
        (Before::Nothing, true, ("provider", 1, Some(2))),
        (Before::Fresh, true, ("cache", 0, Some(1))),
        (Before::Stale, true, ("provider", 1, Some(2))),
        (Before::Ended, true, ("provider", 1, Some(2))),
        (Before::Held, true, ("parked", 0, None)),
        (Before::Nothing, false, ("failed", 1, Some(3))),
        (Before::Fresh, false, ("cache", 0, Some(1))),
        (Before::Stale, false, ("stale", 1, Some(3))),
        (Before::Ended, false, ("failed", 1, Some(3))),
    ] {
        check(CacheMode::Default, before, up, expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refreshing_caller_writes_and_only_falls_back_on_what_is_cached() {
    for before in BEFORE {
        check(CacheMode::Refresh, before, true, ("provider", 1, Some(1))).await;
    }
    check_fallback(CacheMode::Refresh).await;
}

#[tokio::test(start_paused = true)]
async fn a_bypassing_caller_only_falls_back_on_what_is_cached() {
    for before in BEFORE {
        check(CacheMode::Bypass, before, true, ("provider", 1, Some(0))).await;
    }
    check_fallback(CacheMode::Bypass).await;
}

/// What a caller gets in an outage who reads nothing before.
async fn check_fallback(mode: CacheMode) {
    for (before, expected) in [
        (Before::Nothing, "failed"),
        (Before::Fresh, "stale"),
        (Before::Stale, "stale"),
        (Before::Ended, "failed"),
        (Before::Held, "failed"),
    ] {
        check(mode, before, false, (expected, 1, Some(1))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn switched_off_the_cache_makes_no_store_call() {
    for before in BEFORE {
        check(CacheMode::Off, before, true, ("provider", 1, Some(0))).await;
        check(CacheMode::Off, before, false, ("failed", 1, Some(0))).await;
    }
    let world = World::new();
    for mode in [
        CacheMode::Default,
        CacheMode::Refresh,
        CacheMode::Bypass,
        CacheMode::Off,
    ] {
        let request = ModelRequest {
            cache: CacheRules::Off,
            ..world.request(mode)
        };
        assert_eq!(got(&world.process().call(&request).await), "provider");
    }
    assert_eq!((world.calls(), world.faults.calls()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cached_answer_is_the_same_but_for_its_origin_and_costs_nothing() {
    let world = World::new();
    let first = world
        .process()
        .call(&world.request(CacheMode::Default))
        .await
        .unwrap();
    let cache_key = Some(Box::new(cache_key::of(&world.request(CacheMode::Default))));
    assert_eq!(
        first,
        ModelAnswer {
            cache_key,
            ..samples::answer("hello")
        }
    );
    pass(7).await;
    let second = world
        .process()
        .call(&world.request(CacheMode::Default))
        .await
        .unwrap();
    let origin = Origin::Cache { age_seconds: 7 };
    assert_eq!(
        second,
        ModelAnswer {
            origin,
            spend: Spend::default(),
            ..first
        }
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_a_key_if_it_came_from_the_cache_or_went_there() {
    let world = World::new();
    let key_of = async |mode| {
        world
            .process()
            .call(&world.request(mode))
            .await
            .unwrap()
            .cache_key
    };
    let key = Some(Box::new(cache_key::of(&world.request(CacheMode::Default))));
    assert_eq!(key_of(CacheMode::Off).await, None);
    assert_eq!(key_of(CacheMode::Bypass).await, None);
    world.model.then(Reply::Answer(ModelAnswer {
        stop_reason: StopReason::MaxTokens,
        ..samples::answer("cut")
    }));
    assert_eq!(key_of(CacheMode::Refresh).await, None);
    assert_eq!(key_of(CacheMode::Refresh).await, key);
    assert_eq!(key_of(CacheMode::Default).await, key);
}

#[tokio::test(start_paused = true)]
async fn a_refreshed_answer_is_for_everyone() {
    let world = World::new();
    let (one, other) = (world.process(), world.process());
    one.call(&world.request(CacheMode::Default)).await.unwrap();
    pass(1).await;
    world.model.then(Reply::Answer(samples::answer("newer")));
    other
        .call(&world.request(CacheMode::Refresh))
        .await
        .unwrap();
    pass(1).await;
    let served = one.call(&world.request(CacheMode::Default)).await.unwrap();
    assert_eq!(
        (served.text().as_str(), got(&Ok(served))),
        ("newer", "cache")
    );
}

#[tokio::test(start_paused = true)]
async fn the_maximum_age_bounds_fresh_and_stale_answers() {
    for (age, max_age, up, expected) in [
        (50, 51, true, "cache"),
        (50, 49, true, "provider"),
        (50, 0, true, "provider"),
        (150, 151, false, "stale"),
        (150, 149, false, "failed"),
    ] {
        let world = World::with_answer(age).await;
        if !up {
            world.model.then(Reply::Fail(UNAVAILABLE));
        }
        let mut request = world.request(CacheMode::Default);
        request.cache_use.max_age = Some(seconds(max_age));
        assert_eq!(
            got(&world.process().call(&request).await),
            expected,
            "{age} s old, {max_age} s allowed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_wants_younger_answers_than_are_cached_gets_them() {
    let world = World::with_answer(20).await;
    let strict = CacheRules::On(CacheTerms::default().with_ttl_seconds(10).unwrap());
    let request = ModelRequest {
        cache: strict,
        ..world.request(CacheMode::Default)
    };
    assert_eq!(got(&world.process().call(&request).await), "provider");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_can_not_be_cached_has_each_call_alone_for_a_while() {
    let world = World::new();
    for stop_reason in [
        StopReason::Refusal,
        StopReason::ToolUse,
        StopReason::MaxTokens,
    ] {
        world.model.then(Reply::Answer(ModelAnswer {
            stop_reason,
            ..samples::answer("no")
        }));
    }
    let mut costs = Vec::new();
    for wait in [0, 29, 2, 0] {
        pass(wait).await;
        world.faults.clear();
        assert_eq!(
            got(&world
                .process()
                .call(&world.request(CacheMode::Default))
                .await),
            "provider"
        );
        costs.push(world.faults.calls());
    }
    assert_eq!(costs, [2, 1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_nearby_costs_no_store_call_and_is_never_old() {
    let world = World::new();
    let (one, other) = (
        world.process_with(CacheSettings::default()),
        world.process(),
    );
    one.call(&world.request(CacheMode::Default)).await.unwrap();
    pass(10).await;
    world.model.then(Reply::Answer(samples::answer("newer")));
    other
        .call(&world.request(CacheMode::Refresh))
        .await
        .unwrap();
    world.faults.clear();
    for (wait, text, calls) in [
        (19, "hello", 0),
        (1, "newer", 1),
        (29, "newer", 1),
        (1, "newer", 2),
    ] {
        pass(wait).await;
        let served = one.call(&world.request(CacheMode::Default)).await.unwrap();
        assert_eq!(
            (served.text().as_str(), world.faults.calls()),
            (text, calls)
        );
    }
    world.model.then(Reply::Answer(samples::answer("newest")));
    one.call(&world.request(CacheMode::Refresh)).await.unwrap();
    assert_eq!(
        one.call(&world.request(CacheMode::Default))
            .await
            .unwrap()
            .text(),
        "newest"
    );
    pass(1).await;
    let mut strict = world.request(CacheMode::Default);
    strict.cache_use.max_age = Some(Duration::ZERO);
    assert_eq!(got(&one.call(&strict).await), "provider");
}
