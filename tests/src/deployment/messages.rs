//! The messages of a deployment's task queue.

use aws_sdk_sqs::types::QueueAttributeName::{
    ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed,
    ApproximateNumberOfMessagesNotVisible,
};
use serde_json::json;
use shared::domain::TaskId;

use super::{Deployment, message};

impl Deployment {
    /// From now on, messages stay in the task queue, so that the next that are delivered come
    /// together.
    pub async fn hold_messages(&self) {
        self.change(
            &format!("event-source-mappings/{}", self.deliveries),
            &json!({ "Enabled": false }),
        )
        .await;
    }

    /// From now on, they are delivered.
    pub async fn deliver_messages(&self) {
        self.change(
            &format!("event-source-mappings/{}", self.deliveries),
            &json!({ "Enabled": true }),
        )
        .await;
    }

    /// Sends a message to the task queue.
    pub async fn send(&self, body: &str) {
        self.platform
            .aws
            .sqs()
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body)
            .send()
            .await
            .unwrap();
    }

    /// How many messages the task queue has, be they waiting, delayed or being worked on.
    pub async fn messages(&self) -> u32 {
        let kinds = [
            ApproximateNumberOfMessages,
            ApproximateNumberOfMessagesDelayed,
            ApproximateNumberOfMessagesNotVisible,
        ];
        let received = self
            .platform
            .aws
            .sqs()
            .get_queue_attributes()
            .queue_url(&self.queue_url);
        let counts = received
            .set_attribute_names(Some(kinds.into()))
            .send()
            .await
            .unwrap()
            .attributes
            .unwrap();
        counts
            .values()
            .map(|count| count.parse::<u32>().unwrap())
            .sum()
    }

    /// Deletes all messages of the task queue.
    pub async fn purge_messages(&self) {
        self.platform
            .aws
            .sqs()
            .purge_queue()
            .queue_url(&self.queue_url)
            .send()
            .await
            .unwrap();
    }

    /// Sends the task's message to the dead-letter queue, as if it had failed too often.
    pub async fn give_up(&self, task: TaskId) {
        let sqs = self.platform.aws.sqs();
        sqs.send_message()
            .queue_url(&self.dead_letter_url)
            .message_body(message(task))
            .send()
            .await
            .unwrap();
    }
}
