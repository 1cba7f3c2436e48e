//! Checks a URL against the agent's rules, before its host's name is resolved.
//!
//! The URL is parsed once, by the parser of the client that then sends the request, so that both
//! see the same host. That parser turns every odd form of an IP address into an address (`0x7f.1`,
//! `2130706433`, `１２７.0.0.1`, `127%2e0.0.1`).

use reqwest::Url;

use super::failure::{Blocked, Failure, Rule};
use super::reach::Reach;
use crate::domain::{HttpRules, Schemes};

const MAX_URL_BYTES: usize = 4_096;

/// Parses and checks the URL that a model wrote.
pub(super) fn written(text: &str, rules: &HttpRules, reach: Reach) -> Result<Url, Blocked> {
    let url = if is_plain(text) {
        Url::parse(text).ok()
    } else {
        None
    };
    allowed(url.ok_or(Blocked::not_a_url())?, rules, reach)
}

/// Checks the URL that a response from `base` redirects to.
pub(super) fn redirected(
    base: &Url,
    location: &[u8],
    rules: &HttpRules,
    reach: Reach,
) -> Result<Url, Failure> {
    let location = std::str::from_utf8(location)
        .ok()
        .filter(|text| is_plain(text));
    let url = location
        .and_then(|location| base.join(location).ok())
        .ok_or(Failure::Location)?;
    Ok(allowed(url, rules, reach)?)
}

/// Whether a parser and a person read the same URL: parsers drop control characters, and take a
/// backslash for a slash.
fn is_plain(text: &str) -> bool {
    text.len() <= MAX_URL_BYTES
        && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\')
}

fn allowed(url: Url, rules: &HttpRules, reach: Reach) -> Result<Url, Blocked> {
    let has_scheme = match rules.schemes {
        Schemes::HttpsOnly => url.scheme() == "https",
        Schemes::HttpToo => matches!(url.scheme(), "https" | "http"),
    };
    let rule = if !has_scheme {
        Rule::Scheme
    } else if !url.username().is_empty() || url.password().is_some() {
        Rule::Credentials
    } else if url.domain().is_none() {
        Rule::Literal
    } else if !url.domain().is_some_and(|host| rules.allows_host(host)) {
        Rule::Host
    } else if url.port().is_some() && !reach.allows_other_ports() {
        Rule::Port
    } else if !rules.allows_path(url.path()) {
        Rule::Path
    } else {
        return Ok(url);
    };
    Err(Blocked::at(&url, rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::HostPattern;

    fn rules() -> HttpRules {
        let hosts =
            ["api.example.com", "*.example.org"].map(|host| HostPattern::new(host).unwrap());
        HttpRules::new(hosts.to_vec()).unwrap()
    }

    #[track_caller]
    fn check(url: &str, expected: Result<&str, Rule>) {
        let checked = written(url, &rules(), Reach::PublicInternet).map_err(|blocked| blocked.rule);
        assert_eq!(
            checked.as_ref().map(Url::as_str).map_err(|rule| *rule),
            expected,
            "{url}"
        );
    }

    #[test]
    fn a_url_of_an_allowed_host_is_taken() {
        check("https://api.example.com", Ok("https://api.example.com/"));
        check(
            "HTTPS://API.Example.COM:443/a?b=c#d",
            Ok("https://api.example.com/a?b=c#d"),
        );
        check(
            "https://a.b.example.org/%2e%2e/x",
            Ok("https://a.b.example.org/x"),
        );
        check("https://api%2eexample.com/", Ok("https://api.example.com/"));
        check(
            "https://api.example.com/@127.0.0.1",
            Ok("https://api.example.com/@127.0.0.1"),
        );
    }

    /// URLs by the rule that each breaks.
    const HOSTILE: [(Rule, &[&str]); 5] = [
        (
            Rule::Url,
            &[
                "",
                "/path",
                "api.example.com",
                "//api.example.com/",
                "https://",
                "https:///",
                "https://[::1",
                "https://a b/",
                "https://api.example.com\\@127.0.0.1/",
                "https://api.example.com/\r\nHost: evil.example",
                "https://api\t.example.com/",
                "https://api.example.com/\u{0}",
                "https://api.example.com:99999/",
                "https://1.2.3.4.5/",
                "https://0x100000000/",
                " https://api.example.com/",
                "https://api.example.com%00.evil.example/",
                "https://exa%23mple.org/",
                "https://%5b::1%5d/",
            ],
        ),
        (
            Rule::Scheme,
            &[
                "http://api.example.com/",
                "ftp://api.example.com/",
                "file:///etc/passwd",
                "gopher://127.0.0.1:70/_x",
                "data:text/plain,x",
                "javascript:1",
                "unix:/var/run/docker.sock",
                "ws://api.example.com/",
                "dict://127.0.0.1/",
                "jar:https://api.example.com!/",
            ],
        ),
        (
            Rule::Credentials,
            &[
                "https://user@api.example.com/",
                "https://user:pass@api.example.com/",
                "https://:pass@api.example.com/",
                "https://api.example.com@127.0.0.1/",
                "https://api.example.com%40x@127.0.0.1/",
                "https://127.0.0.1:80@api.example.com/",
            ],
        ),
        (
            Rule::Literal,
            &[
                "https://127.0.0.1/",
                "https://127.1/",
                "https://127.0.1/",
                "https://2130706433/",
                "https://0x7f000001/",
                "https://0x7f.0.0.1/",
                "https://0177.0.0.1/",
                "https://017700000001/",
                "https://127.0.0.1./",
                "https://0/",
                "https://%31%32%37.0.0.1/",
                "https://127%2e0%2e0%2e1/",
                "https://１２７.0.0.1/",
                "https://127。0。0。1/",
                "https://①②⑦.⓪.⓪.①/",
                "https://169.254.169.254/latest/meta-data/",
                "https://2852039166/",
                "https://8.8.8.8/",
                "https://[::1]/",
                "https://[::]/",
                "https://[::ffff:127.0.0.1]/",
                "https://[::ffff:7f00:1]/",
                "https://[64:ff9b::7f00:1]/",
                "https://[2002:7f00:1::]/",
                "https://[fd00:ec2::254]/",
                "https://[fe80::1]/",
                "https://[2606:4700:4700::1111]/",
            ],
        ),
        (
            Rule::Host,
            &[
                "https://localhost/",
                "https://example.com/",
                "https://evil.example/",
                "https://api.example.com./",
                "https://api.example.com.evil.example/",
                "https://evil.example/api.example.com",
                "https://evil.example#api.example.com",
                "https://evil.example?x=api.example.com",
                "https://xapi.example.com/",
                "https://example.org/",
                "https://.example.org/",
                "https://a.example.org./",
                "https://127.0.0.1.nip.io/",
                "https://metadata.google.internal/",
                "https://ａｐｉ.example.net/",
            ],
        ),
    ];

    #[test]
    fn a_hostile_url_is_refused_by_the_rule_that_it_breaks() {
        for (rule, urls) in HOSTILE {
            for url in urls {
                check(url, Err(rule));
            }
        }
        check(
            &format!("https://api.example.com/{}", "x".repeat(4_096)),
            Err(Rule::Url),
        );
        for port in [0, 22, 80, 8_443, 9_001, 65_535] {
            check(&format!("https://api.example.com:{port}/"), Err(Rule::Port));
        }
    }

    #[test]
    fn http_is_taken_only_where_the_agent_allows_it_and_only_at_its_own_port() {
        let mut rules = rules();
        rules.schemes = Schemes::HttpToo;
        let check = |url: &str, expected: Result<(), Rule>| {
            let checked = written(url, &rules, Reach::PublicInternet)
                .map(drop)
                .map_err(|blocked| blocked.rule);
            assert_eq!(checked, expected, "{url}");
        };
        check("http://api.example.com/", Ok(()));
        check("http://api.example.com:80/", Ok(()));
        check("http://api.example.com:443/", Err(Rule::Port));
        check("http://127.0.0.1/", Err(Rule::Literal));
        check("ftp://api.example.com/", Err(Rule::Scheme));
    }

    #[test]
    fn a_redirect_is_held_to_the_same_rules() {
        let base = Url::parse("https://api.example.com/a/b").unwrap();
        let check = |location: &str, expected: Result<&str, &str>| {
            let checked = redirected(&base, location.as_bytes(), &rules(), Reach::PublicInternet);
            let checked = checked.map_err(|failure| failure.to_string());
            match (&checked, expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.as_str(), expected),
                (Err(failure), Err(part)) => {
                    assert!(failure.contains(part), "{location}: {failure}");
                }
                (checked, _) => panic!("{location}: {checked:?}"),
            }
        };
        check("c", Ok("https://api.example.com/a/c"));
        check("//x.example.org/c", Ok("https://x.example.org/c"));
        check("http://api.example.com/", Err("scheme"));
        check("file:///etc/passwd", Err("scheme"));
        check("//127.0.0.1:9001/", Err("not an IP address"));
        check("https://evil.example/", Err("this host are not allowed"));
        check("\\\\127.0.0.1/", Err("not a URL"));
        check("https://[", Err("not a URL"));
    }
}
