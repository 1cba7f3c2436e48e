//! Which models are not to be asked just now, because one of them said so to any call of this
//! process.
//!
//! A provider's `retry-after` is about the key, not about the call that met it: whoever asks the
//! model next, another step of the same task or another task, would come too early. What one
//! process was told, another one isn't; each is told for itself, since keeping it in a table would
//! cost a read or a write of it for each call.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::{ModelRef, Timestamp};
use crate::ports::ModelErrorKind;

/// The most cooldowns that are kept. Agents name their models freely, but not many are throttled at
/// once.
const MOST: usize = 1_000;

/// The cooldowns that models asked for.
#[derive(Debug, Default)]
pub(super) struct Cooldowns(Mutex<HashMap<ModelRef, Cooldown>>);

/// A pause that a model asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cooldown {
    /// When it is over.
    pub(super) until: Timestamp,
    /// The failure that it was named with.
    pub(super) kind: ModelErrorKind,
}

impl Cooldowns {
    /// Takes down a pause, unless the model has a longer one. Of more than [`MOST`] at once, the
    /// last is forgotten.
    pub(super) fn add(&self, model: &ModelRef, pause: Cooldown, now: Timestamp) {
        let mut cooldowns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cooldowns.retain(|_, kept| kept.until > now);
        let is_longest = cooldowns
            .get(model)
            .map_or(cooldowns.len() < MOST, |kept| kept.until < pause.until);
        if is_longest {
            cooldowns.insert(model.clone(), pause);
        }
    }

    /// The pause that the model is in at `now`.
    pub(super) fn of(&self, model: &ModelRef, now: Timestamp) -> Option<Cooldown> {
        let cooldowns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cooldowns
            .get(model)
            .filter(|pause| pause.until > now)
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
    fn the_longest_pause_that_was_named_holds_until_it_is_over() {
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
    fn so_many_are_kept_and_those_that_are_over_make_room() {
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
