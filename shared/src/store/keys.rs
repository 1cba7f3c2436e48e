//! The spelling of every key, of the table and of its indexes. Nowhere else is one put together or
//! taken apart.
//!
//! Numbers inside keys are padded with zeros, so that they sort as numbers.

use std::fmt;
use std::time::Duration;

use crate::domain::{
    AgentId, AgentVersion, AnswerKey, ModelRef, StepPlace, TaskId, TenantId, Timestamp,
};
use crate::ports::BudgetKey;

/// The table's partition key.
pub(super) const PK: &str = "pk";
/// The table's sort key.
pub(super) const SK: &str = "sk";
/// The condition that nothing is at a key yet.
pub(super) const NOTHING_THERE: &str = "attribute_not_exists(pk)";

/// When a record of the ephemeral table expires, in [`seconds`]: DynamoDB's TTL.
pub(super) const EXPIRES_AT: &str = "expires_at";

/// The index of a tenant's tasks by the moment of their creation: partition [`TENANT_ID`], sort
/// [`CREATED`].
pub(super) const BY_TENANT: &str = "by_tenant";
pub(super) const TENANT_ID: &str = "tenant_id";
pub(super) const CREATED: &str = "created";

/// The index of tasks by the moment to look at them: partition [`DUE_SHARD`], sort [`DUE_AT`].
/// Those that have ended are in shards of their own, by the moment of their end.
pub(super) const DUE: &str = "due";
pub(super) const DUE_SHARD: &str = "due_shard";
pub(super) const DUE_AT: &str = "due_at";

/// What the sort keys of a tenant's newest agent versions begin with.
pub(super) const AGENT_PREFIX: &str = "AGENT#";
/// The sort key of a task's own record.
pub(super) const META: &str = "META";
/// What the sort keys of a task's steps begin with.
pub(super) const STEP_PREFIX: &str = "STEP#";

/// What the sort keys of the blocks of a task's history begin with.
const HISTORY_PREFIX: &str = "HISTORY#";

/// Into how many records the budget of a day is split. Changed, the day of the change would begin
/// again.
pub(super) const BUDGET_PARTS: u8 = 8;

const TASK_PREFIX: &str = "TASK#";
const TENANT_PREFIX: &str = "TENANT#";
const DUE_SHARDS: u8 = 8;
const DUE_PREFIX: &str = "due#";
const ENDED_PREFIX: &str = "done#";

/// The shard of [`DUE`] that agents are in while they are being deleted, by the moment of their
/// mark.
pub(super) const DELETED_AGENTS: &str = "agents";

/// By how much the clocks of two machines may differ.
pub(super) const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// The shard of [`DUE`] that a deleted task is in once it has been emptied. Few are there at a
/// time, so one will do.
pub(super) const EMPTIED_SHARD: &str = "emptied";

/// A record's place in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pk, self.sk)
    }
}

/// The place of no record, to be looked at by whoever only wants to know whether the table is
/// there.
pub(super) fn nobody() -> Key {
    Key {
        pk: "NOBODY".to_owned(),
        sk: "NOTHING".to_owned(),
    }
}

/// Where all of a tenant's agents are.
pub(super) fn tenant(tenant: &TenantId) -> String {
    format!("{TENANT_PREFIX}{tenant}")
}

/// The newest version of an agent.
pub(super) fn agent(tenant: &TenantId, id: AgentId) -> Key {
    Key {
        pk: self::tenant(tenant),
        sk: format!("{AGENT_PREFIX}{id}"),
    }
}

/// The agent that the sort key of a newest version is of.
pub(super) fn parse_agent(sk: &str) -> Option<AgentId> {
    sk.strip_prefix(AGENT_PREFIX)?.parse().ok()
}

/// The tenant whose agents a partition has.
pub(super) fn parse_tenant(pk: &str) -> Option<TenantId> {
    pk.strip_prefix(TENANT_PREFIX)?.parse().ok()
}

/// What the sort keys of an agent's versions begin with.
pub(super) fn agent_versions(id: AgentId) -> String {
    format!("AGENTVERSION#{id}#")
}

/// One version of an agent.
pub(super) fn agent_version(tenant: &TenantId, version: AgentVersion) -> Key {
    Key {
        pk: self::tenant(tenant),
        sk: format!("{}{:08}", agent_versions(version.id), version.version),
    }
}

/// A task.
pub(super) fn task(id: TaskId) -> Key {
    Key {
        pk: task_partition(id),
        sk: META.to_owned(),
    }
}

/// Where a task and all that belongs to it are.
pub(super) fn task_partition(id: TaskId) -> String {
    format!("{TASK_PREFIX}{id}")
}

/// The task that a partition is of.
pub(super) fn parse_task_partition(pk: &str) -> Option<TaskId> {
    pk.strip_prefix(TASK_PREFIX)?.parse().ok()
}

/// A step of a task, in the run that began after the step `base`. Each run has places of its own,
/// so that whoever still works for an earlier one takes none of a later one's.
pub(super) fn step(task: TaskId, base: u32, number: u32) -> Key {
    Key {
        pk: task_partition(task),
        sk: step_sort_key(StepPlace { number, base }),
    }
}

fn step_sort_key(StepPlace { number, base }: StepPlace) -> String {
    let run = if base == 0 {
        String::new()
    } else {
        format!("#{base:08}")
    };
    format!("{STEP_PREFIX}{number:08}{run}")
}

/// The range of the sort keys of the steps after a place.
pub(super) fn steps_after(place: StepPlace) -> (String, String) {
    // The character that comes before the one that begins a later run's key, and the one that comes
    // after the last digit.
    (
        format!("{}!", step_sort_key(place)),
        format!("{STEP_PREFIX}:"),
    )
}

/// The input of a task, if the task's own record doesn't have it.
pub(super) fn task_input(task: TaskId) -> Key {
    Key {
        pk: task_partition(task),
        sk: "INPUT".to_owned(),
    }
}

/// A block of a task's history that begins with the change of this number.
pub(super) fn history_block(task: TaskId, first: u32) -> Key {
    Key {
        pk: task_partition(task),
        sk: history_sort_key(first),
    }
}

/// The range of the sort keys of the blocks whose first changes have these numbers, both included.
pub(super) fn history_blocks(first: u32, last: u32) -> (String, String) {
    (history_sort_key(first), history_sort_key(last))
}

fn history_sort_key(first: u32) -> String {
    format!("{HISTORY_PREFIX}{first:08}")
}

/// A piece of a step or of a task's result that one record can't hold.
pub(super) fn task_chunk(partition: &str, digest: &[u8], number: usize) -> Key {
    Key {
        pk: partition.to_owned(),
        sk: chunk(digest, number),
    }
}

/// The circuit of a model.
pub(super) fn circuit(model: &ModelRef) -> Key {
    Key {
        pk: format!("CIRCUIT#{}#{}", model.provider(), model.name()),
        sk: "STATE".to_owned(),
    }
}

/// A tenant's slots, in a partition of their own, because they change with every run of a task.
pub(super) fn slots(tenant: &TenantId) -> Key {
    Key {
        pk: format!("SLOTS#{tenant}"),
        sk: "HELD".to_owned(),
    }
}

/// The waits of a tenant's clients, apart from its slots, because they change with requests.
pub(super) fn waits(tenant: &TenantId) -> Key {
    Key {
        pk: format!("WAITS#{tenant}"),
        sk: "HELD".to_owned(),
    }
}

/// A moment in the unit of [`EXPIRES_AT`]: whole seconds since the epoch.
pub(super) const fn seconds(moment: Timestamp) -> u64 {
    moment.as_millis() / 1_000
}

/// The records of a budget: a task's lies with the task, a day's are in partitions of their own.
pub(super) fn budget(budget: &BudgetKey) -> Vec<Key> {
    let parts = |owner: &str, day| {
        let part = |number| Key {
            pk: format!("{owner}#{number}"),
            sk: date(day),
        };
        (0..BUDGET_PARTS).map(part).collect()
    };
    match budget {
        BudgetKey::Task(id) => vec![Key {
            pk: task_partition(*id),
            sk: "BUDGET".to_owned(),
        }],
        BudgetKey::TenantDay { tenant, day } => parts(&format!("BUDGET#{tenant}"), *day),
        BudgetKey::DeploymentDay { day } => parts("DEPLOYMENTBUDGET", *day),
    }
}

/// The date, such as `2026-10-07`, that is so many days after the epoch. The arithmetic is that of
/// Howard Hinnant's `civil_from_days`: years begin in March, so that a leap day is the last of its
/// year.
fn date(day: u64) -> String {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 {
        march_based + 3
    } else {
        march_based - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

/// A task's place in [`BY_TENANT`].
pub(super) fn created(at: Timestamp, id: TaskId) -> String {
    format!("{:013}#{id}", at.as_millis())
}

/// The first place in [`BY_TENANT`] of a task that is not older than this.
pub(super) fn created_since(at: Timestamp) -> String {
    format!("{:013}", at.as_millis())
}

/// The moment and the task of a place in [`BY_TENANT`].
pub(super) fn parse_created(text: &str) -> Option<(Timestamp, TaskId)> {
    let (millis, id) = text.split_once('#')?;
    let (at, id) = (
        Timestamp::from_millis(millis.parse().ok()?),
        id.parse().ok()?,
    );
    (created(at, id) == text).then_some((at, id))
}

/// The shard of [`DUE`] that a task is in until it ends.
pub(super) fn due_shard(id: TaskId) -> String {
    format!("{DUE_PREFIX}{}", shard(id))
}

/// The shard of [`DUE`] that a task is in once it has ended.
pub(super) fn ended_shard(id: TaskId) -> String {
    format!("{ENDED_PREFIX}{}", shard(id))
}

/// All shards of tasks that have not ended.
pub(super) fn due_shards() -> impl Iterator<Item = String> {
    (0..DUE_SHARDS).map(|number| format!("{DUE_PREFIX}{number}"))
}

/// All shards of tasks that have ended.
pub(super) fn ended_shards() -> impl Iterator<Item = String> {
    (0..DUE_SHARDS).map(|number| format!("{ENDED_PREFIX}{number}"))
}

fn shard(id: TaskId) -> u8 {
    let [.., last] = id.as_bytes();
    last % DUE_SHARDS
}

/// The answer to a question, and the claim to ask it.
pub(super) fn answer(key: &AnswerKey) -> Key {
    Key {
        pk: answer_partition(key),
        sk: "VALUE".to_owned(),
    }
}

/// Where all that belongs to a question is.
pub(super) fn answer_partition(key: &AnswerKey) -> String {
    format!("ANSWER#{key}")
}

/// A piece of an answer that one record can't hold.
pub(super) fn answer_chunk(key: &AnswerKey, digest: &[u8], number: usize) -> Key {
    Key {
        pk: answer_partition(key),
        sk: chunk(digest, number),
    }
}

/// What the sort keys of a value's pieces begin with. They are named by their content, so that
/// pieces of two values never mix, and that writing the same ones twice does no harm.
pub(super) fn chunks(digest: &[u8]) -> String {
    format!("CHUNK#{}#", hex(digest))
}

fn chunk(digest: &[u8], number: usize) -> String {
    format!("{}{number:04}", chunks(digest))
}

/// A place in a list of agents, as text for clients. Holds nothing but the agent's id, and no
/// tenant.
pub(super) fn agent_cursor(id: AgentId) -> String {
    hex(id.to_string().as_bytes())
}

/// The place that a cursor of a list of agents stands for.
pub(super) fn parse_agent_cursor(cursor: &str) -> Option<AgentId> {
    unhex(cursor)?.parse().ok()
}

/// A place in a list of tasks, as text for clients. Holds nothing but the task's moment and id, and
/// no tenant.
pub(super) fn task_cursor(at: Timestamp, id: TaskId) -> String {
    hex(created(at, id).as_bytes())
}

/// The place that a cursor of a list of tasks stands for.
pub(super) fn parse_task_cursor(cursor: &str) -> Option<(Timestamp, TaskId)> {
    parse_created(&unhex(cursor)?)
}

/// Hexadecimal, so that nobody is tempted to read or build a cursor, and that it needs no escape in
/// a URL.
fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn unhex(hex: &str) -> Option<String> {
    let canonical = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(canonical) {
        return None;
    }
    let bytes = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::samples;

    const TASK: &str = "tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";
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
        for (number, base) in
            places
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
        let question = AnswerKey::new([0xa0; 32]);
        let spelled = [
            answer(&question).to_string(),
            answer_chunk(&question, &[1, 255], 7).to_string(),
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
            slots(&tenant).to_string(),
            waits(&tenant).to_string(),
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
            "SLOTS#acme HELD".to_owned(),
            "WAITS#acme HELD".to_owned(),
            format!("0000000000005#{TASK} due#0 done#0"),
        ];
        assert_eq!(spelled, expected);
    }

    #[test]
    fn a_budget_is_with_its_task_or_at_its_tenants_date() {
        let key = |millis| {
            BudgetKey::tenant_day(&"acme".parse().unwrap(), Timestamp::from_millis(millis))
        };
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
        let dates = [
            (0, "1970-01-01"),
            (951_782_399_999, "2000-02-28"),
            (951_782_400_000, "2000-02-29"),
            (1_709_251_199_999, "2024-02-29"),
            (1_709_251_200_000, "2024-03-01"),
            (1_798_761_599_999, "2026-12-31"),
            (1_798_761_600_000, "2027-01-01"),
            (4_107_542_399_999, "2100-02-28"),
            (4_107_542_400_000, "2100-03-01"),
        ];
        for (millis, date) in dates {
            assert_eq!(
                spelled(&key(millis)),
                [0, 1, 2, 3, 4, 5, 6, 7].map(|part| format!("BUDGET#acme#{part} {date}"))
            );
        }
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
            prop_assert_eq!(parse_agent_cursor(&agent_cursor(agent)), Some(agent));
        }

        #[test]
        fn a_text_that_is_no_cursor_is_refused(text in "\\PC{0,120}") {
            prop_assert_eq!(parse_task_cursor(&text), None);
            prop_assert_eq!(parse_agent_cursor(&text), None);
        }

        #[test]
        fn a_cursor_has_one_spelling(text in "[0-9a-f#_x-]{0,60}") {
            if let Some((at, id)) = parse_task_cursor(&hex(text.as_bytes())) {
                prop_assert_eq!(task_cursor(at, id), hex(text.as_bytes()));
            }
        }
    }
}
