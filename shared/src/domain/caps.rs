//! What the tasks of a tenant, or those submitted with one key, may use.

use super::invalid::{Invalid, within};
use super::patch::Patch;

/// What a cap limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapKind {
    /// How many tasks run at once.
    RunningTasks,
    /// The cost of model calls in a day (UTC), in micro-USD.
    CostOfDay,
    /// The cost of model calls in a month (UTC), in micro-USD.
    CostOfMonth,
}

impl CapKind {
    /// Every cap.
    pub const ALL: [Self; 3] = [Self::RunningTasks, Self::CostOfDay, Self::CostOfMonth];

    /// Its field in requests, responses, records and logs.
    pub const fn field(self) -> &'static str {
        match self {
            Self::RunningTasks => "max_running_tasks",
            Self::CostOfDay => "max_cost_micro_usd_per_day",
            Self::CostOfMonth => "max_cost_micro_usd_per_month",
        }
    }

    /// The largest cap: 2,000 tasks, because one record has a slot for each of them, or a billion
    /// USD.
    const fn most(self) -> u64 {
        match self {
            Self::RunningTasks => 2_000,
            Self::CostOfDay | Self::CostOfMonth => 1_000_000_000_000_000,
        }
    }
}

/// A value for each cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct OfEach<T> {
    running_tasks: T,
    cost_of_day: T,
    cost_of_month: T,
}

impl<T> OfEach<T> {
    const fn of_mut(&mut self, kind: CapKind) -> &mut T {
        match kind {
            CapKind::RunningTasks => &mut self.running_tasks,
            CapKind::CostOfDay => &mut self.cost_of_day,
            CapKind::CostOfMonth => &mut self.cost_of_month,
        }
    }
}

/// The caps of a tenant or a key. Each may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps(OfEach<Option<u64>>);

impl Caps {
    /// No caps.
    pub const NONE: Self = Self(OfEach {
        running_tasks: None,
        cost_of_day: None,
        cost_of_month: None,
    });

    /// The cap of this kind.
    pub const fn get(mut self, kind: CapKind) -> Option<u64> {
        *self.0.of_mut(kind)
    }

    /// These caps, with this one of the kind. Checks the number at the kind's field.
    pub fn with(mut self, kind: CapKind, most: u64) -> Result<Self, Invalid> {
        *self.0.of_mut(kind) = Some(checked(kind, most)?);
        Ok(self)
    }

    /// The caps that there are.
    pub fn present(self) -> impl Iterator<Item = (CapKind, u64)> {
        CapKind::ALL
            .into_iter()
            .filter_map(move |kind| Some((kind, self.get(kind)?)))
    }

    /// The first kind whose cap here is above that of `others`, with the latter.
    pub fn above(self, others: Self) -> Option<(CapKind, u64)> {
        self.present().find_map(|(kind, most)| {
            let other = others.get(kind)?;
            (most > other).then_some((kind, other))
        })
    }
}

/// What changes about caps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapChanges(OfEach<Patch<u64>>);

impl CapChanges {
    /// These changes, with this one of the kind. Checks the number at the kind's field.
    pub fn with(mut self, kind: CapKind, change: Patch<u64>) -> Result<Self, Invalid> {
        *self.0.of_mut(kind) = change.try_map(|most| checked(kind, most))?;
        Ok(self)
    }

    /// The caps after the changes.
    #[must_use]
    pub fn apply(mut self, Caps(mut caps): Caps) -> Caps {
        for kind in CapKind::ALL {
            let cap = caps.of_mut(kind);
            *cap = self.0.of_mut(kind).apply(*cap);
        }
        Caps(caps)
    }

    /// The caps that are set.
    pub fn set(self) -> Caps {
        self.apply(Caps::default())
    }
}

fn checked(kind: CapKind, most: u64) -> Result<u64, Invalid> {
    within(&format!("/{}", kind.field()), most, 1..=kind.most())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cap_has_a_place_of_its_own() {
        let mut caps = Caps::default();
        for (number, kind) in (1..).zip(CapKind::ALL) {
            caps = caps.with(kind, number).unwrap();
        }
        let present: Vec<_> = caps.present().collect();
        let expected: Vec<_> = CapKind::ALL.into_iter().zip(1..).collect();
        assert_eq!(present, expected);
    }

    #[test]
    fn a_cap_out_of_its_range_is_refused_at_its_field() {
        for kind in CapKind::ALL {
            for most in [0, kind.most() + 1, u64::MAX] {
                let refused = Caps::default().with(kind, most).unwrap_err();
                assert_eq!(refused.field, format!("/{}", kind.field()));
                let change = CapChanges::default().with(kind, Patch::Set(most));
                assert_eq!(change.unwrap_err(), refused);
            }
            assert!(Caps::default().with(kind, kind.most()).is_ok());
        }
    }

    #[test]
    fn only_a_cap_that_both_have_can_be_above() {
        let caps = |day| Caps::default().with(CapKind::CostOfDay, day).unwrap();
        let month = Caps::default().with(CapKind::CostOfMonth, 1).unwrap();
        assert_eq!(caps(5).above(caps(5)), None);
        assert_eq!(caps(6).above(caps(5)), Some((CapKind::CostOfDay, 5)));
        assert_eq!(caps(6).above(month), None);
        assert_eq!(caps(6).above(Caps::default()), None);
    }

    #[test]
    fn a_change_touches_only_the_caps_that_it_names() {
        let before = Caps::default()
            .with(CapKind::RunningTasks, 4)
            .and_then(|caps| caps.with(CapKind::CostOfDay, 5))
            .unwrap();
        let change = CapChanges::default()
            .with(CapKind::RunningTasks, Patch::Clear)
            .and_then(|change| change.with(CapKind::CostOfMonth, Patch::Set(6)))
            .unwrap();
        let after = change.apply(before);
        let expected = vec![(CapKind::CostOfDay, 5), (CapKind::CostOfMonth, 6)];
        assert_eq!(after.present().collect::<Vec<_>>(), expected);
        assert_eq!(CapChanges::default().apply(before), before);
    }
}
