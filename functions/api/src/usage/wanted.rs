//! Which report of usage a request wants.

use serde::{Deserialize, Serialize};
use shared::domain::Invalid;
use utoipa::IntoParams;

use crate::Api;
use crate::body::{Broken, named};
use crate::openapi::values;
use crate::problem::Problem;
use crate::query::Params;
use crate::time::parse_date;

/// The most days of a report.
const MAX_DAYS: u64 = 92;

/// The days of a report that names none.
const DEFAULT_DAYS: u64 = 30;

/// What the usage in a report is grouped by.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GroupBy {
    Agent,
    Key,
    Model,
    Day,
}

/// The parameters of a report.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the parameters are read by their names")]
pub(crate) struct UsageParams {
    /// What the tasks of one entry have in common.
    #[param(inline, value_type = Option<values::UsageGrouping>)]
    group_by: Option<String>,
    /// The first day on which the tasks were submitted; without it, 29 days before `to`.
    #[param(inline, value_type = Option<values::Date>)]
    from: Option<String>,
    /// The last day; without it, today. At most 92 days.
    #[param(inline, value_type = Option<values::Date>)]
    to: Option<String>,
}

/// The report that a request wants.
pub(super) struct Wanted {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) by: GroupBy,
}

impl Wanted {
    pub(super) fn take(mut params: Params, api: &Api) -> Result<Self, Problem> {
        let mut broken = Broken::default();
        let by = params.take::<String>("group_by", "")?;
        let (from, to) = (params.take::<String>("from", "")?, params.take("to", "")?);
        params.finish()?;
        let by = by.map(|name| named("/group_by", &name, "agent, key, model or day"));
        let by = broken.keep(by.transpose());
        let to = broken.keep(day("/to", to));
        let from = broken.keep(day("/from", from));
        let days = to.zip(from).and_then(|(to, from)| {
            let last = to.unwrap_or_else(|| api.tasks.clock.now().day());
            let first = from.unwrap_or_else(|| (last + 1).saturating_sub(DEFAULT_DAYS));
            broken.keep(if first > last {
                Err(Invalid::new("/from", "must not be after to"))
            } else if last - first >= MAX_DAYS {
                let reason = format!("must be at most {} days before to", MAX_DAYS - 1);
                Err(Invalid::new("/from", reason))
            } else {
                Ok((first, last))
            })
        });
        let whole = days.zip(by).map(|((first, last), by)| Self {
            first,
            last,
            by: by.unwrap_or(GroupBy::Day),
        });
        broken.finish_parameters(whole)
    }
}

fn day(field: &str, text: Option<String>) -> Result<Option<u64>, Invalid> {
    let form = "must be a day such as 2026-01-31";
    text.map(|text| parse_date(&text).ok_or_else(|| Invalid::new(field, form)))
        .transpose()
}
