//! Room in memory: a limit on all conversations together that one process works on at once.
//!
//! A task takes room for its conversation before it reads its journal, and more with each step. The
//! oldest task in the room keeps its place at any size, so that every task can be worked on, if
//! necessary alone. Any other task that finds no room is parked. Parking costs it no attempt and no
//! hop, and a message resumes it later.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The bytes of conversations that an executor works on at once, for each MB of its memory: 32 MiB
/// of 512 MB. During a model call, a conversation is in memory about four times: as steps, as a
/// prompt, as the request's body and in the HTTP client.
const BYTES_PER_MB: u64 = 64 * 1_024;

/// Room for the conversations of a process.
#[derive(Debug)]
pub struct Room {
    most_bytes: u64,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next_id: u64,
    /// The id and the bytes of each place, the oldest place first.
    places: Vec<(u64, u64)>,
}

impl Taken {
    /// Whether all places fit, or this place may stay because it is the oldest.
    fn fits(&self, most_bytes: u64, id: u64) -> bool {
        let all = self
            .places
            .iter()
            .fold(0_u64, |all, (_, bytes)| all.saturating_add(*bytes));
        all <= most_bytes || self.places.first().is_some_and(|(first, _)| *first == id)
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::of_function(512)
    }
}

impl Room {
    /// The room of a function with `memory_mb` MB of memory.
    pub const fn of_function(memory_mb: u64) -> Self {
        Self::of(memory_mb.saturating_mul(BYTES_PER_MB))
    }

    /// Room for conversations of `most_bytes` together, or for a single one of any size.
    pub const fn of(most_bytes: u64) -> Self {
        Self {
            most_bytes,
            taken: Mutex::new(Taken {
                next_id: 0,
                places: Vec::new(),
            }),
        }
    }

    /// Takes room for a conversation of so many bytes; `None` if there is not enough.
    pub(super) fn take(&self, bytes: u64) -> Option<Place<'_>> {
        let mut taken = self.taken();
        let id = taken.next_id;
        taken.next_id += 1;
        taken.places.push((id, bytes));
        if taken.fits(self.most_bytes, id) {
            return Some(Place { room: self, id });
        }
        taken.places.pop();
        None
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One conversation's part of the room. Dropping it frees that part.
#[derive(Debug)]
pub(super) struct Place<'a> {
    room: &'a Room,
    id: u64,
}

impl Place<'_> {
    /// Takes room for the conversation's new size. Returns whether there was enough; the new size
    /// counts until the drop in both cases.
    pub(super) fn grow(&self, bytes: u64) -> bool {
        let mut taken = self.room.taken();
        if let Some((_, known)) = taken.places.iter_mut().find(|(id, _)| *id == self.id) {
            *known = bytes.max(*known);
        }
        taken.fits(self.room.most_bytes, self.id)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.taken().places.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_as_long_as_there_is_room() {
        let room = Room::of(10);
        let (first, second) = (room.take(4).unwrap(), room.take(6).unwrap());
        assert!(room.take(1).is_none());
        assert!(room.take(0).is_some(), "an empty conversation fits");
        drop(second);
        assert!(room.take(7).is_none());
        let third = room.take(6).unwrap();
        assert!(first.grow(3) && third.grow(6), "no conversation shrinks");
        assert!(room.take(1).is_none());
    }

    #[test]
    fn the_first_place_may_grow_to_any_size_and_the_others_have_to_leave() {
        let room = Room::of(10);
        let first = room.take(100).unwrap();
        assert!(room.take(1).is_none());
        drop(first);
        let (first, second, third) = (
            room.take(3).unwrap(),
            room.take(3).unwrap(),
            room.take(3).unwrap(),
        );
        assert!(first.grow(u64::MAX));
        assert!(!second.grow(3) && !third.grow(3));
        drop(first);
        assert!(
            second.grow(3) && third.grow(7) && !third.grow(8),
            "the second is the first now"
        );
        assert!(second.grow(100));
    }
}
