//! What a line of the log may hold: a field that is not listed here is one that nobody can search
//! by for sure.

use serde_json::Value;

/// The fields that every line has.
const ALWAYS: [&str; 6] = [
    "timestamp",
    "level",
    "message",
    "service",
    "version",
    "target",
];

const TEXTS: &[&str] = &[
    "timestamp",
    "level",
    "held_level",
    "message",
    "service",
    "version",
    "target",
    "name",
    "function_request_id",
    "xray_trace_id",
    "request_id",
    "client_request_id",
    "tenant_id",
    "subject_tenant_id",
    "caller_key_id",
    "caller_subject",
    "key_id",
    "agent_id",
    "task_id",
    "message_id",
    "worker",
    "error",
    "location",
    "method",
    "route",
    "code",
    "settled",
    "reason",
    "rule",
    "failure",
    "limit",
    "tool",
    "credential",
    "provider",
    "model",
    "requested",
    "served_model",
    "provider_request_id",
    "provider_code",
    "provider_param",
    "provider_message",
    "stop_reason",
    "origin",
    "from",
    "to",
    "scope",
    "host",
    "variable",
    "binary",
    "function",
    "dependency",
    "cause",
    "alias",
];

const NUMBERS: &[&str] = &[
    "keys",
    "tenants",
    "step",
    "hop",
    "receives",
    "most",
    "attempt",
    "attempts",
    "parkings",
    "hops",
    "steps",
    "base",
    "calls",
    "bytes",
    "agent_version",
    "duration_ms",
    "after_ms",
    "retry_after_ms",
    "left_ms",
    "reserve_ms",
    "after_seconds",
    "until_ms",
    "age_seconds",
    "cost_micro_usd",
    "unpriced_calls",
    "tool_calls",
    "tools",
    "max_output_tokens",
    "task_age_ms",
    "input_tokens",
    "output_tokens",
    "model_attempts",
    "provider_status",
    "failed_probes",
    "failures",
    "threshold",
    "open_seconds",
    "successes",
    "resent",
    "requeued",
    "awakened",
    "timed_out",
    "given_up",
    "canceled",
    "expired",
    "left_in_backlog",
    "unclaimed",
    "moved_on",
    "failed",
    "accepted",
    "not_tried",
    "listed",
    "changed",
    "overdue",
    "oldest_overdue_ms",
    "overdue_ms",
    "tenants",
    "corrected",
    "deleted",
    "emptied",
    "named",
    "cap_micro_usd",
    "committed_micro_usd",
    "held_micro_usd",
    "bound_micro_usd",
];

const FLAGS: &[&str] = &[
    "is_error",
    "unfinished",
    "idempotency_key",
    "dry_run",
    "tasks_are_canceled",
];

/// The status of a task is a text, the status of an HTTP response a number.
const EITHER: &[&str] = &["status"];

/// Says what is wrong with a line.
pub fn check_log_line(line: &Value) -> Result<(), String> {
    let Value::Object(fields) = line else {
        return Err(format!("not an object: {line}"));
    };
    if let Some(missing) = ALWAYS.iter().find(|name| !fields.contains_key(**name)) {
        return Err(format!("{missing} is missing: {line}"));
    }
    for (name, value) in fields {
        let is_listed = |names: &[&str]| names.contains(&name.as_str());
        let fits = match value {
            Value::String(_) => is_listed(TEXTS) || is_listed(EITHER),
            Value::Number(_) => is_listed(NUMBERS) || is_listed(EITHER),
            Value::Bool(_) => is_listed(FLAGS),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        if !fits {
            return Err(format!(
                "{name} is not in the schema, or of another type: {line}"
            ));
        }
    }
    Ok(())
}
