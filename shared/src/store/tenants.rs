//! Tenants on DynamoDB: the record that a check of a key reads, and a copy in the list of all
//! tenants.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::CancellationReason;

use super::error::reasons_of_transaction;
use super::items::{self, Fields, Item, REVISION, moment, name, number, text};
use super::keys::{self, Key, LISTED_TENANT_PREFIX, TENANTS};
use super::table::{self, Table};
use crate::domain::{Tenant, TenantId};
use crate::ports::{Page, PageRequest, StoreError, TenantStore};

const ID: &str = "tenant";
const STATUS: &str = "status";
const RATE: &str = "requests_per_minute";
const CREATED_AT: &str = "created_at";

/// Tenants in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoTenantStore {
    table: Table,
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
        let record = write(keys::tenant_record(&tenant.id), tenant);
        let replace = self.table.transact_put_revision(record, tenant.revision)?;
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
fn is_stored(reasons: &[CancellationReason], tenant: &Tenant) -> Result<(), StoreError> {
    let item = reasons.first().and_then(CancellationReason::item);
    match item.map(read).transpose()? {
        Some(stored) if stored == *tenant => Ok(()),
        Some(_) | None => Err(StoreError::Conflict),
    }
}

fn write(key: Key, tenant: &Tenant) -> Item {
    let Tenant {
        id,
        status,
        rate,
        created_at,
        revision,
    } = tenant;
    let mut attributes = vec![
        (ID, text(id.as_str())),
        (STATUS, name(status)),
        (CREATED_AT, moment(*created_at)),
        (REVISION, number(revision)),
    ];
    attributes.extend(rate.map(|rate| (RATE, number(rate.requests()))));
    items::item(key, attributes)
}

fn read(item: &Item) -> Result<Tenant, StoreError> {
    let fields = Fields::of(item)?;
    Ok(Tenant {
        id: fields.parsed(ID)?,
        status: fields.name(STATUS)?,
        rate: fields.optional(RATE, items::rate)?,
        created_at: fields.moment(CREATED_AT)?,
        revision: fields.number(REVISION)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TenantStatus;
    use crate::testing::samples;

    #[test]
    fn a_tenant_survives_its_record() {
        let tenant = Tenant::create(samples::tenant("acme"), samples::START);
        for tenant in [
            tenant.clone(),
            tenant.changed(TenantStatus::Suspended, None),
        ] {
            let item = write(keys::tenant_record(&tenant.id), &tenant);
            assert_eq!(read(&item).unwrap(), tenant);
        }
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let tenant = Tenant::create(samples::tenant("acme"), samples::START);
        let item = write(keys::tenant_record(&tenant.id), &tenant);
        let required = ["v", "tenant", "status", "created_at", "revision"];
        items::checks::check_robustness(&item, &required, read);
    }
}
