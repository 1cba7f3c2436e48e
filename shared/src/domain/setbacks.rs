//! What went wrong since a task's journal last grew, as far as its workers recorded it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::call::FailedAttempt;
use crate::domain::chain::Provider;
use crate::domain::failure_code::FailureCode;
use crate::domain::limits::BudgetScope;

/// The failed model calls since a task's journal last grew, counted by failure, and the cap on cost
/// that refused the last call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setbacks {
    #[serde(default)]
    met: Vec<Setback>,
    #[serde(default)]
    cap: Option<BudgetScope>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Setback {
    provider: Provider,
    code: FailureCode,
    status: Option<u16>,
    times: u32,
}

impl Setbacks {
    /// Whether there were none.
    pub const fn is_empty(&self) -> bool {
        self.met.is_empty() && self.cap.is_none()
    }

    /// The cap on cost that refused the last call, if one did.
    pub const fn cap(&self) -> Option<BudgetScope> {
        self.cap
    }

    pub(super) fn note(&mut self, attempts: &[FailedAttempt], cap: Option<BudgetScope>) {
        self.cap = cap;
        for attempt in attempts {
            let (provider, code, status) = (attempt.model.provider(), attempt.code, attempt.status);
            let same = |met: &&mut Setback| {
                (met.provider, met.code, met.status) == (provider, code, status)
            };
            match self.met.iter_mut().find(same) {
                Some(met) => met.times = met.times.saturating_add(1),
                None => self.met.push(Setback {
                    provider,
                    code,
                    status,
                    times: 1,
                }),
            }
        }
    }
}

/// Such as `3 times openai model_unavailable with HTTP status 503, once openai model_timeout`.
impl fmt::Display for Setbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            place,
            Setback {
                provider,
                code,
                status,
                times,
            },
        ) in self.met.iter().enumerate()
        {
            let separator = if place == 0 { "" } else { ", " };
            let times = if *times == 1 {
                "once".to_owned()
            } else {
                format!("{times} times")
            };
            write!(f, "{separator}{times} {provider} {}", code.as_str())?;
            if let Some(status) = status {
                write!(f, " with HTTP status {status}")?;
            }
        }
        if self.met.is_empty() {
            f.write_str("no failed model call")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ModelRef;

    #[test]
    fn equal_failures_are_counted_together() {
        let failed = |code, status| FailedAttempt {
            model: ModelRef::new(Provider::OpenAi, "m").unwrap(),
            code,
            status,
            request_id: None,
            said: None,
        };
        let mut setbacks = Setbacks::default();
        assert_eq!(setbacks.to_string(), "no failed model call");
        let down = failed(FailureCode::ModelUnavailable, Some(503));
        setbacks.note(
            &[down.clone(), failed(FailureCode::ModelTimeout, None)],
            Some(BudgetScope::Tenant),
        );
        setbacks.note(&[down.clone(), down], None);
        assert_eq!(
            setbacks.to_string(),
            "3 times openai model_unavailable with HTTP status 503, once openai model_timeout"
        );
        assert_eq!(setbacks.cap(), None, "the last refusal counts");
        let read: Setbacks =
            serde_json::from_value(serde_json::to_value(&setbacks).unwrap()).unwrap();
        assert_eq!(read, setbacks);
    }
}
