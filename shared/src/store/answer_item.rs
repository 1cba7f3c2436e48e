//! The record of a cached answer. It also holds the claim to make the model request.

use std::borrow::Cow;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use super::blob::{Blob, BlobHeader};
use super::items::{Attributes, Fields, Item, moment, number};
use super::keys::{EXPIRES_AT, seconds};
use crate::domain::{
    AssistantPart, ModelAnswer, ModelRef, Origin, Spend, StopReason, Timestamp, Usage,
};
use crate::ports::{CachedAnswer, ClaimState, StoreError};

pub(super) const OWNER: &str = "owner";
pub(super) const LEASE_UNTIL: &str = "lease_until";
pub(super) const ALONE_UNTIL: &str = "alone_until";
pub(super) const MADE_AT: &str = "made_at";
pub(super) const FRESH_UNTIL: &str = "fresh_until";
pub(super) const ENDS_AT: &str = "ends_at";

/// The version of [`StoredAnswer`].
const VERSION: u32 = 1;

/// The most bytes of an answer in its head record. DynamoDB charges a refused claim for the whole
/// record, and a partition has 1,000 write units a second. A small head allows many claims at once.
const IN_HEAD: usize = 8 * 1_024;

/// An answer as JSON.
#[derive(Serialize, Deserialize)]
struct StoredAnswer<'a> {
    version: u32,
    content: Cow<'a, [AssistantPart]>,
    stop_reason: StopReason,
    usage: Usage,
    model: Cow<'a, ModelRef>,
    served_model: Cow<'a, str>,
    request_id: Option<Cow<'a, str>>,
}

/// Packs the answer for its record.
pub(super) fn pack(answer: &ModelAnswer) -> Result<Blob, StoreError> {
    let stored = StoredAnswer {
        version: VERSION,
        content: Cow::Borrowed(&answer.content),
        stop_reason: answer.stop_reason,
        usage: answer.usage,
        model: Cow::Borrowed(&answer.model),
        served_model: Cow::Borrowed(&answer.served_model),
        request_id: answer.request_id.as_deref().map(Cow::Borrowed),
    };
    let raw = serde_json::to_vec(&stored).map_err(|error| StoreError::Refused(Box::new(error)))?;
    Blob::pack(raw, IN_HEAD)
}

/// The attributes of the cached answer, whose packed form is `blob`, in its record.
pub(super) fn write(cached: &CachedAnswer, blob: &Blob) -> Attributes {
    let times = [
        (MADE_AT, moment(cached.made_at)),
        (FRESH_UNTIL, moment(cached.fresh_until)),
        (ENDS_AT, moment(cached.ends_at)),
        expires(cached.ends_at),
    ];
    times.into_iter().chain(blob.head()).collect()
}

/// When DynamoDB may delete a record. It may take days to do so, so readers check the record's own
/// times.
pub(super) fn expires(at: Timestamp) -> (&'static str, AttributeValue) {
    (EXPIRES_AT, number(seconds(at)))
}

/// A cached answer as its record describes it: its times, and where its content is.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) made_at: Timestamp,
    pub(super) fresh_until: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) head: BlobHeader<'a>,
    fields: Fields<'a>,
}

/// The cached answer in a record, if there is one.
pub(super) fn read(item: &Item) -> Result<Option<Found<'_>>, StoreError> {
    let fields = Fields::of(item)?;
    let Some(made_at) = fields.optional(MADE_AT, Fields::moment)? else {
        return Ok(None);
    };
    let (fresh_until, ends_at) = (fields.moment(FRESH_UNTIL)?, fields.moment(ENDS_AT)?);
    Ok(Some(Found {
        made_at,
        fresh_until,
        ends_at,
        head: BlobHeader::read(fields)?,
        fields,
    }))
}

impl Found<'_> {
    /// The cached answer whose unpacked form is `raw`.
    pub(super) fn unpacked(&self, raw: &[u8]) -> Result<CachedAnswer, StoreError> {
        // The error names only the place: the text is an answer.
        let stored: StoredAnswer<'_> = serde_json::from_slice(raw).map_err(|error| {
            let (what, place) = (error.classify(), error.column());
            self.fields.corrupt(format!(
                "its answer can't be used: {what:?} at column {place}"
            ))
        })?;
        if stored.version != VERSION {
            return Err(self.fields.corrupt(format!(
                "its answer has version {}, not {VERSION}",
                stored.version
            )));
        }
        let answer = ModelAnswer {
            content: stored.content.into_owned(),
            stop_reason: stored.stop_reason,
            usage: stored.usage,
            model: stored.model.into_owned(),
            served_model: stored.served_model.into_owned(),
            request_id: stored.request_id.map(Cow::into_owned),
            origin: Origin::Provider,
            spend: Spend::default(),
            failed: Vec::new(),
            cache_key: None,
        };
        Ok(CachedAnswer {
            answer,
            made_at: self.made_at,
            fresh_until: self.fresh_until,
            ends_at: self.ends_at,
        })
    }
}

/// Who makes the model request at `now`, by the answer's record.
pub(super) fn claim_state(item: &Item, now: Timestamp) -> Result<ClaimState, StoreError> {
    let fields = Fields::of(item)?;
    if fields
        .optional(ALONE_UNTIL, Fields::moment)?
        .is_some_and(|until| until > now)
    {
        return Ok(ClaimState::Alone);
    }
    match fields.optional(LEASE_UNTIL, Fields::moment)? {
        Some(until) if fields.has(OWNER) && until > now => Ok(ClaimState::Held { until }),
        Some(_) | None => Ok(ClaimState::Free),
    }
}

#[cfg(test)]
mod tests {
    use super::super::items::{self, text};
    use super::super::keys;
    use super::*;
    use crate::domain::AnswerKey;
    use crate::testing::samples::{self, after};

    fn cached() -> CachedAnswer {
        let answer = ModelAnswer {
            spend: Spend::default(),
            ..samples::answer("Paris 🗼")
        };
        CachedAnswer {
            answer,
            made_at: after(1),
            fresh_until: after(2),
            ends_at: after(3),
        }
    }

    fn record(raw: &[u8]) -> Item {
        let blob = Blob::pack(raw.to_vec(), IN_HEAD).unwrap();
        items::item(
            keys::answer(&AnswerKey::new([7; 32])),
            write(&cached(), &blob),
        )
    }

    /// The stored form of [`cached`] with this version.
    fn raw(version: u32) -> Vec<u8> {
        let ModelAnswer {
            content,
            stop_reason,
            usage,
            model,
            served_model,
            request_id,
            ..
        } = cached().answer;
        let (content, model, served_model) =
            (content.into(), Cow::Owned(model), served_model.into());
        let stored = StoredAnswer {
            version,
            content,
            stop_reason,
            usage,
            model,
            served_model,
            request_id: request_id.map(Cow::Owned),
        };
        serde_json::to_vec(&stored).unwrap()
    }

    #[test]
    fn an_answer_survives_its_record() {
        let mut cached = cached();
        for id in [cached.answer.request_id.clone(), None] {
            cached.answer.request_id = id;
            let item = items::item(
                keys::answer(&AnswerKey::new([7; 32])),
                write(&cached, &pack(&cached.answer).unwrap()),
            );
            assert_eq!(item[EXPIRES_AT].as_n().unwrap(), "1795000003");
            let found = read(&item).unwrap().unwrap();
            let raw = found
                .head
                .unpack(item["stored"].as_b().unwrap().as_ref())
                .unwrap();
            assert_eq!(found.unpacked(&raw).unwrap(), cached);
        }
    }

    #[test]
    fn an_answer_of_another_version_or_form_is_reported() {
        let item = record(&raw(VERSION));
        let found = read(&item).unwrap().unwrap();
        for raw in [
            raw(VERSION + 1),
            raw(0),
            b"{}".to_vec(),
            b"secret".to_vec(),
            Vec::new(),
        ] {
            let refused = found.unpacked(&raw).unwrap_err();
            assert!(
                matches!(&refused, StoreError::Corrupt { .. }),
                "{refused:?}"
            );
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let item = record(&raw(VERSION));
        let required = [
            "v",
            "fresh_until",
            "ends_at",
            "codec",
            "raw_bytes",
            "sha256",
            "stored",
        ];
        items::checks::check_robustness(&item, &required, |item| {
            Ok(read(item)?.map(|found| found.ends_at))
        });
    }

    #[test]
    fn a_record_has_the_state_of_its_claim() {
        let with = |attributes: Attributes| {
            items::item(keys::answer(&AnswerKey::new([7; 32])), attributes)
        };
        let owner = (OWNER, text("wrk_1"));
        let held = with(vec![owner.clone(), (LEASE_UNTIL, moment(after(9)))]);
        let alone = with(vec![
            (ALONE_UNTIL, moment(after(9))),
            owner,
            (LEASE_UNTIL, moment(after(19))),
        ]);
        let table = [
            (&with(Vec::new()), after(8), ClaimState::Free),
            (&held, after(8), ClaimState::Held { until: after(9) }),
            (&held, after(9), ClaimState::Free),
            (&alone, after(8), ClaimState::Alone),
            (&alone, after(9), ClaimState::Held { until: after(19) }),
        ];
        for (item, now, expected) in table {
            assert_eq!(claim_state(item, now).unwrap(), expected);
        }
        assert_eq!(read(&held).unwrap().map(|found| found.ends_at), None);
    }
}
