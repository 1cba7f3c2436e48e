//! Which models this process must not call now, because a response to one of its calls named a
//! wait.
//!
//! A provider's `retry-after` holds for the key, not only for the call that got it: any other call
//! of the same model would also come too early. Each process learns a wait from the provider
//! itself, because sharing it in a table would cost a read or a write for each call.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::{ModelRef, Timestamp};
use crate::ports::ModelErrorKind;

/// The most cooldowns in memory. Agents may name any model, but few are throttled at once.
const MOST: usize = 1_000;

/// The cooldown of each model that has one.
#[derive(Debug, Default)]
pub(super) struct Cooldowns(Mutex<HashMap<ModelRef, Cooldown>>);

/// A time in which a model is not called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cooldown {
    /// When it is over.
    pub(super) until: Timestamp,
    /// The failure that named the wait.
    pub(super) kind: ModelErrorKind,
}

impl Cooldowns {
    /// Records a cooldown, unless the model has a longer one, or [`MOST`] other models have one.
    pub(super) fn add(&self, model: &ModelRef, cooldown: Cooldown, now: Timestamp) {
        let mut cooldowns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cooldowns.retain(|_, known| known.until > now);
        let is_longest = cooldowns
            .get(model)
            .map_or(cooldowns.len() < MOST, |known| known.until < cooldown.until);
        if is_longest {
            cooldowns.insert(model.clone(), cooldown);
        }
    }

    /// The model's cooldown at `now`; `None` if it has none.
    pub(super) fn of(&self, model: &ModelRef, now: Timestamp) -> Option<Cooldown> {
        let cooldowns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cooldowns
            .get(model)
            .filter(|cooldown| cooldown.until > now)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Provider;
    use crate::testing::samples::{START, after, model};

    fn until(seconds: u64) -> Cooldown {
        Cooldown {
            until: after(seconds),
            kind: ModelErrorKind::RateLimited,
        }
    }

    #[test]
    fn the_longest_cooldown_holds_until_it_is_over() {
        let cooldowns = Cooldowns::default();
        for seconds in [5, 9, 7] {
            cooldowns.add(&model(), until(seconds), START);
        }
        assert_eq!(cooldowns.of(&model(), after(8)), Some(until(9)));
        assert_eq!(cooldowns.of(&model(), after(9)), None);
        let other = ModelRef::new(Provider::OpenAi, model().name()).unwrap();
        assert_eq!(cooldowns.of(&other, START), None);
    }

    #[test]
    fn cooldowns_are_bounded_and_expired_ones_make_room() {
        let cooldowns = Cooldowns::default();
        let named =
            |number| ModelRef::new(Provider::OpenAiCompatible, format!("m{number}")).unwrap();
        for number in 0..=MOST {
            cooldowns.add(&named(number), until(5), START);
        }
        assert_eq!(cooldowns.of(&named(MOST), START), None);
        cooldowns.add(&named(MOST), until(9), after(5));
        assert_eq!(cooldowns.of(&named(MOST), after(5)), Some(until(9)));
        assert_eq!(cooldowns.0.lock().unwrap().len(), 1);
    }
}
