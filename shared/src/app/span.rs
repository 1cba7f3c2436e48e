//! Records fields on the span of a unit of work: a request or a message.
//!
//! A function opens the span and declares the ids that it does not know yet as empty fields. A use
//! case records them here. `tracing` drops an undeclared field silently, so a debug build panics.

use tracing::{Span, Value};

/// Records a field on the current span, which must declare it.
pub(super) fn record(field: &'static str, value: impl Value) {
    let span = Span::current();
    debug_assert!(
        span.is_disabled() || span.has_field(field),
        "the current span does not declare {field}: {span:?}"
    );
    span.record(field, value);
}
