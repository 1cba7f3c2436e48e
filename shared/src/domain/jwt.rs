//! What a JWT says about its owner (RFC 7519).

use std::time::Duration;

use super::{Scopes, TenantId, Timestamp};

/// How much the clocks of the issuer and of the platform may differ.
const LEEWAY: Duration = Duration::from_mins(1);

/// The claims of a JWT whose signature, issuer and audience are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtClaims {
    /// The tenant that its owner acts for.
    pub tenant: TenantId,
    /// What the issuer lets its owner do.
    pub scopes: Scopes,
    /// Who its owner is, in the issuer's words (`sub`).
    pub subject: Option<String>,
    /// From when on it is valid (`nbf`).
    pub not_before: Option<Timestamp>,
    /// Until when it is valid (`exp`).
    pub expires_at: Timestamp,
}

impl JwtClaims {
    /// Why it is not valid at this moment, if it is not.
    pub fn refusal(&self, now: Timestamp) -> Option<&'static str> {
        if now >= self.expires_at.plus(LEEWAY) {
            return Some("expired");
        }
        let is_early = self.not_before.is_some_and(|from| now.plus(LEEWAY) < from);
        is_early.then_some("not_yet_valid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples::{self, after};

    #[test]
    fn a_jwt_is_valid_between_its_times_and_a_minute_beyond_them() {
        let claims = JwtClaims {
            tenant: samples::tenant("search-team"),
            scopes: Scopes::default(),
            subject: None,
            not_before: Some(after(100)),
            expires_at: after(200),
        };
        for (moment, refusal) in [
            (39, Some("not_yet_valid")),
            (40, None),
            (259, None),
            (260, Some("expired")),
        ] {
            assert_eq!(claims.refusal(after(moment)), refusal, "{moment}");
        }
    }
}
