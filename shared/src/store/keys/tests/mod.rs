//! Tests of `keys`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::{Period, Provider};
use crate::ports::{BudgetKey, LimitOwner};
use crate::testing::samples;

const TASK: &str = "tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";
const KEY: &str = "key_aaaaaaaaaaaa";
const AGENT: &str = "agt_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";

#[test]
fn the_range_after_a_step_has_all_steps_after_it_and_no_other_record() {
    let sort_key = |(number, base)| step_sort_key(StepPlace { number, base });
    let places = [
        (1, 0),
        (2, 0),
        (2, 1),
        (2, 13),
        (3, 0),
        (10, 9),
        (1_000, 0),
        (1_001, 1_000),
    ];
    let others = [
        META.to_owned(),
        "BUDGET".to_owned(),
        "INPUT".to_owned(),
        history_sort_key(15),
        chunks(&[255]),
    ];
    for (number, base) in places
        .into_iter()
        .chain([(0, u32::MAX), (1, u32::MAX), (999, u32::MAX)])
    {
        let (first, last) = steps_after(StepPlace { number, base });
        let within = |key: &String| (&first..=&last).contains(&key);
        let found: Vec<_> = places
            .into_iter()
            .filter(|place| within(&sort_key(*place)))
            .collect();
        let expected: Vec<_> = places
            .into_iter()
            .filter(|place| *place > (number, base))
            .collect();
        assert_eq!(found, expected, "after {number}, {base}");
        assert!(!others.iter().any(within), "after {number}, {base}");
    }
}

#[test]
fn keys_are_spelled_as_documented() {
    let (tenant, task, id) = (
        "acme".parse().unwrap(),
        TASK.parse().unwrap(),
        AGENT.parse().unwrap(),
    );
    let request = AnswerKey::new([0xa0; 32]);
    let spelled = [
        answer(&request).to_string(),
        answer_chunk(&request, &[1, 255], 7).to_string(),
        agent(&tenant, id).to_string(),
        agent_version(&tenant, AgentVersion { id, version: 7 }).to_string(),
        created_since(Timestamp::from_millis(5)),
        self::task(task).to_string(),
        step(task, 0, 12).to_string(),
        step(task, 7, 12).to_string(),
        task_chunk(&task_partition(task), &[1, 255], 7).to_string(),
        task_input(task).to_string(),
        history_block(task, 15).to_string(),
        circuit(&samples::model()).to_string(),
        health(&HealthKey::Model(samples::model())).to_string(),
        health(&HealthKey::OtherModels(Provider::OpenAi)).to_string(),
        slots(&LimitOwner::Tenant(tenant.clone())).to_string(),
        slots(&LimitOwner::Key(KEY.parse().unwrap())).to_string(),
        waits(&LimitOwner::Tenant(tenant)).to_string(),
        format!(
            "{} {} {}",
            created(Timestamp::from_millis(5), task),
            due_shard(task),
            ended_shard(task)
        ),
    ];
    let digest = "a0".repeat(32);
    let expected = [
        format!("ANSWER#{digest} VALUE"),
        format!("ANSWER#{digest} CHUNK#01ff#0007"),
        format!("TENANT#acme AGENT#{AGENT}"),
        format!("TENANT#acme AGENTVERSION#{AGENT}#00000007"),
        "0000000000005".to_owned(),
        format!("TASK#{TASK} META"),
        format!("TASK#{TASK} STEP#00000012"),
        format!("TASK#{TASK} STEP#00000012#00000007"),
        format!("TASK#{TASK} CHUNK#01ff#0007"),
        format!("TASK#{TASK} INPUT"),
        format!("TASK#{TASK} HISTORY#00000015"),
        "CIRCUIT#anthropic#claude-sonnet-5-5 STATE".to_owned(),
        "CIRCUIT#anthropic#claude-sonnet-5-5 HEALTH".to_owned(),
        "CIRCUIT#openai# HEALTH".to_owned(),
        "SLOTS#acme HELD".to_owned(),
        format!("SLOTS#{KEY} HELD"),
        "WAITS#acme HELD".to_owned(),
        format!("0000000000005#{TASK} due#0 done#0"),
    ];
    assert_eq!(spelled, expected);
}

#[test]
fn a_budget_is_with_its_task_or_at_its_tenants_date() {
    let key =
        |millis| BudgetKey::tenant_day(&"acme".parse().unwrap(), Timestamp::from_millis(millis));
    let spelled = |key: &BudgetKey| budget(key).iter().map(Key::to_string).collect::<Vec<_>>();
    assert_eq!(
        spelled(&BudgetKey::Task(TASK.parse().unwrap())),
        [format!("TASK#{TASK} BUDGET")]
    );
    let deployment = BudgetKey::deployment_day(Timestamp::from_millis(0));
    assert_eq!(
        spelled(&deployment),
        [0, 1, 2, 3, 4, 5, 6, 7].map(|part| format!("DEPLOYMENTBUDGET#{part} 1970-01-01"))
    );
    let parts = [0, 1, 2, 3, 4, 5, 6, 7];
    let day = spelled(&key(951_782_400_000));
    assert_eq!(
        day,
        parts.map(|part| format!("BUDGET#acme#{part} 2000-02-29"))
    );
    let month = Period::Month(30 * 12 + 1);
    let tenant: TenantId = "acme".parse().unwrap();
    assert_eq!(
        spelled(&BudgetKey::Tenant(tenant.clone(), month)),
        parts.map(|part| format!("BUDGET#acme#{part} 2000-02"))
    );
    assert_eq!(
        spelled(&BudgetKey::Key(tenant, KEY.parse().unwrap(), month)),
        parts.map(|part| format!("BUDGET#acme#{part} {KEY}#2000-02"))
    );
}

#[test]
fn every_task_is_in_a_shard_that_is_read() {
    let written = |shard: fn(TaskId) -> String| {
        (0..=u8::MAX).map(move |byte| shard(TaskId::derived([byte; 16])))
    };
    let (due, ended): (BTreeSet<String>, BTreeSet<String>) =
        (due_shards().collect(), ended_shards().collect());
    assert_eq!(written(due_shard).collect::<BTreeSet<_>>(), due);
    assert_eq!(written(ended_shard).collect::<BTreeSet<_>>(), ended);
    assert_eq!(
        (due.len(), ended.len(), due.intersection(&ended).count()),
        (8, 8, 0)
    );
}

proptest! {
    #[test]
    fn a_cursor_survives_its_way_to_the_client_and_back(millis in 0..=u64::MAX, digest in any::<[u8; 16]>()) {
        let place = (Timestamp::from_millis(millis), TaskId::derived(digest));
        prop_assert_eq!(parse_task_cursor(&task_cursor(place.0, place.1)), Some(place));
        let agent = AgentId::derived(digest);
        prop_assert_eq!(parse_id_cursor(&id_cursor(agent)), Some(agent));
    }

    #[test]
    fn a_text_that_is_no_cursor_is_refused(text in "\\PC{0,120}") {
        prop_assert_eq!(parse_task_cursor(&text), None);
        prop_assert_eq!(parse_id_cursor::<AgentId>(&text), None);
    }

    #[test]
    fn a_cursor_has_one_spelling(text in "[0-9a-f#_x-]{0,60}") {
        if let Some((at, id)) = parse_task_cursor(&hex(text.as_bytes())) {
            prop_assert_eq!(task_cursor(at, id), hex(text.as_bytes()));
        }
    }
}
