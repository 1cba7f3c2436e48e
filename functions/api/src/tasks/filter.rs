//! Which tasks a request means: the query parameters of a list, and the `filter` of a body.

use std::collections::BTreeMap;

use serde::Deserialize;
use shared::domain::{Invalid, MetadataPair, TaskStatus};
use shared::ports::{TaskFilter, TaskOrder};
use utoipa::{IntoParams, ToSchema};

use crate::body::Broken;
use crate::openapi::values;
use crate::problem::Problem;
use crate::query::{Params, refused};
use crate::time::moment;

/// The filter as a client writes it. Each field may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Filter)]
pub(crate) struct FilterRequest {
    /// In one of these states.
    #[schema(value_type = Option<Vec<values::TaskStatus>>, min_items = 1)]
    status: Option<Vec<String>>,
    /// Of this agent.
    #[schema(value_type = Option<values::AgentId>)]
    agent_id: Option<String>,
    /// With this pair among their metadata.
    #[schema(value_type = Option<values::MetadataPair>)]
    metadata: Option<BTreeMap<String, String>>,
    /// Accepted at this moment or later.
    #[schema(value_type = Option<values::Moment>)]
    created_from: Option<String>,
    /// Accepted before this moment.
    #[schema(value_type = Option<values::Moment>)]
    created_before: Option<String>,
}

/// The parameters of a list of tasks.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the parameters are read by their names")]
pub(crate) struct FilterParams {
    /// In this state, or in one of several: `failed,timed_out`.
    #[param(inline, value_type = Option<values::TaskStatuses>)]
    status: Option<String>,
    /// Of this agent.
    #[param(inline, value_type = Option<values::AgentId>)]
    agent_id: Option<String>,
    /// With this pair among their metadata: `order:17`.
    #[param(inline, value_type = Option<values::MetadataText>)]
    metadata: Option<String>,
    /// Accepted at this moment or later.
    #[param(inline, value_type = Option<values::Moment>)]
    created_from: Option<String>,
    /// Accepted before this moment.
    #[param(inline, value_type = Option<values::Moment>)]
    created_before: Option<String>,
    /// Which come first.
    #[param(inline, value_type = Option<values::TaskOrder>)]
    order: Option<String>,
}

impl FilterRequest {
    /// Whether every task passes.
    pub(super) const fn is_empty(&self) -> bool {
        let Self {
            status,
            agent_id,
            metadata,
            created_from,
            created_before,
        } = self;
        status.is_none()
            && agent_id.is_none()
            && metadata.is_none()
            && created_from.is_none()
            && created_before.is_none()
    }

    /// The filter; notes every rule that it breaks, with places relative to the filter.
    pub(super) fn filter(self, broken: &mut Broken) -> Option<TaskFilter> {
        let statuses = broken.keep(self.status.map(statuses).transpose());
        let agent = self.agent_id.map(|id| {
            id.parse()
                .map_err(|_| Invalid::new("/agent_id", "must be an id of the form agt_…"))
        });
        let agent = broken.keep(agent.transpose());
        let metadata = broken.keep(self.metadata.map(pair).transpose());
        let created =
            |field, text: Option<String>| text.map(|text| moment(field, &text)).transpose();
        let created_from = broken.keep(created("/created_from", self.created_from));
        let created_before = broken.keep(created("/created_before", self.created_before));
        if let (Some(Some(from)), Some(Some(before))) = (created_from, created_before)
            && from >= before
        {
            let reason = "must be later than created_from";
            broken.keep::<()>(Err(Invalid::new("/created_before", reason)));
        }
        Some(TaskFilter {
            statuses: statuses?.unwrap_or_default(),
            agent: agent?,
            metadata: metadata?,
            created_from: created_from?,
            created_before: created_before?,
            order: TaskOrder::default(),
        })
    }

    /// The filter in the parameters of a list.
    pub(super) fn take(params: &mut Params) -> Result<TaskFilter, Problem> {
        let list = |text: String| text.split(',').map(str::to_owned).collect();
        let filter = Self {
            status: params.take::<String>("status", "")?.map(list),
            agent_id: params.take("agent_id", "")?,
            metadata: params
                .take("metadata", "")?
                .map(|text: String| pair_in_text(&text))
                .transpose()?,
            created_from: params.take("created_from", "")?,
            created_before: params.take("created_before", "")?,
        };
        let order = match params.take::<String>("order", "")?.as_deref() {
            None | Some("newest") => Ok(TaskOrder::Newest),
            Some("oldest") => Ok(TaskOrder::Oldest),
            Some(_) => Err(Invalid::new("/order", "must be newest or oldest")),
        };
        let mut broken = Broken::default();
        let filter = filter.filter(&mut broken);
        let order = broken.keep(order);
        let whole = filter.zip(order);
        broken.finish_parameters(whole.map(|(filter, order)| TaskFilter { order, ..filter }))
    }
}

fn pair_in_text(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let form = "must be a key, a colon and a value, such as order:17";
    let (key, value) = text
        .split_once(':')
        .ok_or_else(|| refused("metadata", form))?;
    Ok(BTreeMap::from([(key.to_owned(), value.to_owned())]))
}

fn statuses(names: Vec<String>) -> Result<Vec<TaskStatus>, Invalid> {
    let all = TaskStatus::ALL.map(TaskStatus::as_str).join(", ");
    let mut statuses = Vec::new();
    for name in names {
        let known = TaskStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == name);
        match known {
            Some(status) if statuses.contains(&status) => {}
            Some(status) => statuses.push(status),
            None => return Err(Invalid::new("/status", format!("must be of {all}"))),
        }
    }
    if statuses.is_empty() {
        return Err(Invalid::new("/status", format!("must be of {all}")));
    }
    Ok(statuses)
}

fn pair(pairs: BTreeMap<String, String>) -> Result<MetadataPair, Invalid> {
    let mut pairs = pairs.into_iter();
    match (pairs.next(), pairs.next()) {
        (Some((key, value)), None) => MetadataPair::new(key, value),
        _ => Err(Invalid::new("/metadata", "must have one pair")),
    }
}
