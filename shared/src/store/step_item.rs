//! The form of a step's record.

use aws_sdk_dynamodb::types::AttributeValue;

use super::items::{self, Attributes, Fields, Item, moment, name, number, text};
use super::keys;
use crate::domain::{ModelAnswer, ModelRef, Step, StepKind};
use crate::ports::StoreError;

const NUMBER: &str = "number";
const FENCE: &str = "fence";
const KIND: &str = "kind";
const STARTED_AT: &str = "started_at";
const FINISHED_AT: &str = "finished_at";
const CONTENT: &str = "content";
const ANSWERED_BY: &str = "answered_by";
const ORIGIN: &str = "origin";
const SPEND: &str = "spend";
const FAILED: &str = "failed";
const STOP_REASON: &str = "stop_reason";
const SERVED_MODEL: &str = "served_model";
const REQUEST_ID: &str = "request_id";

const CALL: &str = "call";
const BY: &str = "by";
const RESULT: &str = "result";
const IS_ERROR: &str = "is_error";

const MODEL_CALL: &str = "model_call";
const TOOL_CALL: &str = "tool_call";

/// The step as its record.
pub(super) fn write(step: &Step) -> Item {
    let mut attributes = vec![
        (NUMBER, number(step.number)),
        (FENCE, number(step.fence)),
        (KIND, text(step.kind.as_str())),
        (STARTED_AT, moment(step.started_at)),
        (FINISHED_AT, moment(step.finished_at)),
    ];
    match &step.kind {
        StepKind::ModelCall { requested, answer } => attributes.extend(write_answer(requested, answer)),
        StepKind::ToolCall { call, by, text: result, is_error } => attributes.extend([
            items::json(CALL, call),
            (BY, name(by)),
            (RESULT, text(result.as_str())),
            (IS_ERROR, AttributeValue::Bool(*is_error)),
        ]),
    }
    items::item(keys::step(step.task, step.number), attributes)
}

fn write_answer(requested: &ModelRef, answer: &ModelAnswer) -> Attributes {
    let mut attributes = vec![
        items::json(CONTENT, &answer.content),
        (STOP_REASON, name(&answer.stop_reason)),
        (SERVED_MODEL, text(answer.served_model.as_str())),
        items::usage(answer.usage),
        items::json(ANSWERED_BY, &answer.model),
        items::json(ORIGIN, &answer.origin),
        items::json(SPEND, &answer.spend),
        items::json(FAILED, &answer.failed),
    ];
    attributes.extend(items::model(requested));
    attributes.extend(answer.request_id.as_deref().map(|id| (REQUEST_ID, text(id))));
    attributes
}

/// The step in a record.
pub(super) fn read(item: &Item) -> Result<Step, StoreError> {
    let fields = Fields::of(item)?;
    let task = keys::parse_task_partition(fields.text(keys::PK)?);
    let kind = match fields.text(KIND)? {
        MODEL_CALL => StepKind::ModelCall { requested: fields.model()?, answer: answer(&fields)? },
        TOOL_CALL => StepKind::ToolCall {
            call: fields.json(CALL)?,
            by: fields.name(BY)?,
            text: fields.text(RESULT)?.to_owned(),
            is_error: fields.flag(IS_ERROR)?,
        },
        other => return Err(fields.corrupt(format!("its kind is {other:?}"))),
    };
    Ok(Step {
        task: task.ok_or_else(|| fields.corrupt("its partition is not a task's"))?,
        number: fields.number(NUMBER)?,
        fence: fields.number(FENCE)?,
        kind,
        started_at: fields.moment(STARTED_AT)?,
        finished_at: fields.moment(FINISHED_AT)?,
    })
}

fn answer(fields: &Fields<'_>) -> Result<ModelAnswer, StoreError> {
    Ok(ModelAnswer {
        content: fields.json(CONTENT)?,
        stop_reason: fields.name(STOP_REASON)?,
        usage: fields.usage()?,
        model: fields.json(ANSWERED_BY)?,
        origin: fields.json(ORIGIN)?,
        spend: fields.json(SPEND)?,
        failed: fields.json(FAILED)?,
        served_model: fields.text(SERVED_MODEL)?.to_owned(),
        request_id: fields.optional(REQUEST_ID, Fields::text)?.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TaskId, ToolRunner};
    use crate::testing::samples;

    #[test]
    fn a_step_survives_its_record() {
        let mut step = samples::step(TaskId::new(samples::START), 3, "Paris 🗼");
        assert_eq!(read(&write(&step)).unwrap(), step);
        if let StepKind::ModelCall { answer, .. } = &mut step.kind {
            answer.request_id = None;
        }
        assert_eq!(read(&write(&step)).unwrap(), step);
        for by in [ToolRunner::Platform, ToolRunner::Client, ToolRunner::Nobody] {
            let step = samples::tool_step(step.task, 4, by, "18 °C");
            assert_eq!(read(&write(&step)).unwrap(), step);
        }
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let item = write(&samples::step(TaskId::new(samples::START), 3, "Paris"));
        let required = [
            "pk",
            "v",
            "number",
            "fence",
            "kind",
            "started_at",
            "finished_at",
            "content",
            "answered_by",
            "origin",
            "spend",
            "failed",
            "stop_reason",
            "usage",
            "served_model",
            "provider",
            "model",
        ];
        items::checks::check_robustness(&item, &required, read);
    }
}
