//! Holding what a model wrote as a tool's arguments against the tool's schema.
//!
//! Nothing that might match is refused. Some keywords are not checked here: `pattern`, `format`,
//! conditions, dependencies, references by anchor, and what exceeds the bounds on depth and steps.
//! They count as neither kept nor broken, through `not` and `oneOf` too. A violation names places
//! and rules, and repeats no value.

mod matching;
mod values;

use serde_json::{Map, Value};

use super::schema::JsonSchema;
use matching::Matching;

/// The most bytes of a violation, but for its last words.
const MAX_VIOLATION_BYTES: usize = 1_000;

/// The arguments as JSON: an object that fits `schema`. Otherwise a text for the model that says
/// what is wrong. An empty text is an object without members.
pub fn check_arguments(schema: &JsonSchema, arguments: &str) -> Result<Value, String> {
    let value = if arguments.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_str(arguments)
            .map_err(|error| format!("the arguments are not valid JSON: {error}"))?
    };
    if !value.is_object() {
        return Err("the arguments must be a JSON object".to_owned());
    }
    let violations = Matching::violations(schema.as_value(), &value);
    if violations.is_empty() {
        Ok(value)
    } else {
        Err(rejection(&violations))
    }
}

fn rejection(violations: &[String]) -> String {
    let mut text = "the arguments don't fit the tool's schema".to_owned();
    for (place, violation) in violations.iter().enumerate() {
        if text.len() + violation.len() > MAX_VIOLATION_BYTES {
            return format!("{text}\n(and {} more)", violations.len() - place);
        }
        text = format!("{text}\n- {violation}");
    }
    text
}

#[cfg(test)]
mod tests;
