//! Which answers are cached, and for how long they may be used.
//!
//! An answer must be young enough by two sets of terms: the terms of the request that stored it,
//! and the terms of the request that reads it.

use std::time::Duration;

use crate::domain::{
    AnswerKey, AssistantContent, CacheTerms, ModelAnswer, Origin, Spend, StopReason, Timestamp,
};
use crate::ports::CachedAnswer;

/// The share by which an answer's time to live is shortened or prolonged at random. So answers that
/// were made at one moment do not all expire at one moment.
const SPREAD: f64 = 0.1;

/// Whether the answer may be cached: a provider made it, it is complete, and it has text and no
/// tool calls.
pub(super) fn is_cacheable(answer: &ModelAnswer) -> bool {
    let of_provider = match answer.origin {
        Origin::Provider => true,
        Origin::Cache { .. } | Origin::Stale { .. } | Origin::SingleFlight => false,
    };
    let whole = match answer.stop_reason {
        StopReason::EndTurn => true,
        StopReason::ToolUse
        | StopReason::Paused
        | StopReason::MaxTokens
        | StopReason::ContextWindow
        | StopReason::Refusal
        | StopReason::Other => false,
    };
    let says_something = answer.content.iter().any(|part| match &part.content {
        AssistantContent::Text(text) => !text.trim().is_empty(),
        AssistantContent::ToolCall(_)
        | AssistantContent::Reasoning(_)
        | AssistantContent::Opaque => false,
    });
    of_provider && whole && says_something && answer.tool_calls().next().is_none()
}

/// The answer, with the key of its request if the cache may hold it under that key.
pub(super) fn with_key(answer: ModelAnswer, key: AnswerKey) -> ModelAnswer {
    let of_cache = match answer.origin {
        Origin::Provider => is_cacheable(&answer),
        Origin::Cache { .. } | Origin::Stale { .. } | Origin::SingleFlight => true,
    };
    ModelAnswer {
        cache_key: of_cache.then(|| Box::new(key)),
        ..answer
    }
}

/// The cache's entry for an answer that was made at `now`, on these terms.
pub(super) fn entry(answer: &ModelAnswer, terms: CacheTerms, now: Timestamp) -> CachedAnswer {
    let fresh_until = now.plus(
        terms
            .ttl()
            .mul_f64(1.0 - SPREAD + 2.0 * SPREAD * fastrand::f64()),
    );
    CachedAnswer {
        answer: ModelAnswer {
            spend: Spend::default(),
            failed: Vec::new(),
            cache_key: None,
            ..answer.clone()
        },
        made_at: now,
        fresh_until,
        ends_at: fresh_until.plus(terms.stale()),
    }
}

/// An answer that was made before this moment is not fresh at `now`, by these terms and `max_age`.
pub(super) fn fresh_since(
    terms: CacheTerms,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Timestamp {
    now.minus(longest_fresh(terms).min(max_age.unwrap_or(Duration::MAX)))
}

/// An answer that was made before this moment is useless at `now`, even when no model answers.
pub(super) fn usable_since(
    terms: CacheTerms,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Timestamp {
    now.minus(longest_usable(terms).min(max_age.unwrap_or(Duration::MAX)))
}

/// The longest time for which an answer can be used on these terms, as fresh or as stale.
pub(super) fn longest_usable(terms: CacheTerms) -> Duration {
    longest_fresh(terms).saturating_add(terms.stale())
}

fn longest_fresh(terms: CacheTerms) -> Duration {
    terms.ttl().mul_f64(1.0 + SPREAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AssistantPart, ToolCall};
    use crate::testing::samples::{self, START, after};

    fn tool_call() -> AssistantPart {
        let call = ToolCall {
            id: "1".to_owned(),
            name: "time".to_owned(),
            arguments: "{}".to_owned(),
        };
        AssistantPart {
            content: AssistantContent::ToolCall(call),
            original: None,
        }
    }

    #[test]
    fn only_whole_texts_of_a_provider_are_cached() {
        assert!(is_cacheable(&samples::answer("Paris")));
        let stopped = |stop_reason| ModelAnswer {
            stop_reason,
            ..samples::answer("Paris")
        };
        let from = |origin| ModelAnswer {
            origin,
            ..samples::answer("Paris")
        };
        let with = |content| ModelAnswer {
            content,
            ..samples::answer("Paris")
        };
        let refused = [
            stopped(StopReason::ToolUse),
            stopped(StopReason::Paused),
            stopped(StopReason::MaxTokens),
            stopped(StopReason::ContextWindow),
            stopped(StopReason::Refusal),
            stopped(StopReason::Other),
            from(Origin::Cache { age_seconds: 1 }),
            from(Origin::Stale { age_seconds: 1 }),
            from(Origin::SingleFlight),
            samples::answer(""),
            samples::answer(" \n"),
            with(Vec::new()),
            with(vec![samples::said("Let me see."), tool_call()]),
            with(vec![AssistantPart {
                content: AssistantContent::Reasoning("hm".to_owned()),
                original: None,
            }]),
        ];
        for answer in refused {
            assert!(!is_cacheable(&answer), "{answer:?}");
        }
    }

    #[test]
    fn an_answers_freshness_is_spread_by_a_tenth() {
        let terms = CacheTerms::default()
            .with_ttl_seconds(1_000)
            .unwrap()
            .with_stale_seconds(500)
            .unwrap();
        let cached: Vec<_> = (0..200)
            .map(|_| entry(&samples::answer("Paris"), terms, START))
            .collect();
        for cached in &cached {
            assert!(
                (after(900)..=after(1_100)).contains(&cached.fresh_until),
                "{:?}",
                cached.fresh_until
            );
            assert_eq!(cached.ends_at, cached.fresh_until.plus(terms.stale()));
            assert_eq!(
                (cached.answer.spend, cached.made_at),
                (Spend::default(), START)
            );
        }
        assert!(cached.iter().any(|cached| cached.fresh_until < after(980)));
        assert!(
            cached
                .iter()
                .any(|cached| cached.fresh_until > after(1_020))
        );
    }

    #[test]
    fn the_stricter_of_terms_and_maximum_age_counts() {
        let terms = CacheTerms::default()
            .with_ttl_seconds(1_000)
            .unwrap()
            .with_stale_seconds(500)
            .unwrap();
        let now = after(10_000);
        let table = [
            (None, 8_900, 8_400),
            (Some(1_200), 8_900, 8_800),
            (Some(60), 9_940, 9_940),
            (Some(0), 10_000, 10_000),
        ];
        for (max_age, fresh, usable) in table {
            let max_age = max_age.map(Duration::from_secs);
            assert_eq!(fresh_since(terms, max_age, now), after(fresh));
            assert_eq!(usable_since(terms, max_age, now), after(usable));
        }
    }
}
