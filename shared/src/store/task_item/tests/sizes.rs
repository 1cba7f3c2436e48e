//! How large a task's records are, because DynamoDB bills each change of one by its size: a unit
//! for each begun KB.

use aws_sdk_dynamodb::types::AttributeValue;

use super::*;
use crate::domain::TaskId;
use crate::store::{detail_items, step_item};

/// The units that a write of the record costs, by
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.
fn write_units(item: &Item) -> usize {
    bytes_of(item).div_ceil(1_024)
}

fn bytes_of(item: &Item) -> usize {
    item.iter()
        .map(|(name, value)| name.len() + bytes_of_value(value))
        .sum()
}

fn bytes_of_value(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::L(entries) => {
            3 + entries
                .iter()
                .map(|entry| 1 + bytes_of_value(entry))
                .sum::<usize>()
        }
        AttributeValue::M(map) => 3 + map.len() + bytes_of(map),
        _ => 1,
    }
}

#[test]
fn a_change_of_a_task_costs_two_units_at_most_whatever_its_input() {
    for bytes in [20, 128 * 1_024] {
        let agent = samples::agent(&samples::tenant("acme"));
        let mut task = samples::task_with_input(&agent, &samples::noise(bytes, 1), after(0));
        let input = detail_items::input(&task).unwrap();
        // Noise of 62 characters compresses to three quarters.
        assert_eq!(input.as_ref().map(write_units), (bytes > 20).then_some(97));
        let submitted = write_units(&record(&task));
        task.claim(lease_until(after(60)), after(1)).unwrap();
        let claimed = write_units(&record(&task));
        task.complete(1, samples::output("Paris"), after(2))
            .unwrap();
        assert_eq!([submitted, claimed, write_units(&record(&task))], [1, 1, 2]);
    }
    let mut task = samples::task_with_input(
        &samples::agent(&samples::tenant("acme")),
        &samples::noise(8 * 1_024, 1),
        after(0),
    );
    task.claim(lease_until(after(60)), after(1)).unwrap();
    assert_eq!(
        write_units(&record(&task)),
        9,
        "the largest input that a task's own record has"
    );
}

#[test]
fn a_change_of_a_task_costs_a_few_units_however_long_its_history() {
    let mut task = samples::task(&samples::agent(&samples::tenant("acme")), after(0));
    for hop in 1..=150 {
        task.claim(lease_until(after(60)), after(hop)).unwrap();
        assert!(
            write_units(&record(&task)) <= 4,
            "{} bytes",
            bytes_of(&record(&task))
        );
        task.hand_over(hop, after(hop)).unwrap();
        assert!(
            write_units(&record(&task)) <= 4,
            "{} bytes",
            bytes_of(&record(&task))
        );
        for block in detail_items::history_blocks(&task) {
            assert!(write_units(&block) <= 3, "{} bytes", bytes_of(&block));
        }
    }
}

#[test]
fn a_short_step_costs_one_unit() {
    let step = samples::step(TaskId::new(samples::START), 1, "Paris");
    let item = step_item::write(&step, &step_item::pack(&step, step_item::IN_HEAD).unwrap());
    assert_eq!(write_units(&item), 1, "{} bytes", bytes_of(&item));
}
