//! Values that may be large: compressed if that saves bytes, and in chunks if one record can't hold
//! them.
//!
//! The head, a part of the main record, says how a value is stored: its codec, its raw length, and
//! the SHA-256 of its stored bytes. These bytes are in the head itself or in further records of the
//! same partition, the chunks. A value is read whole and checked, or not at all; and no more memory
//! is taken for it than [`MAX_BYTES`], even if the records say more.

use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::error::failure;
use super::items::{self, Attributes, Fields, bytes, number, text};
use super::keys::Key;
use super::table::Table;
use crate::ports::StoreError;
use crate::runtime::computed;

/// The most bytes that a value may have.
pub(super) const MAX_BYTES: usize = 16 * 1_024 * 1_024;

/// The attributes of a head. Exactly one of [`STORED`] and [`CHUNKS`] is there.
pub(super) const HEAD: [&str; 5] = [CODEC, RAW_BYTES, SHA256, STORED, CHUNKS];
pub(super) const CODEC: &str = "codec";
pub(super) const RAW_BYTES: &str = "raw_bytes";
pub(super) const SHA256: &str = "sha256";
pub(super) const STORED: &str = "stored";
pub(super) const CHUNKS: &str = "pieces";

/// The least size that is compressed. Below it, compression saves less than one write unit.
const COMPRESS_FROM: usize = 1_024;
/// The level of compression. It is fast; higher levels save little on text.
const LEVEL: u8 = 3;
/// The most bytes of a chunk. A record has at most 400 KB, keys included.
const CHUNK_BYTES: usize = 350 * 1_024;
/// How many chunks are written at once.
const WRITES_AT_ONCE: usize = 4;

const PLAIN: &str = "plain";
const DEFLATE: &str = "deflate";

/// A value in the form in which it is stored.
pub(super) struct Blob {
    codec: &'static str,
    raw_bytes: usize,
    digest: Vec<u8>,
    stored: Vec<u8>,
    /// The most bytes that the head holds.
    in_head: usize,
}

impl Blob {
    /// Packs the value. If the packed bytes are at most `in_head`, they are in the head.
    pub(super) fn pack(raw: Vec<u8>, in_head: usize) -> Result<Self, StoreError> {
        let raw_bytes = raw.len();
        if raw_bytes > MAX_BYTES {
            return Err(StoreError::TooLarge);
        }
        Ok(computed(raw_bytes, || {
            let compressed = (raw_bytes >= COMPRESS_FROM)
                .then(|| miniz_oxide::deflate::compress_to_vec(&raw, LEVEL));
            let (codec, stored) = match compressed {
                Some(compressed) if compressed.len() < raw_bytes => (DEFLATE, compressed),
                Some(_) | None => (PLAIN, raw),
            };
            Self {
                codec,
                raw_bytes,
                digest: Sha256::digest(&stored).to_vec(),
                stored,
                in_head,
            }
        }))
    }

    /// The SHA-256 of the stored bytes.
    pub(super) fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The attributes of the head.
    pub(super) fn head(&self) -> Attributes {
        let place = match self.chunks().count() {
            0 => (STORED, bytes(self.stored.as_slice())),
            count => (CHUNKS, number(count)),
        };
        let described = [
            (CODEC, text(self.codec)),
            (RAW_BYTES, number(self.raw_bytes)),
            (SHA256, bytes(self.digest())),
        ];
        described.into_iter().chain([place]).collect()
    }

    /// The chunks, none if the head holds all.
    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let apart = if self.stored.len() > self.in_head {
            self.stored.as_slice()
        } else {
            &[]
        };
        apart.chunks(CHUNK_BYTES)
    }

    /// Writes the chunks, each to the key for its number and with these further attributes. The
    /// caller writes the head after them.
    pub(super) async fn write_chunks(
        &self,
        table: &Table,
        key: impl Fn(usize) -> Key,
        further: &Attributes,
    ) -> Result<(), StoreError> {
        let writes = self.chunks().enumerate().map(|(index, chunk)| {
            let attributes = [(STORED, bytes(chunk))]
                .into_iter()
                .chain(further.iter().cloned())
                .collect();
            let item = items::item(key(index), attributes);
            let write = table
                .client
                .put_item()
                .table_name(&table.name)
                .set_item(Some(item));
            async move { write.send().await.map(|_| ()).map_err(failure) }
        });
        // Gathered first: a stream of borrowing futures is not `Send` for every lifetime.
        let writes: Vec<_> = writes.collect();
        stream::iter(writes)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect()
            .await
    }
}

/// A head that was read: how and where its value is stored.
#[derive(Debug)]
pub(super) struct BlobHeader<'a> {
    fields: Fields<'a>,
    codec: &'a str,
    raw_bytes: usize,
    digest: &'a [u8],
    place: Place<'a>,
}

#[derive(Debug)]
enum Place<'a> {
    Inline(&'a [u8]),
    Chunks(usize),
}

impl<'a> BlobHeader<'a> {
    /// The head among a record's attributes.
    pub(super) fn read(fields: Fields<'a>) -> Result<Self, StoreError> {
        let place = match fields.optional(CHUNKS, Fields::number)? {
            Some(count) if count > MAX_BYTES / CHUNK_BYTES + 1 => {
                return Err(fields.corrupt("it has too many chunks"));
            }
            Some(count) => Place::Chunks(count),
            None => Place::Inline(fields.bytes(STORED)?),
        };
        let (codec, raw_bytes) = (fields.text(CODEC)?, fields.number(RAW_BYTES)?);
        if raw_bytes > MAX_BYTES {
            return Err(fields.corrupt(format!("its value has {raw_bytes} bytes")));
        }
        Ok(Self {
            fields,
            codec,
            raw_bytes,
            digest: fields.bytes(SHA256)?,
            place,
        })
    }

    /// The SHA-256 of the stored bytes.
    pub(super) const fn digest(&self) -> &'a [u8] {
        self.digest
    }

    /// The value, from the head or from the chunks in `partition` whose sort keys begin with
    /// `prefix`.
    pub(super) async fn value(
        &self,
        table: &Table,
        partition: String,
        prefix: &str,
    ) -> Result<Vec<u8>, StoreError> {
        match self.place {
            Place::Inline(stored) => self.unpack(stored),
            Place::Chunks(count) => {
                let mut found = table
                    .query_prefix(partition, prefix)
                    .into_paginator()
                    .items()
                    .send();
                let mut stored = Vec::new();
                for _ in 0..count {
                    let Some(item) = found.next().await.transpose().map_err(failure)? else {
                        break;
                    };
                    stored.extend_from_slice(Fields::of(&item)?.bytes(STORED)?);
                }
                self.unpack(&stored)
            }
        }
    }

    /// The value, which the head must have.
    pub(super) fn value_in_head(&self) -> Result<Vec<u8>, StoreError> {
        match self.place {
            Place::Inline(stored) => self.unpack(stored),
            Place::Chunks(count) => Err(self.fields.corrupt(format!("it has {count} chunks"))),
        }
    }

    /// The value whose stored bytes these should be.
    pub(super) fn unpack(&self, stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        computed(self.raw_bytes.max(stored.len()), || {
            self.unpack_here(stored)
        })
    }

    fn unpack_here(&self, stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        if Sha256::digest(stored).as_slice() != self.digest {
            return Err(self.fields.corrupt("its value is damaged or incomplete"));
        }
        let raw = match self.codec {
            PLAIN => Some(stored.to_vec()),
            DEFLATE => {
                miniz_oxide::inflate::decompress_to_vec_with_limit(stored, self.raw_bytes).ok()
            }
            other => return Err(self.fields.corrupt(format!("its codec is {other:?}"))),
        };
        raw.filter(|raw| raw.len() == self.raw_bytes)
            .ok_or_else(|| self.fields.corrupt("its value can't be unpacked"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::items::Item;
    use super::*;

    fn record(blob: &Blob) -> Item {
        items::item(
            Key {
                pk: "P".to_owned(),
                sk: "S".to_owned(),
            },
            blob.head(),
        )
    }

    fn unpacked(item: &Item, stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        BlobHeader::read(Fields::of(item)?)?.unpack(stored)
    }

    /// Bytes that don't compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| random.u8(..))
            .take(length)
            .collect()
    }

    #[test]
    fn only_what_gets_smaller_is_compressed() {
        for (raw, codec) in [
            (b"x".repeat(COMPRESS_FROM - 1), PLAIN),
            (b"x".repeat(COMPRESS_FROM), DEFLATE),
            (noise(COMPRESS_FROM), PLAIN),
        ] {
            let blob = Blob::pack(raw.clone(), CHUNK_BYTES).unwrap();
            assert_eq!(blob.codec, codec);
            assert_eq!(unpacked(&record(&blob), &blob.stored).unwrap(), raw);
        }
    }

    #[test]
    fn a_value_is_in_its_head_or_in_pieces_that_records_can_hold() {
        for (length, in_head, chunks) in [
            (0, 0, 0),
            (9, 9, 0),
            (10, 9, 1),
            (CHUNK_BYTES, 9, 1),
            (CHUNK_BYTES + 1, 9, 2),
            (2 * 1_024 * 1_024, CHUNK_BYTES, 6),
        ] {
            let blob = Blob::pack(noise(length), in_head).unwrap();
            assert_eq!(blob.chunks().count(), chunks, "{length} bytes");
            let head = record(&blob);
            assert_eq!(
                (head.contains_key(STORED), head.contains_key(CHUNKS)),
                (chunks == 0, chunks > 0)
            );
            let stored = if chunks == 0 {
                blob.stored.clone()
            } else {
                blob.chunks().collect::<Vec<_>>().concat()
            };
            assert_eq!(unpacked(&head, &stored).unwrap(), noise(length));
        }
    }

    #[test]
    fn too_large_a_value_is_refused_on_both_ways() {
        assert!(Blob::pack(vec![0; MAX_BYTES], 9).is_ok());
        assert!(matches!(
            Blob::pack(vec![0; MAX_BYTES + 1], 9),
            Err(StoreError::TooLarge)
        ));
        for (name, value) in [(RAW_BYTES, number(MAX_BYTES + 1)), (CHUNKS, number(100))] {
            let mut head = record(&Blob::pack(noise(9), 99).unwrap());
            head.insert(name.to_owned(), value);
            assert!(matches!(
                BlobHeader::read(Fields::of(&head).unwrap()),
                Err(StoreError::Corrupt { .. })
            ));
        }
    }

    #[test]
    fn a_damaged_value_is_reported() {
        let blob = Blob::pack(b"hello ".repeat(9_000), CHUNK_BYTES).unwrap();
        let refused = |head: &Item, stored: &[u8]| match unpacked(head, stored) {
            Err(StoreError::Corrupt { key, .. }) => assert_eq!(key, "P S"),
            other => panic!("{other:?}"),
        };
        refused(&record(&blob), &[]);
        refused(&record(&blob), &blob.stored[1..]);
        refused(&record(&blob), &[blob.stored.as_slice(), b"x"].concat());
        for (name, value) in [
            (CODEC, text("zip")),
            (CODEC, text(PLAIN)),
            (RAW_BYTES, number(53_999)),
            (RAW_BYTES, number(54_001)),
            (SHA256, bytes(noise(32))),
        ] {
            let mut head = record(&blob);
            head.insert(name.to_owned(), value);
            refused(&head, &blob.stored);
        }
        let no_deflate = Blob {
            stored: noise(99),
            digest: Sha256::digest(noise(99)).to_vec(),
            ..blob
        };
        refused(&record(&no_deflate), &no_deflate.stored);
    }

    #[test]
    fn a_value_that_unpacks_to_more_than_it_says_is_reported() {
        let stored = miniz_oxide::deflate::compress_to_vec(&vec![0; 2_000_000], LEVEL);
        let (digest, codec) = (Sha256::digest(&stored).to_vec(), DEFLATE);
        let bomb = Blob {
            codec,
            raw_bytes: 1_000,
            digest,
            stored,
            in_head: MAX_BYTES,
        };
        assert!(matches!(
            unpacked(&record(&bomb), &bomb.stored),
            Err(StoreError::Corrupt { .. })
        ));
    }

    proptest! {
        #[test]
        fn a_value_survives(raw in proptest::collection::vec(any::<u8>(), 0..4_000), repeated in 1_usize..4) {
            let raw = raw.repeat(repeated);
            let blob = Blob::pack(raw.clone(), CHUNK_BYTES).unwrap();
            prop_assert_eq!(unpacked(&record(&blob), &blob.stored).unwrap(), raw);
        }
    }
}
