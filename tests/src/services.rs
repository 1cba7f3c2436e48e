//! Services of the local AWS that no client is linked for, or none that takes what a test has. It
//! checks no signature.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

use reqwest::{Body, Client, Method, StatusCode, Url};
use serde_json::{Value, json};

use crate::platform::now;

/// The most log events that one answer of `FilterLogEvents` has.
const LOG_PAGE: usize = 10_000;

/// `CloudWatch`, its logs, Lambda, S3, and DynamoDB in its own JSON.
pub(crate) struct Services {
    http: Client,
    /// Where they are.
    pub(crate) url: String,
}

impl Services {
    /// Those of the AWS at `url`.
    pub(crate) fn at(url: &str) -> Self {
        // No idle connections: an AWS that was frozen for a while ends them.
        let http = Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        Self {
            http,
            url: url.to_owned(),
        }
    }

    /// What a log group has that matches a [filter
    /// pattern](https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html).
    ///
    /// The local one gives no `nextToken`: the next page begins with the time at which a full one
    /// ended.
    pub(crate) async fn log(&self, group: &str, pattern: &str) -> Vec<String> {
        let (mut messages, mut since) = (Vec::new(), 0);
        loop {
            let body =
                json!({ "logGroupName": group, "filterPattern": pattern, "startTime": since });
            let mut page = self
                .call("logs", "Logs_20140328.FilterLogEvents", &body)
                .await;
            let mut events: Vec<Value> =
                serde_json::from_value(page["events"].take()).unwrap_or_default();
            let full = events.len() == LOG_PAGE;
            if full {
                since = time_of(&events[LOG_PAGE - 1]);
                events.retain(|event| time_of(event) < since);
            }
            messages.extend(
                events
                    .iter()
                    .filter_map(|event| event["message"].as_str())
                    .map(String::from),
            );
            if !full {
                return messages;
            }
        }
    }

    /// The names of all log groups of functions.
    pub(crate) async fn log_groups(&self) -> Vec<String> {
        let body = json!({ "logGroupNamePrefix": "/aws/lambda/" });
        let described = self
            .call("logs", "Logs_20140328.DescribeLogGroups", &body)
            .await;
        assert!(
            described["nextToken"].is_null(),
            "more groups than one answer lists"
        );
        let groups = described["logGroups"].as_array().unwrap().iter();
        groups
            .map(|group| group["logGroupName"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The sum of a metric over all time.
    pub(crate) async fn sum(&self, namespace: &str, metric: &str, dimension: Value) -> f64 {
        let body = json!({
            "Namespace": namespace, "MetricName": metric, "Dimensions": [dimension], "Statistics": ["Sum"],
            "Period": 60, "StartTime": 0, "EndTime": now().as_millis() / 1_000 + 3_600,
        });
        let sums = self
            .call(
                "monitoring",
                "GraniteServiceVersion20100801.GetMetricStatistics",
                &body,
            )
            .await;
        sums["Datapoints"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|point| point["Sum"].as_f64())
            .sum()
    }

    /// The answer of a service that speaks JSON, be it an error's.
    pub(crate) async fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        let credential =
            format!("AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/{service}/aws4_request");
        let request = self
            .http
            .post(&self.url)
            .header("authorization", credential)
            .header("x-amz-target", target);
        let request = request
            .header("content-type", "application/x-amz-json-1.1")
            .body(body.to_string());
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The answer of `CloudFormation`, which is XML, be it an error's.
    pub(crate) async fn cloudformation(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let all = [("Action", action), ("Version", "2010-05-15")]
            .into_iter()
            .chain(parameters.iter().copied());
        let form = Url::parse_with_params(&self.url, all).unwrap();
        let credential =
            "AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/cloudformation/aws4_request";
        let request = self
            .http
            .post(&self.url)
            .header("authorization", credential);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request
            .body(form.query().unwrap().to_owned())
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// The names of all schedules.
    pub(crate) async fn schedules(&self) -> Vec<String> {
        let credential =
            "AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/scheduler/aws4_request";
        let request = self
            .http
            .get(format!("{}/schedules", self.url))
            .header("authorization", credential);
        let listed: Value = request.send().await.unwrap().json().await.unwrap();
        let schedules = listed["Schedules"].as_array().unwrap().iter();
        schedules
            .map(|schedule| schedule["Name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Calls the Lambda API.
    pub(crate) async fn lambda(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        self.try_lambda(method, path, body).await.unwrap()
    }

    /// The same, for a call that may get no answer.
    pub(crate) async fn try_lambda(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let request = self
            .http
            .request(method, format!("{}/2015-03-31/{path}", self.url))
            .json(body);
        let response = request.send().await?;
        Ok((response.status(), response.json().await?))
    }

    /// Has a function run, without waiting for it.
    pub(crate) async fn invoke_later(&self, function: &str, event: &Value) {
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.url);
        let invoked = self
            .http
            .post(url)
            .header("x-amz-invocation-type", "Event")
            .json(event)
            .send()
            .await
            .unwrap();
        assert!(invoked.status().is_success(), "{invoked:?}");
    }

    /// Puts a function's code into the bucket under the function's name, for others to be created
    /// from.
    pub(crate) async fn keep_code(&self, bucket: &str, function: &str) {
        let (_, described) = self
            .lambda(Method::GET, &format!("functions/{function}"), &Value::Null)
            .await;
        let code = self
            .http
            .get(described["Code"]["Location"].as_str().unwrap())
            .send()
            .await
            .unwrap();
        self.put_object(bucket, function, code.bytes().await.unwrap())
            .await;
    }

    /// Puts an object into the bucket.
    pub(crate) async fn put_object(&self, bucket: &str, key: &str, body: impl Into<Body>) {
        let put = self
            .http
            .put(format!("{}/{bucket}/{key}", self.url))
            .body(body);
        put.send().await.unwrap().error_for_status().unwrap();
    }
}

/// When the log event was written, in milliseconds.
fn time_of(event: &Value) -> u64 {
    event["timestamp"].as_u64().unwrap()
}
