//! Tests of `store`.

use super::*;
use crate::ports::TaskStore;
use crate::testing::{When, contract, samples};

#[tokio::test]
async fn the_fake_keeps_the_contract_of_the_agent_store() {
    contract::agent_store(Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn the_fake_keeps_the_contract_of_the_task_store() {
    contract::task_store(Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn the_fake_keeps_the_contract_of_the_journal() {
    let store = Arc::new(MemoryStore::default());
    contract::journal(Arc::<MemoryStore>::clone(&store), store).await;
}

#[tokio::test]
async fn the_fake_keeps_the_contract_of_retention() {
    let budgets = MemoryBudgets::default();
    let answers = MemoryAnswers::default();
    let store = Arc::new(
        MemoryStore::default()
            .with_budgets(budgets.clone())
            .with_answers(answers.clone()),
    );
    let (tasks, journal) = (Arc::clone(&store), Arc::clone(&store));
    let (budgets, answers) = (Arc::new(budgets), Arc::new(answers));
    contract::retention(contract::RetentionPorts {
        tasks,
        journal,
        budgets,
        answers,
        retention: store,
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_gets_lost_leaves_its_effect_to_the_other_handles() {
    let (store, faults) = (MemoryStore::default(), Faults::default());
    let unlucky = store.with_faults(faults.clone());
    faults.die_at(1, When::After);
    let task = samples::task(&samples::agent(&samples::fresh_tenant()), samples::START);
    assert!(matches!(
        TaskStore::create(&unlucky, &task).await,
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(
        store.task(&task.spec().tenant, task.id()).await.unwrap(),
        Some(task.clone())
    );
    assert!(TaskStore::create(&unlucky, &task).await.is_err());
}
