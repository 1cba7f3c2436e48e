//! Listing a tenant's tasks from the index that sorts them by the moment of their creation.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;

use super::error::failure;
use super::items::{Item, name, text};
use super::keys::{self, BY_TENANT, CREATED, TENANT_ID};
use super::table;
use super::task_item::{self, AGENT_ID, STATUS};
use super::task_store::DynamoTaskStore;
use crate::domain::{Causes, TaskId, TenantId, Timestamp};
use crate::ports::{Page, PageRequest, StoreError, TaskFilter, TaskSummary};

/// The most queries of the index for one page, because a filter may drop all entries that a query
/// read.
const MOST_QUERIES: u32 = 5;

/// How many entries a query reads when a filter drops some of them.
const FILTERED_ENTRIES: i32 = 250;

impl DynamoTaskStore {
    pub(super) async fn list_tasks(
        &self,
        tenant: &TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, StoreError> {
        let after = page
            .after
            .as_deref()
            .map(|cursor| keys::parse_task_cursor(cursor).ok_or(StoreError::Cursor));
        let limit = page.limit.clamp(1, 100);
        // One entry more than wanted shows whether there is a next page.
        let entries_per_query = if *filter == TaskFilter::default() {
            limit.cast_signed() + 1
        } else {
            FILTERED_ENTRIES
        };
        let query = filtered(self.table.query(), filter)
            .index_name(BY_TENANT)
            .scan_index_forward(false);
        let query = query
            .key_condition_expression("#tenant = :tenant")
            .expression_attribute_names("#tenant", TENANT_ID)
            .expression_attribute_values(":tenant", text(tenant.as_str()))
            .limit(entries_per_query);
        let mut start = after.transpose()?.map(|(at, id)| start_key(tenant, at, id));
        let mut entries: Vec<TaskSummary> = Vec::new();
        for _ in 0..MOST_QUERIES {
            let answer = query
                .clone()
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(failure)?;
            for item in answer.items() {
                match task_item::read_summary(item) {
                    Ok(entry) => entries.push(entry),
                    // A record that a newer version wrote must not hide the other tasks.
                    Err(error) => {
                        tracing::error!(error = %Causes(&error), "unreadable task left out of a list");
                    }
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() || entries.len() > limit as usize {
                break;
            }
        }
        if entries.len() > limit as usize {
            entries.truncate(limit as usize);
            let next = entries
                .last()
                .map(|last| keys::task_cursor(last.created_at, last.id));
            return Ok(Page { entries, next });
        }
        Ok(Page {
            entries,
            next: start.as_ref().and_then(cursor),
        })
    }
}

fn filtered(query: QueryFluentBuilder, filter: &TaskFilter) -> QueryFluentBuilder {
    let (mut query, mut conditions) = (query, Vec::new());
    if let Some(status) = filter.status {
        conditions.push("#status = :status");
        query = query
            .expression_attribute_names("#status", STATUS)
            .expression_attribute_values(":status", name(&status));
    }
    if let Some(agent) = filter.agent {
        conditions.push("#agent = :agent");
        query = query
            .expression_attribute_names("#agent", AGENT_ID)
            .expression_attribute_values(":agent", text(agent.to_string()));
    }
    let conditions = conditions.join(" AND ");
    query.set_filter_expression(Some(conditions).filter(|conditions| !conditions.is_empty()))
}

/// The place in the tenant's part of the index right after the task, whether it is there or not.
pub(super) fn start_key(tenant: &TenantId, at: Timestamp, id: TaskId) -> Item {
    let index = [
        (TENANT_ID, text(tenant.as_str())),
        (CREATED, text(keys::created(at, id))),
    ];
    let index = index
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    index
        .chain(table::attributes(keys::task(id)))
        .collect::<HashMap<_, _>>()
}

/// The place at which a query ended, as a cursor for clients.
fn cursor(end: &Item) -> Option<String> {
    let (at, id) = keys::parse_created(end.get(CREATED)?.as_s().ok()?)?;
    Some(keys::task_cursor(at, id))
}
