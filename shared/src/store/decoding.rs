//! For tests and benchmarks: steps as their records and back, without a table.

use super::items::Item;
use super::step_item;
use crate::domain::Step;
use crate::ports::StoreError;

/// Records of steps.
#[derive(Debug)]
pub struct Records(Vec<Item>);

/// The records of these steps. Each step must fit into one record.
pub fn records(steps: &[Step]) -> Result<Records, StoreError> {
    let record = |step| {
        Ok(step_item::write(
            step,
            &step_item::pack(step, step_item::IN_HEAD)?,
        ))
    };
    steps
        .iter()
        .map(record)
        .collect::<Result<_, _>>()
        .map(Records)
}

/// The steps in these records.
pub fn steps(records: &Records) -> Result<Vec<Step>, StoreError> {
    let step = |item| {
        let content = step_item::head(item)?
            .map(|head| head.value_in_head())
            .transpose()?;
        step_item::read(item, content.as_deref())
    };
    records.0.iter().map(step).collect()
}
