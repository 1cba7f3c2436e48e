//! What a request must not reach, for any address that a name resolves to.

use reqwest::Url;
use serde_json::json;

use super::stand_in::{
    LOOPBACK, Names, Reply, Server, call, call_with, check_error, request, rules, tools,
};
use crate::domain::{HostPattern, HttpRules};
use crate::ports::Tools;
use crate::testing::{Captured, listen};
use crate::tools::http_request::failure::{Blocked, Rule};
use crate::tools::http_request::{Reach, Resolver, SystemResolver};

#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed_there() {
    let server = Server::start([("/", Reply::text("inside"))]).await;
    let turns: [&[&[&str]]; 7] = [
        &[&[LOOPBACK]],
        &[&["::1"]],
        &[&["169.254.169.254"]],
        &[&["10.1.2.3"]],
        &[&["::ffff:127.0.0.1"]],
        &[&["64:ff9b::7f00:1"]],
        // One address inside is enough, wherever it stands.
        &[&["8.8.8.8", "1.1.1.1", LOOPBACK]],
    ];
    for turns in turns {
        let names = Names::new(&[("api.example.com", turns)]);
        let arguments = json!({ "url": "http://api.example.com/" });
        check_error(
            &call_with(names, Reach::PublicInternet, rules(), arguments).await,
            "leads to an address",
        );
    }
    let names = Names::new(&[("api.example.com", &[&[LOOPBACK, "10.1.2.3"]])]);
    let arguments = json!({ "url": server.url("api.example.com", "/") });
    check_error(
        &call_with(names, Reach::ThisMachineToo, rules(), arguments).await,
        "leads to an address",
    );
    assert_eq!(server.lines(), [] as [String; 0]);
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_the_second_time_is_checked_the_second_time() {
    let server = Server::start([
        ("/", Reply::text("ok")),
        ("/again", Reply::redirect(302, "/")),
    ])
    .await;
    let rebinding: &[(&str, &[&[&str]])] = &[("api.example.com", &[&[LOOPBACK], &["10.1.2.3"]])];
    let tools_of = || tools(Names::new(rebinding), Reach::ThisMachineToo);
    let to = |path: &str| {
        request(
            rules(),
            json!({ "url": server.url("api.example.com", path) }),
        )
    };
    let rebound = tools_of();
    assert!(!rebound.run(&to("/")).await.is_error);
    let blocked = rebound.run(&to("/")).await;
    check_error(&blocked, "leads to an address");
    assert!(blocked.is_blocked);
    check_error(&tools_of().run(&to("/again")).await, "leads to an address");
    assert_eq!(server.lines(), ["GET /", "GET /again"]);
}

#[tokio::test]
async fn the_machines_own_names_lead_nowhere() {
    let addresses = SystemResolver::default()
        .addresses("localhost")
        .await
        .unwrap();
    assert!(
        !addresses.is_empty()
            && addresses
                .iter()
                .all(|address| !Reach::PublicInternet.allows(*address))
    );
    assert!(
        SystemResolver::default()
            .addresses("nobody.invalid")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_method_that_the_agent_may_not_use_is_not_sent() {
    let server = Server::start([]).await;
    let url = server.url("api.example.com", "/");
    let blocked = call(rules(), json!({ "url": url, "method": "PATCH" })).await;
    check_error(&blocked, "this method is not allowed");
    assert!(blocked.is_blocked);
    let headers = json!({ "X-HTTP-Method-Override": "PATCH" });
    let blocked = call(rules(), json!({ "url": url, "headers": headers })).await;
    check_error(&blocked, "a header is not one");
    assert!(blocked.is_blocked);
    // An error in the call itself is no attack.
    let wrong = call(rules(), json!({ "url": url, "body": "x" })).await;
    check_error(&wrong, "has no body");
    assert!(!wrong.is_blocked);
    assert_eq!(server.lines(), [] as [String; 0]);
}

#[test]
fn of_a_host_only_an_address_or_the_agents_own_words_are_logged() {
    let hosts = ["api.example.com", "*.example.org"].map(|host| HostPattern::new(host).unwrap());
    let rules = HttpRules::new(hosts.to_vec()).unwrap();
    let check = |url: &str, expected: Option<&str>| {
        let blocked = Blocked::at(&Url::parse(url).unwrap(), Rule::Host);
        assert_eq!(blocked.logged_host(&rules), expected, "{url}");
    };
    check("https://API.example.com:8443/x", Some("api.example.com"));
    check(
        "https://hunter2-is-the-password.example.org/",
        Some("*.example.org"),
    );
    check("https://hunter2-is-the-password.evil.example/", None);
    check("https://evil.example/api.example.com", None);
    check("http://169.254.169.254/latest", Some("169.254.169.254"));
    check("http://[fe80::1]/", Some("[fe80::1]"));
    check("file:///etc/passwd", None);
    check("data:text/plain,x", None);
    check("gopher://%73%65cret/", None);
}

#[tokio::test]
async fn a_failed_call_is_logged_once_and_with_nothing_that_the_model_wrote() {
    let logged = Captured::default();
    let _listening = listen(
        tracing_subscriber::fmt()
            .with_writer(logged.clone())
            .with_ansi(false)
            .finish(),
    );
    let headers = json!({ "x-canary": "canary" });
    let arguments = json!({
        "url": "https://canary.evil.example/canary?canary#canary", "method": "POST", "headers": headers, "body": "canary",
    });
    check_error(&call(rules(), arguments).await, "this host are not allowed");
    let of_the_agent =
        json!({ "url": "https://api.example.com/canary", "headers": { "cookie": "canary" } });
    check_error(
        &call(rules(), of_the_agent).await,
        "not one that may be set",
    );
    check_error(
        &call(
            rules(),
            json!({ "url": "http://nobody.example.org/canary" }),
        )
        .await,
        "could not be resolved",
    );
    let text = logged.text();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("tool call"))
        .collect();
    let [stranger, own, nowhere] = lines[..] else {
        panic!("{text}")
    };
    assert!(
        stranger.ends_with(r#"tool call blocked reason="host""#),
        "{text}"
    );
    assert!(
        own.ends_with(r#"tool call blocked reason="header" host="api.example.com""#),
        "{text}"
    );
    assert!(
        nowhere.ends_with(r#"tool call failed reason="unresolved" host="*.example.org""#),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
}
