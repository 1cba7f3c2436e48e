//! The form of a step's record. Small values are attributes. Content that may be large is packed
//! (see [`task_content`](super::task_content)); records of version 1 have it in one attribute.

use std::borrow::Cow;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use super::blob::{self, Blob, BlobHeader};
use super::items::{self, Attributes, Fields, Item, V, bytes, moment, name, number, text};
use super::keys;
use crate::domain::{
    AnswerKey, ModelAnswer, ModelRef, Step, StepKind, StepSummary, StepSummaryKind, ToolCall,
};
use crate::ports::StoreError;
use crate::runtime::computed;

/// The newest form's version, and the one written.
const VERSION: u32 = 2;

/// The most bytes of content in the record of a step that is written alone. A step is written once
/// and mostly read with all other steps. A chunk costs another request each time, so only large
/// content has chunks.
pub(super) const IN_HEAD: usize = 256 * 1_024;

const NUMBER: &str = "number";
const BASE: &str = "base";
const FENCE: &str = "fence";
const KIND: &str = "kind";
const STARTED_AT: &str = "started_at";
const FINISHED_AT: &str = "finished_at";
const ANSWERED_BY: &str = "answered_by";
const ORIGIN: &str = "origin";
const SPEND: &str = "spend";
const FAILED: &str = "failed";
const STOP_REASON: &str = "stop_reason";
const SERVED_MODEL: &str = "served_model";
const REQUEST_ID: &str = "request_id";
const BY: &str = "by";
const IS_ERROR: &str = "is_error";
const IS_BLOCKED: &str = "is_blocked";
/// Absent if no host sent the result, or if an earlier version wrote the record.
const SOURCE: &str = "source";
/// The key of the answer in the response cache, needed when the task is deleted. Absent if the
/// answer is not cached, or if an earlier version wrote the record.
pub(super) const ANSWER_KEY: &str = "answer_key";

/// The attributes that [`read_summary`] needs.
pub(super) const OF_HEAD: [&str; 9] = [
    keys::PK,
    keys::SK,
    V,
    NUMBER,
    BASE,
    KIND,
    BY,
    SPEND,
    blob::RAW_BYTES,
];

/// An attribute in records of version 1. Errors about damaged packed content also use this name.
const CONTENT: &str = "content";

const MODEL_CALL: &str = "model_call";
const TOOL_CALL: &str = "tool_call";

/// The content of a tool call. The content of a model call is the list of the answer's parts.
#[derive(Serialize, Deserialize)]
struct Called<'a> {
    call: Cow<'a, ToolCall>,
    text: Cow<'a, str>,
}

/// Packs the content of the step that may be large. The step's record holds `in_head` bytes of it.
pub(super) fn pack(step: &Step, in_head: usize) -> Result<Blob, StoreError> {
    let raw = match &step.kind {
        StepKind::ModelCall { answer, .. } => serde_json::to_vec(&answer.content),
        StepKind::ToolCall { call, text, .. } => serde_json::to_vec(&Called {
            call: Cow::Borrowed(call),
            text: Cow::Borrowed(text),
        }),
    };
    Blob::pack(
        raw.map_err(|error| StoreError::Refused(Box::new(error)))?,
        in_head,
    )
}

/// The record of the step, whose content is in `blob`.
pub(super) fn write(step: &Step, blob: &Blob) -> Item {
    let mut attributes = vec![
        (NUMBER, number(step.number)),
        (BASE, number(step.base)),
        (FENCE, number(step.fence)),
        (KIND, text(step.kind.as_str())),
        (STARTED_AT, moment(step.started_at)),
        (FINISHED_AT, moment(step.finished_at)),
    ];
    match &step.kind {
        StepKind::ModelCall { requested, answer } => {
            attributes.extend(write_answer(requested, answer));
        }
        StepKind::ToolCall {
            by,
            is_error,
            is_blocked,
            source,
            call: _,
            text: _,
        } => {
            attributes.extend([(BY, name(by)), (IS_ERROR, AttributeValue::Bool(*is_error))]);
            if *is_blocked {
                attributes.push((IS_BLOCKED, AttributeValue::Bool(true)));
            }
            let source = source.as_deref();
            attributes.extend(source.map(|source| (SOURCE, text(source))));
        }
    }
    attributes.extend(blob.head());
    items::versioned(
        VERSION,
        keys::step(step.task, step.base, step.number),
        attributes,
    )
}

fn write_answer(requested: &ModelRef, answer: &ModelAnswer) -> Attributes {
    let mut attributes = vec![
        (STOP_REASON, name(&answer.stop_reason)),
        (SERVED_MODEL, text(answer.served_model.as_str())),
        items::usage(answer.usage),
        items::json(ANSWERED_BY, &answer.model),
        items::json(ORIGIN, &answer.origin),
        items::json(SPEND, &answer.spend),
        items::json(FAILED, &answer.failed),
    ];
    attributes.extend(items::model(requested));
    attributes.extend(
        answer
            .request_id
            .as_deref()
            .map(|id| (REQUEST_ID, text(id))),
    );
    attributes.extend(
        answer
            .cache_key
            .as_ref()
            .map(|key| (ANSWER_KEY, bytes(key.as_bytes()))),
    );
    attributes
}

/// The step in the attributes [`OF_HEAD`] of a record, without its content.
pub(super) fn read_summary(item: &Item) -> Result<StepSummary, StoreError> {
    let fields = Fields::up_to(VERSION, item)?;
    let kind = match fields.text(KIND)? {
        MODEL_CALL => StepSummaryKind::ModelCall,
        TOOL_CALL => StepSummaryKind::ToolCall {
            by: fields.name(BY)?,
        },
        other => return Err(fields.corrupt(format!("its kind is {other:?}"))),
    };
    Ok(StepSummary {
        base: fields.optional(BASE, Fields::number)?.unwrap_or(0),
        number: fields.number(NUMBER)?,
        kind,
        spend: fields.optional(SPEND, Fields::json)?.unwrap_or_default(),
        bytes: fields
            .optional(blob::RAW_BYTES, Fields::number)?
            .unwrap_or(0),
    })
}

/// Where the content of the step in a record is; `None` if the record's version stores it in an
/// attribute.
pub(super) fn head(item: &Item) -> Result<Option<BlobHeader<'_>>, StoreError> {
    let fields = Fields::up_to(VERSION, item)?;
    let version: u32 = fields.number(V)?;
    (version > 1).then(|| BlobHeader::read(fields)).transpose()
}

/// The step in a record, with the content to which [`head`] led.
pub(super) fn read(item: &Item, content: Option<&[u8]>) -> Result<Step, StoreError> {
    computed(content.map_or(0, <[u8]>::len), || read_here(item, content))
}

fn read_here(item: &Item, content: Option<&[u8]>) -> Result<Step, StoreError> {
    let fields = Fields::up_to(VERSION, item)?;
    let task = keys::parse_task_partition(fields.text(keys::PK)?);
    let content = match content {
        Some(content) => content,
        None => fields.text(CONTENT)?.as_bytes(),
    };
    let kind = match fields.text(KIND)? {
        MODEL_CALL => StepKind::ModelCall {
            requested: fields.model()?,
            answer: answer(&fields, content)?,
        },
        TOOL_CALL => {
            let Called { call, text } = fields.parse(CONTENT, content)?;
            StepKind::ToolCall {
                call: call.into_owned(),
                by: fields.name(BY)?,
                text: text.into_owned(),
                is_error: fields.flag(IS_ERROR)?,
                is_blocked: fields.optional(IS_BLOCKED, Fields::flag)?.unwrap_or(false),
                source: fields.optional(SOURCE, Fields::text)?.map(str::to_owned),
            }
        }
        other => return Err(fields.corrupt(format!("its kind is {other:?}"))),
    };
    Ok(Step {
        task: task.ok_or_else(|| fields.corrupt("its partition is not a task's"))?,
        base: fields.optional(BASE, Fields::number)?.unwrap_or(0),
        number: fields.number(NUMBER)?,
        fence: fields.number(FENCE)?,
        kind,
        started_at: fields.moment(STARTED_AT)?,
        finished_at: fields.moment(FINISHED_AT)?,
    })
}

fn answer(fields: &Fields<'_>, content: &[u8]) -> Result<ModelAnswer, StoreError> {
    Ok(ModelAnswer {
        content: fields.parse(CONTENT, content)?,
        stop_reason: fields.name(STOP_REASON)?,
        usage: fields.usage()?,
        model: fields.json(ANSWERED_BY)?,
        origin: fields.json(ORIGIN)?,
        spend: fields.json(SPEND)?,
        failed: fields.json(FAILED)?,
        served_model: fields.text(SERVED_MODEL)?.to_owned(),
        request_id: fields
            .optional(REQUEST_ID, Fields::text)?
            .map(str::to_owned),
        cache_key: answer_key(fields)?.map(Box::new),
    })
}

/// The key of the step's answer in the response cache. The record may have only its own key and
/// this attribute.
pub(super) fn answer_key(fields: &Fields<'_>) -> Result<Option<AnswerKey>, StoreError> {
    let Some(digest) = fields.optional(ANSWER_KEY, Fields::bytes)? else {
        return Ok(None);
    };
    let digest = digest
        .try_into()
        .map_err(|_| fields.corrupt("its answer's key is not a digest"))?;
    Ok(Some(AnswerKey::new(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TaskId, ToolRunner};
    use crate::testing::samples;

    /// The step as a record that holds all of it.
    fn record(step: &Step) -> Item {
        write(step, &pack(step, IN_HEAD).unwrap())
    }

    fn read_whole(item: &Item) -> Result<Step, StoreError> {
        let content = head(item)?.map(|head| head.value_in_head()).transpose()?;
        read(item, content.as_deref())
    }

    #[test]
    fn a_step_survives_its_record() {
        let mut step = samples::step(TaskId::new(samples::START), 3, "Paris 🗼");
        assert_eq!(read_whole(&record(&step)).unwrap(), step);
        if let StepKind::ModelCall { answer, .. } = &mut step.kind {
            (answer.request_id, answer.cache_key) = (None, Some(Box::new(AnswerKey::new([7; 32]))));
        }
        assert_eq!(read_whole(&record(&step)).unwrap(), step);
        for (base, by) in [
            (0, ToolRunner::Platform),
            (3, ToolRunner::Client),
            (1, ToolRunner::Nobody),
        ] {
            let step = Step {
                base,
                ..samples::tool_step(step.task, 4, by, "18 °C")
            };
            assert_eq!(read_whole(&record(&step)).unwrap(), step);
        }
        let mut step = samples::tool_step(step.task, 4, ToolRunner::Platform, "not sent");
        if let StepKind::ToolCall {
            is_error,
            is_blocked,
            source,
            ..
        } = &mut step.kind
        {
            (*is_error, *is_blocked) = (true, true);
            *source = Some("api.example.com".to_owned());
        }
        assert_eq!(read_whole(&record(&step)).unwrap(), step);
    }

    #[test]
    fn a_record_from_before_answers_keys_were_noted_is_read() {
        let step = samples::step(TaskId::new(samples::START), 3, "Paris");
        let mut noted = step.clone();
        if let StepKind::ModelCall { answer, .. } = &mut noted.kind {
            answer.cache_key = Some(Box::new(AnswerKey::new([7; 32])));
        }
        let mut item = record(&noted);
        assert!(item.remove(ANSWER_KEY).is_some());
        assert_eq!(read_whole(&item).unwrap(), step);
    }

    #[test]
    fn the_head_of_a_record_is_the_steps() {
        let model = samples::step(TaskId::new(samples::START), 3, "Paris \u{1} 🗼");
        let tool = Step {
            base: 3,
            ..samples::tool_step(model.task, 4, ToolRunner::Client, &"18 °C\u{1}".repeat(999))
        };
        for step in [model, tool] {
            assert_eq!(read_summary(&record(&step)).unwrap(), step.summary());
        }
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let common = [
            "pk",
            "v",
            "number",
            "fence",
            "kind",
            "started_at",
            "finished_at",
            "codec",
            "raw_bytes",
            "sha256",
        ];
        let of_model = [
            "stored",
            "answered_by",
            "origin",
            "spend",
            "failed",
            "stop_reason",
            "usage",
            "served_model",
        ];
        let step = samples::step(TaskId::new(samples::START), 3, "Paris");
        let required = [common.as_slice(), &of_model, &["provider", "model"]].concat();
        items::checks::check_robustness(&record(&step), &required, read_whole);
        let step = samples::tool_step(step.task, 4, ToolRunner::Client, "18 °C");
        let required = [common.as_slice(), &["stored", "by", "is_error"]].concat();
        items::checks::check_robustness(&record(&step), &required, read_whole);
    }

    #[test]
    fn content_of_another_form_is_reported_without_its_text() {
        let step = samples::step(TaskId::new(samples::START), 3, "Paris");
        for content in [b"[{\"secret\":1}]".as_slice(), b"secret", b""] {
            let Err(error) = read(&record(&step), Some(content)) else {
                panic!("{content:?}")
            };
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
