//! Listing a tenant's tasks from the index that sorts them by the moment of their creation.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;

use super::error::failure;
use super::items::{Item, name, text};
use super::keys::{self, CREATED, TASKS, TENANT_ID};
use super::table;
use super::task_item::{self, AGENT_ID, METADATA, STATUS};
use super::task_store::DynamoTaskStore;
use crate::domain::{Causes, TaskId, TenantId, Timestamp};
use crate::ports::{Page, PageRequest, StoreError, TaskFilter, TaskOrder, TaskSummary};

/// The most queries of the index for one page, because a filter may drop all entries that a query
/// read.
const MOST_QUERIES: u32 = 5;

/// How many entries a query reads when a filter drops some of them.
const FILTERED_ENTRIES: i32 = 250;

/// The last moment whose place in the index has as many digits as those of all before it: in 2286.
const LAST_MOMENT: Timestamp = Timestamp::from_millis(9_999_999_999_999);

impl DynamoTaskStore {
    pub(super) async fn list_tasks(
        &self,
        tenant: &TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, StoreError> {
        let after = page.after.as_deref().map(|cursor| {
            keys::parse_task_cursor(cursor)
                .filter(|(at, _)| filter.covers(*at))
                .ok_or(StoreError::Cursor)
        });
        let limit = page.limit.clamp(1, 100);
        // One entry more than wanted shows whether there is a next page.
        let entries_per_query = if is_filtered(filter) {
            FILTERED_ENTRIES
        } else {
            limit.cast_signed() + 1
        };
        let query = filtered(self.table.query(), filter)
            .index_name(TASKS)
            .scan_index_forward(filter.order == TaskOrder::Oldest);
        let query = accepted_in(query, filter)
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

/// Whether the filter may drop entries that a query reads.
fn is_filtered(filter: &TaskFilter) -> bool {
    let TaskFilter {
        statuses,
        agent,
        metadata,
        created_from: _,
        created_before: _,
        order: _,
    } = filter;
    !statuses.is_empty() || agent.is_some() || metadata.is_some()
}

/// The query of the part of the index that the filter covers.
fn accepted_in(query: QueryFluentBuilder, filter: &TaskFilter) -> QueryFluentBuilder {
    let place = |moment: Timestamp| text(keys::created_since(moment.min(LAST_MOMENT)));
    let (condition, query) = match (filter.created_from, filter.created_before) {
        (None, None) => return query.key_condition_expression("#tenant = :tenant"),
        (Some(from), None) => (
            "#created >= :from",
            query.expression_attribute_values(":from", place(from)),
        ),
        (None, Some(before)) => (
            "#created < :before",
            query.expression_attribute_values(":before", place(before)),
        ),
        // No task is exactly at `before`, because a task's place also has its id.
        (Some(from), Some(before)) => (
            "#created BETWEEN :from AND :before",
            query
                .expression_attribute_values(":from", place(from))
                .expression_attribute_values(":before", place(before)),
        ),
    };
    query
        .key_condition_expression(format!("#tenant = :tenant AND {condition}"))
        .expression_attribute_names("#created", CREATED)
}

fn filtered(query: QueryFluentBuilder, filter: &TaskFilter) -> QueryFluentBuilder {
    let (mut query, mut conditions) = (query, Vec::new());
    if !filter.statuses.is_empty() {
        let mut values = Vec::new();
        for (place, status) in filter.statuses.iter().enumerate() {
            let value = format!(":status{place}");
            query = query.expression_attribute_values(&value, name(status));
            values.push(value);
        }
        conditions.push(format!("#status IN ({})", values.join(", ")));
        query = query.expression_attribute_names("#status", STATUS);
    }
    if let Some(pair) = &filter.metadata {
        conditions.push("#metadata.#pair = :pair".to_owned());
        query = query
            .expression_attribute_names("#metadata", METADATA)
            .expression_attribute_names("#pair", &pair.key)
            .expression_attribute_values(":pair", text(&pair.value));
    }
    if let Some(agent) = filter.agent {
        conditions.push("#agent = :agent".to_owned());
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
