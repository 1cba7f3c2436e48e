//! The forms of a key's two records: the one that a check reads, with the hashes and the seal, and
//! the one in its tenant's list.

use super::items::{self, Attributes, Fields, Item, REVISION, bytes, moment, number, text};
use super::keys;
use crate::domain::{
    ApiKey, CapKind, Credential, KeyName, KeyTerms, PepperVersion, PreviousSecret, Seal, SecretHash,
};
use crate::ports::{ListedKey, SealedCredential, StoreError};

const KEY_ID: &str = "key_id";
pub(super) const TENANT: &str = "tenant";
const NAME: &str = "name";
const SCOPES: &str = "scopes";
const CREATED_AT: &str = "created_at";
const EXPIRES_AT: &str = "refused_from";
const REVOKED_AT: &str = "revoked_at";
const RATE: &str = "requests_per_minute";
const CURRENT: &str = "secret_hash";
const PREVIOUS: &str = "previous_secret_hash";
const PREVIOUS_UNTIL: &str = "previous_until";
const SEAL: &str = "seal";
const PEPPER: &str = "pepper_version";
/// The day of the last use. Only the record in the tenant's list has it.
pub(super) const LAST_USED: &str = "last_used_day";

/// The attributes that a key may lack.
pub(super) fn optional() -> impl Iterator<Item = &'static str> {
    let caps = CapKind::ALL.map(CapKind::field);
    [EXPIRES_AT, REVOKED_AT, RATE].into_iter().chain(caps)
}

/// What both records have.
pub(super) fn attributes(key: &ApiKey) -> Attributes {
    let ApiKey {
        id,
        tenant,
        terms,
        created_at,
        revoked_at,
        revision,
    } = key;
    let KeyTerms {
        name,
        scopes,
        expires_at,
        rate,
        caps,
    } = terms;
    let mut attributes = vec![
        (KEY_ID, text(id.to_string())),
        (TENANT, text(tenant.as_str())),
        (NAME, text(name.as_str())),
        items::json(SCOPES, scopes),
        (CREATED_AT, moment(*created_at)),
        (REVISION, number(revision)),
    ];
    attributes.extend(expires_at.map(|end| (EXPIRES_AT, moment(end))));
    attributes.extend(revoked_at.map(|at| (REVOKED_AT, moment(at))));
    attributes.extend(rate.map(|rate| (RATE, number(rate.requests()))));
    attributes.extend(items::caps(*caps));
    attributes
}

/// The record that a check reads.
pub(super) fn write_sealed(sealed: &SealedCredential) -> Item {
    let SealedCredential { credential, seal } = sealed;
    let Credential {
        key,
        current,
        previous,
    } = credential;
    let mut attributes = attributes(key);
    attributes.extend([
        (CURRENT, bytes(*current.as_bytes())),
        (SEAL, bytes(seal.mac)),
        (PEPPER, text(seal.pepper.to_string())),
    ]);
    if let Some(PreviousSecret { hash, until }) = previous {
        attributes.extend([
            (PREVIOUS, bytes(*hash.as_bytes())),
            (PREVIOUS_UNTIL, moment(*until)),
        ]);
    }
    items::item(keys::api_key(key.id), attributes)
}

/// The record in the list of the key's tenant.
pub(super) fn write_listed(key: &ApiKey) -> Item {
    items::item(keys::listed_api_key(&key.tenant, key.id), attributes(key))
}

/// The credential in the record that a check reads.
pub(super) fn read_sealed(item: &Item) -> Result<SealedCredential, StoreError> {
    let fields = Fields::of(item)?;
    let previous = fields.optional(PREVIOUS, hash)?.map(|hash| {
        let until = fields.moment(PREVIOUS_UNTIL)?;
        Ok::<_, StoreError>(PreviousSecret { hash, until })
    });
    Ok(SealedCredential {
        credential: Credential {
            key: key(&fields)?,
            current: hash(&fields, CURRENT)?,
            previous: previous.transpose()?,
        },
        seal: Seal {
            pepper: PepperVersion::stored(fields.text(PEPPER)?),
            mac: digest(&fields, SEAL)?,
        },
    })
}

/// The key in the record of its tenant's list.
pub(super) fn read_listed(item: &Item) -> Result<ListedKey, StoreError> {
    let fields = Fields::of(item)?;
    Ok(ListedKey {
        key: key(&fields)?,
        last_used_day: fields.optional(LAST_USED, Fields::number)?,
    })
}

fn key(fields: &Fields<'_>) -> Result<ApiKey, StoreError> {
    let terms = KeyTerms {
        name: fields.valid(KeyName::new(fields.text(NAME)?.to_owned()))?,
        scopes: fields.json(SCOPES)?,
        expires_at: fields.optional(EXPIRES_AT, Fields::moment)?,
        rate: fields.optional(RATE, items::rate)?,
        caps: items::read_caps(fields)?,
    };
    Ok(ApiKey {
        id: fields.parsed(KEY_ID)?,
        tenant: fields.parsed(TENANT)?,
        terms,
        created_at: fields.moment(CREATED_AT)?,
        revoked_at: fields.optional(REVOKED_AT, Fields::moment)?,
        revision: fields.number(REVISION)?,
    })
}

fn hash(fields: &Fields<'_>, name: &str) -> Result<SecretHash, StoreError> {
    digest(fields, name).map(SecretHash::from_bytes)
}

fn digest(fields: &Fields<'_>, name: &str) -> Result<[u8; 32], StoreError> {
    let bytes = fields.bytes(name)?;
    bytes
        .try_into()
        .map_err(|_| fields.corrupt(format!("{name} has not 32 bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    const REQUIRED: [&str; 7] = [
        "v",
        "key_id",
        "tenant",
        "name",
        "scopes",
        "created_at",
        "revision",
    ];

    #[test]
    fn a_key_survives_its_records() {
        for sealed in [samples::sealed_key("acme"), samples::rotated_key("acme")] {
            assert_eq!(read_sealed(&write_sealed(&sealed)).unwrap(), sealed);
            let key = sealed.credential.key;
            let listed = read_listed(&write_listed(&key)).unwrap();
            assert_eq!((listed.key, listed.last_used_day), (key, None));
        }
    }

    #[test]
    fn the_record_in_the_list_has_no_secret() {
        let sealed = samples::rotated_key("acme");
        let item = write_listed(&sealed.credential.key);
        for name in [CURRENT, PREVIOUS, SEAL] {
            assert!(!item.contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let sealed = samples::rotated_key("acme");
        let secrets = ["secret_hash", "seal", "pepper_version", "previous_until"];
        items::checks::check_robustness(
            &write_sealed(&sealed),
            &[REQUIRED.as_slice(), &secrets].concat(),
            read_sealed,
        );
        let listed = write_listed(&sealed.credential.key);
        items::checks::check_robustness(&listed, &REQUIRED, read_listed);
    }
}
