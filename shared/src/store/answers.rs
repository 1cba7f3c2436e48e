//! Cached answers on DynamoDB: one record for each request, with the answer and with the claim to
//! make the call.
//!
//! Claim and answer share a record, so that one conditional write finds the answer or gets the
//! claim, and an old answer stays while somebody makes the call for a new one. The chunks of a
//! large answer are written before the record that names them.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;

use super::answer_item::{self, ALONE_UNTIL, FRESH_UNTIL, Found, LEASE_UNTIL, MADE_AT, OWNER};
use super::blob::{self, Blob};
use super::error::{failure, record_that_failed_update};
use super::items::{Attributes, Fields, Item, V, VERSION, moment, number, text};
use super::keys::{self, EXPIRES_AT};
use super::table::{self, Table};
use crate::domain::{AnswerKey, Causes, Timestamp, WorkerId};
use crate::ports::{
    AnswerCache, AnswerClaim, AnswerClaimed, AnswerSeen, CachedAnswer, ClaimState, StoreError,
};
use crate::runtime::computed;

/// When a claim is granted: no other claim holds, the answer is not marked as uncacheable, and no
/// fresh answer is young enough.
const CLAIMABLE: &str = "(attribute_not_exists(#owner) OR #owner = :owner OR #lease_until <= :now) \
    AND (attribute_not_exists(#alone_until) OR #alone_until <= :now) \
    AND (attribute_not_exists(#made_at) OR #fresh_until <= :now OR #made_at < :not_before)";

const CLAIM: &str = "SET #owner = :owner, #lease_until = :until, #v = :v, #expires_at = :expires_at REMOVE #alone_until";

/// Cached answers in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoAnswerCache {
    table: Table,
}

impl DynamoAnswerCache {
    /// Keeps answers in the table of this name, whose records expire by `expires_at`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Deletes the answer, its chunks, and the claim.
    pub(super) async fn forget(&self, key: &AnswerKey) -> Result<(), StoreError> {
        let query = self.table.query_keys(keys::answer_partition(key));
        let found: Vec<Item> = query
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(failure)?;
        self.table
            .delete_all(found.iter().map(table::key_of).collect::<Result<_, _>>()?)
            .await
    }

    /// Claims; `None` if there is a fresh answer that can't be read.
    async fn try_claim(
        &self,
        key: &AnswerKey,
        claim: &AnswerClaim,
    ) -> Result<Option<AnswerClaimed>, StoreError> {
        let names = [
            ("#owner", OWNER),
            ("#lease_until", LEASE_UNTIL),
            ("#alone_until", ALONE_UNTIL),
            ("#made_at", MADE_AT),
            ("#fresh_until", FRESH_UNTIL),
            ("#v", V),
            ("#expires_at", EXPIRES_AT),
        ];
        let values = [
            (":owner", text(claim.owner.to_string())),
            (":now", moment(claim.now)),
            (":until", moment(claim.until)),
            (":not_before", moment(claim.not_before)),
            (":v", number(VERSION)),
            (":expires_at", answer_item::expires(claim.forget_at).1),
        ];
        let request = self
            .table
            .update(keys::answer(key))
            .update_expression(CLAIM)
            .condition_expression(CLAIMABLE)
            .set_expression_attribute_names(Some(HashMap::from(
                names.map(|(as_, name)| (as_.into(), name.into())),
            )))
            .set_expression_attribute_values(Some(HashMap::from(
                values.map(|(as_, value)| (as_.into(), value)),
            )));
        let Err(error) = request.send().await else {
            return Ok(Some(AnswerClaimed::Granted));
        };
        let item = record_that_failed_update(error)?.ok_or(StoreError::Conflict)?;
        self.refused(key, &item, claim).await
    }

    /// Why the record as it stands made a claim's condition fail.
    async fn refused(
        &self,
        key: &AnswerKey,
        item: &Item,
        claim: &AnswerClaim,
    ) -> Result<Option<AnswerClaimed>, StoreError> {
        let good =
            |found: &Found<'_>| found.fresh_until > claim.now && found.made_at >= claim.not_before;
        let unreadable = match self.answer(key, item, good).await? {
            Answer::Read(cached) => return Ok(Some(AnswerClaimed::Cached(cached))),
            Answer::Unreadable => true,
            Answer::None => false,
        };
        match answer_item::claim_state(item, claim.now) {
            Ok(ClaimState::Alone) => Ok(Some(AnswerClaimed::Alone)),
            Ok(ClaimState::Held { until }) => Ok(Some(AnswerClaimed::Busy { until })),
            Ok(ClaimState::Free) | Err(_) if unreadable => Ok(None),
            Ok(ClaimState::Free) => Err(StoreError::Conflict),
            Err(error) => Err(error),
        }
    }

    /// The answer in a record, if it is `good`.
    async fn answer(
        &self,
        key: &AnswerKey,
        item: &Item,
        good: impl Fn(&Found<'_>) -> bool + Send,
    ) -> Result<Answer, StoreError> {
        let cached = async {
            let Some(found) = answer_item::read(item)?.filter(good) else {
                return Ok(Answer::None);
            };
            let prefix = keys::chunks(found.head.digest());
            let raw = found
                .head
                .value(&self.table, keys::answer_partition(key), &prefix)
                .await?;
            Ok(Answer::Read(Box::new(computed(raw.len(), || {
                found.unpacked(&raw)
            })?)))
        };
        match cached.await {
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::warn!(error = %Causes(&error), "cached answer unreadable; treated as a cache miss");
                Ok(Answer::Unreadable)
            }
            other => other,
        }
    }

    /// Writes the answer's chunks, and prepares the write of its record, which also clears the
    /// attributes in `cleared`.
    async fn put(
        &self,
        key: &AnswerKey,
        cached: &CachedAnswer,
        blob: &Blob,
        cleared: &[&'static str],
    ) -> Result<UpdateItemFluentBuilder, StoreError> {
        let chunk = |number| keys::answer_chunk(key, blob.digest(), number);
        blob.write_chunks(
            &self.table,
            chunk,
            &vec![answer_item::expires(cached.ends_at)],
        )
        .await?;
        let written: Attributes = answer_item::write(cached, blob)
            .into_iter()
            .chain([(V, number(VERSION))])
            .collect();
        let old = blob::HEAD
            .iter()
            .filter(|name| written.iter().all(|(present, _)| present != *name));
        let mut request = self.table.update(keys::answer(key));
        let mut removed = Vec::new();
        for name in old.chain(cleared).chain(&[ALONE_UNTIL]) {
            removed.push(format!("#{name}"));
            request = request.expression_attribute_names(format!("#{name}"), *name);
        }
        let mut set = Vec::new();
        for (name, value) in written {
            set.push(format!("#{name} = :{name}"));
            request = request
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        Ok(request.update_expression(format!(
            "SET {} REMOVE {}",
            set.join(", "),
            removed.join(", ")
        )))
    }
}

/// What a record has of an answer.
enum Answer {
    Read(Box<CachedAnswer>),
    Unreadable,
    None,
}

/// Succeeds if `item`, which made a write's condition fail, has the very same answer already.
fn check_same_answer(
    item: Option<&Item>,
    cached: &CachedAnswer,
    blob: &Blob,
) -> Result<(), StoreError> {
    let same = |item: &Item| {
        let fields = Fields::of(item).ok()?;
        Some(
            fields.moment(MADE_AT).ok()? == cached.made_at
                && fields.bytes(blob::SHA256).ok()? == blob.digest(),
        )
    };
    if item.and_then(same) == Some(true) {
        Ok(())
    } else {
        Err(StoreError::Conflict)
    }
}

#[async_trait]
impl AnswerCache for DynamoAnswerCache {
    async fn claim(
        &self,
        key: &AnswerKey,
        claim: &AnswerClaim,
    ) -> Result<AnswerClaimed, StoreError> {
        if let Some(claimed) = self.try_claim(key, claim).await? {
            return Ok(claimed);
        }
        // What is there can't be read, so nothing that is there is good enough.
        let any = AnswerClaim {
            not_before: Timestamp::from_millis(u64::MAX),
            ..*claim
        };
        self.try_claim(key, &any).await?.ok_or(StoreError::Conflict)
    }

    async fn read(
        &self,
        key: &AnswerKey,
        now: Timestamp,
        not_before: Timestamp,
    ) -> Result<AnswerSeen, StoreError> {
        let Some(item) = self.table.read(keys::answer(key)).await? else {
            return Ok(AnswerSeen {
                cached: None,
                claim: ClaimState::Free,
            });
        };
        let good = |found: &Found<'_>| found.ends_at > now && found.made_at >= not_before;
        let cached = match self.answer(key, &item, good).await? {
            Answer::Read(cached) => Some(cached),
            Answer::Unreadable | Answer::None => None,
        };
        Ok(AnswerSeen {
            cached,
            claim: answer_item::claim_state(&item, now).unwrap_or(ClaimState::Free),
        })
    }

    async fn store(
        &self,
        key: &AnswerKey,
        owner: WorkerId,
        cached: &CachedAnswer,
    ) -> Result<(), StoreError> {
        let blob = answer_item::pack(&cached.answer)?;
        let request = self.put(key, cached, &blob, &[OWNER, LEASE_UNTIL]).await?;
        let request = request
            .condition_expression("#owner = :owner")
            .expression_attribute_values(":owner", text(owner.to_string()));
        let Err(error) = request.send().await else {
            return Ok(());
        };
        check_same_answer(record_that_failed_update(error)?.as_ref(), cached, &blob)
    }

    async fn replace(&self, key: &AnswerKey, cached: &CachedAnswer) -> Result<(), StoreError> {
        let blob = answer_item::pack(&cached.answer)?;
        let request = self.put(key, cached, &blob, &[]).await?;
        let request =
            request.condition_expression("attribute_not_exists(#made_at) OR #made_at < :made_at");
        let Err(error) = request.send().await else {
            return Ok(());
        };
        check_same_answer(record_that_failed_update(error)?.as_ref(), cached, &blob)
    }

    async fn release(
        &self,
        key: &AnswerKey,
        owner: WorkerId,
        alone_until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let request = self
            .table
            .update(keys::answer(key))
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", OWNER)
            .expression_attribute_names("#lease_until", LEASE_UNTIL)
            .expression_attribute_values(":owner", text(owner.to_string()));
        let request = match alone_until {
            None => request.update_expression("REMOVE #owner, #lease_until"),
            Some(until) => request
                .update_expression("SET #alone_until = :alone_until REMOVE #owner, #lease_until")
                .expression_attribute_names("#alone_until", ALONE_UNTIL)
                .expression_attribute_values(":alone_until", moment(until)),
        };
        let Err(error) = request.send().await else {
            return Ok(());
        };
        // The claim is another's by now, or its end is known already.
        record_that_failed_update(error).map(drop)
    }
}
