//! Whether a value matches a JSON schema, as far as this can be decided with certainty.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::values::{compare, equal, is_multiple, is_of_type};
use crate::domain::schema::target;

/// How deep schemas and references are followed.
const MAX_DEPTH: usize = 64;

/// The most steps that one walk may take. A step compares a value with a schema or with another
/// value, or visits an entry of a list. Beyond that, the result is unknown.
const MAX_STEPS: usize = 50_000;

/// How many bytes of text are counted in one step.
const BYTES_OF_A_STEP: usize = 256;

/// The most violations that are kept, and the most characters of a member's name in one.
const MAX_VIOLATIONS: usize = 20;
const MAX_NAME_CHARS: usize = 64;

/// Keywords that may refuse a value and are not asserted.
const NOT_ASSERTED: [&str; 17] = [
    "$dynamicRef",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "format",
    "if",
    "maxContains",
    "minContains",
    "pattern",
    "patternProperties",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// What a value is to a schema; in this order, the worse one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Fits,
    /// Unknown.
    Perhaps,
    Breaks,
}

/// One walk through a schema and a value.
pub(super) struct Matching<'a> {
    root: &'a Value,
    /// In drafts up to 7, what stands beside a reference doesn't count.
    is_older: bool,
    steps_left: usize,
    violations: Vec<String>,
}

impl<'a> Matching<'a> {
    /// What is wrong with `value`; nothing if it may fit.
    pub(super) fn violations(schema: &'a Value, value: &Value) -> Vec<String> {
        let draft = schema
            .get("$schema")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let is_older = draft.contains("/draft-0");
        let mut matching = Self {
            root: schema,
            is_older,
            steps_left: MAX_STEPS,
            violations: Vec::new(),
        };
        match matching.schema(schema, value, "", 0) {
            Match::Breaks => matching.violations,
            Match::Fits | Match::Perhaps => Vec::new(),
        }
    }

    fn schema(&mut self, schema: &'a Value, value: &Value, at: &str, depth: usize) -> Match {
        if !self.takes(1) {
            return Match::Perhaps;
        }
        let keywords = match schema {
            Value::Bool(true) => return Match::Fits,
            Value::Bool(false) => return self.breaks(at, "must not be there"),
            Value::Object(keywords) => keywords,
            _ => return Match::Perhaps,
        };
        // A schema with an id of its own is a document, to which its references are relative.
        let has_id = keywords.contains_key("$id") || keywords.contains_key("id");
        let is_document = has_id && !std::ptr::eq(schema, self.root);
        if is_document || depth > MAX_DEPTH {
            return Match::Perhaps;
        }
        let reference = keywords
            .get("$ref")
            .map(|reference| self.reference(reference, value, at, depth));
        match reference {
            Some(matched) if self.is_older => matched,
            reference => {
                let unknown = NOT_ASSERTED
                    .iter()
                    .any(|keyword| keywords.contains_key(*keyword));
                let mut worst = if unknown { Match::Perhaps } else { Match::Fits };
                worst = worst.max(reference.unwrap_or(Match::Fits));
                worst = worst.max(self.whole(keywords, value, at));
                worst = worst.max(self.alternatives(keywords, value, at, depth));
                worst.max(match value {
                    Value::Object(members) => self.members(keywords, members, at, depth),
                    Value::Array(items) => self.items(keywords, items, at, depth),
                    Value::String(text) => self.text(keywords, text, at),
                    Value::Number(number) => self.number(keywords, number, at),
                    Value::Null | Value::Bool(_) => Match::Fits,
                })
            }
        }
    }

    /// Takes so many steps, if they are left. If not, none is left for anything else either.
    fn takes(&mut self, steps: usize) -> bool {
        let left = self.steps_left.checked_sub(steps);
        self.steps_left = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether one of these values is equal to `value`; `None` if that would take too long.
    fn has_equal<'v>(
        &mut self,
        mut values: impl Iterator<Item = &'v Value>,
        value: &Value,
    ) -> Option<bool> {
        let found = values.any(|listed| equal(listed, value, &mut self.steps_left));
        (self.steps_left > 0).then_some(found)
    }

    fn reference(&mut self, reference: &Value, value: &Value, at: &str, depth: usize) -> Match {
        match target(reference, self.root) {
            Some(schema) => self.schema(schema, value, at, depth + 1),
            None => Match::Perhaps,
        }
    }

    fn whole(&mut self, keywords: &Map<String, Value>, value: &Value, at: &str) -> Match {
        let mut worst = Match::Fits;
        if let Some(types) = keywords.get("type") {
            let types = types
                .as_array()
                .map_or_else(|| std::slice::from_ref(types), Vec::as_slice);
            let names: Vec<&str> = types.iter().filter_map(Value::as_str).collect();
            let fits = names.is_empty() || names.iter().any(|name| is_of_type(value, name));
            worst = worst.max(self.holds(at, fits, || {
                format!("must be of type {}", names.join(" or "))
            }));
        }
        if let Some(Value::Array(values)) = keywords.get("enum") {
            let is_listed = self.has_equal(values.iter(), value);
            let rule = "must be one of the values that the schema lists";
            worst = worst.max(self.may_hold(at, is_listed, || rule.to_owned()));
        }
        if let Some(constant) = keywords.get("const") {
            let is_it = self.has_equal(std::iter::once(constant), value);
            worst = worst.max(self.may_hold(at, is_it, || {
                "must be the one value that the schema names".to_owned()
            }));
        }
        worst
    }

    fn alternatives(
        &mut self,
        keywords: &'a Map<String, Value>,
        value: &Value,
        at: &str,
        depth: usize,
    ) -> Match {
        let schemas = |name: &str| keywords.get(name).and_then(Value::as_array);
        let mut worst = Match::Fits;
        for schema in schemas("allOf").into_iter().flatten() {
            worst = worst.max(self.schema(schema, value, at, depth + 1));
        }
        if let Some(schemas) = schemas("anyOf") {
            let best = schemas
                .iter()
                .map(|schema| self.quietly(schema, value, at, depth))
                .min();
            worst = worst.max(match best {
                Some(Match::Breaks) => {
                    self.breaks(at, "must fit at least one of the schemas under anyOf")
                }
                best => best.unwrap_or(Match::Perhaps),
            });
        }
        if let Some(schemas) = schemas("oneOf") {
            let matches: Vec<Match> = schemas
                .iter()
                .map(|schema| self.quietly(schema, value, at, depth))
                .collect();
            let count = |sought: Match| matches.iter().filter(|found| **found == sought).count();
            worst = worst.max(match (count(Match::Fits), count(Match::Perhaps)) {
                (1, 0) => Match::Fits,
                (0, 0) | (2.., _) => {
                    self.breaks(at, "must fit exactly one of the schemas under oneOf")
                }
                (0 | 1, _) => Match::Perhaps,
            });
        }
        if let Some(schema) = keywords.get("not") {
            worst = worst.max(match self.quietly(schema, value, at, depth) {
                Match::Fits => self.breaks(at, "must not fit the schema under not"),
                Match::Perhaps => Match::Perhaps,
                Match::Breaks => Match::Fits,
            });
        }
        worst
    }

    /// Holds a schema against the value without a violation.
    fn quietly(&mut self, schema: &'a Value, value: &Value, at: &str, depth: usize) -> Match {
        let before = self.violations.len();
        let matched = self.schema(schema, value, at, depth + 1);
        self.violations.truncate(before);
        matched
    }

    fn members(
        &mut self,
        keywords: &'a Map<String, Value>,
        members: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Match {
        let required = keywords
            .get("required")
            .and_then(Value::as_array)
            .map_or(&[] as &[Value], Vec::as_slice);
        if !self.takes(required.len() + members.len()) {
            return Match::Perhaps;
        }
        let mut worst = Match::Fits;
        for name in required.iter().filter_map(Value::as_str) {
            worst = worst.max(
                self.holds(&below(at, name), members.contains_key(name), || {
                    "is required".to_owned()
                }),
            );
        }
        let named = keywords.get("properties").and_then(Value::as_object);
        // Unknown: patterns of names are not evaluated.
        let others = keywords
            .get("additionalProperties")
            .filter(|_| !keywords.contains_key("patternProperties"));
        for (name, member) in members {
            worst = worst.max(match (named.and_then(|named| named.get(name)), others) {
                (None, Some(Value::Bool(false))) => {
                    self.breaks(&below(at, name), "is not an argument of this tool")
                }
                (Some(schema), _) | (None, Some(schema)) => {
                    self.schema(schema, member, &below(at, name), depth + 1)
                }
                (None, None) => Match::Fits,
            });
        }
        worst.max(self.sized(
            keywords,
            ["minProperties", "maxProperties", "members"],
            members.len(),
            at,
        ))
    }

    fn items(
        &mut self,
        keywords: &'a Map<String, Value>,
        items: &[Value],
        at: &str,
        depth: usize,
    ) -> Match {
        // In drafts before 2020-12, `items` may be the list and `additionalItems` the rest.
        let (first, rest) = match (keywords.get("prefixItems"), keywords.get("items")) {
            (_, Some(Value::Array(first))) => (first.as_slice(), keywords.get("additionalItems")),
            (Some(Value::Array(first)), rest) => (first.as_slice(), rest),
            (_, rest) => (&[] as &[Value], rest),
        };
        if !self.takes(items.len()) {
            return Match::Perhaps;
        }
        let mut worst = Match::Fits;
        for (place, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(place).or(rest) {
                worst = worst.max(self.schema(schema, item, &format!("{at}/{place}"), depth + 1));
            }
        }
        if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut twice = Some(false);
            for (place, item) in items.iter().enumerate() {
                twice = self.has_equal(items.iter().take(place), item);
                if twice != Some(false) {
                    break;
                }
            }
            worst = worst.max(self.may_hold(at, twice.map(|twice| !twice), || {
                "must not have an entry twice".to_owned()
            }));
        }
        worst.max(self.sized(
            keywords,
            ["minItems", "maxItems", "entries"],
            items.len(),
            at,
        ))
    }

    fn text(&mut self, keywords: &Map<String, Value>, text: &str, at: &str) -> Match {
        let bounds = ["minLength", "maxLength", "characters"];
        if !keywords
            .keys()
            .any(|keyword| bounds.contains(&keyword.as_str()))
        {
            return Match::Fits;
        }
        if !self.takes(text.len() / BYTES_OF_A_STEP) {
            return Match::Perhaps;
        }
        self.sized(keywords, bounds, text.chars().count(), at)
    }

    fn sized(
        &mut self,
        keywords: &Map<String, Value>,
        [least, most, what]: [&str; 3],
        size: usize,
        at: &str,
    ) -> Match {
        let [least, most] = [least, most].map(|name| keywords.get(name).and_then(Value::as_number));
        let against = |bound: &Number| compare(&Number::from(size), bound);
        let mut worst = Match::Fits;
        if let Some(least) = least {
            let holds = against(least) != Some(Ordering::Less);
            worst =
                worst.max(self.holds(at, holds, || format!("must have at least {least} {what}")));
        }
        if let Some(most) = most {
            let holds = against(most) != Some(Ordering::Greater);
            worst = worst.max(self.holds(at, holds, || format!("must have at most {most} {what}")));
        }
        worst
    }

    fn number(&mut self, keywords: &Map<String, Value>, number: &Number, at: &str) -> Match {
        let mut worst = Match::Fits;
        for (name, exclusive, outside) in [
            ("minimum", "exclusiveMinimum", Ordering::Less),
            ("maximum", "exclusiveMaximum", Ordering::Greater),
        ] {
            let side = if outside == Ordering::Less {
                "over"
            } else {
                "under"
            };
            // In draft 4 the second keyword is a flag on the first.
            let is_flagged = keywords.get(exclusive) == Some(&Value::Bool(true));
            if let Some(bound) = keywords.get(name).and_then(Value::as_number) {
                let against = compare(number, bound);
                let holds =
                    against != Some(outside) && !(is_flagged && against == Some(Ordering::Equal));
                worst = worst.max(self.holds(at, holds, || {
                    format!("must not lie beyond the {name} {bound}")
                }));
            }
            if let Some(bound) = keywords.get(exclusive).and_then(Value::as_number) {
                let against = compare(number, bound);
                let holds = against != Some(outside) && against != Some(Ordering::Equal);
                worst = worst.max(self.holds(at, holds, || format!("must be {side} {bound}")));
            }
        }
        if let Some(factor) = keywords.get("multipleOf").and_then(Value::as_number) {
            let holds = is_multiple(number, factor);
            worst = worst.max(self.holds(at, holds, || format!("must be a multiple of {factor}")));
        }
        worst
    }

    /// [`holds`](Self::holds), where `None` is unknown.
    fn may_hold(&mut self, at: &str, holds: Option<bool>, rule: impl FnOnce() -> String) -> Match {
        holds.map_or(Match::Perhaps, |holds| self.holds(at, holds, rule))
    }

    fn holds(&mut self, at: &str, holds: bool, rule: impl FnOnce() -> String) -> Match {
        if holds {
            Match::Fits
        } else {
            self.breaks(at, &rule())
        }
    }

    fn breaks(&mut self, at: &str, rule: &str) -> Match {
        if self.violations.len() < MAX_VIOLATIONS {
            let place = if at.is_empty() { "the whole" } else { at };
            self.violations.push(format!("{place} {rule}"));
        }
        Match::Breaks
    }
}

/// The JSON pointer of the member of this name, which a model may have made up at any length.
fn below(at: &str, name: &str) -> String {
    let name: String = name.chars().take(MAX_NAME_CHARS).collect();
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// How many steps a walk leaves.
#[cfg(test)]
pub(super) fn steps_left(schema: &Value, value: &Value) -> usize {
    let mut matching = Matching {
        root: schema,
        is_older: false,
        steps_left: MAX_STEPS,
        violations: Vec::new(),
    };
    matching.schema(schema, value, "", 0);
    matching.steps_left
}
