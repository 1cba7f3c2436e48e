//! The issuer over HTTP: what it is asked, and which JWTs are accepted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::signing::SigningKey;
use super::{IssuerKeys, JwtSettings, OidcIssuer};
use crate::domain::{JwtClaims, Scope};
use crate::ports::{JwtError, JwtIssuer};
use crate::testing::{ManualClock, samples};

const UNREADABLE: &str = "unreadable";

/// A key and a JWT of RS256 that `OpenSSL` made.
const RSA_MODULUS: &str = "-JyY0fnnQLfQYcY-9Q5Y2jxFir4Crsj3jKiqeDW6-PIf7h-btxVKIoq7EJhG5G77NCI7xUYivuJxnN27oz7MKIse1AlJdy-9jBoeiqsif-lIXth49E02Rx3Gwe_l66Qh2D1IpG9LLZ96j3pn-cthYAJAoQYx1JC7Jjif6U14SrAl2ziYOo7N1PMgP6GzyA7jojs9kmFac9vaUg_5AZl-fP9X-voFoe5Bhj0lU3fRDePWLdE67fRpAQ2TBWrwvk97UL8nZZgCID-DRqIZNDONkvNsK_0Rq2WKv7Kf9xLrWILKoQ0ef_gsoe39fbLQBJN8d6fE2Y4MBXZZOribidgkYQ";
const RSA_JWT: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiYWdlbnRzIiwidGVuYW50Ijoic2VhcmNoLXRlYW0iLCJzY29wZSI6InRhc2tzOnJlYWQiLCJleHAiOjQxMDI0NDQ4MDB9.lrkBDYmFeCR0A-pPidMYnl1ozjazWNDJ8JjUUKkFST4VEmdU1nuR1bsbmTBC5-sHA7BYbVYVflcsRNIZyD33Xnv-7kJPyQXN2qt8fNenqAQouySQeb8SIZyklFyqTou92KN7BSK9XxU5XcwwscuuUmJLLuFijjxpAeGNYx6qzGOVByFzvj7FV6Vz5n8rzrE7Dck6vyve1TvTPaxjvAD8RNf3xkfeTYRLzPmBqpO779Wh9D6oGr-4DZwmh0lcp6EHTsxrrrTFAjhhJvOJIzlWGz3QJb8Cs48D-arNUICrtzVpaHDD864rBbAmD75AVpLBsfkH_iwkJ0VpuI_MGk7VLA";

/// An issuer that publishes some keys, as JSON of any form.
struct World {
    url: String,
    clock: ManualClock,
    issuer: OidcIssuer,
    published: Arc<Mutex<Published>>,
}

#[derive(Default)]
struct Published {
    /// `None`: it responds with 503.
    keys: Option<Value>,
    issuer: String,
    reads: usize,
}

impl World {
    async fn new(keys: Value) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Some issuers write themselves with a slash at the end.
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let published = Arc::new(Mutex::new(Published {
            keys: Some(keys),
            issuer: url.clone(),
            reads: 0,
        }));
        let shown = Arc::clone(&published);
        let respond = move |uri: Uri| {
            let mut shown = shown.lock().unwrap();
            let Some(keys) = shown.keys.clone() else {
                return std::future::ready((StatusCode::SERVICE_UNAVAILABLE, Json(json!({}))));
            };
            let body = if uri.path() == "/keys" {
                shown.reads += 1;
                keys
            } else {
                assert_eq!(uri.path(), "/.well-known/openid-configuration");
                let keys = format!("http://{}/keys", listener_of(&shown.issuer));
                json!({ "issuer": shown.issuer, "jwks_uri": keys, "response_types_supported": ["code"] })
            };
            std::future::ready((StatusCode::OK, Json(body)))
        };
        tokio::spawn(async { axum::serve(listener, Router::new().fallback(respond)).await });
        let clock = ManualClock::at(samples::START);
        Self {
            issuer: OidcIssuer::new(settings(&url, ""), Arc::new(clock.clone())),
            url,
            clock,
            published,
        }
    }

    fn publish(&self, keys: Option<Value>) {
        self.published.lock().unwrap().keys = keys;
    }

    fn reads(&self) -> usize {
        self.published.lock().unwrap().reads
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.url, "aud": "agents", "sub": "user-7", "tenant": "search-team",
            "scope": "openid tasks:read tasks:submit", "exp": 4_102_444_800_u64,
        })
    }

    /// The usual claims with these changes; null takes one away.
    fn claims_but(&self, changes: &Value) -> Value {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            let all = claims.as_object_mut().unwrap();
            if value.is_null() {
                all.remove(name);
            } else {
                all.insert(name.clone(), value.clone());
            }
        }
        claims
    }

    async fn read(&self, token: &str) -> Result<JwtClaims, &'static str> {
        outcome(self.issuer.claims(token).await)
    }
}

fn listener_of(issuer: &str) -> &str {
    let end = issuer.trim_start_matches("http://");
    end.split('/').next().unwrap()
}

fn outcome(read: Result<JwtClaims, JwtError>) -> Result<JwtClaims, &'static str> {
    read.map_err(|error| match error {
        JwtError::Invalid(reason) => reason,
        JwtError::KeysUnreadable => UNREADABLE,
    })
}

fn settings(issuer: &str, scope_prefix: &str) -> JwtSettings {
    JwtSettings {
        issuer: issuer.to_owned(),
        audience: "agents".to_owned(),
        tenant_claim: "tenant".to_owned(),
        scopes_claim: "scope".to_owned(),
        scope_prefix: scope_prefix.to_owned(),
    }
}

fn clock_at_start() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(samples::START))
}

fn set(keys: &[&SigningKey]) -> Value {
    let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
    json!({ "keys": keys })
}

#[tokio::test]
async fn a_jwt_of_the_issuer_says_who_may_do_what() {
    let key = SigningKey::generate("first");
    let world = World::new(set(&[&key])).await;
    let claims = world.read(&key.sign(&world.claims())).await.unwrap();
    assert_eq!(claims.tenant, samples::tenant("search-team"));
    assert_eq!(claims.subject.as_deref(), Some("user-7"));
    assert_eq!(claims.expires_at.as_millis(), 4_102_444_800_000);
    let scopes: Vec<Scope> = claims.scopes.iter().collect();
    assert_eq!(scopes, [Scope::TasksRead, Scope::TasksSubmit]);
}

#[tokio::test]
async fn audience_and_scopes_may_be_lists_and_times_fractions() {
    let key = SigningKey::generate("first");
    let world = World::new(set(&[&key])).await;
    let changes = json!({ "aud": ["other", "agents"], "scope": ["tasks:read", 7], "nbf": 1.5 });
    let claims = world
        .read(&key.sign(&world.claims_but(&changes)))
        .await
        .unwrap();
    assert_eq!(claims.scopes.iter().collect::<Vec<_>>(), [Scope::TasksRead]);
    assert_eq!(claims.not_before.unwrap().as_millis(), 1_500);
    // As Cognito writes them.
    let changes = json!({
        "aud": null, "client_id": "agents", "scope": "x/tasks:read tasks:submit", "token_use": "access",
    });
    let token = key.sign(&world.claims_but(&changes));
    let with_prefix = OidcIssuer::new(settings(&world.url, "x/"), Arc::new(world.clock.clone()));
    let claims = with_prefix.claims(&token).await.unwrap();
    assert_eq!(claims.scopes.iter().collect::<Vec<_>>(), [Scope::TasksRead]);
}

#[tokio::test]
async fn claims_for_others_are_refused() {
    let key = SigningKey::generate("first");
    let world = World::new(set(&[&key])).await;
    for (changes, reason) in [
        (json!({ "iss": "https://other.example" }), "issuer"),
        (json!({ "iss": world.url.trim_end_matches('/') }), "issuer"),
        (json!({ "iss": [world.url] }), "issuer"),
        (json!({ "iss": null }), "issuer"),
        (json!({ "aud": "other" }), "audience"),
        (json!({ "aud": [] }), "audience"),
        (json!({ "aud": "other", "client_id": "agents" }), "audience"),
        (json!({ "aud": null }), "audience"),
        (json!({ "tenant": null }), "tenant"),
        (json!({ "tenant": ["search-team"] }), "tenant"),
        (json!({ "tenant": "Search Team" }), "tenant"),
        (json!({ "exp": null }), "malformed"),
        (json!({ "exp": "soon" }), "malformed"),
        (json!({ "nbf": "soon" }), "malformed"),
        (json!({ "sub": "x".repeat(256) }), "malformed"),
        (json!({ "token_use": "id" }), "id_token"),
        (json!({ "typ": "ID" }), "id_token"),
        (json!({ "at_hash": "x" }), "id_token"),
        (json!({ "c_hash": "x" }), "id_token"),
    ] {
        let token = key.sign(&world.claims_but(&changes));
        assert_eq!(world.read(&token).await, Err(reason), "{changes}");
    }
}

#[tokio::test]
async fn texts_that_the_issuer_did_not_sign_are_refused() {
    let (key, other) = (SigningKey::generate("first"), SigningKey::generate("first"));
    let world = World::new(set(&[&key])).await;
    let claims = world.claims();
    let token = key.sign(&claims);
    let header = |change: fn(&mut Header)| {
        let mut header = key.header();
        change(&mut header);
        key.sign_with(&header, &claims)
    };
    // The public key as the secret of a symmetric algorithm, an old attack.
    let secret = EncodingKey::from_secret(key.public()["x"].as_str().unwrap().as_bytes());
    let symmetric = Header {
        kid: Some("first".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let symmetric = encode(&symmetric, &claims, &secret).unwrap();
    // {"alg":"none","kid":"first"}
    let unsigned = format!(
        "eyJhbGciOiJub25lIiwia2lkIjoiZmlyc3QifQ.{}.",
        token.split('.').nth(1).unwrap()
    );
    let (signed, _) = token.rsplit_once('.').unwrap();
    let mut parts: Vec<&str> = token.split('.').collect();
    let forged = other.sign(&world.claims_but(&json!({ "tenant": "other" })));
    parts[1] = forged.split('.').nth(1).unwrap();
    for (text, reason) in [
        (other.sign(&claims), "signature"),
        (parts.join("."), "signature"),
        (format!("{signed}."), "signature"),
        (signed.to_owned(), "malformed"),
        (unsigned, "malformed"),
        (symmetric, "algorithm"),
        (header(|header| header.kid = None), "malformed"),
        (
            header(|header| header.kid = Some("second".to_owned())),
            "unknown_key",
        ),
        (
            header(|header| header.typ = Some("logout+jwt".to_owned())),
            "malformed",
        ),
        (
            header(|header| header.crit = Some(vec!["x".to_owned()])),
            "malformed",
        ),
        ("eyJ".to_owned(), "malformed"),
        ("eyJ..".to_owned(), "malformed"),
        ("eyJhbGciOiJFUzI1NiJ9.e30.x.y".to_owned(), "malformed"),
    ] {
        assert_eq!(world.read(&text).await, Err(reason), "{text}");
    }
    // A key and an address of the attacker's own choice.
    let mut brings_key = other.header();
    brings_key.jwk = serde_json::from_value(other.public()).ok();
    brings_key.jku = Some("https://attacker.example/keys".to_owned());
    let brought = other.sign_with(&brings_key, &claims);
    assert_eq!(world.read(&brought).await, Err("signature"));
    let access = header(|header| header.typ = Some("application/at+JWT".to_owned()));
    assert!(world.read(&access).await.is_ok());
}

#[tokio::test]
async fn a_set_may_have_keys_that_the_platform_does_not_know() {
    let (key, encrypts) = (
        SigningKey::generate("first"),
        SigningKey::generate("second"),
    );
    let mut for_encryption = encrypts.public();
    for_encryption["use"] = json!("enc");
    let secret = json!({ "kty": "oct", "kid": "third", "k": "c2VjcmV0", "alg": "HS256" });
    let unknown = json!({ "kty": "AKP", "kid": "fourth", "alg": "ML-DSA-44", "pub": "AA" });
    let rsa = json!({ "kty": "RSA", "kid": "rsa", "n": RSA_MODULUS, "e": "AQAB", "use": "sig" });
    let keys = [unknown, json!(7), secret, for_encryption, rsa, key.public()];
    let world = World::new(json!({ "keys": keys })).await;
    assert!(world.read(&key.sign(&world.claims())).await.is_ok());
    let refused = world.read(&encrypts.sign(&world.claims())).await;
    assert_eq!(refused, Err("unknown_key"));
    // Its signature is right: only its issuer is another one.
    assert_eq!(world.read(RSA_JWT).await, Err("issuer"));
    let forged = RSA_JWT.replace("lrkBDYm", "mrkBDYm");
    assert_eq!(world.read(&forged).await, Err("signature"));
}

#[tokio::test]
async fn a_key_that_names_its_algorithm_is_used_with_no_other() {
    let key = SigningKey::generate("first");
    let mut public = key.public();
    public["alg"] = json!("ES384");
    let world = World::new(json!({ "keys": [public] })).await;
    let refused = world.read(&key.sign(&world.claims())).await;
    assert_eq!(refused, Err("unknown_key"));
}

#[tokio::test]
async fn the_keys_are_read_once_an_hour_and_for_an_unknown_key_once_a_minute() {
    let (first, second) = (
        SigningKey::generate("first"),
        SigningKey::generate("second"),
    );
    let world = World::new(set(&[&first])).await;
    let [old, new] = [&first, &second].map(|key| key.sign(&world.claims()));
    for _ in 0..3 {
        assert!(world.read(&old).await.is_ok());
        assert_eq!(world.read(&new).await, Err("unknown_key"));
    }
    assert_eq!(world.reads(), 1);
    world.publish(Some(set(&[&second])));
    world.clock.advance(Duration::from_mins(1));
    assert!(world.read(&old).await.is_ok(), "known for an hour");
    assert!(world.read(&new).await.is_ok());
    assert_eq!(world.read(&old).await, Err("unknown_key"));
    assert_eq!(world.reads(), 2);
    world.clock.advance(Duration::from_mins(59));
    assert!(world.read(&new).await.is_ok());
    assert_eq!(world.reads(), 2);
    world.clock.advance(Duration::from_mins(1));
    assert!(world.read(&new).await.is_ok());
    assert_eq!(world.reads(), 3);
}

#[tokio::test]
async fn while_the_issuer_is_down_its_keys_are_trusted_for_a_day() {
    let (key, other) = (
        SigningKey::generate("first"),
        SigningKey::generate("second"),
    );
    let world = World::new(set(&[&key])).await;
    let [token, unknown] = [&key, &other].map(|key| key.sign(&world.claims()));
    world.publish(None);
    assert_eq!(world.read(&token).await, Err(UNREADABLE));
    world.publish(Some(set(&[&key])));
    assert_eq!(
        world.read(&token).await,
        Err(UNREADABLE),
        "tried a moment ago"
    );
    world.clock.advance(Duration::from_secs(10));
    assert!(world.read(&token).await.is_ok());
    world.publish(None);
    world.clock.advance(Duration::from_hours(23));
    assert!(world.read(&token).await.is_ok());
    // Anybody can name a key that does not exist: that is no failure of the platform.
    assert_eq!(world.read(&unknown).await, Err("unknown_key"));
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(world.read(&token).await, Err(UNREADABLE));
    assert_eq!(world.read(&unknown).await, Err(UNREADABLE));
    world.publish(Some(set(&[&key])));
    world.clock.advance(Duration::from_secs(10));
    assert!(world.read(&token).await.is_ok());
    assert_eq!(world.read(&unknown).await, Err("unknown_key"));
}

#[tokio::test]
async fn what_is_no_set_of_keys_of_the_issuer_is_not_used() {
    let key = SigningKey::generate("first");
    let world = World::new(set(&[&key])).await;
    let token = key.sign(&world.claims());
    let large = json!({ "keys": [key.public()], "x": "x".repeat(300 * 1_024) });
    for keys in [json!({}), json!([]), json!({ "keys": [] }), large] {
        world.publish(Some(keys));
        assert_eq!(world.read(&token).await, Err(UNREADABLE));
        world.clock.advance(Duration::from_secs(10));
    }
    world.publish(Some(set(&[&key])));
    let url = world.url.clone();
    world.published.lock().unwrap().issuer = format!("{url}other");
    assert_eq!(world.read(&token).await, Err(UNREADABLE));
    world.clock.advance(Duration::from_secs(10));
    world.published.lock().unwrap().issuer = url;
    assert!(world.read(&token).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_withdraws_all_keys_is_obeyed() {
    let key = SigningKey::generate("first");
    let world = World::new(set(&[&key])).await;
    let token = key.sign(&world.claims());
    assert!(world.read(&token).await.is_ok());
    world.publish(Some(json!({ "keys": [] })));
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(world.read(&token).await, Err(UNREADABLE));
    world.publish(Some(set(&[&key])));
    world.clock.advance(Duration::from_secs(10));
    assert!(world.read(&token).await.is_ok());
}

#[tokio::test]
async fn keys_at_an_address_without_tls_are_not_read() {
    let documents = IssuerKeys::new("https://issuer.example".to_owned(), clock_at_start());
    let uri = "http://issuer.example/keys".to_owned();
    let refused = documents.read_set(uri).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "the keys are at http://issuer.example/keys, which does not begin with https://"
    );
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_respond_is_waited_for_2_seconds() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let issuer = OidcIssuer::new(settings(&url, ""), clock_at_start());
    let token = SigningKey::generate("first").sign(&json!({}));
    let began = tokio::time::Instant::now();
    assert_eq!(outcome(issuer.claims(&token).await), Err(UNREADABLE));
    assert_eq!(began.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn many_jwts_at_once_have_the_keys_read_once() {
    let key = SigningKey::generate("first");
    let world = World::new(set(&[&key])).await;
    let token = key.sign(&world.claims());
    let read = futures::future::join_all((0..20).map(|_| world.read(&token))).await;
    assert!(read.iter().all(Result::is_ok));
    assert_eq!(world.reads(), 1);
}
