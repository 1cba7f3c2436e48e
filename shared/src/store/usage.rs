//! The usage of tenants on DynamoDB: one record for each row, which workers add to.
//!
//! A tenant's rows are in one partition, sorted by day.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Config;
use aws_sdk_dynamodb::config::retry::RetryConfig;

use super::error::failure;
use super::items::{self, Fields, Item, V, VERSION, number, text};
use super::keys;
use super::table::Table;
use crate::domain::{AgentId, Cost, KeyId, Spend, SpendKey, SpendPart, SpendRow, TenantId, Usage};
use crate::ports::{CheckPlace, StoreError, UsageCheck, UsageStore};

const DAY: &str = "day";
const AGENT: &str = "agent";
const API_KEY: &str = "api_key";
const PART: &str = "part";
const PLACE: &str = "place";
const PAGE: &str = "page";

const HOME: &str = "home";
const TENANTS: &str = "tenants";
const END: &str = "end";

const LOST: &str = "lost";
const MISSING: &str = "missing";
/// The part of a row that names a model.
const OF_MODEL: &str = "model";

const ATTEMPTS: &str = "attempts";
const MICRO_USD: &str = "micro_usd";
const UNPRICED_CALLS: &str = "unpriced_calls";

/// The usage of tenants in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoUsage {
    table: Table,
}

impl DynamoUsage {
    /// Stores usage in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }
}

#[async_trait]
impl UsageStore for DynamoUsage {
    async fn add(&self, tenant: &TenantId, row: &SpendRow) -> Result<(), StoreError> {
        let mut request = self.table.update(keys::usage_row(tenant, &row.key));
        let (mut set, mut add) = (vec!["#v = :v".to_owned()], Vec::new());
        request = request
            .expression_attribute_names("#v", V)
            .expression_attribute_values(":v", number(VERSION));
        for (name, value) in names(&row.key) {
            set.push(format!("#{name} = :{name}"));
            request = request
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        for (name, count) in counts(row.spend)
            .into_iter()
            .filter(|(_, count)| *count > 0)
        {
            add.push(format!("#{name} :{name}"));
            request = request
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), number(count));
        }
        if add.is_empty() {
            return Ok(());
        }
        let once = Config::builder().retry_config(RetryConfig::disabled());
        request
            .update_expression(format!("SET {} ADD {}", set.join(", "), add.join(", ")))
            .customize()
            .config_override(once)
            .send()
            .await
            .map_err(failure)?;
        Ok(())
    }

    async fn rows(
        &self,
        tenant: &TenantId,
        days: RangeInclusive<u64>,
        most: usize,
    ) -> Result<Vec<SpendRow>, StoreError> {
        let (first, last) = keys::usage_days(*days.start(), *days.end());
        let query = self.table.query_range(keys::usage(tenant), first, last);
        let (mut rows, mut start) = (Vec::new(), None);
        loop {
            let page = query.clone().set_exclusive_start_key(start).send().await;
            let page = page.map_err(failure)?;
            for item in page.items() {
                rows.push(read(item)?);
            }
            if rows.len() > most {
                return Err(StoreError::TooLarge);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(rows);
            }
        }
    }

    async fn replace(&self, tenant: &TenantId, row: &SpendRow) -> Result<(), StoreError> {
        let counts = counts(row.spend).map(|(name, count)| (name, number(count)));
        let attributes = names(&row.key).into_iter().chain(counts).collect();
        let item = items::item(keys::usage_row(tenant, &row.key), attributes);
        self.put(item).await
    }

    async fn check(&self) -> Result<Option<UsageCheck>, StoreError> {
        let found = self.table.read(keys::usage_check()).await?;
        found.as_ref().map(read_check).transpose()
    }

    async fn store_check(&self, check: &UsageCheck) -> Result<(), StoreError> {
        self.put(write_check(check)).await
    }
}

impl DynamoUsage {
    async fn put(&self, item: Item) -> Result<(), StoreError> {
        let request = self.table.client.put_item().table_name(&self.table.name);
        let put = request.set_item(Some(item)).send().await;
        put.map(|_| ()).map_err(failure)
    }
}

/// What the row's key consists of, as attributes.
fn names(key: &SpendKey) -> items::Attributes {
    let SpendKey {
        day,
        agent,
        key,
        part,
    } = key;
    let mut names = vec![(DAY, number(day)), (AGENT, text(agent.to_string()))];
    names.extend(key.map(|key| (API_KEY, text(key.to_string()))));
    match part {
        SpendPart::Model(model) => {
            names.push((PART, text(OF_MODEL)));
            names.extend(items::model(model));
        }
        SpendPart::Lost => names.push((PART, text(LOST))),
        SpendPart::Missing => names.push((PART, text(MISSING))),
    }
    names
}

/// What a row counts, by attribute.
fn counts(spend: Spend) -> [(&'static str, u64); 8] {
    let Spend {
        attempts,
        usage,
        cost,
    } = spend;
    [
        (ATTEMPTS, attempts.into()),
        (items::INPUT_TOKENS, usage.input_tokens),
        (items::OUTPUT_TOKENS, usage.output_tokens),
        (items::CACHE_READ_TOKENS, usage.cache_read_tokens),
        (items::CACHE_WRITE_TOKENS, usage.cache_write_tokens),
        (items::REASONING_TOKENS, usage.reasoning_tokens),
        (MICRO_USD, cost.micro_usd),
        (UNPRICED_CALLS, cost.unpriced_calls.into()),
    ]
}

fn read(item: &Item) -> Result<SpendRow, StoreError> {
    let fields = Fields::of(item)?;
    let part = match fields.text(PART)? {
        OF_MODEL => SpendPart::Model(fields.model()?),
        LOST => SpendPart::Lost,
        MISSING => SpendPart::Missing,
        other => return Err(fields.corrupt(format!("{PART} can't be used: {other}"))),
    };
    let count = |name| {
        let found = fields.optional(name, Fields::number::<u64>)?;
        Ok::<u64, StoreError>(found.unwrap_or_default())
    };
    let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(SpendRow {
        key: SpendKey {
            day: fields.number(DAY)?,
            agent: fields.parsed::<AgentId>(AGENT)?,
            key: fields.optional(API_KEY, Fields::parsed::<KeyId>)?,
            part,
        },
        spend: Spend {
            attempts: narrow(count(ATTEMPTS)?),
            usage: Usage {
                input_tokens: count(items::INPUT_TOKENS)?,
                output_tokens: count(items::OUTPUT_TOKENS)?,
                cache_read_tokens: count(items::CACHE_READ_TOKENS)?,
                cache_write_tokens: count(items::CACHE_WRITE_TOKENS)?,
                reasoning_tokens: count(items::REASONING_TOKENS)?,
            },
            cost: Cost {
                micro_usd: count(MICRO_USD)?,
                unpriced_calls: narrow(count(UNPRICED_CALLS)?),
            },
        },
    })
}

fn write_check(check: &UsageCheck) -> Item {
    let UsageCheck { day, place } = check;
    let (name, page) = match place {
        CheckPlace::Home => (HOME, None),
        CheckPlace::Tenants(page) => (TENANTS, page.as_ref()),
        CheckPlace::End => (END, None),
    };
    let mut attributes = vec![(DAY, number(day)), (PLACE, text(name))];
    attributes.extend(page.map(|page| (PAGE, text(page))));
    items::item(keys::usage_check(), attributes)
}

fn read_check(item: &Item) -> Result<UsageCheck, StoreError> {
    let fields = Fields::of(item)?;
    let page = fields.optional(PAGE, |fields, name| {
        fields.text(name).map(ToOwned::to_owned)
    })?;
    let place = match fields.text(PLACE)? {
        HOME => CheckPlace::Home,
        TENANTS => CheckPlace::Tenants(page),
        END => CheckPlace::End,
        other => return Err(fields.corrupt(format!("{PLACE} can't be used: {other}"))),
    };
    Ok(UsageCheck {
        day: fields.number(DAY)?,
        place,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    #[test]
    fn a_damaged_row_is_reported() {
        let tenant = samples::tenant("acme");
        let key = SpendKey {
            day: samples::START.day(),
            agent: AgentId::new(samples::START),
            key: Some(samples::token().id()),
            part: SpendPart::Model(samples::model()),
        };
        let mut item = items::item(keys::usage_row(&tenant, &key), names(&key));
        let found = read(&item).unwrap();
        assert_eq!((found.key, found.spend), (key, Spend::NONE));
        let required = ["v", DAY, AGENT, PART, "provider", "model"];
        items::checks::check_robustness(&item, &required, read);
        item.insert(PART.to_owned(), text("another"));
        assert!(matches!(read(&item), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn a_damaged_check_is_reported() {
        let check = UsageCheck {
            day: 20_000,
            place: CheckPlace::Home,
        };
        let item = write_check(&check);
        assert_eq!(read_check(&item).unwrap(), check);
        items::checks::check_robustness(&item, &["v", DAY, PLACE], read_check);
    }
}
