//! Which keys of steps may be stored, in some bits each: nearly every step that comes is new, and need not be looked up then.

use fastbloom::BloomFilter;

/// Bits of a key, and hashes of it: one in 160 keys that are not stored is looked up all the same.
const BITS: usize = 12;
const HASHES: u32 = 4;
/// Keys that the first filter has room for. Each further one has room for twice as many.
const FIRST: usize = 1 << 16;
/// So many filters take 48 MiB, for 33 million keys. With more keys than that, all steps are looked up.
const FILTERS_MAX: usize = 9;

/// The keys that may be stored, by their hashes.
#[derive(Debug)]
pub(super) struct Known {
    filters: Vec<BloomFilter>,
    /// How many keys the last filter has room for.
    room: usize,
    /// The stored steps up to this number are in.
    read: i64,
    /// Steps beyond this number are added by whoever stores them.
    until: i64,
    /// There are more keys than filters may take.
    is_full: bool,
}

impl Known {
    /// Nothing is known of the steps up to the number `until`.
    pub(super) const fn new(until: i64) -> Self {
        Self { filters: Vec::new(), room: 0, read: 0, until, is_full: false }
    }

    /// The steps that have to be read: those beyond the first number, up to the second.
    pub(super) fn unread(&self) -> Option<(i64, i64)> {
        (self.read < self.until && !self.is_full).then_some((self.read, self.until))
    }

    /// Adds steps that were read, all that are stored up to the number `read`.
    pub(super) fn learn(&mut self, hashes: &[u64], read: i64) {
        hashes.iter().for_each(|hash| self.add(*hash));
        self.read = read;
    }

    /// Adds a key.
    pub(super) fn add(&mut self, hash: u64) {
        if self.room == 0 {
            if self.is_full || self.filters.len() == FILTERS_MAX {
                self.is_full = true;
                self.filters = Vec::new();
                return;
            }
            self.room = FIRST << self.filters.len();
            self.filters.push(BloomFilter::with_num_bits(self.room * BITS).hashes(HASHES));
        }
        if let Some(last) = self.filters.last_mut() {
            last.insert_hash(hash);
            self.room -= 1;
        }
    }

    /// Whether a step of this key may be stored. What is said not to be stored, is not.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let all_are_in = self.read >= self.until && !self.is_full;
        !all_are_in || self.filters.iter().any(|filter| filter.contains_hash(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spread(number: u64) -> u64 {
        blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes)
    }

    proptest! {
        #[test]
        fn no_key_that_was_added_is_missed(keys in prop::collection::vec(any::<u64>(), 0..200), read in 0_usize..200) {
            let read = read.min(keys.len());
            let mut known = Known::new(7);
            known.learn(&keys[..read], 7);
            keys[read..].iter().for_each(|key| known.add(*key));
            prop_assert!(keys.iter().all(|key| known.may_hold(*key)));
        }
    }

    #[test]
    fn nearly_all_others_are_told_apart_however_many_are_held() {
        let (mut known, mut held) = (Known::new(0), 0);
        for next in [1_000, 70_000, 500_000] {
            (held..next).for_each(|key| known.add(spread(key)));
            held = next;
            let mistaken =
                (1_u64 << 40..(1 << 40) + 20_000).filter(|key| known.may_hold(spread(*key))).count();
            assert!(mistaken < 800, "{mistaken} of 20,000 with {held} held");
        }
        assert!(known.filters.len() > 2);
    }

    #[test]
    fn all_may_be_held_as_long_as_some_are_not_read() {
        let mut known = Known::new(30);
        known.add(1);
        assert_eq!((known.may_hold(2), known.unread()), (true, Some((0, 30))));
        known.learn(&[3], 29);
        assert_eq!((known.may_hold(2), known.unread()), (true, Some((29, 30))));
        known.learn(&[4], 30);
        assert_eq!((known.may_hold(2), known.unread()), (false, None));
        assert!([1, 3, 4].into_iter().all(|key| known.may_hold(key)));
        assert_eq!(Known::new(0).unread(), None, "nothing is stored");
    }

    #[test]
    fn too_many_keys_take_no_memory() {
        let mut known = Known { room: 1, ..Known::new(5) };
        known.filters = (0..FILTERS_MAX).map(|_| BloomFilter::with_num_bits(64).hashes(1)).collect();
        known.learn(&[1, 2], 5);
        assert!(known.filters.is_empty() && known.unread().is_none());
        known.add(3);
        assert!(known.filters.is_empty() && known.may_hold(4));
    }
}
