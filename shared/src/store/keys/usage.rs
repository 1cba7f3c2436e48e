//! The keys of usage.

use super::Key;
use crate::domain::{Period, SpendKey, SpendPart, TenantId};

/// The partition of a tenant's usage.
pub(in crate::store) fn usage(tenant: &TenantId) -> String {
    format!("USAGE#{tenant}")
}

/// A row of a tenant's usage.
pub(in crate::store) fn usage_row(tenant: &TenantId, row: &SpendKey) -> Key {
    let SpendKey {
        day,
        agent,
        key,
        part,
    } = row;
    let key = key.map_or_else(|| "-".to_owned(), |key| key.to_string());
    let part = match part {
        SpendPart::Model(model) => format!("MODEL#{model}"),
        SpendPart::Lost => "LOST".to_owned(),
        SpendPart::Missing => "MISSING".to_owned(),
    };
    Key {
        pk: usage(tenant),
        sk: format!("{}#{agent}#{key}#{part}", Period::Day(*day)),
    }
}

/// The first and the last place of the rows of these days.
pub(in crate::store) fn usage_days(first: u64, last: u64) -> (String, String) {
    (
        Period::Day(first).to_string(),
        format!("{}#~", Period::Day(last)),
    )
}

/// How far the daily check of usage has come.
pub(in crate::store) fn usage_check() -> Key {
    Key {
        pk: "USAGECHECK".to_owned(),
        sk: "STATE".to_owned(),
    }
}
