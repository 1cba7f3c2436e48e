//! Translates errors of the SDK into [`StoreError`]s, by what a caller can do.
//!
//! A failed condition is not an error here: each write expects it and reads the record that
//! DynamoDB returns with it.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::CancellationReason;

use super::items::Item;
use crate::ports::StoreError;

/// The record that made a put's condition fail, if there is one; any other failure is an error.
pub(super) fn record_that_failed_put(
    error: SdkError<PutItemError>,
) -> Result<Option<Item>, StoreError> {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => Ok(failed.item.clone()),
        Some(_) | None => Err(failure(error)),
    }
}

/// The record that made an update's condition fail, if there is one; any other failure is an error.
pub(super) fn record_that_failed_update(
    error: SdkError<UpdateItemError>,
) -> Result<Option<Item>, StoreError> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failed)) => Ok(failed.item.clone()),
        Some(_) | None => Err(failure(error)),
    }
}

/// Why the transaction was canceled, for each write in order, if a condition failed. Any other
/// failure is an error.
pub(super) fn reasons_of_transaction(
    error: SdkError<TransactWriteItemsError>,
) -> Result<Vec<CancellationReason>, StoreError> {
    let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) =
        error.as_service_error()
    else {
        return Err(failure(error));
    };
    let reasons = canceled.cancellation_reasons();
    let because = |is: fn(&CancellationReason) -> bool| reasons.iter().any(is);
    if because(|reason| reason.code() == Some("ConditionalCheckFailed")) {
        return Ok(reasons.to_vec());
    }
    if because(|reason| is_too_large(reason.message())) {
        return Err(StoreError::TooLarge);
    }
    if because(|reason| reason.code().is_some_and(is_throttle)) {
        return Err(StoreError::Throttled(Box::new(error)));
    }
    if because(|reason| reason.code() == Some("TransactionConflict")) {
        return Err(StoreError::Conflict);
    }
    Err(StoreError::Refused(Box::new(error)))
}

/// What a failed transaction of reads means. A write to one of its records at the same time cancels
/// it.
pub(super) fn failure_of_reads(error: SdkError<TransactGetItemsError>) -> StoreError {
    let Some(TransactGetItemsError::TransactionCanceledException(canceled)) =
        error.as_service_error()
    else {
        return failure(error);
    };
    let code = |is: fn(&str) -> bool| {
        canceled
            .cancellation_reasons()
            .iter()
            .filter_map(CancellationReason::code)
            .any(is)
    };
    if code(is_throttle) {
        StoreError::Throttled(Box::new(error))
    } else if code(|code| code == "TransactionConflict") {
        StoreError::Conflict
    } else {
        StoreError::Refused(Box::new(error))
    }
}

/// What a failed operation means, by the name of DynamoDB's error.
pub(super) fn failure<E>(error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let status = error
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    match error.code() {
        Some(code) if is_throttle(code) => StoreError::Throttled(Box::new(error)),
        Some("ValidationException") if is_too_large(error.message()) => StoreError::TooLarge,
        // Another write to the record is under way. The caller reads the record again to see
        // whether that write took effect.
        Some("TransactionConflictException") => StoreError::Conflict,
        Some("TransactionInProgressException" | "ReplicatedWriteConflictException") => {
            StoreError::Unavailable(Box::new(error))
        }
        Some(_) if (400..500).contains(&status) => StoreError::Refused(Box::new(error)),
        Some(_) | None => match error {
            SdkError::ConstructionFailure(_) => StoreError::Refused(Box::new(error)),
            _ => StoreError::Unavailable(Box::new(error)),
        },
    }
}

/// Whether this error code, or reason for a canceled transaction, asks to slow down.
fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "ProvisionedThroughputExceeded"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "ThrottlingError"
    )
}

/// Whether DynamoDB refused a request because a record was too large. It has no error code for
/// this, only "Item size has exceeded the maximum allowed size", or "Item size to update has …".
fn is_too_large(message: Option<&str>) -> bool {
    message.is_some_and(|message| {
        message
            .strip_prefix("Item size")
            .is_some_and(|rest| rest.contains("exceeded the maximum allowed size"))
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::http::HttpResponse;
    use aws_sdk_dynamodb::error::{ConnectorError, ErrorMetadata};
    use aws_sdk_dynamodb::operation::get_item::GetItemError;
    use aws_sdk_dynamodb::types::error::TransactionCanceledException;

    use super::*;

    fn response(status: u16) -> HttpResponse {
        HttpResponse::new(status.try_into().unwrap(), "".into())
    }

    fn answered(status: u16, code: &str, message: &str) -> SdkError<GetItemError> {
        let meta = ErrorMetadata::builder().code(code).message(message).build();
        SdkError::service_error(GetItemError::generic(meta), response(status))
    }

    /// The error's case, by its name.
    fn case(error: &StoreError) -> &'static str {
        match error {
            StoreError::Conflict => "conflict",
            StoreError::Throttled(_) => "throttled",
            StoreError::Unavailable(_) => "unavailable",
            StoreError::TooLarge => "too large",
            StoreError::Refused(_) => "refused",
            StoreError::Cursor => "cursor",
            StoreError::Corrupt { .. } => "corrupt",
        }
    }

    #[test]
    fn each_error_of_dynamodb_becomes_what_a_caller_can_do() {
        let size = "Item size has exceeded the maximum allowed size";
        let size_to_update = "Item size to update has exceeded the maximum allowed size";
        let table = [
            (
                400,
                "ProvisionedThroughputExceededException",
                "",
                "throttled",
            ),
            (400, "RequestLimitExceeded", "", "throttled"),
            (400, "ThrottlingException", "", "throttled"),
            (400, "ValidationException", size, "too large"),
            (400, "ValidationException", size_to_update, "too large"),
            (
                400,
                "ValidationException",
                "One or more parameter values were invalid",
                "refused",
            ),
            (400, "AccessDeniedException", "", "refused"),
            (400, "ResourceNotFoundException", "", "refused"),
            (400, "UnrecognizedClientException", "", "refused"),
            (400, "TransactionConflictException", "", "conflict"),
            (400, "TransactionInProgressException", "", "unavailable"),
            (500, "InternalServerError", "", "unavailable"),
            (503, "ServiceUnavailable", "", "unavailable"),
        ];
        for (status, code, message, expected) in table {
            assert_eq!(
                case(&failure(answered(status, code, message))),
                expected,
                "{code} {message}"
            );
        }
    }

    #[test]
    fn a_canceled_transaction_fails_by_its_reasons() {
        let canceled = |reasons: [(&str, &str); 2]| {
            let reasons = reasons.map(|(code, text)| {
                CancellationReason::builder()
                    .code(code)
                    .message(text)
                    .build()
            });
            let failed = TransactionCanceledException::builder()
                .set_cancellation_reasons(Some(reasons.into()))
                .build();
            let failed = TransactWriteItemsError::TransactionCanceledException(failed);
            reasons_of_transaction(SdkError::service_error(failed, response(400)))
        };
        let none = ("None", "");
        let size = "Item size has exceeded the maximum allowed size";
        let table = [
            ([none, ("ThrottlingError", "")], "throttled"),
            ([("TransactionConflict", ""), none], "conflict"),
            ([("ValidationError", size), none], "too large"),
            ([("ValidationError", "no such attribute"), none], "refused"),
        ];
        for (reasons, expected) in table {
            assert_eq!(
                case(&canceled(reasons).unwrap_err()),
                expected,
                "{reasons:?}"
            );
        }
        let condition = canceled([none, ("ConditionalCheckFailed", "")]).unwrap();
        assert_eq!(condition.len(), 2);
    }

    #[test]
    fn reads_canceled_by_a_concurrent_write_are_a_conflict() {
        let table = [
            ("TransactionConflict", "conflict"),
            ("ThrottlingError", "throttled"),
            ("ValidationError", "refused"),
        ];
        for (code, expected) in table {
            let reasons = [None, Some(code)].map(|code| {
                CancellationReason::builder()
                    .set_code(code.map(Into::into))
                    .build()
            });
            let failed = TransactionCanceledException::builder()
                .set_cancellation_reasons(Some(reasons.into()))
                .build();
            let failed = TransactGetItemsError::TransactionCanceledException(failed);
            assert_eq!(
                case(&failure_of_reads(SdkError::service_error(
                    failed,
                    response(400)
                ))),
                expected,
                "{code}"
            );
        }
    }

    #[test]
    fn no_response_is_worth_a_retry_and_no_request_is_not() {
        let silent: [SdkError<GetItemError>; 3] = [
            SdkError::timeout_error("late"),
            SdkError::dispatch_failure(ConnectorError::io("broken pipe".into())),
            SdkError::response_error("cut", response(200)),
        ];
        for error in silent {
            assert_eq!(case(&failure(error)), "unavailable");
        }
        let malformed: SdkError<GetItemError> = SdkError::construction_failure("no region");
        assert_eq!(case(&failure(malformed)), "refused");
    }
}
