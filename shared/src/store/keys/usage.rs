//! The keys of usage.

use super::Key;
use super::date::date;
use crate::domain::{SpendKey, SpendPart, TenantId};

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
        sk: format!("{}#{agent}#{key}#{part}", date(*day)),
    }
}

/// The first and the last place of the rows of these days.
pub(in crate::store) fn usage_days(first: u64, last: u64) -> (String, String) {
    (date(first), format!("{}#~", date(last)))
}

/// How far the daily check of usage has come.
pub(in crate::store) fn usage_check() -> Key {
    Key {
        pk: "USAGECHECK".to_owned(),
        sk: "STATE".to_owned(),
    }
}
