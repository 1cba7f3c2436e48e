//! The rules of [`AnswerCache`].

use std::sync::Arc;
use std::time::Duration;

use super::{Check, Outcome, holds, same};
use crate::domain::{AnswerKey, ModelAnswer, Spend, Timestamp, WorkerId};
use crate::ports::{
    AnswerCache, AnswerClaim, AnswerClaimed, AnswerSeen, CachedAnswer, ClaimState, StoreError,
};
use crate::testing::samples::{self, START, after};

type Answers = Arc<dyn AnswerCache>;

pub(super) const CHECKS: &[Check<Answers>] = &[
    (
        "the first claim of a request is granted, and then it is held",
        |a| Box::pin(new_request(a)),
    ),
    ("a claim keeps others off until it ends", |a| {
        Box::pin(others_wait(a))
    }),
    (
        "the holder is granted its claim again, with the new end",
        |a| Box::pin(renewal(a)),
    ),
    ("of concurrent claims exactly one is granted", |a| {
        Box::pin(one_of_many(a))
    }),
    (
        "a cached answer is read unchanged while it is fresh, and no call is made",
        |a| Box::pin(cached_comes_back(a)),
    ),
    (
        "an answer without optional parts comes back unchanged",
        |a| Box::pin(bare_answer(a)),
    ),
    ("an answer made too early is not good enough", |a| {
        Box::pin(too_old(a))
    }),
    (
        "a stale answer is read until its end, claimed or not",
        |a| Box::pin(past_freshness(a)),
    ),
    ("each request has its own answer", |a| {
        Box::pin(other_request(a))
    }),
    ("a caller that lost its claim stores nothing", |a| {
        Box::pin(keep_without_claim(a))
    }),
    ("the same answer may be stored twice", |a| {
        Box::pin(repetition(a))
    }),
    (
        "a newer answer replaces an older one and leaves a claim alone",
        |a| Box::pin(replacement(a)),
    ),
    ("a released claim is free for the next", |a| {
        Box::pin(released(a))
    }),
    ("only the holder can release a claim", |a| {
        Box::pin(released_by_another(a))
    }),
    (
        "where answers can't be cached each caller makes its own call for a while",
        |a| Box::pin(each_alone(a)),
    ),
    (
        "large answers come back unchanged, also after small ones",
        |a| Box::pin(large_answers(a)),
    ),
    (
        "too large an answer is refused, and the claim is still held",
        |a| Box::pin(too_large(a)),
    ),
];

const GRANTED: AnswerClaimed = AnswerClaimed::Granted;
const NOTHING: AnswerSeen = AnswerSeen {
    cached: None,
    claim: ClaimState::Free,
};

/// The key of a request that nobody else makes.
fn new_key() -> AnswerKey {
    let (one, two) = (WorkerId::new(START), WorkerId::new(START));
    AnswerKey::new(
        [one.as_bytes().as_slice(), two.as_bytes().as_slice()]
            .concat()
            .try_into()
            .unwrap_or_default(),
    )
}

/// A new owner's claim from `now` until `until`, to whom any fresh answer is good enough.
fn claim(now: u64, until: u64) -> AnswerClaim {
    let owner = WorkerId::new(START);
    let not_before = Timestamp::from_millis(0);
    AnswerClaim {
        owner,
        now: after(now),
        until: after(until),
        not_before,
        forget_at: after(100_000),
    }
}

/// An answer made at 10 s, fresh until 100 s and of use until 200 s.
fn cached(text: &str) -> CachedAnswer {
    let answer = ModelAnswer {
        spend: Spend::default(),
        ..samples::answer(text)
    };
    CachedAnswer {
        answer,
        made_at: after(10),
        fresh_until: after(100),
        ends_at: after(200),
    }
}

/// Claims and keeps.
async fn claim_and_store(answers: &Answers, key: &AnswerKey, cached: &CachedAnswer) -> Outcome {
    let claim = claim(200, 230);
    same(&answers.claim(key, &claim).await?, &GRANTED)?;
    Ok(answers.store(key, claim.owner, cached).await?)
}

/// What anyone sees at `now`.
async fn seen(answers: &Answers, key: &AnswerKey, now: u64) -> Result<AnswerSeen, StoreError> {
    answers
        .read(key, after(now), Timestamp::from_millis(0))
        .await
}

fn with(cached: &CachedAnswer, claim: ClaimState) -> AnswerSeen {
    AnswerSeen {
        cached: Some(Box::new(cached.clone())),
        claim,
    }
}

fn found(cached: &CachedAnswer) -> AnswerClaimed {
    AnswerClaimed::Cached(Box::new(cached.clone()))
}

async fn new_request(answers: Answers) -> Outcome {
    let key = new_key();
    same(&seen(&answers, &key, 1).await?, &NOTHING)?;
    same(&answers.claim(&key, &claim(1, 31)).await?, &GRANTED)?;
    let claim = ClaimState::Held { until: after(31) };
    same(
        &seen(&answers, &key, 30).await?,
        &AnswerSeen {
            cached: None,
            claim,
        },
    )?;
    same(&seen(&answers, &key, 31).await?, &NOTHING)
}

async fn others_wait(answers: Answers) -> Outcome {
    let key = new_key();
    answers.claim(&key, &claim(1, 31)).await?;
    same(
        &answers.claim(&key, &claim(30, 60)).await?,
        &AnswerClaimed::Busy { until: after(31) },
    )?;
    same(&answers.claim(&key, &claim(31, 61)).await?, &GRANTED)?;
    same(
        &answers.claim(&key, &claim(32, 62)).await?,
        &AnswerClaimed::Busy { until: after(61) },
    )
}

async fn renewal(answers: Answers) -> Outcome {
    let (key, first) = (new_key(), claim(1, 31));
    answers.claim(&key, &first).await?;
    let again = AnswerClaim {
        now: after(11),
        until: after(41),
        ..first
    };
    same(&answers.claim(&key, &again).await?, &GRANTED)?;
    same(
        &answers.claim(&key, &claim(31, 61)).await?,
        &AnswerClaimed::Busy { until: after(41) },
    )
}

async fn one_of_many(answers: Answers) -> Outcome {
    let key = new_key();
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let answers = Arc::clone(&answers);
        claims.spawn(async move { answers.claim(&key, &claim(1, 31)).await });
    }
    let mut granted = 0;
    for claimed in claims.join_all().await {
        match claimed? {
            AnswerClaimed::Granted => granted += 1,
            other => same(&other, &AnswerClaimed::Busy { until: after(31) })?,
        }
    }
    same(&granted, &1)
}

async fn cached_comes_back(answers: Answers) -> Outcome {
    let (key, cached) = (new_key(), cached("é Paris 🗼"));
    claim_and_store(&answers, &key, &cached).await?;
    same(
        &answers.claim(&key, &claim(99, 129)).await?,
        &found(&cached),
    )?;
    same(
        &seen(&answers, &key, 99).await?,
        &with(&cached, ClaimState::Free),
    )
}

async fn bare_answer(answers: Answers) -> Outcome {
    let (key, mut cached) = (new_key(), cached(""));
    (cached.answer.request_id, cached.answer.usage) = (None, crate::domain::Usage::default());
    claim_and_store(&answers, &key, &cached).await?;
    same(
        &answers.claim(&key, &claim(99, 129)).await?,
        &found(&cached),
    )
}

async fn too_old(answers: Answers) -> Outcome {
    let (key, cached) = (new_key(), cached("Paris"));
    claim_and_store(&answers, &key, &cached).await?;
    same(
        &answers.read(&key, after(20), after(10)).await?,
        &with(&cached, ClaimState::Free),
    )?;
    same(&answers.read(&key, after(20), after(11)).await?, &NOTHING)?;
    let strict = |not_before| AnswerClaim {
        not_before: after(not_before),
        ..claim(20, 50)
    };
    same(&answers.claim(&key, &strict(10)).await?, &found(&cached))?;
    same(&answers.claim(&key, &strict(11)).await?, &GRANTED)
}

async fn past_freshness(answers: Answers) -> Outcome {
    let (key, cached) = (new_key(), cached("Paris"));
    claim_and_store(&answers, &key, &cached).await?;
    same(
        &seen(&answers, &key, 100).await?,
        &with(&cached, ClaimState::Free),
    )?;
    same(&answers.claim(&key, &claim(100, 130)).await?, &GRANTED)?;
    same(
        &seen(&answers, &key, 101).await?,
        &with(&cached, ClaimState::Held { until: after(130) }),
    )?;
    same(
        &seen(&answers, &key, 199).await?,
        &with(&cached, ClaimState::Free),
    )?;
    same(&seen(&answers, &key, 200).await?, &NOTHING)
}

async fn other_request(answers: Answers) -> Outcome {
    claim_and_store(&answers, &new_key(), &cached("Paris")).await?;
    answers.claim(&new_key(), &claim(1, 31)).await?;
    let key = new_key();
    same(&seen(&answers, &key, 20).await?, &NOTHING)?;
    same(&answers.claim(&key, &claim(20, 50)).await?, &GRANTED)
}

async fn keep_without_claim(answers: Answers) -> Outcome {
    let (key, late, next) = (new_key(), claim(1, 31), claim(31, 61));
    let never = answers.store(&key, late.owner, &cached("Paris")).await;
    holds(matches!(never, Err(StoreError::Conflict)), || {
        format!("{never:?}")
    })?;
    answers.claim(&key, &late).await?;
    answers.claim(&key, &next).await?;
    let lost = answers.store(&key, late.owner, &cached("Paris")).await;
    holds(matches!(lost, Err(StoreError::Conflict)), || {
        format!("{lost:?}")
    })?;
    let claim = ClaimState::Held { until: after(61) };
    same(
        &seen(&answers, &key, 32).await?,
        &AnswerSeen {
            cached: None,
            claim,
        },
    )?;
    answers.store(&key, next.owner, &cached("Rome")).await?;
    same(
        &seen(&answers, &key, 32).await?,
        &with(&cached("Rome"), ClaimState::Free),
    )
}

async fn repetition(answers: Answers) -> Outcome {
    let (key, claim) = (new_key(), claim(1, 31));
    answers.claim(&key, &claim).await?;
    answers.store(&key, claim.owner, &cached("Paris")).await?;
    answers.store(&key, claim.owner, &cached("Paris")).await?;
    let other = answers.store(&key, claim.owner, &cached("Rome")).await;
    holds(matches!(other, Err(StoreError::Conflict)), || {
        format!("{other:?}")
    })?;
    answers.replace(&key, &cached("Paris")).await?;
    same(
        &seen(&answers, &key, 20).await?,
        &with(&cached("Paris"), ClaimState::Free),
    )
}

async fn replacement(answers: Answers) -> Outcome {
    let (key, first) = (new_key(), cached("Paris"));
    let newer = CachedAnswer {
        made_at: first.made_at.plus(Duration::from_millis(1)),
        ..cached("Rome")
    };
    answers.replace(&key, &first).await?;
    same(&answers.claim(&key, &claim(20, 50)).await?, &found(&first))?;
    same(&answers.claim(&key, &claim(100, 130)).await?, &GRANTED)?;
    answers.replace(&key, &newer).await?;
    same(
        &seen(&answers, &key, 101).await?,
        &with(&newer, ClaimState::Held { until: after(130) }),
    )?;
    let older = answers.replace(&key, &first).await;
    holds(matches!(older, Err(StoreError::Conflict)), || {
        format!("{older:?}")
    })?;
    same(
        &seen(&answers, &key, 101).await?,
        &with(&newer, ClaimState::Held { until: after(130) }),
    )
}

async fn released(answers: Answers) -> Outcome {
    let (key, cached, claimed) = (new_key(), cached("Paris"), claim(100, 130));
    claim_and_store(&answers, &key, &cached).await?;
    answers.claim(&key, &claimed).await?;
    answers.release(&key, claimed.owner, None).await?;
    answers.release(&key, claimed.owner, None).await?;
    same(
        &seen(&answers, &key, 101).await?,
        &with(&cached, ClaimState::Free),
    )?;
    same(&answers.claim(&key, &claim(101, 131)).await?, &GRANTED)
}

async fn released_by_another(answers: Answers) -> Outcome {
    let key = new_key();
    answers.release(&key, WorkerId::new(START), None).await?;
    answers.claim(&key, &claim(1, 31)).await?;
    answers
        .release(&key, WorkerId::new(START), Some(after(100)))
        .await?;
    same(
        &answers.claim(&key, &claim(30, 60)).await?,
        &AnswerClaimed::Busy { until: after(31) },
    )
}

async fn each_alone(answers: Answers) -> Outcome {
    let (key, first) = (new_key(), claim(1, 31));
    answers.claim(&key, &first).await?;
    answers.release(&key, first.owner, Some(after(40))).await?;
    same(
        &answers.claim(&key, &claim(39, 69)).await?,
        &AnswerClaimed::Alone,
    )?;
    same(
        &seen(&answers, &key, 39).await?,
        &AnswerSeen {
            cached: None,
            claim: ClaimState::Alone,
        },
    )?;
    same(&seen(&answers, &key, 40).await?, &NOTHING)?;
    same(&answers.claim(&key, &claim(40, 70)).await?, &GRANTED)?;
    answers.replace(&key, &cached("Paris")).await?;
    same(
        &answers.claim(&key, &claim(39, 69)).await?,
        &found(&cached("Paris")),
    )
}

/// Larger than a record, and than an answer to a query (1 MB), even when it is compressed; then the
/// other way round.
async fn large_answers(answers: Answers) -> Outcome {
    let mut random = fastrand::Rng::with_seed(7);
    let mut noise = |length| {
        std::iter::repeat_with(|| random.alphanumeric())
            .take(length)
            .collect::<String>()
    };
    let (key, small) = (new_key(), cached("Paris"));
    for length in [2_000_000, 20_000, 400_000] {
        let large = cached(&noise(length));
        claim_and_store(&answers, &key, &large).await?;
        same(&answers.claim(&key, &claim(99, 129)).await?, &found(&large))?;
        same(
            &seen(&answers, &key, 199).await?,
            &with(&large, ClaimState::Free),
        )?;
        claim_and_store(&answers, &key, &small).await?;
        same(&answers.claim(&key, &claim(99, 129)).await?, &found(&small))?;
    }
    Ok(())
}

async fn too_large(answers: Answers) -> Outcome {
    let (key, claimed) = (new_key(), claim(1, 31));
    answers.claim(&key, &claimed).await?;
    let large = cached(&"x".repeat(16 * 1_024 * 1_024));
    for refused in [
        answers.store(&key, claimed.owner, &large).await,
        answers.replace(&key, &large).await,
    ] {
        holds(matches!(refused, Err(StoreError::TooLarge)), || {
            format!("{refused:?}")
        })?;
    }
    same(
        &answers.claim(&key, &claim(30, 60)).await?,
        &AnswerClaimed::Busy { until: after(31) },
    )
}
