//! What the evaluator asks of audiences: whether an id is a member. Ids are held as 64-bit hashes,
//! BLAKE3 keyed with a secret of the database, packed in cache lines: a look-up is one memory access.

use super::index::AudienceIndex;

/// Answer of an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// The id is in it.
    Member,
    /// The id is not in it.
    Stranger,
    /// It could not be read; nothing may be concluded.
    Unreadable,
}

/// Memberships fetched before the evaluation, for audiences that are not in the snapshot.
pub trait Memberships {
    /// Whether `id` is in `audience`.
    fn of(&self, audience: AudienceIndex, id: &str) -> Membership;
}

/// Nothing was fetched: an audience that is not in memory is unreadable.
#[derive(Debug, Clone, Copy, Default)]
pub struct NothingFetched;

impl Memberships for NothingFetched {
    fn of(&self, _audience: AudienceIndex, _id: &str) -> Membership {
        Membership::Unreadable
    }
}

/// Turns ids into the hashes that sets hold.
#[derive(Clone)]
pub struct IdHasher([u8; 32]);

impl std::fmt::Debug for IdHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdHasher(..)")
    }
}

impl IdHasher {
    /// A hasher with the database's secret.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The first 8 bytes, little-endian, of BLAKE3 keyed with the secret.
    #[must_use]
    pub fn hash(&self, id: &str) -> u64 {
        let digest = blake3::keyed_hash(&self.0, id.as_bytes());
        digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

const LINE: usize = 8;
/// Hashes a line holds on average, so that few overflow into the next.
const FILL: usize = 6;
/// Fills what is empty; sorts behind every hash. A hash of this value counts as its neighbour.
const EMPTY: u64 = u64::MAX;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([u64; LINE]);

/// A set of hashed ids: 64-byte lines of sorted hashes, a full line overflowing into the next.
#[derive(Debug, Default)]
pub struct IdSet {
    lines: Box<[Line]>,
    /// Lines that hashes are spread over; more follow for the overflow of the last ones.
    homes: u64,
    size: usize,
}

impl IdSet {
    /// A set of `hashes` in any order.
    #[must_use]
    pub fn new(mut hashes: Vec<u64>) -> Self {
        for hash in &mut hashes {
            *hash = clamp(*hash);
        }
        hashes.sort_unstable();
        hashes.dedup();
        let homes = hashes.len().div_ceil(FILL) as u64;
        let mut lines: Vec<Line> = Vec::with_capacity(hashes.len().div_ceil(FILL) + 1);
        let mut used = 0;
        for hash in &hashes {
            let home = home(*hash, homes);
            if lines.len() <= home {
                lines.resize(home + 1, Line([EMPTY; LINE]));
                used = 0;
            }
            if used == LINE {
                lines.push(Line([EMPTY; LINE]));
                used = 0;
            }
            if let Some(place) = lines.last_mut().and_then(|line| line.0.get_mut(used)) {
                *place = *hash;
                used += 1;
            }
        }
        let whole = usize::try_from(homes).unwrap_or(usize::MAX).max(lines.len());
        lines.resize(whole, Line([EMPTY; LINE]));
        Self { lines: lines.into(), homes, size: hashes.len() }
    }

    /// Whether `hash` is in the set.
    #[must_use]
    #[inline]
    pub fn contains(&self, hash: u64) -> bool {
        let hash = clamp(hash);
        let lines = self.lines.get(home(hash, self.homes)..).unwrap_or_default();
        for line in lines {
            if line.0.contains(&hash) {
                return true;
            }
            // Sorted across lines: a line whose last place is not below the hash ends the search.
            if line.0.last().is_none_or(|last| *last >= hash) {
                return false;
            }
        }
        false
    }

    /// How many different hashes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.size
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }
}

fn clamp(hash: u64) -> u64 {
    hash.min(EMPTY - 1)
}

#[expect(clippy::cast_possible_truncation, reason = "a product of two u64 shifted by 64 is under the second")]
fn home(hash: u64, homes: u64) -> usize {
    ((u128::from(hash) * u128::from(homes)) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_hash_is_stored_so_it_may_not_change() {
        // First 8 bytes of BLAKE3 keyed with 32 bytes of 7, as the crate `blake3` and `b3sum --keyed` give them.
        let hasher = IdHasher::new([7; 32]);
        let expected = blake3::Hasher::new_keyed(&[7; 32]).update(b"tester-1").finalize();
        assert_eq!(hasher.hash("tester-1").to_le_bytes(), expected.as_bytes()[..8]);
        assert_ne!(hasher.hash("tester-1"), IdHasher::new([8; 32]).hash("tester-1"));
    }

    #[test]
    fn a_million_hashed_ids_are_found_and_strangers_are_not() {
        let hasher = IdHasher::new([1; 32]);
        let hashes: Vec<u64> = (0..200_000).map(|n| hasher.hash(&format!("u-{n}"))).collect();
        let set = IdSet::new(hashes.clone());
        assert_eq!(set.len(), 200_000);
        assert!(hashes.iter().all(|hash| set.contains(*hash)));
        assert!(!(0..200_000).any(|n| set.contains(hasher.hash(&format!("stranger-{n}")))));
        assert!(set.bytes() < 200_000 * 12, "{} bytes", set.bytes());
    }

    proptest! {
        #[test]
        fn a_set_holds_what_it_was_given_and_nothing_else(
            hashes in prop::collection::vec(prop_oneof![any::<u64>(), 0..40_u64, (u64::MAX - 40)..], 0..300),
            probes in prop::collection::vec(prop_oneof![any::<u64>(), 0..60_u64, (u64::MAX - 60)..], 0..100),
        ) {
            let set = IdSet::new(hashes.clone());
            for hash in &hashes {
                prop_assert!(set.contains(*hash));
            }
            for probe in probes {
                let known = hashes.iter().any(|hash| clamp(*hash) == clamp(probe));
                prop_assert_eq!(set.contains(probe), known);
            }
        }
    }
}
