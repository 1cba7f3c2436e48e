//! Identifiers: a short prefix that names the kind, and a UUID.
//!
//! Ids are opaque to clients and sort by creation where they are version 7. Each has exactly one
//! spelling, because it is used as a database key: parsing refuses capitals, braces and any other
//! form of the same UUID.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::time::Timestamp;

/// What an [`Id`] identifies.
pub trait Kind {
    /// The text before the UUID, with its underscore.
    const PREFIX: &'static str;
}

/// The kind of [`AgentId`].
#[derive(Debug, Clone, Copy)]
pub enum AgentKind {}
impl Kind for AgentKind {
    const PREFIX: &'static str = "agt_";
}

/// The kind of [`TaskId`].
#[derive(Debug, Clone, Copy)]
pub enum TaskKind {}
impl Kind for TaskKind {
    const PREFIX: &'static str = "tsk_";
}

/// The kind of [`WorkerId`].
#[derive(Debug, Clone, Copy)]
pub enum WorkerKind {}
impl Kind for WorkerKind {
    const PREFIX: &'static str = "wrk_";
}

/// The kind of [`ReservationId`].
#[derive(Debug, Clone, Copy)]
pub enum ReservationKind {}
impl Kind for ReservationKind {
    const PREFIX: &'static str = "rsv_";
}

/// Identifies an agent across all its versions.
pub type AgentId = Id<AgentKind>;
/// Identifies a task.
pub type TaskId = Id<TaskKind>;
/// Identifies one attempt of one worker to hold one lease; never reused.
pub type WorkerId = Id<WorkerKind>;
/// Identifies the reservation for one attempt of a model call; never reused.
pub type ReservationId = Id<ReservationKind>;

/// A typed identifier such as `tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10`.
pub struct Id<K> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Id<K> {
    /// A new id that sorts by `now` (UUID version 7, RFC 9562).
    pub fn new(now: Timestamp) -> Self {
        let seconds = now.as_millis() / 1_000;
        let nanos = u32::try_from(now.as_millis() % 1_000 * 1_000_000).unwrap_or_default();
        Self::from_uuid(Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::NoContext,
            seconds,
            nanos,
        )))
    }

    /// The id of `digest`, always the same (UUID version 8, RFC 9562).
    pub fn derived(digest: [u8; 16]) -> Self {
        Self::from_uuid(uuid::Builder::from_custom_bytes(digest).into_uuid())
    }

    /// The id of the beginning of this digest.
    pub(crate) fn of_digest(digest: Sha256) -> Self {
        let mut bytes = [0; 16];
        bytes
            .iter_mut()
            .zip(digest.finalize())
            .for_each(|(byte, from)| *byte = from);
        Self::derived(bytes)
    }

    const fn from_uuid(uuid: Uuid) -> Self {
        Self {
            uuid,
            kind: PhantomData,
        }
    }

    /// The moment by which the id sorts; `None` if it was derived.
    pub fn moment(&self) -> Option<Timestamp> {
        let (seconds, nanos) = self.uuid.get_timestamp()?.to_unix();
        let millis = seconds.saturating_mul(1_000) + u64::from(nanos / 1_000_000);
        Some(Timestamp::from_millis(millis))
    }

    /// The id's bytes, for spreading ids over shards.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.uuid.as_bytes()
    }
}

impl AgentId {
    /// Whether it is the id of an inline agent, which is derived from its definition.
    pub fn is_inline(&self) -> bool {
        self.moment().is_none()
    }
}

/// The text is not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}…")]
pub struct NotAnId {
    prefix: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = NotAnId { prefix: K::PREFIX };
        let Some(Ok(uuid)) = text.strip_prefix(K::PREFIX).map(Uuid::try_parse) else {
            return Err(refused);
        };
        let id = Self::from_uuid(uuid);
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(refused)
        }
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", K::PREFIX, self.uuid.hyphenated())
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

// Not derived: a derive would require the same traits of `K`, which is only a label.
impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_printing_and_parsing() {
        let id = TaskId::new(Timestamp::from_millis(1_795_000_000_123));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn ids_sort_by_the_moment_of_their_creation() {
        let moment = Timestamp::from_millis(1_795_000_000_123);
        let earlier = TaskId::new(moment);
        let later = TaskId::new(Timestamp::from_millis(1_795_000_000_124));
        assert!(earlier < later);
        assert_eq!(earlier.moment(), Some(moment));
        assert_eq!(TaskId::derived([7; 16]).moment(), None);
    }

    #[test]
    fn only_the_canonical_spelling_parses() {
        let canonical = "tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";
        assert!(canonical.parse::<TaskId>().is_ok());
        let others = [
            "agt_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10",
            "tsk_01981B5E-9C2F-7C3A-8D51-0C8E1F6F2A10",
            "tsk_01981b5e9c2f7c3a8d510c8e1f6f2a10",
            "tsk_{01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10}",
            "01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10",
            "tsk_",
            "",
        ];
        for text in others {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }
}
