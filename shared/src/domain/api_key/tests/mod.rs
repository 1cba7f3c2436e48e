use std::time::Duration;

use super::*;
use crate::testing::samples;

fn token(random: u8) -> ApiToken {
    ApiToken::from_random(KeyId::from_random([1; 12]), [random; 32])
}

fn credential() -> Credential {
    let terms = KeyTerms {
        name: KeyName::new("ci".to_owned()).unwrap(),
        scopes: [Scope::AgentsRead, Scope::TasksSubmit]
            .into_iter()
            .collect(),
        expires_at: Some(samples::after(3_600)),
        rate: RequestRate::per_minute(60).ok(),
        caps: samples::all_caps(),
    };
    Credential::create(samples::tenant("acme"), terms, &token(1), samples::START)
}

#[test]
fn a_key_is_refused_once_it_has_expired_or_is_revoked() {
    let credential = credential();
    assert_eq!(credential.key.refusal(samples::after(3_599)), None);
    assert_eq!(
        credential.key.refusal(samples::after(3_600)),
        Some(KeyRefusal::Expired)
    );
    let revoked = credential.revoked(samples::START);
    assert_eq!(
        revoked.key.refusal(samples::START),
        Some(KeyRefusal::Revoked)
    );
}

#[test]
fn a_rotated_key_has_two_secrets_until_the_grace_ends() {
    let grace = Grace::from_seconds(60).unwrap();
    let once = credential().rotated(&token(2), grace, samples::START);
    let accepted = |credential: &Credential, second| {
        [1, 2, 3].map(|random| {
            credential.has_secret(&token(random).secret_hash(), samples::after(second))
        })
    };
    assert_eq!(accepted(&credential(), 0), [true, false, false]);
    assert_eq!(accepted(&once, 59), [true, true, false]);
    assert_eq!(accepted(&once, 60), [false, true, false]);
    let twice = once.rotated(&token(3), grace, samples::START);
    assert_eq!(accepted(&twice, 59), [false, true, true]);
    let at_once = credential().rotated(&token(2), Grace::from_seconds(0).unwrap(), samples::START);
    assert_eq!(accepted(&at_once, 0), [false, true, false]);
}

#[test]
fn no_part_of_a_sealed_key_can_be_changed() {
    let pepper = Pepper::new("pepper");
    let sealed = credential().rotated(&token(2), Grace::default(), samples::START);
    let seal = pepper.seal(&sealed);
    assert!(pepper.is_seal_of(&seal, &sealed));
    let key = |change: fn(&mut ApiKey)| {
        let mut edited = sealed.clone();
        change(&mut edited.key);
        edited
    };
    let secret = |change: fn(&mut Credential)| {
        let mut edited = sealed.clone();
        change(&mut edited);
        edited
    };
    let edited = [
        key(|key| key.id = KeyId::from_random([2; 12])),
        key(|key| key.tenant = samples::tenant("other")),
        key(|key| key.terms.name = KeyName::new("cj".to_owned()).unwrap()),
        key(|key| key.terms.scopes = Scopes::all()),
        key(|key| key.created_at = samples::after(1)),
        key(|key| key.terms.expires_at = None),
        key(|key| key.terms.expires_at = Some(samples::after(3_601))),
        key(|key| key.revoked_at = Some(samples::START)),
        key(|key| key.terms.rate = None),
        key(|key| key.terms.rate = RequestRate::per_minute(61).ok()),
        key(|key| key.terms.caps = Caps::NONE),
        key(|key| key.terms.caps = key.terms.caps.with(CapKind::CostOfDay, 9).unwrap()),
        key(|key| key.revision += 1),
        secret(|sealed| sealed.current = token(3).secret_hash()),
        secret(|sealed| sealed.previous = None),
        secret(|sealed| {
            let previous = sealed.previous.as_mut().unwrap();
            previous.until = previous.until.plus(Duration::from_millis(1));
        }),
    ];
    for edited in edited {
        assert!(!pepper.is_seal_of(&seal, &edited), "{edited:?}");
    }
    let mut other = seal.clone();
    other.mac[31] ^= 1;
    assert!(!pepper.is_seal_of(&other, &sealed));
}

#[test]
fn a_number_can_not_be_moved_from_one_limit_to_another() {
    let pepper = Pepper::new("pepper");
    let key = |rate: bool, caps: &[CapKind]| {
        let mut key = credential();
        key.key.terms.rate = RequestRate::per_minute(60).ok().filter(|_| rate);
        key.key.terms.caps = caps
            .iter()
            .fold(Caps::NONE, |caps, kind| caps.with(*kind, 60).unwrap());
        key
    };
    let [running, day, month] = CapKind::ALL;
    let keys = [
        key(false, &[]),
        key(true, &[]),
        key(false, &[running]),
        key(false, &[day]),
        key(false, &[month]),
        key(true, &[month]),
        key(false, &[day, month]),
    ];
    for (place, sealed) in keys.iter().enumerate() {
        let seal = pepper.seal(sealed);
        for (other, key) in keys.iter().enumerate() {
            assert_eq!(
                pepper.is_seal_of(&seal, key),
                place == other,
                "{place} {other}"
            );
        }
    }
}

#[test]
fn a_seal_belongs_to_one_version_of_the_pepper() {
    let (old, new) = (Pepper::new("old"), Pepper::new("new"));
    let seal = old.seal(&credential());
    assert!(!new.is_seal_of(&seal, &credential()));
    let renamed = Seal {
        pepper: new.version().clone(),
        ..seal
    };
    assert!(!new.is_seal_of(&renamed, &credential()));
}

#[test]
fn terms_that_make_no_sense_are_refused_by_name() {
    let broken = |scopes: Scopes, expires_at| {
        let name = KeyName::new("ci".to_owned()).unwrap();
        let terms = KeyTerms {
            name,
            scopes,
            expires_at,
            rate: None,
            caps: Caps::NONE,
        };
        let broken = terms.broken_rules(samples::START);
        broken
            .into_iter()
            .map(|broken| broken.field)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        broken(Scopes::default(), Some(samples::START)),
        ["/scopes", "/expires_at"]
    );
    assert!(broken(Scopes::all(), None).is_empty());
    assert!(broken(Scopes::all(), Some(samples::after(1))).is_empty());
    assert!(Grace::from_seconds(604_801).is_err());
}
