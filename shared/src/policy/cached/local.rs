//! Answers that this process has seen a moment ago: the few that are read again and again cost
//! no read.
//!
//! What another process writes is not noticed here before the copy's time is over, which is
//! therefore short. Copies are bounded in number and bytes; the oldest go first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::flight::lock;
use crate::domain::{AnswerKey, Timestamp};
use crate::ports::CachedAnswer;

/// The most copies; few enough to be searched one by one.
const MAX_COPIES: usize = 256;

pub(super) struct LocalCache {
    lifetime: Duration,
    max_bytes: usize,
    copies: Mutex<VecDeque<Copy>>,
}

struct Copy {
    key: AnswerKey,
    cached: Arc<CachedAnswer>,
    since: Timestamp,
    bytes: usize,
}

impl LocalCache {
    /// Holds each copy for at most `lifetime`, and all together at most about `max_bytes`.
    pub(super) fn new(lifetime: Duration, max_bytes: usize) -> Self {
        Self {
            lifetime,
            max_bytes,
            copies: Mutex::default(),
        }
    }

    /// The answer, if it is fresh at `now` and not made before `not_before`.
    pub(super) fn get(
        &self,
        key: AnswerKey,
        now: Timestamp,
        not_before: Timestamp,
    ) -> Option<Arc<CachedAnswer>> {
        let copies = lock(&self.copies);
        let copy = copies.iter().find(|copy| copy.key == key)?;
        let cached = &copy.cached;
        let good =
            self.lives(copy, now) && cached.fresh_until > now && cached.made_at >= not_before;
        good.then(|| Arc::clone(cached))
    }

    /// Takes a copy, in place of an earlier one.
    pub(super) fn put(&self, key: AnswerKey, cached: &Arc<CachedAnswer>, now: Timestamp) {
        let copy = Copy {
            key,
            cached: Arc::clone(cached),
            since: now,
            bytes: bytes(cached),
        };
        let mut copies = lock(&self.copies);
        copies.retain(|other| other.key != key && self.lives(other, now));
        copies.push_back(copy);
        while copies.len() > MAX_COPIES
            || copies.iter().map(|copy| copy.bytes).sum::<usize>() > self.max_bytes
        {
            copies.pop_front();
        }
    }

    fn lives(&self, copy: &Copy, now: Timestamp) -> bool {
        now.since(copy.since) < self.lifetime
    }
}

/// About what the answer takes in memory.
fn bytes(cached: &CachedAnswer) -> usize {
    size_of::<CachedAnswer>()
        + serde_json::to_vec(&cached.answer.content).map_or(usize::MAX / 2, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples::{self, after};

    const LIFETIME: Duration = Duration::from_secs(30);

    fn key(number: u8) -> AnswerKey {
        AnswerKey::new([number; 32])
    }

    fn cached(text: &str, made: u64, fresh: u64) -> Arc<CachedAnswer> {
        let (made_at, fresh_until, ends_at) = (after(made), after(fresh), after(10_000));
        Arc::new(CachedAnswer {
            answer: samples::answer(text),
            made_at,
            fresh_until,
            ends_at,
        })
    }

    #[test]
    fn a_copy_serves_for_its_time_and_never_past_its_freshness() {
        let local = LocalCache::new(LIFETIME, 1_000_000);
        let (long, short) = (cached("long", 0, 1_000), cached("short", 0, 20));
        local.put(key(1), &long, after(10));
        local.put(key(2), &short, after(10));
        let table = [
            (1, 10, 0, true),
            (1, 39, 0, true),
            (1, 40, 0, false),
            (1, 11, 1, false),
            (2, 19, 0, true),
            (2, 20, 0, false),
        ];
        for (number, now, not_before, there) in table {
            let found = local.get(key(number), after(now), after(not_before));
            assert_eq!(
                found.is_some(),
                there,
                "{number} at {now} not before {not_before}"
            );
        }
        assert_eq!(local.get(key(3), after(10), after(0)), None);
        let newer = cached("newer", 11, 1_000);
        local.put(key(1), &newer, after(35));
        assert_eq!(local.get(key(1), after(60), after(0)), Some(newer));
    }

    #[test]
    fn the_oldest_copies_make_room() {
        let local = LocalCache::new(LIFETIME, 1_000_000);
        for number in 0..=255 {
            local.put(key(number), &cached("x", 0, 1_000), after(1));
        }
        local.put(
            AnswerKey::new([[0; 31].as_slice(), &[9]].concat().try_into().unwrap()),
            &cached("x", 0, 1_000),
            after(1),
        );
        assert!(local.get(key(0), after(1), after(0)).is_none());
        assert!(local.get(key(1), after(1), after(0)).is_some());
        local.put(key(9), &cached(&"x".repeat(990_000), 0, 1_000), after(2));
        let held = (0..=255)
            .filter(|number| local.get(key(*number), after(2), after(0)).is_some())
            .count();
        assert!((2..100).contains(&held), "{held}");
        local.put(key(8), &cached(&"x".repeat(1_000_000), 0, 1_000), after(2));
        assert!(local.get(key(8), after(2), after(0)).is_none());
    }

    #[test]
    fn no_lifetime_holds_nothing() {
        let local = LocalCache::new(Duration::ZERO, 1_000_000);
        local.put(key(1), &cached("x", 0, 1_000), after(1));
        assert_eq!(local.get(key(1), after(1), after(0)), None);
    }
}
