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
    /// Whether it is no longer valid.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at.plus(LEEWAY)
    }

    /// Whether it is not valid yet.
    pub fn is_early(&self, now: Timestamp) -> bool {
        self.not_before.is_some_and(|from| now.plus(LEEWAY) < from)
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
        for (moment, is_early, has_expired) in [
            (39, true, false),
            (40, false, false),
            (259, false, false),
            (260, false, true),
        ] {
            let now = after(moment);
            assert_eq!(claims.is_early(now), is_early, "{moment}");
            assert_eq!(claims.has_expired(now), has_expired, "{moment}");
        }
    }
}
