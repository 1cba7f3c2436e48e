//! A second stack of the deployed template, in the same account and region.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::Platform;
use crate::deployment::BUCKET;
use crate::services::Services;

/// The stack that `make test` deploys.
const FIRST: &str = "agents-local";

/// A stack with the template and the parameters of the one that `make test` deploys.
pub struct Stack<'a> {
    platform: &'a Platform,
    name: &'static str,
    outputs: BTreeMap<String, String>,
    api_key: String,
}

/// The request that creates a stack from the template in the bucket.
fn creation(
    name: &str,
    parameters: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let url = format!("https://s3.us-east-1.amazonaws.com/{BUCKET}/{name}");
    let mut request = vec![
        ("StackName".to_owned(), name.to_owned()),
        ("TemplateURL".to_owned(), url),
    ];
    let capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"];
    for (number, capability) in (1..).zip(capabilities) {
        request.push((
            format!("Capabilities.member.{number}"),
            capability.to_owned(),
        ));
    }
    for (number, (key, value)) in (1..).zip(parameters) {
        request.push((format!("Parameters.member.{number}.ParameterKey"), key));
        request.push((format!("Parameters.member.{number}.ParameterValue"), value));
    }
    request
}

impl<'a> Stack<'a> {
    /// Deploys it beside the platform's.
    pub async fn beside(platform: &'a Platform, name: &'static str) -> Self {
        let services = &platform.services;
        let template = services
            .cloudformation(
                "GetTemplate",
                &[("StackName", FIRST), ("TemplateStage", "Original")],
            )
            .await;
        // Too large for a request.
        services
            .put_object(BUCKET, name, texts(&template, "TemplateBody").remove(0))
            .await;
        let described = services
            .cloudformation("DescribeStacks", &[("StackName", FIRST)])
            .await;
        let request = creation(name, pairs(&described, "Parameter"));
        let request: Vec<_> = request
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let created = services.cloudformation("CreateStack", &request).await;
        assert_eq!(texts(&created, "StackId").len(), 1, "{created}");
        platform
            .until(
                async || status(services, name).await.as_deref() == Some("CREATE_COMPLETE"),
                name,
            )
            .await;
        let described = services
            .cloudformation("DescribeStacks", &[("StackName", name)])
            .await;
        let outputs: BTreeMap<_, _> = pairs(&described, "Output").into_iter().collect();
        mend(services, &outputs["ExecutorFunction"]).await;
        let secret = json!({ "SecretId": outputs["ApiKeySecretArn"] });
        let secret = services
            .call("secretsmanager", "secretsmanager.GetSecretValue", &secret)
            .await;
        let api_key = secret["SecretString"].as_str().unwrap().to_owned();
        Self {
            platform,
            name,
            outputs,
            api_key,
        }
    }

    /// The key that opens its API.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// Sends a request to its API.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let id = self.outputs["ApiUrl"]
            .trim_start_matches("https://")
            .split('.')
            .next()
            .unwrap();
        let url = format!("{}/_aws/execute-api/{id}{path}", self.platform.aws_url());
        self.platform
            .call_at(method, &url, body, &self.api_key)
            .await
    }

    /// Deletes it.
    pub async fn delete(self) {
        let services = &self.platform.services;
        services
            .cloudformation("DeleteStack", &[("StackName", self.name)])
            .await;
        let is_gone = async || {
            matches!(
                status(services, self.name).await.as_deref(),
                None | Some("DELETE_COMPLETE")
            )
        };
        self.platform.until(is_gone, "the stack is deleted").await;
    }
}

/// The stack's status; none if there is no such stack.
async fn status(services: &Services, name: &str) -> Option<String> {
    let described = services
        .cloudformation("DescribeStacks", &[("StackName", name)])
        .await;
    let status = texts(&described, "StackStatus").into_iter().next();
    let is_lost = status
        .as_deref()
        .is_some_and(|status| status.contains("FAILED") || status.contains("ROLLBACK"));
    assert!(!is_lost, "{described}");
    status
}

/// The local AWS keeps a number that comes from a template parameter as text, and then fails to
/// compare it.
async fn mend(services: &Services, executor: &str) {
    let path = format!("event-source-mappings/?FunctionName={executor}");
    let (_, mappings) = services.lambda(Method::GET, &path, &Value::Null).await;
    let mapping = &mappings["EventSourceMappings"][0];
    let most = &mapping["ScalingConfig"]["MaximumConcurrency"];
    let most: u64 = most
        .as_str()
        .map_or_else(|| most.as_u64(), |text| text.parse().ok())
        .unwrap();
    let path = format!(
        "event-source-mappings/{}",
        mapping["UUID"].as_str().unwrap()
    );
    let mended = json!({ "ScalingConfig": { "MaximumConcurrency": most } });
    assert!(
        services
            .lambda(Method::PUT, &path, &mended)
            .await
            .0
            .is_success()
    );
}

/// The keys and values of all parameters or outputs.
fn pairs(xml: &str, kind: &str) -> Vec<(String, String)> {
    texts(xml, &format!("{kind}Key"))
        .into_iter()
        .zip(texts(xml, &format!("{kind}Value")))
        .collect()
}

/// The texts of all elements of this name.
fn texts(xml: &str, name: &str) -> Vec<String> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let texts = xml
        .split(&begin)
        .skip(1)
        .map(|rest| rest.split(&end).next().unwrap_or_default());
    let escapes = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    texts
        .map(|text| {
            escapes
                .iter()
                .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
        })
        .collect()
}
