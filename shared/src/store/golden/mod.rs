//! Records as the code of version 1 wrote them, or of a later one where the name says so, and the
//! proof that today's code reads them.
//!
//! Each file is one record in DynamoDB's JSON. They never change.

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::Blob;
    use aws_sdk_dynamodb::types::AttributeValue;
    use aws_smithy_types::base64;
    use serde_json::Value;

    use super::super::items::Item;
    use super::super::{agent_item, detail_items, health_item, step_item, task_item};
    use crate::domain::task::{Parkings, Progress};
    use crate::domain::{
        Agent, AgentConfig, AgentHead, CacheUse, Change, Event, FailureCode, History, LastFailure,
        Latency, Lease, Limits, ModelHealth, Spent, Switch, Task, TaskId, TaskInput, TaskState,
        Timestamp, Wait, WaitReason,
    };
    use crate::testing::samples::{self, after};

    fn task_id() -> TaskId {
        "tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10".parse().unwrap()
    }

    fn lease_until(expires_at: Timestamp) -> Lease {
        Lease {
            worker: "wrk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a11".parse().unwrap(),
            expires_at,
        }
    }

    /// The agent. Its tasks had no limit but the deadline then.
    fn agent(limits: Limits) -> Agent {
        let agent = samples::agent(&samples::tenant("acme"));
        let id = "agt_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10".parse().unwrap();
        Agent {
            id,
            config: AgentConfig {
                limits,
                ..agent.config
            },
            ..agent
        }
    }

    fn limits() -> Limits {
        Limits::default().with_timeout_seconds(600).unwrap()
    }

    /// A task in each state, and its record.
    fn tasks() -> [(Task, &'static str); 6] {
        let input = TaskInput::new("What is the capital of France?".to_owned()).unwrap();
        let queued = Task::submit(
            task_id(),
            &agent(limits()),
            input,
            CacheUse::default(),
            after(0),
        );
        let mut running = queued.clone();
        running.claim(lease_until(after(60)), after(1)).unwrap();
        let (mut waiting, mut completed, mut failed) =
            (running.clone(), running.clone(), running.clone());
        let mut timed_out = queued.clone();
        waiting.add_spend(samples::answer("").spend);
        waiting
            .park(
                1,
                Wait {
                    until: after(30),
                    reason: WaitReason::RateLimit,
                },
                Spent::Nothing,
                after(2),
            )
            .unwrap();
        completed
            .complete(1, samples::output("Paris"), after(2))
            .unwrap();
        failed.fail(1, samples::failure(), after(2)).unwrap();
        timed_out.settle_overdue(after(600)).unwrap();
        [
            (queued, include_str!("task_queued.json")),
            (running, include_str!("task_running.json")),
            (waiting, include_str!("task_waiting.json")),
            (completed, include_str!("task_completed.json")),
            (failed, include_str!("task_failed.json")),
            (timed_out, include_str!("task_timed_out.json")),
        ]
    }

    #[track_caller]
    fn record(json: &str) -> Item {
        attributes(&serde_json::from_str(json).unwrap())
    }

    fn attributes(map: &Value) -> Item {
        map.as_object()
            .unwrap()
            .iter()
            .map(|(name, typed)| (name.clone(), attribute(typed)))
            .collect()
    }

    fn attribute(typed: &Value) -> AttributeValue {
        let (kind, value) = typed.as_object().unwrap().iter().next().unwrap();
        match kind.as_str() {
            "S" => AttributeValue::S(value.as_str().unwrap().to_owned()),
            "B" => AttributeValue::B(Blob::new(base64::decode(value.as_str().unwrap()).unwrap())),
            "N" => AttributeValue::N(value.as_str().unwrap().to_owned()),
            "M" => AttributeValue::M(attributes(value)),
            "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
            "L" => AttributeValue::L(value.as_array().unwrap().iter().map(attribute).collect()),
            other => panic!("a value of type {other}"),
        }
    }

    #[test]
    fn an_agent_of_the_first_version_is_read() {
        let expected = agent(limits().with_max_cost_micro_usd(250_000).unwrap());
        let item = record(include_str!("agent.json"));
        assert_eq!(agent_item::read(&item).unwrap(), expected);
        let head = AgentHead::of(expected);
        assert_eq!(agent_item::read_head(&item).unwrap(), head);
    }

    /// As it was first written with a switch, aliases and a revision.
    #[test]
    fn an_agent_as_a_whole_is_read() {
        let mut expected = AgentHead::of(agent(limits()));
        expected.configure(samples::agent_config("writer", ""), after(60));
        expected.switch = Switch::Disabled;
        expected.aliases = [("prod".parse().unwrap(), 1)].into();
        expected.revision = 4;
        let item = record(include_str!("agent_head.json"));
        assert_eq!(agent_item::read_head(&item).unwrap(), expected);
        assert_eq!(agent_item::switch(&item), Switch::Disabled);
    }

    /// As it was first written, with a reason that the versions before know and a detail.
    #[test]
    fn a_task_that_waits_for_its_agent_is_read() {
        let [_, (mut waiting, _), ..] = tasks();
        let wait = Wait {
            until: after(30),
            reason: WaitReason::AgentDisabled,
        };
        waiting.park(1, wait, Spent::Nothing, after(2)).unwrap();
        let item = record(include_str!("task_agent_disabled.json"));
        assert_eq!(task_item::read(&item, None).unwrap(), waiting);
    }

    /// But for its history, the causes of its parkings and its conversation's size, which were not
    /// kept then.
    #[test]
    fn a_task_of_the_first_version_is_read_in_each_state() {
        for (task, json) in tasks() {
            let item = record(json);
            let parkings = Parkings {
                all: task.progress().parkings.all,
                ..Parkings::default()
            };
            let expected = Progress {
                history: History::restore(0, Vec::new(), 0),
                parkings,
                conversation_bytes: None,
                ..task.progress().clone()
            };
            let expected = Task::restore(task.spec().clone(), expected);
            assert!(task_item::head(&item).unwrap().is_none());
            assert_eq!(task_item::read(&item, None).unwrap(), expected);
            assert_eq!(
                task_item::read_summary(&item).unwrap(),
                samples::summary(&expected)
            );
        }
    }

    /// As it was written before a record had its conversation's size.
    #[test]
    fn a_task_of_version_2_has_a_conversation_of_unknown_size() {
        let [_, (running, _), ..] = tasks();
        let expected = Progress {
            steps: 3,
            conversation_bytes: None,
            ..running.progress().clone()
        };
        let expected = Task::restore(running.spec().clone(), expected);
        assert_eq!(
            task_item::read(&record(include_str!("task_running_2.json")), None).unwrap(),
            expected
        );
    }

    /// A task with a hundred changes, the last of them a claim.
    fn of_a_hundred_changes() -> Task {
        let [(task, _), ..] = tasks();
        let mut changes = vec![Change::new(after(0), Event::Submitted)];
        while changes.len() < 100 {
            let at = after(changes.len() as u64);
            let event = match changes.len() % 2 {
                0 => Event::HandedOver {
                    hop: u32::try_from(changes.len() / 2).unwrap(),
                },
                _ => Event::Claimed {
                    worker: lease_until(at).worker,
                },
            };
            changes.push(Change::new(at, event));
        }
        let state = TaskState::Running(lease_until(after(160)));
        let history = History::restore(0, changes, 100);
        let progress = Progress {
            revision: 100,
            fence: 50,
            hops: 49,
            updated_at: after(99),
            state,
            history,
            ..task.progress().clone()
        };
        Task::restore(task.spec().clone(), progress)
    }

    /// A task whose input and first block of history have records of their own.
    fn with_details() -> Task {
        let mut task = Task::submit(
            task_id(),
            &agent(limits()),
            samples::input(&"x".repeat(8_193)),
            CacheUse::default(),
            after(0),
        );
        for hop in 1..=10 {
            task.claim(lease_until(after(60)), after(hop)).unwrap();
            task.hand_over(hop, after(hop)).unwrap();
        }
        task
    }

    /// As it was written before changes left the record.
    #[test]
    fn a_task_with_a_hundred_changes_is_read_with_all_of_them() {
        assert_eq!(
            task_item::read(&record(include_str!("task_hundred_changes.json")), None).unwrap(),
            of_a_hundred_changes()
        );
    }

    #[test]
    fn a_task_of_the_third_version_is_read_with_its_details() {
        let task = with_details();
        let item = record(include_str!("task_apart_3.json"));
        assert_eq!(
            task_item::read(&item, None).unwrap(),
            task.clone().with_input(None)
        );
        assert_eq!(
            Some(detail_items::read_input(&record(include_str!("task_input.json"))).unwrap()),
            task.spec().input
        );
        let block = detail_items::read_block(&record(include_str!("history_block.json"))).unwrap();
        let moved: Vec<Change> = task
            .progress()
            .history
            .leaving()
            .flat_map(|(_, block)| block)
            .cloned()
            .collect();
        assert_eq!(block, (0..).zip(moved).collect::<Vec<_>>());
    }

    #[test]
    fn the_health_of_a_model_is_read() {
        let expected = ModelHealth {
            latency: Some(Latency {
                at: after(0),
                mean_ms: 900,
                longest_ms: 1_500,
            }),
            last_failure: Some(LastFailure {
                at: after(1),
                code: FailureCode::ModelRateLimited,
                status: Some(429),
            }),
            cooldown_until: Some(after(60)),
        };
        let item = record(include_str!("model_health.json"));
        assert_eq!(health_item::read(&item).unwrap(), expected);
    }

    #[test]
    fn a_step_of_the_first_version_is_read() {
        let item = record(include_str!("step.json"));
        assert!(step_item::head(&item).unwrap().is_none());
        assert_eq!(
            step_item::read(&item, None).unwrap(),
            samples::step(task_id(), 1, "Paris")
        );
    }
}
