//! Tasks and steps, written past the API.

use serde_json::Value;
use shared::domain::{Agent, AgentId, CacheUse, Step, Task, TaskId, TaskInput, Timestamp};
use shared::ports::{AgentStore, Journal, TaskStore};
use shared::store::{DynamoAgentStore, DynamoJournal, DynamoTaskStore};

use super::{Deployment, tenant};
use crate::platform::unique;

impl Deployment {
    /// Writes a task that the agent's client submitted at this moment. It has no message.
    pub async fn write_task(&self, agent: &str, at: Timestamp) -> Task {
        self.write_task_of(agent, &unique("[ok]"), at).await
    }

    /// The same, with this input.
    pub async fn write_task_of(&self, agent: &str, input: &str, at: Timestamp) -> Task {
        let agents = DynamoAgentStore::new(self.platform.aws.dynamodb(), &*self.table);
        let agent: Agent = agents
            .newest(&tenant(), agent.parse::<AgentId>().unwrap())
            .await
            .unwrap()
            .unwrap();
        let input = TaskInput::new(input.to_owned()).unwrap();
        let task = Task::submit(TaskId::new(at), &agent, input, CacheUse::default(), at);
        self.tasks().create(&task).await.unwrap();
        task
    }

    /// Records a step, as if a worker had done it.
    pub async fn record_step(&self, step: &Step) {
        DynamoJournal::new(self.platform.aws.dynamodb(), &*self.table)
            .append(step)
            .await
            .unwrap();
    }

    /// The tasks, read directly from the table.
    pub fn tasks(&self) -> DynamoTaskStore {
        DynamoTaskStore::new(self.platform.aws.dynamodb(), &*self.table)
    }

    /// Writes a record that is in DynamoDB's JSON.
    pub async fn put_record(&self, record: &Value) {
        self.platform.aws.put_record(&self.table, record).await;
    }
}
