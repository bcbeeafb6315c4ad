//! What the evaluator asks of audiences: whether an id is a member. Ids are held as 64-bit hashes,
//! BLAKE3 keyed with a secret of the database, packed in cache lines: a look-up is one memory access.

use std::sync::Arc;

use super::index::AudienceIndex;
use super::map::Map;

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

/// Nothing was fetched: each audience that is not in memory is unreadable.
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
    /// Bytes of memory that a set of `ids` takes, about: a little more than one line for six of them.
    #[must_use]
    pub fn estimated_bytes(ids: u64) -> u64 {
        if ids == 0 {
            return 0;
        }
        (ids.div_ceil(FILL as u64) + 1) * size_of::<Line>() as u64
    }

    /// Its hashes in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.lines.iter().flat_map(|line| line.0).filter(|hash| *hash != EMPTY)
    }

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

/// What one id became after the base was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turned {
    version: i64,
    member: bool,
}

/// Members of an audience in memory: a base that is large and rarely made, and over it what single ids became
/// since. Adding one id to ten million copies the few, not the many.
#[derive(Debug, Clone, Default)]
pub struct Members {
    base: Arc<IdSet>,
    turned: Map<u64, Turned>,
}

impl From<IdSet> for Members {
    fn from(base: IdSet) -> Self {
        Self { base: Arc::new(base), turned: Map::default() }
    }
}

impl Members {
    /// The same with some ids turned over: hash, the audience's version that did it, whether it is a member now.
    #[must_use]
    pub fn with(&self, turned: impl IntoIterator<Item = (u64, i64, bool)>) -> Self {
        let mut next = self.clone();
        for (hash, version, member) in turned {
            next.turned.insert(clamp(hash), Turned { version, member });
        }
        next
    }

    /// Whether `hash` is a member.
    #[must_use]
    #[inline]
    pub fn contains(&self, hash: u64) -> bool {
        match self.turned.get(&clamp(hash)) {
            None => self.base.contains(hash),
            Some(turned) => turned.member,
        }
    }

    /// Whether there are no members, as far as can be told at once.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.base.is_empty() && self.turned.is_empty()
    }

    /// The base, which versions of one audience share.
    #[must_use]
    pub fn base_set(&self) -> &Arc<IdSet> {
        &self.base
    }

    /// Members with this base, over which nothing stands yet.
    #[must_use]
    pub fn over_base(base: Arc<IdSet>) -> Self {
        Self { base, turned: Map::default() }
    }

    /// What stands over the base: hash, the audience's version that did it, whether it is a member now.
    pub fn turned_ids(&self) -> impl Iterator<Item = (u64, i64, bool)> {
        self.turned.iter().map(|(hash, turned)| (*hash, turned.version, turned.member))
    }

    /// How many ids stand over the base.
    #[must_use]
    pub fn turned(&self) -> usize {
        self.turned.len()
    }

    /// How many hashes the base holds.
    #[must_use]
    pub fn base(&self) -> usize {
        self.base.len()
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.base.bytes() + self.turned.capacity() * (size_of::<(u64, Turned)>() + 1)
    }

    /// Base and what stands over it as one set.
    #[must_use]
    pub fn merged(&self) -> IdSet {
        let stays = |hash: &u64| !self.turned.contains_key(hash);
        let came = self.turned.iter().filter(|(_, turned)| turned.member).map(|(hash, _)| *hash);
        IdSet::new(self.base.iter().filter(stays).chain(came).collect())
    }

    /// The same over `base`, which holds everything up to `version`.
    #[must_use]
    pub fn over(&self, base: IdSet, version: i64) -> Self {
        let later = self.turned.iter().filter(|(_, turned)| turned.version > version);
        Self { base: Arc::new(base), turned: later.map(|(hash, turned)| (*hash, *turned)).collect() }
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

    /// Ids turned over: hash, version, whether it is a member then.
    fn any_turns() -> impl Strategy<Value = Vec<(u64, i64, bool)>> {
        let hash = prop_oneof![0..30_u64, (u64::MAX - 3)..];
        prop::collection::vec((hash, any::<bool>()), 0..60).prop_map(|turns| {
            turns.into_iter().enumerate().map(|(at, (hash, member))| (hash, at as i64 + 2, member)).collect()
        })
    }

    proptest! {
        /// Turned in any portions, and merged at any moment, the members are those of a plain set.
        #[test]
        fn members_are_those_of_a_plain_set(
            base in prop::collection::vec(0..30_u64, 0..30), turns in any_turns(), portion in 1..9_usize, merge_at in 0..9_usize,
        ) {
            let mut plain: std::collections::BTreeSet<u64> = base.iter().copied().collect();
            let mut members = Members::from(IdSet::new(base));
            let mut merged = None;
            for (at, portion) in turns.chunks(portion).enumerate() {
                for (hash, _, member) in portion {
                    if *member { plain.insert(clamp(*hash)); } else { plain.remove(&clamp(*hash)); }
                }
                members = members.with(portion.iter().copied());
                if at == merge_at {
                    let version = portion.last().map_or(0, |(_, version, _)| *version);
                    merged = Some((members.merged(), version));
                }
            }
            let check = |members: &Members| {
                let found: Vec<u64> = (0..32).chain((u64::MAX - 4)..=(u64::MAX - 1)).filter(|h| members.contains(*h)).collect();
                found == plain.iter().copied().collect::<Vec<_>>()
            };
            prop_assert!(check(&members));
            prop_assert_eq!(members.merged().iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            // A merge that took its time ends after later turns.
            if let Some((base, version)) = merged {
                let rebased = members.over(base, version);
                prop_assert!(check(&rebased));
                prop_assert!(rebased.turned() <= members.turned());
            }
        }

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
