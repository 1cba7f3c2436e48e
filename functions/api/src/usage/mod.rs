//! What tasks cost: `/v1/usage`, and the usage of a key or a tenant.

mod wanted;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::app::{UsageFilter, UsageGroup, UsageGrouping, UsageReport};
use shared::domain::{KeyId, Spend, TenantId, Usage};
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{Caller, Keys, Operator, TasksRead};
use crate::openapi::values;
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::Params;
use crate::time::date;
use wanted::Wanted;
pub(crate) use wanted::{GroupBy, UsageParams};

/// What the tasks that were submitted on some days cost, by group. Days are in UTC.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageReport)]
pub(crate) struct UsageResponse {
    #[schema(value_type = values::Date)]
    from: String,
    #[schema(value_type = values::Date)]
    to: String,
    #[schema(value_type = values::UsageGrouping)]
    group_by: GroupBy,
    data: Vec<UsageGroupResponse>,
    total: UsageTotal,
}

/// What the tasks of one group cost.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageGroup)]
struct UsageGroupResponse {
    /// The id of the agent or key, the provider and name of the model, or the day. Null for the
    /// deployment's own key, and for what lost workers spent on models.
    group: Option<String>,
    #[serde(flatten)]
    total: UsageTotal,
}

/// A sum of costs.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageTotal)]
struct UsageTotal {
    model_attempts: u32,
    cost_micro_usd: u64,
    unpriced_calls: u32,
    #[schema(value_type = values::Usage)]
    spent: Usage,
}

impl From<Spend> for UsageTotal {
    fn from(spend: Spend) -> Self {
        let Spend {
            attempts,
            usage,
            cost,
        } = spend;
        Self {
            model_attempts: attempts,
            cost_micro_usd: cost.micro_usd,
            unpriced_calls: cost.unpriced_calls,
            spent: usage,
        }
    }
}

/// Adds up what the tasks of the caller's tenant cost.
#[utoipa::path(
    get, path = "/v1/usage",
    params(UsageParams),
    responses((status = 200, body = UsageResponse))
)]
pub(crate) async fn read_usage(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksRead>,
    params: Params,
) -> Result<Json<UsageResponse>, Problem> {
    Wanted::take(params, &api)?
        .report(&api, &access.tenant, None)
        .await
}

/// Adds up what the tasks cost that a key of the caller's tenant submitted.
#[utoipa::path(
    get, path = "/v1/keys/{id}/usage",
    params(UsageParams),
    responses((status = 200, body = UsageResponse))
)]
pub(crate) async fn read_key_usage(
    State(api): State<Api>,
    Caller { access, .. }: Caller<Keys>,
    PathId(id): PathId<KeyId>,
    params: Params,
) -> Result<Json<UsageResponse>, Problem> {
    let wanted = Wanted::take(params, &api)?;
    api.keys.find_key(&access.tenant, id).await?;
    wanted.report(&api, &access.tenant, Some(id)).await
}

/// Adds up what the tasks of a tenant cost.
#[utoipa::path(
    get, path = "/v1/tenants/{id}/usage",
    params(UsageParams),
    responses((status = 200, body = UsageResponse))
)]
pub(crate) async fn read_tenant_usage(
    State(api): State<Api>,
    _caller: Caller<Operator>,
    PathId(id): PathId<TenantId>,
    params: Params,
) -> Result<Json<UsageResponse>, Problem> {
    let wanted = Wanted::take(params, &api)?;
    let tenant = api.tenants.find_tenant(&id).await?;
    wanted.report(&api, &tenant.id, None).await
}

impl Wanted {
    async fn report(
        self,
        api: &Api,
        tenant: &TenantId,
        key: Option<KeyId>,
    ) -> Result<Json<UsageResponse>, Problem> {
        let Self { first, last, by } = self;
        let filter = UsageFilter {
            days: first..=last,
            key,
        };
        let grouping = match by {
            GroupBy::Agent => UsageGrouping::Agent,
            GroupBy::Key => UsageGrouping::Key,
            GroupBy::Model => UsageGrouping::Model,
            GroupBy::Day => UsageGrouping::Day,
        };
        let UsageReport { groups, total } = api.usage.report(tenant, filter, grouping).await?;
        let data = groups.into_iter().map(|(group, spend)| UsageGroupResponse {
            group: match group {
                UsageGroup::Agent(id) => Some(id.to_string()),
                UsageGroup::Key(id) => id.map(|id| id.to_string()),
                UsageGroup::Model(model) => model.map(|model| model.to_string()),
                UsageGroup::Day(day) => Some(date(day)),
            },
            total: spend.into(),
        });
        Ok(Json(UsageResponse {
            from: date(first),
            to: date(last),
            group_by: by,
            data: data.collect(),
            total: total.into(),
        }))
    }
}
