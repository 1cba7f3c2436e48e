//! Tenants. No data of one tenant is visible to another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::caps::Caps;
use super::count_limits::CountLimits;
use super::invalid::{Invalid, slug};
use super::request_rate::RequestRate;
use super::time::Timestamp;

/// An isolated customer. It comes from the credential of a request, never from its path or body.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(String);

impl TenantId {
    /// The deployment's own tenant, which its generated API key acts for.
    pub fn home() -> Self {
        Self("default".to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = Invalid;

    /// Accepts 1 to 64 characters of `a-z`, `0-9` and `-`; the set keeps keys and log searches free
    /// of escapes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        slug("/tenant_id", text.to_owned()).map(Self)
    }
}

/// What the platform knows of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Identifies the tenant.
    pub id: TenantId,
    /// Whether it may use the API.
    pub status: TenantStatus,
    /// What happens to its tasks while it is suspended.
    pub suspended_tasks: SuspendedTasks,
    /// How many requests all its keys together may make.
    pub rate: Option<RequestRate>,
    /// What its tasks may use.
    pub caps: Caps,
    /// How many agents and keys it may have.
    pub count_limits: CountLimits,
    /// Since when the watchdog's walk through its tasks has found nothing to do; `None` if it walks
    /// through none.
    pub quiet_since: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// How often it was changed.
    pub revision: u64,
}

/// Whether a tenant may use the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// It may.
    Active,
    /// Its requests are refused. Nothing of it is deleted.
    Suspended,
    /// Its keys are unknown, and the watchdog deletes everything of it.
    Deleting,
    /// Nothing is left of it but its id, which is never used again.
    Deleted,
}

/// What happens to the tasks of a suspended tenant that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspendedTasks {
    /// They wait until the tenant is active again, or end at their deadlines.
    #[default]
    Wait,
    /// The watchdog cancels them.
    Cancel,
}

impl TenantStatus {
    /// Whether the tenant is deleted, or will be.
    pub const fn is_gone(self) -> bool {
        match self {
            Self::Deleting | Self::Deleted => true,
            Self::Active | Self::Suspended => false,
        }
    }
}

impl Tenant {
    /// A new tenant.
    pub const fn create(id: TenantId, now: Timestamp) -> Self {
        Self {
            id,
            status: TenantStatus::Active,
            suspended_tasks: SuspendedTasks::Wait,
            rate: None,
            caps: Caps::NONE,
            count_limits: CountLimits {
                max_agents: None,
                max_keys: None,
            },
            quiet_since: None,
            created_at: now,
            revision: 1,
        }
    }

    /// The tenant in this status and with this limit, in its next revision.
    #[must_use]
    pub fn changed(self, status: TenantStatus, rate: Option<RequestRate>) -> Self {
        let (suspended_tasks, quiet_since) = match status {
            TenantStatus::Suspended => (self.suspended_tasks, self.quiet_since),
            TenantStatus::Active | TenantStatus::Deleting | TenantStatus::Deleted => {
                (SuspendedTasks::Wait, None)
            }
        };
        Self {
            status,
            suspended_tasks,
            rate,
            quiet_since,
            revision: self.revision + 1,
            ..self
        }
    }

    /// The deployment's own tenant, which needs no record.
    pub fn home(id: TenantId, now: Timestamp) -> Self {
        Self {
            count_limits: CountLimits::HIGHEST,
            ..Self::create(id, now)
        }
    }

    /// The tenant with these limits.
    #[must_use]
    pub fn with_count_limits(self, count_limits: CountLimits) -> Self {
        Self {
            count_limits,
            ..self
        }
    }

    /// The suspended tenant, with this happening to its tasks from now on.
    #[must_use]
    pub fn with_suspended_tasks(self, tasks: SuspendedTasks, now: Timestamp) -> Self {
        if tasks == self.suspended_tasks {
            return self;
        }
        Self {
            suspended_tasks: tasks,
            quiet_since: (tasks == SuspendedTasks::Cancel).then_some(now),
            ..self
        }
    }

    /// The tenant, under these caps.
    #[must_use]
    pub fn under(self, caps: Caps) -> Self {
        Self { caps, ..self }
    }

    /// The tenant, to be deleted from now on.
    #[must_use]
    pub fn deleting(self, now: Timestamp) -> Self {
        Self {
            quiet_since: Some(now),
            caps: Caps::NONE,
            ..self.changed(TenantStatus::Deleting, None)
        }
    }

    /// What is left of the tenant once everything of it is deleted.
    #[must_use]
    pub fn deleted(self) -> Self {
        Self {
            quiet_since: None,
            count_limits: CountLimits::default(),
            ..self.changed(TenantStatus::Deleted, None)
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples::{self, START, after};

    #[test]
    fn a_walk_begins_with_a_cancellation_and_ends_with_the_suspension() {
        let tenant = Tenant::create(samples::tenant("acme"), START);
        let suspended = tenant.changed(TenantStatus::Suspended, None);
        assert_eq!(suspended.quiet_since, None);
        let canceling = suspended.with_suspended_tasks(SuspendedTasks::Cancel, after(1));
        assert_eq!(canceling.quiet_since, Some(after(1)));
        let again = canceling
            .clone()
            .changed(TenantStatus::Suspended, None)
            .with_suspended_tasks(SuspendedTasks::Cancel, after(9));
        assert_eq!(again.quiet_since, Some(after(1)));
        let waiting = again
            .clone()
            .with_suspended_tasks(SuspendedTasks::Wait, after(9));
        let active = again.changed(TenantStatus::Active, None);
        assert_eq!(active.suspended_tasks, SuspendedTasks::Wait);
        for tenant in [waiting, active] {
            assert_eq!(tenant.quiet_since, None);
        }
    }
}
