//! The faults, and the alarms that each must fire.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join};
use serde_json::json;
use shared::domain::{ModelAnswer, Spend};
use shared::policy::DailyCaps;
use shared::ports::{Clock, ModelErrorKind, TaskStore};
use shared::testing::{Call, Reply, When, samples};

use super::stack::{Stack, tenant};

type Fault = fn() -> BoxFuture<'static, Stack>;

pub(crate) const FAULTS: &[(&[&str], Fault)] = &[
    (&["ModelAccess"], || {
        access(ModelErrorKind::Authentication).boxed()
    }),
    (&["ModelAccess"], || {
        access(ModelErrorKind::KeyMissing).boxed()
    }),
    (&["ModelAccess"], || {
        access(ModelErrorKind::QuotaExhausted).boxed()
    }),
    (&["TasksUnclaimed", "UsersAreHurt"], || {
        mapping_off().boxed()
    }),
    (&["EphemeralFailures"], || ephemeral_table_gone().boxed()),
    (&["KeyAttacks"], || keys_tried().boxed()),
    (&["TasksLost", "UsersAreHurt"], || tasks_lost().boxed()),
    (
        &[
            "ApiServerErrors",
            "SubmitBurn",
            "SubmitBurn1h",
            "SubmitBurn5m",
            "SubmitBurn6h",
            "SubmitBurn30m",
        ],
        || submissions_fail().boxed(),
    ),
    (
        &[
            "TaskBurn",
            "TaskBurn1h",
            "TaskBurn5m",
            "TaskBurn6h",
            "TaskBurn30m",
        ],
        || tasks_fail().boxed(),
    ),
    (&["SubmitSlow"], || secrets_slow().boxed()),
    (&["OldestDueTask", "SweepFailures"], || {
        overdue_tasks_cannot_be_changed().boxed()
    }),
    (&["DeadLetters"], || workers_die().boxed()),
    (&["DeadLettersAtWork"], || {
        answers_are_paid_and_lost().boxed()
    }),
    (&["PoisonMessages"], || stray_message().boxed()),
    (&["SendFailures"], || queue_takes_no_submission().boxed()),
    (&["ContinuationFailures"], || {
        queue_takes_no_continuation().boxed()
    }),
    (&["MessagesResent"], || messages_get_lost().boxed()),
    (&["Panics"], || defect().boxed()),
    (&["LeaseLosses"], || workers_stall().boxed()),
    (&["StoreFailures"], || state_table_gone().boxed()),
    (&["CircuitOpen"], || provider_down().boxed()),
    (&["ModelsSlow"], || provider_slow().boxed()),
    (&["ToolsBlocked"], || agent_talked_into_it().boxed()),
    (&["CostPerHour"], || dear_answer().boxed()),
    (&["BudgetRefusals"], || budget_used_up().boxed()),
    (&["SweepsUnfinished"], || too_much_is_due().boxed()),
    (&["QueueAge"], || {
        told_by_aws(
            "AWS/SQS",
            "ApproximateAgeOfOldestMessage",
            &[("QueueName", "TaskQueue.QueueName")],
            3_700.0,
        )
        .boxed()
    }),
    (&["DeadLettersWaiting"], || {
        let queue = &[("QueueName", "DeadLetterQueue.QueueName")];
        told_by_aws("AWS/SQS", "ApproximateNumberOfMessagesVisible", queue, 1.0).boxed()
    }),
    (&["ApiErrors"], || {
        of_function("ApiFunction", "Errors").boxed()
    }),
    (&["ExecutorErrors"], || {
        of_function("ExecutorFunction", "Errors").boxed()
    }),
    (&["CleanupErrors"], || {
        of_function("CleanupFunction", "Errors").boxed()
    }),
    (&["ApiThrottles"], || {
        of_function("ApiFunction", "Throttles").boxed()
    }),
    (&["ExecutorThrottles"], || {
        of_function("ExecutorFunction", "Throttles").boxed()
    }),
    (&["RecursionDropped"], || {
        of_function("ExecutorFunction", "RecursiveInvocationsDropped").boxed()
    }),
    (&["CleanupNotRunning"], || schedule_off().boxed()),
    (&["TableThrottles"], || {
        told_by_aws(
            "AWS/DynamoDB",
            "WriteThrottleEvents",
            &[("TableName", "StateTable")],
            5.0,
        )
        .boxed()
    }),
    (&["DueIndexThrottles"], || {
        let index = &[
            ("TableName", "StateTable"),
            ("GlobalSecondaryIndexName", "due"),
        ];
        told_by_aws("AWS/DynamoDB", "WriteThrottleEvents", index, 5.0).boxed()
    }),
];

/// A task a minute, for three hours.
pub(crate) async fn healthy_day() -> Stack {
    let stack = Stack::new().await;
    for _ in 0..180 {
        stack.submit().await;
        stack.work().await;
        for function in ["ApiFunction", "ExecutorFunction", "CleanupFunction"] {
            for metric in ["Errors", "Throttles"] {
                stack.aws("AWS/Lambda", metric, &[("FunctionName", function)], 0.0);
            }
        }
        stack.aws("AWS/ApiGateway", "5xx", &[("ApiId", "HttpApi")], 0.0);
        stack.aws(
            "AWS/SQS",
            "ApproximateAgeOfOldestMessage",
            &[("QueueName", "TaskQueue.QueueName")],
            1.0,
        );
        let dead_letters = [("QueueName", "DeadLetterQueue.QueueName")];
        stack.aws(
            "AWS/SQS",
            "ApproximateNumberOfMessagesVisible",
            &dead_letters,
            0.0,
        );
        stack.pass(60);
        stack.sweep().await;
    }
    stack
}

/// One task fails because of its provider.
pub(crate) async fn lose_a_task(stack: &Stack) {
    let hasty = stack
        .agent_with(&json!({ "retry": { "outage": "fail", "max_attempts": 1 } }))
        .await;
    stack.answers([Reply::Fail(ModelErrorKind::Unavailable)]);
    stack.submit_to(&hasty).await;
    stack.work().await;
}

/// A single task is enough, as the only one of an hour.
async fn access(kind: ModelErrorKind) -> Stack {
    let stack = Stack::new().await;
    stack.answers([Reply::Fail(kind)]);
    stack.submit().await;
    stack.work().await;
    stack
}

/// The same.
async fn mapping_off() -> Stack {
    let stack = Stack::new().await;
    stack.submit().await;
    stack.pass(60);
    stack.sweep().await;
    stack
}

/// The same.
async fn ephemeral_table_gone() -> Stack {
    let stack = Stack::new().await;
    stack.ephemeral.die_now();
    stack.submit().await;
    stack.work().await;
    stack
}

async fn keys_tried() -> Stack {
    let stack = Stack::new().await;
    for _ in 0..120 {
        stack.try_key("wrong").await;
    }
    stack
}

/// A task every four minutes.
async fn tasks_lost() -> Stack {
    let stack = Stack::new().await;
    for _ in 0..6 {
        lose_a_task(&stack).await;
        stack.pass(240);
    }
    stack
}

/// One of the two submissions of a minute, for half a day.
async fn submissions_fail() -> Stack {
    let stack = Stack::new().await;
    for minute in 0..720 {
        stack.submit().await;
        stack.state.fail_next(When::Before);
        stack.submit().await;
        if minute % 10 == 0 {
            // A burst, as the alarm on single answers wants it.
            for _ in 0..10 {
                stack.state.fail_next(When::Before);
                stack.submit().await;
            }
        }
        stack.state.clear();
        while let Some(delivery) = stack.queue.receive() {
            stack.queue.acknowledge(&delivery.receipt);
        }
        stack.pass(60);
    }
    stack
}

/// One of the two tasks of a minute, for half a day.
async fn tasks_fail() -> Stack {
    let stack = Stack::new().await;
    for _ in 0..720 {
        stack.answers([
            Reply::Answer(samples::answer("done")),
            Reply::Fail(ModelErrorKind::Rejected),
        ]);
        stack.submit().await;
        stack.submit().await;
        stack.work().await;
        stack.pass(60);
    }
    stack
}

async fn secrets_slow() -> Stack {
    let stack = Stack::new().await;
    stack.secrets.take(Duration::from_secs(2));
    for _ in 0..25 {
        stack.submit().await;
        stack.pass(60);
    }
    stack
}

/// The table's reads work, and its writes don't.
async fn overdue_tasks_cannot_be_changed() -> Stack {
    let stack = Stack::new().await;
    stack.submit().await;
    for _ in 0..25 {
        stack.pass(60);
        stack.state.die_at_nth(Call::Update, 1, When::Before);
        stack.sweep().await;
        stack.state.clear();
    }
    stack
}

/// Each of five workers claims the task and is gone.
async fn workers_die() -> Stack {
    let stack = Stack::new().await;
    stack.submit().await;
    for _ in 0..5 {
        stack.state.die_at_nth(Call::ReadAgent, 1, When::Before);
        stack.work().await;
        stack.state.clear();
        stack.pass(70);
        stack.sweep().await;
    }
    stack
}

/// However long the task waits between its attempts, it has time for all of them. For the longest
/// wait, the watchdog wakes it.
async fn answers_are_paid_and_lost() -> Stack {
    let stack = Stack::new().await;
    let patient = stack
        .agent_with(&json!({ "timeout_seconds": 86_400 }))
        .await;
    let paid = || Reply::FailWith {
        kind: ModelErrorKind::BadAnswer,
        status: Some(200),
        should_retry: None,
        retry_after: None,
        spend: Spend {
            attempts: 1,
            usage: samples::usage(),
            ..Spend::default()
        },
    };
    stack.answers((0..400).map(|_| paid()));
    stack.submit_to(&patient).await;
    for _ in 0..40 {
        stack.work().await;
        stack.pass(1_200);
        stack.sweep().await;
    }
    stack
}

async fn stray_message() -> Stack {
    let stack = Stack::new().await;
    stack.deliver("hello").await;
    stack
}

async fn queue_takes_no_submission() -> Stack {
    let stack = Stack::new().await;
    stack.sending.die_now();
    stack.submit_many(6).await;
    stack
}

/// Parked tasks, whose messages can't be sent.
async fn queue_takes_no_continuation() -> Stack {
    let stack = Stack::new().await;
    stack.answers((0..40).map(|_| Reply::Fail(ModelErrorKind::Unavailable)));
    stack.submit_many(6).await;
    stack.sending.die_now();
    stack.work().await;
    stack
}

async fn messages_get_lost() -> Stack {
    let stack = Stack::new().await;
    for _ in 0..25 {
        stack.submit_many(4).await;
        while let Some(lost) = stack.queue.receive() {
            stack.queue.acknowledge(&lost.receipt);
        }
        stack.pass(60);
        stack.sweep().await;
    }
    stack
}

async fn defect() -> Stack {
    let stack = Stack::new().await;
    stack.answers([Reply::Panic]);
    stack.submit().await;
    stack.work().await;
    stack
}

/// Their leases end while they wait for the provider, and others take over.
async fn workers_stall() -> Stack {
    let stack = Stack::new().await;
    let mut tasks = Vec::new();
    for _ in 0..6 {
        tasks.push(stack.submit().await.parse().unwrap());
    }
    stack.provider.hold();
    let take_over = async {
        stack.provider.until_called(tasks.len()).await;
        stack.clock.advance(Duration::from_mins(2));
        for task in &tasks {
            let now = stack.clock.now();
            let lease = samples::lease_until(now.plus(Duration::from_mins(1)));
            TaskStore::claim(&stack.store, &tenant(), *task, lease, now)
                .await
                .unwrap();
        }
        stack.provider.release();
    };
    join(stack.work(), take_over).await;
    stack
}

async fn state_table_gone() -> Stack {
    let stack = Stack::new().await;
    stack.submit_many(6).await;
    stack.state.die_now();
    stack.work().await;
    stack
}

/// A task a minute meets a provider that is down.
async fn provider_down() -> Stack {
    let stack = Stack::new().await;
    stack.answers((0..3_000).map(|_| Reply::Fail(ModelErrorKind::Unavailable)));
    for _ in 0..30 {
        stack.submit().await;
        stack.work().await;
        stack.pass(60);
    }
    stack
}

async fn provider_slow() -> Stack {
    let stack = Stack::new().await;
    for _ in 0..30 {
        stack.answers([Reply::Hang]);
        stack.submit().await;
        stack.work().await;
        stack.pass(60);
    }
    stack
}

async fn agent_talked_into_it() -> Stack {
    let stack = Stack::new().await;
    let tools = json!([{ "name": "http_request", "hosts": ["api.example.com"] }]);
    let agent = stack.agent_with(&json!({ "builtin_tools": tools })).await;
    let ask = r#"{"method":"GET","url":"https://169.254.169.254/latest/meta-data"}"#;
    let calls =
        (0..12).map(|number| samples::tool_call(&format!("call_{number}"), "http_request", ask));
    stack.answers([Reply::Answer(samples::answer_calling(calls))]);
    stack.submit_to(&agent).await;
    stack.work().await;
    stack
}

async fn dear_answer() -> Stack {
    let stack = Stack::new().await;
    let mut answer: ModelAnswer = samples::answer("done");
    answer.usage.input_tokens = 10_000_000;
    answer.spend.usage = answer.usage;
    stack.answers([Reply::Answer(answer)]);
    stack.submit().await;
    stack.work().await;
    stack
}

async fn budget_used_up() -> Stack {
    let stack = Stack::with(DailyCaps {
        tenant: Some(1),
        deployment: None,
    })
    .await;
    for _ in 0..25 {
        stack.submit_many(4).await;
        stack.work().await;
        stack.pass(60);
    }
    stack
}

/// Sweeps whose time is over after a hundred of thousands of tasks.
async fn too_much_is_due() -> Stack {
    let stack = Stack::new().await;
    for _ in 0..3_000 {
        stack.stray_task().await;
    }
    for _ in 0..25 {
        stack.pass(60);
        stack.sweep_within(Duration::ZERO).await;
    }
    stack
}

/// AWS says so each minute, for as long as it takes.
async fn told_by_aws(
    namespace: &str,
    metric: &str,
    dimensions: &[(&str, &str)],
    value: f64,
) -> Stack {
    let stack = Stack::new().await;
    for _ in 0..30 {
        stack.aws(namespace, metric, dimensions, value);
        stack.pass(60);
    }
    stack
}

async fn of_function(function: &str, metric: &str) -> Stack {
    told_by_aws("AWS/Lambda", metric, &[("FunctionName", function)], 1.0).await
}

/// Lambda writes nothing of a function that does not run.
async fn schedule_off() -> Stack {
    let stack = Stack::new().await;
    for _ in 0..15 {
        stack.submit().await;
        stack.work().await;
        stack.pass(60);
    }
    stack
}
