//! The bucketing formula: `bucket = (murmur3_x86_32("{prefix}{unit}", 0) * 1_000_000) >> 32`.
//!
//! `MurmurHash3_x86_32` is Austin Appleby's public-domain function, published with `SMHasher`. The crate `murmur3` is
//! the reference that [`self_check`] and the tests hold this one against; here the prefix's blocks
//! are hashed once, when a flag is compiled, and a unit costs only its own bytes.

use super::share::{PPM, Share};

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;

/// A place on a line of a million: `0 ..= 999_999`, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u32);

impl Bucket {
    /// The bucket of a 32-bit hash.
    #[must_use]
    pub fn from_hash(hash: u32) -> Self {
        Self(((u64::from(hash) * u64::from(PPM)) >> 32) as u32)
    }

    /// Parts per million, `0 ..= 999_999`.
    #[must_use]
    pub fn ppm(self) -> u32 {
        self.0
    }

    /// Whether this bucket is in the cohort of `share` percent, counted from the bottom of the line.
    #[must_use]
    pub fn in_bottom(self, share: Share) -> bool {
        self.0 < share.ppm()
    }

    /// Whether this bucket is among the top `share` percent of the line, where control lives.
    #[must_use]
    pub fn in_top(self, share: Share) -> bool {
        self.0 >= PPM - share.ppm()
    }
}

/// A prefix such as `"{salt}:"`, hashed as far as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salted {
    state: u32,
    /// The last 0 to 3 bytes, which begin a block that the unit completes; little-endian, as blocks are read.
    tail: u32,
    tail_bits: u32,
    prefix_bytes: u32,
}

impl Salted {
    /// Hashes the whole blocks of `prefix` and keeps its last 0 to 3 bytes.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "murmur3 mixes in the length modulo 2^32; prefixes are short"
    )]
    pub fn new(prefix: &str) -> Self {
        let (blocks, rest) = prefix.as_bytes().as_chunks::<4>();
        Self {
            state: blocks.iter().fold(0, |state, block| mix(state, u32::from_le_bytes(*block))),
            tail: few(rest),
            tail_bits: rest.len() as u32 * 8,
            prefix_bytes: prefix.len() as u32,
        }
    }

    /// `murmur3_x86_32(prefix + unit, 0)`.
    #[must_use]
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "murmur3 mixes in the length modulo 2^32; halves are taken apart"
    )]
    pub fn hash(&self, unit: &str) -> u32 {
        let (blocks, rest) = unit.as_bytes().as_chunks::<4>();
        let (mut state, mut tail) = (self.state, u64::from(self.tail));
        for block in blocks {
            // The bytes that wait, and behind them those of the unit: the lower half is a block.
            tail |= u64::from(u32::from_le_bytes(*block)) << self.tail_bits;
            state = mix(state, tail as u32);
            tail >>= 32;
        }
        tail |= u64::from(few(rest)) << self.tail_bits;
        let mut left = self.tail_bits + rest.len() as u32 * 8;
        if left >= 32 {
            state = mix(state, tail as u32);
            tail >>= 32;
            left -= 32;
        }
        if left > 0 {
            state ^= scramble(tail as u32);
        }
        finish(state ^ self.prefix_bytes.wrapping_add(unit.len() as u32))
    }

    /// The unit's bucket on this prefix's line.
    #[must_use]
    #[inline]
    pub fn bucket(&self, unit: &str) -> Bucket {
        Bucket::from_hash(self.hash(unit))
    }
}

#[inline]
fn scramble(block: u32) -> u32 {
    block.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2)
}

/// The number of 0 to 3 bytes.
#[inline]
fn few(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[inline]
fn mix(state: u32, block: u32) -> u32 {
    (state ^ scramble(block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

#[inline]
fn finish(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The same hash by the crate `murmur3`: slower, written by others, the reference.
#[must_use]
pub fn reference_hash(text: &str) -> Option<u32> {
    murmur3::murmur3_32(&mut text.as_bytes(), 0).ok()
}

/// Whether the fast hash agrees with the reference on texts of every length and split that matters.
/// `serve` refuses to start if not: a cohort that moved would open the entry to strangers.
#[must_use]
pub fn self_check() -> bool {
    let text = "灰度-wechat-scan-pay:0123456789abcdefghijklmnopqrstuvwxyz";
    let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    cuts.iter().all(|from| {
        cuts.iter().filter(|to| *to >= from).all(|to| {
            let (Some(prefix), Some(unit)) = (text.get(..*from), text.get(*from..*to)) else { return false };
            Some(Salted::new(prefix).hash(unit)) == reference_hash(&format!("{prefix}{unit}"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fast_hash_passes_its_own_check() {
        assert!(self_check());
    }

    #[test]
    fn the_ends_of_the_line() {
        assert_eq!(Bucket::from_hash(0).ppm(), 0);
        assert_eq!(Bucket::from_hash(u32::MAX).ppm(), 999_999);
        let all = Share::from_percent(100.0).unwrap();
        let none = Share::from_percent(0.0).unwrap();
        for hash in [0, 1, u32::MAX / 2, u32::MAX] {
            let bucket = Bucket::from_hash(hash);
            assert!(bucket.in_bottom(all) && bucket.in_top(all));
            assert!(!bucket.in_bottom(none) && !bucket.in_top(none));
        }
    }

    /// The rows were computed by Python's `mmh3`: `tests/vectors/bucket.py`.
    #[test]
    fn every_row_of_the_vectors_holds() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/bucket.json")).unwrap();
        let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
        let raw = vectors["raw"].as_array().unwrap();
        for row in raw {
            let whole = text(row, "text");
            for (cut, _) in whole.char_indices().chain([(whole.len(), ' ')]) {
                let (prefix, unit) = whole.split_at(cut);
                assert_eq!(u64::from(Salted::new(prefix).hash(unit)), row["hash"], "{whole:?} cut at {cut}");
            }
        }
        let rows = vectors["buckets"].as_array().unwrap();
        for row in rows {
            let kind = match &*text(row, "kind") {
                "rollout" => String::new(),
                kind => format!("/{kind}"),
            };
            let line = Salted::new(&format!("{}{kind}:", text(row, "key")));
            let unit = text(row, "unit");
            assert_eq!(u64::from(line.hash(&unit)), row["hash"], "{row}");
            assert_eq!(u64::from(line.bucket(&unit).ppm()), row["bucket"], "{row}");
        }
        assert!(raw.len() > 50 && rows.len() > 300);
    }

    proptest! {
        #[test]
        fn prefix_and_unit_hash_as_one_text(prefix in ".{0,40}", unit in ".{0,300}") {
            prop_assert_eq!(Some(Salted::new(&prefix).hash(&unit)), reference_hash(&format!("{prefix}{unit}")));
        }
    }
}
