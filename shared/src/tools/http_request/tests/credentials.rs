//! Which requests get a credential, and that nothing else does.

use std::sync::Arc;

use serde_json::{Value, json};

use super::authority::Authority;
use super::stand_in::{HOSTS, Names, Reply, Server, request, rules};
use crate::domain::{CredentialName, Deadline, HostPattern, HttpRules};
use crate::ports::{ToolOutput, Tools};
use crate::testing::{Captured, Faults, ManualClock, MemorySecrets, listen, samples};
use crate::tools::http_request::{HttpRequester, Reach};
use crate::tools::{BuiltinTools, Credentials};

/// No test writes it anywhere but into a secret.
pub(super) const KEY: &str = "canary/key+42~*=";

/// The platform of a deployment with credentials, and an authority that it trusts.
pub(super) struct Platform {
    pub(super) authority: Authority,
    pub(super) secrets: MemorySecrets,
    pub(super) clock: ManualClock,
    tools: BuiltinTools,
}

impl Platform {
    pub(super) fn new() -> Self {
        Self::with(MemorySecrets::default())
    }

    fn with(secrets: MemorySecrets) -> Self {
        let (authority, clock) = (Authority::new(), ManualClock::at(samples::START));
        let from = Credentials::new(Arc::new(secrets.clone()), Some("tools".to_owned()));
        let trust = authority.trust();
        let http = HttpRequester::new(Reach::ThisMachineToo, Names::here(), trust, from).unwrap();
        let tools = BuiltinTools {
            http,
            clock: Arc::new(clock.clone()),
        };
        Self {
            authority,
            secrets,
            clock,
            tools,
        }
    }

    /// A secret of the tenant of all tests, for the first host if it names no other.
    pub(super) fn set(&self, name: &str, secret: Value) {
        self.secrets.set(
            &format!("tools/acme/{name}"),
            &with_hosts(secret).to_string(),
        );
    }

    /// What the tool says to the agent that names these credentials.
    pub(super) async fn call(&self, names: &[&str], arguments: Value) -> ToolOutput {
        self.call_within(naming(rules(), names), arguments).await
    }

    pub(super) async fn call_within(&self, rules: HttpRules, arguments: Value) -> ToolOutput {
        let mut request = request(rules, arguments);
        request.deadline = Deadline::at(samples::after(7_200));
        self.tools.run(&request).await
    }
}

fn with_hosts(mut secret: Value) -> Value {
    let hosts = json!([HOSTS[0]]);
    if let Some(members) = secret.as_object_mut() {
        members.entry("hosts").or_insert(hosts);
    }
    secret
}

pub(super) fn naming(rules: HttpRules, names: &[&str]) -> HttpRules {
    let names = names
        .iter()
        .map(|name| CredentialName::new((*name).to_owned()).unwrap());
    rules.with_credentials(names.collect()).unwrap()
}

/// What the server got in the header, request by request.
pub(super) fn seen(server: &Server, header: &str) -> Vec<Option<String>> {
    let requests = server.requests().into_iter();
    requests
        .map(|mut request| request.headers.remove(header))
        .collect()
}

/// The call failed before anything was sent, with this text, and without the key.
#[track_caller]
pub(super) fn check_unsent(output: &ToolOutput, server: &Server, words: &str) {
    assert!(output.is_error && output.text.contains(words), "{output:?}");
    assert!(!output.text.contains("canary"), "{output:?}");
    assert_eq!(server.lines(), [] as [String; 0], "{words}");
}

#[tokio::test]
async fn each_kind_is_sent_where_its_service_expects_it() {
    let platform = Platform::new();
    platform.set("bearer", json!({ "value": KEY }));
    platform.set(
        "own",
        json!({ "kind": "header", "value": KEY, "header": "X-Api-Key" }),
    );
    platform.set("format", json!({ "value": KEY, "format": "Token t={}" }));
    platform.set(
        "basic",
        json!({ "kind": "basic", "user": "clerk", "password": KEY }),
    );
    platform.set(
        "query",
        json!({ "kind": "query", "value": KEY, "parameter": "key" }),
    );
    let table = [
        ("bearer", "authorization", format!("Bearer {KEY}")),
        ("own", "x-api-key", KEY.to_owned()),
        ("format", "authorization", format!("Token t={KEY}")),
        (
            "basic",
            "authorization",
            "Basic Y2xlcms6Y2FuYXJ5L2tleSs0Mn4qPQ==".to_owned(),
        ),
    ];
    for (name, header, expected) in table {
        let server = Server::start_tls(&platform.authority, [("/", Reply::text("ok"))]).await;
        let output = platform
            .call(&[name], json!({ "url": server.https(HOSTS[0], "/") }))
            .await;
        assert!(!output.is_error, "{name}: {output:?}");
        assert_eq!(seen(&server, header), [Some(expected)], "{name}");
    }
    let server = Server::start_tls(&platform.authority, []).await;
    let url = server.https(HOSTS[0], "/list?page=2");
    platform.call(&["query"], json!({ "url": url })).await;
    assert_eq!(
        server.lines(),
        ["GET /list?page=2&key=canary%2Fkey%2B42~%2A%3D"]
    );
}

#[tokio::test]
async fn only_a_request_that_the_secret_names_gets_it() {
    let platform = Platform::new();
    let secret = json!({ "value": KEY, "methods": ["GET"], "paths": ["/repos/acme"] });
    platform.set("github", secret);
    let server = Server::start_tls(&platform.authority, []).await;
    let requests = [
        (HOSTS[0], "/repos/acme/1", "GET", true),
        (HOSTS[0], "/repos/acme/1", "DELETE", false),
        (HOSTS[0], "/repos/other", "GET", false),
        (HOSTS[0], "/repos/acme/..%2fother", "GET", false),
        (HOSTS[1], "/repos/acme/1", "GET", false),
    ];
    for (host, path, method, _) in requests {
        let arguments = json!({ "url": server.https(host, path), "method": method });
        platform.call(&["github"], arguments).await;
    }
    let got: Vec<bool> = seen(&server, "authorization")
        .iter()
        .map(Option::is_some)
        .collect();
    assert_eq!(got, requests.map(|(_, _, _, gets)| gets));

    let plain = Server::start([("/", Reply::text("ok"))]).await;
    let url = plain.url(HOSTS[0], "/repos/acme/1");
    platform.call(&["github"], json!({ "url": url })).await;
    assert_eq!(seen(&plain, "authorization"), [None]);
}

#[tokio::test]
async fn a_model_can_not_set_what_a_credential_sets() {
    let platform = Platform::new();
    platform.set("header", json!({ "value": KEY, "header": "X-Api-Key" }));
    platform.set(
        "query",
        json!({ "kind": "query", "value": KEY, "parameter": "key" }),
    );
    let server = Server::start_tls(&platform.authority, []).await;
    let table = [
        ("header", "/", json!({ "x-api-KEY": "mine" })),
        ("query", "/?a=b&k%65y=mine", json!({})),
    ];
    for (name, path, headers) in table {
        let arguments = json!({ "url": server.https(HOSTS[0], path), "headers": headers });
        let output = platform.call(&[name], arguments).await;
        check_unsent(&output, &server, "sets from a credential");
        assert!(output.is_blocked);
    }
}

#[tokio::test]
async fn a_credential_that_can_not_be_used_is_named_and_nothing_is_sent() {
    let platform = Platform::new();
    let server = Server::start_tls(&platform.authority, []).await;
    platform.set("one", json!({ "value": KEY }));
    platform.set("two", json!({ "value": KEY }));
    platform.set(
        "elsewhere",
        json!({ "value": KEY, "hosts": ["api.other.example"] }),
    );
    platform.set(
        "wildcard",
        json!({ "value": KEY, "hosts": ["*.example.org"] }),
    );
    platform.secrets.set(
        "tools/other/theirs",
        &with_hosts(json!({ "value": KEY })).to_string(),
    );
    let table: [(&[&str], &str); 6] = [
        (&["nowhere"], "the credential nowhere does not exist"),
        (&["theirs"], "the credential theirs does not exist"),
        (
            &["elsewhere"],
            "the credential elsewhere is for other hosts",
        ),
        (
            &["wildcard"],
            "the credential wildcard can't be used: its secret must name whole hosts",
        ),
        (
            &["one", "two"],
            "the credential one is for this request, and so is another one",
        ),
        (&["one", "nowhere"], "the credential nowhere does not exist"),
    ];
    for (names, words) in table {
        let output = platform
            .call(names, json!({ "url": server.https(HOSTS[0], "/") }))
            .await;
        check_unsent(&output, &server, words);
        assert!(!output.is_blocked, "{words}");
    }
}

#[tokio::test]
async fn a_deployment_without_credentials_says_so() {
    let arguments = json!({ "url": "https://api.example.com/" });
    let output = super::stand_in::call(naming(rules(), &["github"]), arguments).await;
    assert!(
        output.is_error && output.text.contains("ToolSecretPrefix is not set"),
        "{output:?}"
    );
}

#[tokio::test]
async fn a_credential_that_can_not_be_read_now_is_named_and_nothing_is_sent() {
    let secrets = MemorySecrets::default();
    let faults = Faults::default();
    faults.die_now();
    let platform = Platform::with(secrets.with_faults(faults));
    platform.set("github", json!({ "value": KEY }));
    let server = Server::start_tls(&platform.authority, []).await;
    let output = platform
        .call(&["github"], json!({ "url": server.https(HOSTS[0], "/") }))
        .await;
    check_unsent(
        &output,
        &server,
        "the credential github can't be read at the moment",
    );
}

#[tokio::test]
async fn a_rotated_secret_counts_for_the_next_call() {
    let platform = Platform::new();
    let server = Server::start_tls(&platform.authority, []).await;
    for value in [KEY, "canary-rotated"] {
        platform.set("github", json!({ "value": value }));
        platform
            .call(&["github"], json!({ "url": server.https(HOSTS[0], "/") }))
            .await;
    }
    let expected = [KEY, "canary-rotated"].map(|value| Some(format!("Bearer {value}")));
    assert_eq!(seen(&server, "authorization"), expected);
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_nothing() {
    let platform = Platform::new();
    platform.set("github", json!({ "value": KEY }));
    let server = Server::start_tls(&Authority::new(), [("/", Reply::text("ok"))]).await;
    let output = platform
        .call(&["github"], json!({ "url": server.https(HOSTS[0], "/") }))
        .await;
    check_unsent(&output, &server, "no connection to the host");
}

#[tokio::test]
async fn logs_name_the_credential_and_not_its_value() {
    let captured = Captured::default();
    let writer = captured.clone();
    let _guard = listen(
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(writer)
            .finish(),
    );
    let platform = Platform::new();
    platform.set("github", json!({ "value": KEY }));
    platform.set(
        "query",
        json!({ "kind": "query", "value": KEY, "parameter": "k", "hosts": [HOSTS[1]] }),
    );
    platform.set(
        "broken",
        json!({ "value": format!("{KEY} "), "hosts": [HOSTS[2]] }),
    );
    let server = Server::start_tls(
        &platform.authority,
        [("/again", Reply::redirect(302, &format!("/{KEY}")))],
    )
    .await;
    for (names, host) in [
        (["github", "query"], HOSTS[0]),
        (["github", "query"], HOSTS[1]),
        (["github", "broken"], HOSTS[0]),
    ] {
        platform
            .call(&names, json!({ "url": server.https(host, "/again") }))
            .await;
    }
    let log = captured.text();
    assert!(
        log.contains("tool credential failed") && log.contains("broken"),
        "{log}"
    );
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_host_pattern_of_the_agent_does_not_widen_a_secret() {
    let platform = Platform::new();
    platform.set("github", json!({ "value": KEY, "hosts": [HOSTS[1]] }));
    let agent = HttpRules::new(vec![HostPattern::new("*.example.org").unwrap()]).unwrap();
    let server = Server::start_tls(&platform.authority, []).await;
    for host in [HOSTS[1], HOSTS[2]] {
        let arguments = json!({ "url": server.https(host, "/") });
        platform
            .call_within(naming(agent.clone(), &["github"]), arguments)
            .await;
    }
    assert_eq!(
        seen(&server, "authorization"),
        [Some(format!("Bearer {KEY}")), None]
    );
}
