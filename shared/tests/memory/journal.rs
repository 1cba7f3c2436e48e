//! A journal whose records are compressed, and in which a step may stand at many places.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shared::domain::{Step, StepPlace, StepSummary, TaskId};
use shared::ports::{Journal, StepsPage, StepsRequest, StoreError};
use shared::store::decoding::{self, Records};

/// A step's record, and what is known of it without its content.
type Entry = (StepSummary, Arc<Records>);

/// A journal of records as the table has them.
#[derive(Default)]
pub(crate) struct PackedJournal(Mutex<BTreeMap<(TaskId, StepPlace), Entry>>);

impl PackedJournal {
    /// Has this step also at other places.
    pub(crate) fn repeat(
        &self,
        step: &Step,
        places: impl IntoIterator<Item = (TaskId, StepPlace)>,
    ) {
        let (head, records) = packed(step).unwrap();
        let mut entries = self.0.lock().unwrap();
        for (task, place) in places {
            let head = StepSummary {
                number: place.number,
                base: place.base,
                ..head
            };
            entries.insert((task, place), (head, Arc::clone(&records)));
        }
    }

    /// The entries of a task, without what they say.
    pub(crate) fn entries(&self, task: TaskId) -> Vec<Entry> {
        let all = (task, StepPlace { number: 0, base: 0 })..=(task, StepPlace::after(u32::MAX));
        self.0
            .lock()
            .unwrap()
            .range(all)
            .map(|(_, entry)| entry.clone())
            .collect()
    }
}

fn packed(step: &Step) -> Result<Entry, StoreError> {
    Ok((
        step.summary(),
        Arc::new(decoding::records(std::slice::from_ref(step))?),
    ))
}

fn unpacked(task: TaskId, (head, records): &Entry) -> Result<Step, StoreError> {
    let step = decoding::steps(records)?.remove(0);
    Ok(Step {
        task,
        number: head.number,
        base: head.base,
        ..step
    })
}

#[async_trait]
impl Journal for PackedJournal {
    async fn append(&self, step: &Step) -> Result<(), StoreError> {
        let entry = packed(step)?;
        let before = self
            .0
            .lock()
            .unwrap()
            .insert((step.task, step.place()), entry);
        if before.is_some() {
            Err(StoreError::Conflict)
        } else {
            Ok(())
        }
    }

    async fn step(&self, task: TaskId, place: StepPlace) -> Result<Option<Step>, StoreError> {
        let entry = self.0.lock().unwrap().get(&(task, place)).cloned();
        entry.map(|entry| unpacked(task, &entry)).transpose()
    }

    async fn page(&self, task: TaskId, wanted: &StepsRequest) -> Result<StepsPage, StoreError> {
        let range = (
            Bound::Excluded((task, wanted.after)),
            Bound::Included((task, StepPlace::after(u32::MAX))),
        );
        let (mut entries, mut bytes, mut next) = (Vec::<Entry>::new(), 0, None);
        for (_, (head, records)) in self.0.lock().unwrap().range(range) {
            bytes += head.bytes;
            let is_full = entries.len() >= wanted.limit as usize || bytes > wanted.max_bytes;
            next = entries
                .last()
                .filter(|_| is_full)
                .map(|(last, _)| last.place());
            if next.is_some() {
                break;
            }
            entries.push((*head, Arc::clone(records)));
        }
        let steps = entries
            .iter()
            .map(|entry| unpacked(task, entry))
            .collect::<Result<_, _>>()?;
        Ok(StepsPage { steps, next })
    }

    async fn step_summaries(&self, task: TaskId) -> Result<Vec<StepSummary>, StoreError> {
        Ok(self
            .entries(task)
            .into_iter()
            .map(|(head, _)| head)
            .collect())
    }
}
