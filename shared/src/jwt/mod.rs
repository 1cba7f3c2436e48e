//! The JWTs of one `OpenID` Connect issuer (RFC 7519): whether it signed them for this deployment,
//! and what they say.
//!
//! The checks are those of RFC 8725, "JSON Web Token Best Current Practices". Only the issuer's
//! own published keys count: a key or an address in the JWT itself is ignored.

mod document;
mod keys;
#[cfg(feature = "testing")]
pub mod signing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use jsonwebtoken::{AlgorithmFamily, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::domain::{JwtClaims, Scopes, Timestamp};
use crate::ports::{Clock, JwtError, JwtIssuer};
use keys::IssuerKeys;

/// The longest subject (`OpenID` Connect Core 1.0, section 2).
const MAX_SUBJECT: usize = 255;

/// Which JWTs a deployment accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// Their issuer (`iss`), exactly as it writes itself.
    pub issuer: String,
    /// The audience for which they must be (`aud`; or `client_id` if they have no `aud`).
    pub audience: String,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that lists the scopes: a text with spaces between them, or a list.
    pub scopes_claim: String,
    /// What each scope of this platform begins with there; others are ignored.
    pub scope_prefix: String,
}

/// An `OpenID` Connect issuer.
pub struct OidcIssuer {
    settings: JwtSettings,
    keys: IssuerKeys,
}

impl OidcIssuer {
    /// The issuer in the settings. Nothing is read before the first JWT.
    pub fn new(settings: JwtSettings, clock: Arc<dyn Clock>) -> Self {
        let keys = IssuerKeys::new(settings.issuer.clone(), clock);
        Self { settings, keys }
    }

    /// What the claims say, if they are for this deployment.
    fn read(&self, claims: &Map<String, Value>) -> Result<JwtClaims, JwtError> {
        let settings = &self.settings;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(&settings.issuer) {
            return Err(JwtError::Invalid("issuer"));
        }
        let audience = claims.get("aud").or_else(|| claims.get("client_id"));
        if !texts(audience).any(|name| name == settings.audience) {
            return Err(JwtError::Invalid("audience"));
        }
        if is_id_token(claims) {
            return Err(JwtError::Invalid("id_token"));
        }
        let tenant = text(&settings.tenant_claim).and_then(|tenant| tenant.parse().ok());
        let subject = text("sub").map(str::to_owned);
        if subject
            .as_ref()
            .is_some_and(|subject| subject.len() > MAX_SUBJECT)
        {
            return Err(JwtError::Invalid("malformed"));
        }
        Ok(JwtClaims {
            tenant: tenant.ok_or(JwtError::Invalid("tenant"))?,
            scopes: self.scopes(claims),
            subject,
            not_before: moment(claims.get("nbf"))?,
            expires_at: moment(claims.get("exp"))?.ok_or(JwtError::Invalid("malformed"))?,
        })
    }

    /// The scopes that the platform has. The issuer's other ones, such as `openid`, are not ours.
    fn scopes(&self, claims: &Map<String, Value>) -> Scopes {
        let names = texts(claims.get(&self.settings.scopes_claim));
        let names = names.flat_map(|names| names.split(' '));
        let ours = names.filter_map(|name| name.strip_prefix(&self.settings.scope_prefix));
        ours.filter_map(|name| name.parse().ok()).collect()
    }
}

#[async_trait]
impl JwtIssuer for OidcIssuer {
    async fn claims(&self, token: &str) -> Result<JwtClaims, JwtError> {
        let malformed = JwtError::Invalid("malformed");
        let header = decode_header(token).map_err(|_| malformed)?;
        check_header(&header)?;
        let id = header.kid.as_deref().ok_or(malformed)?;
        let key = self.keys.find(id, header.alg).await?;
        // The claims are checked in `read`, and by the platform's clock.
        let mut signature_only = Validation::new(header.alg);
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        let decoded = decode::<Map<String, Value>>(token, key.key(), &signature_only);
        let decoded = decoded.map_err(|_| JwtError::Invalid("signature"))?;
        self.read(&decoded.claims)
    }
}

/// Refuses symmetric algorithms, JWTs of other kinds, and extensions, because the platform supports
/// no extension (RFC 7515, section 4.1.11).
fn check_header(header: &Header) -> Result<(), JwtError> {
    if header.alg.family() == AlgorithmFamily::Hmac {
        return Err(JwtError::Invalid("algorithm"));
    }
    let kind = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
    let is_access_token = matches!(kind.trim_start_matches("application/"), "jwt" | "at+jwt");
    if !is_access_token || header.crit.is_some() {
        return Err(JwtError::Invalid("malformed"));
    }
    Ok(())
}

/// Whether the claims are those of an ID token, which says who a user is and opens no API. Cognito
/// writes the kind of a token into `token_use`, Keycloak into `typ`; only ID tokens have a hash of
/// an access token or a code (`OpenID` Connect Core 1.0, section 3.3.2.11).
fn is_id_token(claims: &Map<String, Value>) -> bool {
    let kinds = ["token_use", "typ"].map(|name| claims.get(name).and_then(Value::as_str));
    let is_id = |kind: &str| kind.eq_ignore_ascii_case("id");
    let has_hash = ["at_hash", "c_hash"]
        .iter()
        .any(|name| claims.contains_key(*name));
    kinds.into_iter().flatten().any(is_id) || has_hash
}

/// A text, or the texts of a list.
fn texts(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = claim.and_then(Value::as_array);
    let one = claim.and_then(Value::as_str);
    let list = list.into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(list)
}

/// A moment in seconds since 1970, perhaps with a fraction (RFC 7519, section 2).
fn moment(claim: Option<&Value>) -> Result<Option<Timestamp>, JwtError> {
    let Some(claim) = claim else { return Ok(None) };
    let seconds = claim.as_f64().ok_or(JwtError::Invalid("malformed"))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    let millis = (seconds * 1_000.0) as u64;
    Ok(Some(Timestamp::from_millis(millis)))
}
