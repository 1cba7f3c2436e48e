//! One span for each call of an AWS service, repetitions by the SDK included.

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

use super::TRACE;

/// The interceptor for a client. It is told how to find out what a call is about, such as its table.
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

    fn read_before_execution(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let span = tracing::info_span!(
            target: TRACE,
            "aws",
            otel.name = field::Empty,
            resource = (self.resource)(context.input()),
            attempts = field::Empty,
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
            // Which operation it is was not known at first.
            if let Some(metadata) = bag.load::<Metadata>() {
                span.record("otel.name", format!("{}.{}", metadata.service(), metadata.name()));
            }
            span.record("attempts", bag.load::<RequestAttempts>().map(RequestAttempts::attempts));
            if !matches!(context.output_or_error(), Some(Ok(_))) {
                span.record("otel.status_code", "error");
            }
        }
        Ok(())
    }
}
