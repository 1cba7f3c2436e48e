//! Tenants on DynamoDB: the record that a check of a key reads, and a copy in the list of all
//! tenants.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::CancellationReason;

use super::error::reasons_of_transaction;
use super::items::{self, Fields, Item, REVISION, moment, name, number, text};
use super::keys::{self, DUE_AT, DUE_SHARD, Key, LISTED_TENANT_PREFIX, TENANTS, WALKED_TENANTS};
use super::table::{self, Table};
use crate::domain::{
    CountLimits, MaxAgents, MaxKeys, SuspendedTasks, Tenant, TenantId, TenantStatus,
};
use crate::ports::{Page, PageRequest, StoreError, TenantStore};

const ID: &str = "tenant";
const STATUS: &str = "status";
/// `deleting` or `deleted`. Such a tenant has the status `suspended` too, which earlier versions
/// know.
const DELETION: &str = "deletion";
/// Absent if they wait.
const SUSPENDED_TASKS: &str = "suspended_tasks";
const RATE: &str = "requests_per_minute";
const MAX_AGENTS: &str = "max_agents";
const MAX_KEYS: &str = "max_keys";
pub(super) const QUIET_SINCE: &str = "quiet_since";
const CREATED_AT: &str = "created_at";

/// Tenants in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoTenantStore {
    pub(super) table: Table,
}

impl DynamoTenantStore {
    /// Keeps tenants in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }
}

#[async_trait]
impl TenantStore for DynamoTenantStore {
    async fn add(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let put = |key| self.table.transact_put_new(write(key, tenant));
        let request = self
            .table
            .client
            .transact_write_items()
            .transact_items(put(keys::tenant_record(&tenant.id))?)
            .transact_items(put(keys::listed_tenant(&tenant.id))?);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => is_stored(&reasons_of_transaction(error)?, tenant),
        }
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        let found = self.table.read(keys::tenant_record(id)).await?;
        found.as_ref().map(read).transpose()
    }

    async fn update(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let replace = self
            .table
            .transact_put_revision(write_record(tenant), tenant.revision)?;
        let copy = write(keys::listed_tenant(&tenant.id), tenant);
        let request = self
            .table
            .client
            .transact_write_items()
            .transact_items(replace)
            .transact_items(self.table.transact_put(copy)?);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => is_stored(&reasons_of_transaction(error)?, tenant),
        }
    }

    async fn list(&self, page: &PageRequest) -> Result<Page<Tenant>, StoreError> {
        let after = table::after(page, keys::parse_id_cursor)?;
        let after = after.map(|id: TenantId| keys::listed_tenant(&id));
        let query = self
            .table
            .query_prefix(TENANTS.to_owned(), LISTED_TENANT_PREFIX);
        let (items, more) = Table::page(query, after, page.limit, |_| true).await?;
        let entries: Vec<Tenant> = items.iter().map(read).collect::<Result<_, _>>()?;
        let last = entries.last().filter(|_| more);
        Ok(Page {
            next: last.map(|last| keys::id_cursor(&last.id)),
            entries,
        })
    }
}

/// Succeeds if the transaction's first write found this tenant already.
pub(super) fn is_stored(reasons: &[CancellationReason], tenant: &Tenant) -> Result<(), StoreError> {
    let item = reasons.first().and_then(CancellationReason::item);
    match item.map(read).transpose()? {
        Some(stored) if stored == *tenant => Ok(()),
        Some(_) | None => Err(StoreError::Conflict),
    }
}

/// The tenant's own record. The index of what is due has it while the watchdog walks through the
/// tenant's tasks.
pub(super) fn write_record(tenant: &Tenant) -> Item {
    let mut item = write(keys::tenant_record(&tenant.id), tenant);
    if let Some(quiet_since) = tenant.quiet_since {
        let walk = [
            (QUIET_SINCE, moment(quiet_since)),
            (DUE_SHARD, text(WALKED_TENANTS)),
            (DUE_AT, moment(quiet_since)),
        ];
        item.extend(walk.map(|(name, value)| (name.to_owned(), value)));
    }
    item
}

fn write(key: Key, tenant: &Tenant) -> Item {
    let Tenant {
        id,
        status,
        suspended_tasks,
        rate,
        caps,
        count_limits: CountLimits {
            max_agents,
            max_keys,
        },
        quiet_since: _,
        created_at,
        revision,
    } = tenant;
    let known = if status.is_gone() {
        TenantStatus::Suspended
    } else {
        *status
    };
    let mut attributes = vec![
        (ID, text(id.as_str())),
        (STATUS, name(&known)),
        (CREATED_AT, moment(*created_at)),
        (REVISION, number(revision)),
    ];
    attributes.extend(status.is_gone().then(|| (DELETION, name(status))));
    if *suspended_tasks == SuspendedTasks::Cancel {
        attributes.push((SUSPENDED_TASKS, name(suspended_tasks)));
    }
    attributes.extend(rate.map(|rate| (RATE, number(rate.requests()))));
    attributes.extend(items::caps(*caps));
    attributes.extend(max_agents.map(|most| (MAX_AGENTS, number(most.count()))));
    attributes.extend(max_keys.map(|most| (MAX_KEYS, number(most.count()))));
    items::item(key, attributes)
}

pub(super) fn read(item: &Item) -> Result<Tenant, StoreError> {
    let fields = Fields::of(item)?;
    let known = fields.name(STATUS)?;
    Ok(Tenant {
        id: fields.parsed(ID)?,
        status: fields.optional(DELETION, Fields::name)?.unwrap_or(known),
        suspended_tasks: fields
            .optional(SUSPENDED_TASKS, Fields::name)?
            .unwrap_or_default(),
        rate: fields.optional(RATE, items::rate)?,
        caps: items::read_caps(&fields)?,
        count_limits: CountLimits {
            max_agents: fields.optional(MAX_AGENTS, max_agents)?,
            max_keys: fields.optional(MAX_KEYS, max_keys)?,
        },
        quiet_since: fields.optional(QUIET_SINCE, Fields::moment)?,
        created_at: fields.moment(CREATED_AT)?,
        revision: fields.number(REVISION)?,
    })
}

fn max_agents(fields: &Fields<'_>, name: &str) -> Result<MaxAgents, StoreError> {
    fields.valid(MaxAgents::new(fields.number(name)?))
}

fn max_keys(fields: &Fields<'_>, name: &str) -> Result<MaxKeys, StoreError> {
    fields.valid(MaxKeys::new(fields.number(name)?))
}

#[cfg(test)]
mod tests {
    use super::super::items::checks::check_robustness;
    use super::*;
    use crate::testing::samples;

    #[test]
    fn a_tenant_survives_its_record() {
        let tenant = Tenant::create(samples::tenant("acme"), samples::START);
        let deleting = tenant.clone().deleting(samples::after(7));
        let suspended = tenant.clone().changed(TenantStatus::Suspended, None);
        for tenant in [
            tenant,
            suspended.clone(),
            suspended.with_suspended_tasks(SuspendedTasks::Cancel, samples::after(5)),
            deleting.clone().with_count_limits(CountLimits::HIGHEST),
            deleting.clone(),
            deleting.deleted(),
        ] {
            assert_eq!(read(&write_record(&tenant)).unwrap(), tenant);
        }
    }

    #[test]
    fn an_earlier_version_takes_a_deleted_tenant_for_a_suspended_one() {
        let tenant = Tenant::create(samples::tenant("acme"), samples::START);
        let deleting = tenant.deleting(samples::START);
        for tenant in [deleting.clone(), deleting.deleted()] {
            let mut item = write_record(&tenant);
            item.remove(DELETION);
            assert_eq!(read(&item).unwrap().status, TenantStatus::Suspended);
        }
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let tenant = Tenant::create(samples::tenant("acme"), samples::START);
        let required = ["v", "tenant", "status", "created_at", "revision"];
        check_robustness(&write_record(&tenant), &required, read);
    }
}
