//! The rules of [`KeyStore`].

use std::sync::Arc;

use super::{Check, Outcome, holds, same};
use crate::domain::{Caps, KeyTerms, Scopes, TenantId};
use crate::ports::{Addition, KeyStore, ListedKey, PageRequest, SealedCredential, StoreError};
use crate::testing::samples;

type Store = Arc<dyn KeyStore>;

const MOST: u32 = 3;

pub(super) const CHECKS: &[Check<Store>] = &[
    ("a new key is found by its id and by its tenant", |s| {
        Box::pin(new_key_is_there(s))
    }),
    ("an unknown key is none", |s| Box::pin(unknown_is_none(s))),
    ("another tenant's key is none and in no list", |s| {
        Box::pin(foreign_is_none(s))
    }),
    (
        "adding the very same key again succeeds, another under its id conflicts",
        |s| Box::pin(taken_id(s)),
    ),
    (
        "a tenant has at most so many keys, revoked ones apart",
        |s| Box::pin(keys_are_counted(s)),
    ),
    (
        "of concurrent keys only as many are added as there may be",
        |s| Box::pin(racing_keys(s)),
    ),
    ("a change is made once, on the revision before it", |s| {
        Box::pin(changes_are_conditional(s))
    }),
    ("a change keeps the day of the last use", |s| {
        Box::pin(last_use_stays(s))
    }),
    ("the list is complete, in pages of the wanted size", |s| {
        Box::pin(list_is_complete(s))
    }),
    ("a made-up cursor is refused", |s| {
        Box::pin(made_up_cursor(s))
    }),
];

async fn added(store: &Store, tenant: &TenantId) -> Result<SealedCredential, StoreError> {
    let key = samples::sealed_key(tenant.as_str());
    store.add(&key, MOST).await?;
    Ok(key)
}

/// The next revision of the key.
fn changed(key: &SealedCredential) -> SealedCredential {
    let terms = KeyTerms {
        name: key.credential.key.terms.name.clone(),
        scopes: Scopes::all(),
        expires_at: None,
        rate: None,
        caps: Caps::NONE,
    };
    samples::sealed(key.credential.clone().under(terms))
}

fn revoked(key: &SealedCredential) -> SealedCredential {
    samples::sealed(key.credential.clone().revoked(samples::START))
}

async fn new_key_is_there(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    let key = added(&store, &tenant).await?;
    let id = key.credential.key.id;
    same(&store.credential(id).await?, &Some(key.clone()))?;
    let listed = ListedKey {
        key: key.credential.key,
        last_used_day: None,
    };
    same(&store.key(&tenant, id).await?, &Some(listed))
}

async fn unknown_is_none(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    let id = samples::sealed_key("acme").credential.key.id;
    same(&store.credential(id).await?, &None)?;
    same(&store.key(&tenant, id).await?, &None)?;
    store.note_use(&tenant, id, 1).await?;
    same(&store.key(&tenant, id).await?, &None)
}

async fn foreign_is_none(store: Store) -> Outcome {
    let (ours, theirs) = (samples::fresh_tenant(), samples::fresh_tenant());
    let id = added(&store, &theirs).await?.credential.key.id;
    same(&store.key(&ours, id).await?, &None)?;
    same(&all(&store, &ours, 10).await?, &Vec::new())?;
    store.note_use(&ours, id, 7).await?;
    let listed = store.key(&theirs, id).await?;
    same(&listed.and_then(|listed| listed.last_used_day), &None)
}

async fn taken_id(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    let key = added(&store, &tenant).await?;
    same(&store.add(&key, MOST).await?, &Addition::Added)?;
    same(&store.add(&key, 1).await?, &Addition::Added)?;
    let refused = store.add(&changed(&key), MOST).await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })?;
    let id = key.credential.key.id;
    same(&store.credential(id).await?, &Some(key))
}

async fn keys_are_counted(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    let first = added(&store, &tenant).await?;
    for _ in 1..MOST {
        added(&store, &tenant).await?;
    }
    let other = samples::sealed_key(tenant.as_str());
    same(&store.add(&other, MOST).await?, &Addition::Full(MOST))?;
    same(&store.credential(other.credential.key.id).await?, &None)?;
    same(&store.count(&tenant).await?, &MOST)?;
    let revoked = revoked(&first);
    store.update(&revoked).await?;
    store.update(&revoked).await?;
    same(&store.count(&tenant).await?, &(MOST - 1))?;
    same(&store.count(&samples::fresh_tenant()).await?, &0)?;
    same(&store.add(&other, MOST).await?, &Addition::Added)?;
    let one_more = samples::sealed_key(tenant.as_str());
    same(&store.add(&one_more, MOST).await?, &Addition::Full(MOST))
}

async fn racing_keys(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    let mut additions = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, key) = (Arc::clone(&store), samples::sealed_key(tenant.as_str()));
        additions.spawn(async move {
            // A conflict of two transactions is worth another try.
            for _ in 0..20 {
                match store.add(&key, MOST).await {
                    Err(StoreError::Conflict | StoreError::Unavailable(_)) => {}
                    other => return other.ok(),
                }
            }
            None
        });
    }
    let results = additions.join_all().await;
    let count = |wanted| results.iter().filter(|result| **result == wanted).count();
    same(&count(Some(Addition::Added)), &(MOST as usize))?;
    same(&all(&store, &tenant, 10).await?.len(), &(MOST as usize))
}

async fn changes_are_conditional(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    // It has limits, which the change takes away.
    let key = samples::rotated_key(tenant.as_str());
    store.add(&key, MOST).await?;
    let changed = changed(&key);
    store.update(&changed).await?;
    store.update(&changed).await?;
    let id = key.credential.key.id;
    same(&store.credential(id).await?, &Some(changed.clone()))?;
    let listed = store.key(&tenant, id).await?.map(|listed| listed.key);
    same(&listed, &Some(changed.credential.key.clone()))?;
    let late = revoked(&key);
    let refused = store.update(&late).await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })?;
    let unknown = revoked(&samples::sealed_key(tenant.as_str()));
    let refused = store.update(&unknown).await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })
}

async fn last_use_stays(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    let key = added(&store, &tenant).await?;
    let id = key.credential.key.id;
    store.note_use(&tenant, id, 20_000).await?;
    store.note_use(&tenant, id, 19_999).await?;
    store.update(&changed(&key)).await?;
    let listed = store.key(&tenant, id).await?;
    same(
        &listed.and_then(|listed| listed.last_used_day),
        &Some(20_000),
    )
}

async fn list_is_complete(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    let mut expected = Vec::new();
    for _ in 0..MOST {
        expected.push(added(&store, &tenant).await?.credential.key.id);
    }
    expected.sort();
    for limit in [1, 2, 100] {
        let ids = all(&store, &tenant, limit).await?;
        same(&ids.iter().map(|key| key.key.id).collect(), &expected)?;
    }
    Ok(())
}

async fn made_up_cursor(store: Store) -> Outcome {
    for cursor in ["", "x", "0", "key_", "ffff", "é"] {
        let page = PageRequest {
            limit: 1,
            after: Some(cursor.to_owned()),
        };
        let refused = store.list(&samples::fresh_tenant(), &page).await;
        holds(matches!(refused, Err(StoreError::Cursor)), || {
            format!("{cursor:?}: {refused:?}")
        })?;
    }
    Ok(())
}

async fn all(store: &Store, tenant: &TenantId, limit: u32) -> Result<Vec<ListedKey>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    for _ in 0..20 {
        let page = store.list(tenant, &PageRequest { limit, after }).await?;
        all.extend(page.entries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(all)
}
