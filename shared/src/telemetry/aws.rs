//! One span for each call of an AWS service. The SDK's retries are in the same span.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef, Input,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use tracing::{Span, field};

/// The interceptor for a client. Its function returns what a call is about, such as its table.
#[derive(Debug, Clone, Copy)]
pub struct AwsCalls {
    /// What the call with this input is about.
    pub resource: fn(&Input) -> Option<&str>,
}

/// The span of the call under way.
#[derive(Debug)]
struct Call(Span);

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for AwsCalls {
    fn name(&self) -> &'static str {
        "AwsCalls"
    }

    /// Opens the span: this is the first hook that knows the operation.
    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let name = bag
            .load::<Metadata>()
            .map(|metadata| format!("{}.{}", metadata.service(), metadata.name()));
        let span = tracing::info_span!(
            "aws",
            otel.name = name,
            resource = (self.resource)(context.input()),
            attempts = field::Empty,
            condition = field::Empty,
            otel.status_code = field::Empty,
        );
        bag.interceptor_state().store_put(Call(span));
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Call(span)) = bag.load::<Call>() {
            span.record(
                "attempts",
                bag.load::<RequestAttempts>().map(RequestAttempts::attempts),
            );
            if !matches!(context.output_or_error(), Some(Ok(_))) {
                let answer = context
                    .response()
                    .and_then(|response| response.body().bytes());
                if answer.is_some_and(says_that_a_condition_failed) {
                    span.record("condition", "failed");
                } else {
                    span.record("otel.status_code", "error");
                }
            }
        }
        Ok(())
    }
}

/// Whether a condition of the request failed, which is no error of DynamoDB's. In a transaction,
/// the reasons have the code (API reference, `ConditionalCheckFailedException` and
/// `TransactionCanceledException`).
fn says_that_a_condition_failed(answer: &[u8]) -> bool {
    const CODE: &[u8] = b"ConditionalCheckFailed";
    answer.windows(CODE.len()).any(|part| part == CODE)
}
