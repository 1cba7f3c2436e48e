//! The template says what the code needs, no more and no less.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

mod permissions;
mod requests;

use std::collections::BTreeSet;

use metrics::Unit;
use saphyr::{LoadableYamlNode, Yaml};
use shared::config::Environment;
use shared::metric;
use tests::telemetry::listed_metrics;

const TEMPLATE: &str = include_str!("../../template.yaml");

fn template() -> Yaml<'static> {
    Yaml::load_from_str(TEMPLATE).unwrap().remove(0)
}

/// Values that every function can read its configuration from.
fn environment() -> Environment {
    Environment::of([
        ("STATE_TABLE", "state"),
        ("TASK_QUEUE_URL", "https://queue"),
        ("API_KEY_SECRET", "key"),
        ("API_KEY_PEPPER_SECRET", "pepper"),
        ("RUNBOOK_URL", "docs/operations.md"),
        ("API_KEY_GRACE_SECONDS", "3600"),
        ("JWT_ISSUER", "https://login.example.com/"),
        ("JWT_AUDIENCE", "agents"),
        ("JWT_TENANT_CLAIM", "tenant"),
        ("JWT_SCOPES_CLAIM", "scope"),
        ("JWT_SCOPE_PREFIX", "agents/"),
        ("ANTHROPIC_AVAILABLE", "true"),
        ("OPENAI_AVAILABLE", "false"),
        ("ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
        ("OPENAI_BASE_URL", "https://api.openai.com"),
        ("EPHEMERAL_TABLE", "ephemeral"),
        ("OPENAI_COMPATIBLE_BASE_URL", "http://vllm.internal:8000"),
        ("MODEL_TIMEOUT_SECONDS", "120"),
        ("MODEL_FIRST_BYTE_SECONDS", "60"),
        ("MODEL_IDLE_SECONDS", "60"),
        ("MODEL_CACHE_SECONDS", "3600"),
        ("BREAKER_FAILURES", "5"),
        ("BREAKER_OPEN_SECONDS", "30"),
        ("TENANT_DAILY_BUDGET_MICRO_USD", "0"),
        ("DEPLOYMENT_DAILY_BUDGET_MICRO_USD", "0"),
        ("TENANT_MAX_RUNNING_TASKS", "0"),
        ("TENANT_MAX_WAITS", "50"),
        ("CORS_ORIGINS", "https://console.example.com"),
        ("EXECUTOR_MAX_CONCURRENCY", "50"),
        ("LEASE_SECONDS", "60"),
        ("TASK_RETENTION_DAYS", "90"),
        ("STEP_RESERVE_SECONDS", "60"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
    ])
}

#[track_caller]
fn check_variables(function: &str, environment: &Environment) {
    let template = template();
    let variables = &template["Resources"][function]["Properties"]["Environment"]["Variables"];
    let given = variables
        .as_mapping()
        .unwrap()
        .keys()
        .filter_map(Yaml::as_str);
    // The C library reads its own.
    let given: BTreeSet<&str> = given
        .filter(|variable| !variable.starts_with("MALLOC_"))
        .collect();
    // Lambda sets these itself.
    let read: BTreeSet<&str> = environment
        .variables_read()
        .into_iter()
        .filter(|variable| !variable.starts_with("AWS_LAMBDA_"))
        .collect();
    assert_eq!(given, read, "{function}");
}

#[test]
fn every_function_is_given_the_variables_that_it_reads() {
    let read = environment();
    api::config::Config::read(&read).unwrap();
    check_variables("ApiFunction", &read);
    let read = environment();
    executor::config::Config::read(&read).unwrap();
    check_variables("ExecutorFunction", &read);
    let read = environment();
    cleanup::config::Config::read(&read).unwrap();
    check_variables("CleanupFunction", &read);
}

/// What dashboard and alarms may use is what the code writes.
#[test]
fn the_list_of_metrics_is_the_codes() {
    let listed: BTreeSet<_> = listed_metrics()
        .into_iter()
        .map(|metric| (metric.name, metric.unit, metric.besides))
        .collect();
    let written = metric::ALL.iter().map(|(name, unit, besides)| {
        let unit = match unit {
            Unit::Milliseconds => "Milliseconds",
            Unit::Percent => "Percent",
            _ => "Count",
        };
        (*name, unit, besides.to_vec())
    });
    assert_eq!(listed, written.collect());
}

/// One update of a stack can add or drop one index, and the projection of an index can't be changed.
/// So a commit changes one entry at most: decision 20.
#[test]
fn the_state_table_has_these_indexes() {
    let of_list = "status agent_id agent_version created_at updated_at attempts failure_code";
    let of_tasks =
        format!("{of_list} spend metadata submitted_by session_id parent_id root_id asks");
    let expected = [
        ("by_tenant", "tenant_id created", of_list),
        ("tasks", "tenant_id created", &of_tasks),
        ("due", "due_shard due_at", ""),
    ];
    let template = template();
    let indexes = &template["Resources"]["StateTable"]["Properties"]["GlobalSecondaryIndexes"];
    let words = |list: &Yaml<'_>, name: Option<&str>| {
        let entries = list.as_sequence().into_iter().flatten();
        let words = entries.map(|entry| match name {
            Some(name) => entry[name].as_str().unwrap(),
            None => entry.as_str().unwrap(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let found: Vec<(String, String, String)> = indexes
        .as_sequence()
        .unwrap()
        .iter()
        .map(|index| {
            let name = index["IndexName"].as_str().unwrap().to_owned();
            let keys = words(&index["KeySchema"], Some("AttributeName"));
            let projection = index["Projection"].as_mapping_get("NonKeyAttributes");
            (
                name,
                keys,
                projection.map_or(String::new(), |list| words(list, None)),
            )
        })
        .collect();
    let expected =
        expected.map(|(name, keys, rest)| (name.to_owned(), keys.to_owned(), rest.to_owned()));
    assert_eq!(found, expected);
}

/// What the documents promise and only the deployment can keep.
const PROMISED: [(&str, &str); 17] = [
    // docs/architecture.md: batches of 10; only the failed messages come back, five times at most.
    (
        "ExecutorFunction Properties Events Tasks Properties BatchSize",
        "10",
    ),
    (
        "ExecutorFunction Properties Events Tasks Properties FunctionResponseTypes",
        "[ReportBatchItemFailures]",
    ),
    (
        "CleanupFunction Properties Events DeadLetters Properties FunctionResponseTypes",
        "[ReportBatchItemFailures]",
    ),
    ("TaskQueue Properties RedrivePolicy maxReceiveCount", "5"),
    (
        "TaskQueue Properties RedrivePolicy deadLetterTargetArn",
        "!GetAtt DeadLetterQueue.Arn",
    ),
    // docs/operations.md: it keeps them for 14 days.
    (
        "DeadLetterQueue Properties MessageRetentionPeriod",
        "1209600",
    ),
    // docs/operations.md: how many executors there are at most is the operator's to say.
    (
        "ExecutorFunction Properties Events Tasks Properties ScalingConfig MaximumConcurrency",
        "!Ref ExecutorMaxConcurrency",
    ),
    // Decision 6: a long task would be stopped as a loop.
    ("ExecutorFunction Properties RecursiveLoop", "Allow"),
    (
        "ExecutorFunction Properties Timeout",
        "!Ref ExecutorTimeoutSeconds",
    ),
    (
        "TaskQueue Properties VisibilityTimeout",
        "!Ref TaskVisibilitySeconds",
    ),
    // docs/architecture.md: one look a minute.
    (
        "CleanupFunction Properties Events EveryMinute Properties ScheduleExpression",
        "rate(1 minute)",
    ),
    // docs/api.md: a provider is available if there is a key, or a server of the deployment's own.
    (
        "ApiFunction Properties Environment Variables ANTHROPIC_AVAILABLE",
        "!If [CallsAnthropic, \"true\", \"false\"]",
    ),
    (
        "ApiFunction Properties Environment Variables OPENAI_AVAILABLE",
        "!If [CallsOpenAi, \"true\", \"false\"]",
    ),
    // samconfig.toml: an API or a watchdog that has its concurrency reserved.
    (
        "ApiFunction Properties ReservedConcurrentExecutions",
        "!If [ReservesApi, !Ref ApiReservedConcurrency, !Ref AWS::NoValue]",
    ),
    (
        "CleanupFunction Properties ReservedConcurrentExecutions",
        "!If [ReservesCleanup, !Ref CleanupReservedConcurrency, !Ref AWS::NoValue]",
    ),
    // samconfig.toml: the API key goes with the stack.
    ("ApiKeySecret DeletionPolicy", "Delete"),
    (
        "EphemeralTable Properties TimeToLiveSpecification",
        "{ AttributeName: expires_at, Enabled: true }",
    ),
];

#[test]
fn the_deployment_keeps_what_the_documents_promise() {
    let template = template();
    for (path, promised) in PROMISED {
        let value = path
            .split(' ')
            .try_fold(&template["Resources"], |node, field| {
                node.as_mapping_get(field)
            });
        assert_eq!(
            value,
            Yaml::load_from_str(promised).unwrap().first(),
            "{path}"
        );
    }
}

/// A message comes back only when nobody can be at it any more (Lambda developer guide,
/// "Configuring an SQS queue").
#[test]
fn a_message_stays_hidden_for_six_times_as_long_as_its_executor_may_take() {
    let template = template();
    let default = |parameter: &str| {
        template["Parameters"][parameter]["Default"]
            .as_integer()
            .unwrap()
    };
    assert!(default("TaskVisibilitySeconds") >= 6 * default("ExecutorTimeoutSeconds"));
}

/// Every value called `name` below `node`, at any depth and under any condition.
fn values_of<'a>(node: &'a Yaml<'a>, name: &str, found: &mut Vec<&'a Yaml<'a>>) {
    match node {
        Yaml::Mapping(fields) => {
            for (key, value) in fields {
                if key.as_str() == Some(name) {
                    found.push(value);
                }
                values_of(value, name, found);
            }
        }
        Yaml::Sequence(entries) => entries
            .iter()
            .for_each(|entry| values_of(entry, name, found)),
        Yaml::Tagged(_, inner) => values_of(inner, name, found),
        _ => {}
    }
}

/// Whether a name differs between two stacks: it is built from the stack's name or refers to
/// another resource.
fn is_of_the_stack(name: &Yaml<'_>, resources: &Yaml<'_>) -> bool {
    let Yaml::Tagged(_, inner) = name else {
        return false;
    };
    let Some(text) = inner.as_str() else {
        return false;
    };
    text.contains("AWS::StackName") || resources.as_mapping_get(text).is_some()
}

/// The names that resources set themselves, without names that only count within another resource.
fn resource_names<'a>(resource: &'a Yaml<'a>) -> Vec<(&'a str, &'a Yaml<'a>)> {
    let within_another = ["MetricName", "StageName", "DisplayName"];
    let properties = resource["Properties"].as_mapping().unwrap().iter();
    let named = properties.filter_map(|(key, value)| Some((key.as_str()?, value)));
    named
        .filter(|(key, _)| key.ends_with("Name") && !within_another.contains(key))
        .collect()
}

/// Most names must be unique in a region and an account, so that a second stack with a fixed one
/// fails.
#[test]
fn two_stacks_of_the_template_share_no_name() {
    let template = template();
    let resources = &template["Resources"];
    let mut names = 0;
    for (id, resource) in resources.as_mapping().unwrap() {
        for (key, name) in resource_names(resource) {
            names += 1;
            assert!(
                is_of_the_stack(name, resources),
                "{}: {key}",
                id.as_str().unwrap()
            );
        }
    }
    assert!(names >= 10, "{names}");
}

/// SAM names a schedule after its function's and event's logical ids unless `OmitName` is set.
#[test]
fn no_schedule_is_named_by_sam() {
    let template = template();
    let mut events = Vec::new();
    values_of(&template["Resources"], "Events", &mut events);
    let events = events
        .iter()
        .filter_map(|events| events.as_mapping())
        .flatten();
    let is_schedule = |event: &&Yaml<'_>| {
        event["Type"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("Schedule"))
    };
    let schedules: Vec<_> = events.map(|(_, event)| event).filter(is_schedule).collect();
    assert_eq!(schedules.len(), 1);
    assert!(
        schedules
            .iter()
            .all(|schedule| schedule["Properties"]["OmitName"].as_bool() == Some(true))
    );
}

/// What a misused key can cost and take is bounded unless somebody chooses otherwise.
#[test]
fn a_deployment_that_says_nothing_has_bounds() {
    let template = template();
    let default = |parameter: &str| {
        template["Parameters"][parameter]["Default"]
            .as_integer()
            .unwrap()
    };
    for bound in [
        "TenantDailyBudgetMicroUsd",
        "CostPerHourAlarmMicroUsd",
        "TenantMaxRunningTasks",
        "TenantMaxWaits",
    ] {
        assert!(default(bound) > 0, "{bound}");
    }
    let batch = &template["Resources"]["ExecutorFunction"]["Properties"]["Events"]["Tasks"]["Properties"]
        ["BatchSize"];
    let batch = batch.as_integer().unwrap();
    assert_eq!(batch, i64::from(executor::config::BATCH_SIZE));
    // The one tenant of a fresh deployment has all executors.
    assert!(default("TenantMaxRunningTasks") >= batch * default("ExecutorMaxConcurrency"));
}
