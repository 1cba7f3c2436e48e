//! Permissions: every function may do what it does, and nothing else.

use super::*;

/// The statements of a role's policies with this effect.
fn statements<'a>(template: &'a Yaml<'a>, role: &str, effect: &str) -> Vec<&'a Yaml<'a>> {
    let policies = &template["Resources"][role]["Properties"]["Policies"];
    let policies = policies.as_sequence().unwrap().iter();
    let statements = policies.flat_map(|policy| {
        let statements = policy["PolicyDocument"]["Statement"].as_sequence();
        statements.unwrap().iter()
    });
    // One that a condition adds has its statement within.
    let has = |statement: &&Yaml<'_>| {
        let mut effects = Vec::new();
        values_of(statement, "Effect", &mut effects);
        effects.iter().any(|found| found.as_str() == Some(effect))
    };
    statements.filter(has).collect()
}

fn actions(role: &str) -> BTreeSet<String> {
    let template = template();
    let mut found = Vec::new();
    for statement in statements(&template, role, "Allow") {
        values_of(statement, "Action", &mut found);
    }
    let names = found.into_iter().flat_map(|action| match action {
        Yaml::Sequence(names) => names
            .iter()
            .filter_map(Yaml::as_str)
            .map(str::to_owned)
            .collect(),
        name => vec![name.as_str().unwrap().to_owned()],
    });
    names.collect()
}

#[track_caller]
fn check_actions(role: &str, expected: &[&str]) {
    let telemetry = [
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    ];
    let expected = expected.iter().chain(&telemetry);
    assert_eq!(
        actions(role),
        expected.copied().map(str::to_owned).collect(),
        "{role}"
    );
}

#[test]
fn every_function_may_do_what_it_does_and_nothing_else() {
    check_actions(
        "ApiRole",
        &[
            "dynamodb:BatchGetItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
            "secretsmanager:GetSecretValue",
            "sqs:GetQueueAttributes",
            "sqs:SendMessage",
        ],
    );
    check_actions(
        "ExecutorRole",
        &[
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
            "secretsmanager:GetSecretValue",
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        ],
    );
    check_actions(
        "CleanupRole",
        &[
            "dynamodb:BatchWriteItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        ],
    );
}

#[test]
fn no_permission_is_for_every_resource() {
    let template = template();
    let (mut statements, mut resources) = (Vec::new(), Vec::new());
    for role in ["ApiRole", "ExecutorRole", "CleanupRole"] {
        let policies = &template["Resources"][role]["Properties"]["Policies"];
        values_of(policies, "Statement", &mut statements);
        values_of(policies, "Resource", &mut resources);
    }
    assert!(resources.len() >= 10, "{resources:?}");
    assert_eq!(
        resources
            .iter()
            .filter(|resource| resource.as_str() == Some("*"))
            .count(),
        3,
        "{resources:?}"
    );
    let statements = statements
        .iter()
        .filter_map(|list| list.as_sequence())
        .flatten();
    let statements: Vec<_> = statements
        .filter(|statement| statement.is_mapping())
        .collect();
    // X-Ray's actions know no resources (service authorization reference, "Actions defined by AWS
    // X-Ray").
    let is_xrays = |statement: &Yaml<'_>| {
        let actions = statement["Action"].as_sequence();
        actions.is_some_and(|names| {
            names
                .iter()
                .all(|name| name.as_str().is_some_and(|name| name.starts_with("xray:")))
        })
    };
    let for_all = statements
        .iter()
        .filter(|statement| statement["Resource"].as_str() == Some("*"));
    let for_all: Vec<_> = for_all.collect();
    assert_eq!(for_all.len(), 3, "{for_all:?}");
    assert!(
        for_all.iter().all(|statement| is_xrays(statement)),
        "{for_all:?}"
    );
}

/// The local AWS does not enforce policies.
#[test]
fn only_the_api_touches_the_records_of_api_keys() {
    let template = template();
    let denials = |role: &str, actions: &str, named: &str| {
        let covers = |statement: &&&Yaml<'_>| {
            let keys = &statement["Condition"]["ForAnyValue:StringLike"]["dynamodb:LeadingKeys"];
            let keys = keys.as_sequence().into_iter().flatten();
            statement.as_mapping_get(actions).and_then(Yaml::as_str) == Some(named)
                && keys.filter_map(Yaml::as_str).any(|key| key == "APIKEY#*")
        };
        let denials = statements(&template, role, "Deny");
        denials.iter().filter(covers).count()
    };
    let roles = ["ApiRole", "ExecutorRole", "CleanupRole"];
    let all = roles.map(|role| denials(role, "Action", "dynamodb:*"));
    assert_eq!(all, [0, 1, 0]);
    // The keys of a deleted tenant go one by one, and unread.
    let but_deletions = roles.map(|role| denials(role, "NotAction", "dynamodb:DeleteItem"));
    assert_eq!(but_deletions, [0, 0, 1]);
}

/// The local AWS does not enforce policies.
#[test]
fn the_api_reads_circuits_and_no_cached_answer() {
    let template = template();
    let allowed = statements(&template, "ApiRole", "Allow");
    let of_table = |statement: &&&Yaml<'_>| {
        let mut resources = Vec::new();
        values_of(statement, "Resource", &mut resources);
        let is_table = |resource: &&&Yaml<'_>| match resource {
            Yaml::Tagged(_, inner) => inner.as_str() == Some("EphemeralTable.Arn"),
            _ => false,
        };
        resources.iter().any(|resource| is_table(&resource))
    };
    let found: Vec<_> = allowed
        .iter()
        .filter(of_table)
        .map(|statement| {
            let condition = statement.as_mapping_get("Condition");
            let keys = condition.map(|all| &all["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]);
            let keys = keys
                .and_then(|keys| keys.as_sequence())
                .into_iter()
                .flatten();
            let keys: Vec<_> = keys.filter_map(Yaml::as_str).collect();
            (statement["Action"].as_str().unwrap(), keys)
        })
        .collect();
    let expected = [
        ("dynamodb:UpdateItem", vec![]),
        ("dynamodb:BatchGetItem", vec!["CIRCUIT#*"]),
    ];
    assert_eq!(found, expected);
}
