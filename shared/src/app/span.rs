//! What a use case records on the span of the unit of work that it is part of.
//!
//! A function opens that span, for a request or a message, and declares the ids that it does not
//! know yet as empty fields. A field that is not declared would be dropped without a word, so in
//! debug builds it is a panic.

use std::fmt::Display;

use tracing::Span;

/// Records a field on the current span, which must declare it.
pub(super) fn record(field: &'static str, value: impl Display) {
    let span = Span::current();
    debug_assert!(
        span.is_disabled() || span.has_field(field),
        "the current span does not declare {field}: {span:?}"
    );
    span.record(field, tracing::field::display(value));
}
