//! Small maps as sorted lists: an hour holds thousands of maps with one or two entries, for which a tree takes ten times
//! the memory, and the time to fill it.

use serde::{Deserialize, Serialize};

/// A map, ascending by key. What was kept is read as it was written, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sorted<K, V>(Vec<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V: Default> Sorted<K, V> {
    /// The value of a key, made if it is not there.
    pub fn entry(&mut self, key: &K) -> &mut V
    where
        K: Clone,
    {
        let place = match self.0.last() {
            Some((last, _)) if last < key => Err(self.0.len()),
            _ => self.0.binary_search_by(|(known, _)| known.cmp(key)),
        };
        let place = place.unwrap_or_else(|place| {
            self.0.insert(place, (key.clone(), V::default()));
            place
        });
        // The place was found, or made, just now.
        #[expect(clippy::indexing_slicing, reason = "found or made above")]
        &mut self.0[place].1
    }
}

impl<K: Ord, V> Sorted<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let place = self.0.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }
}

impl<K, V> Sorted<K, V> {
    /// Keys and values, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// Values by ascending key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_made_once_and_kept_in_order() {
        let mut map: Sorted<Box<str>, u32> = Sorted::default();
        for (key, by) in [("b", 1), ("d", 2), ("a", 4), ("c", 8), ("b", 16), ("d", 32)] {
            *map.entry(&key.into()) += by;
        }
        let told: Vec<(&str, u32)> = map.iter().map(|(key, value)| (&**key, *value)).collect();
        assert_eq!(told, [("a", 4), ("b", 17), ("c", 8), ("d", 34)]);
        assert_eq!((map.get("c"), map.get("e"), map.is_empty()), (Some(&8), None, false));
        let kept = postcard::to_stdvec(&map).unwrap();
        assert_eq!(postcard::from_bytes::<Sorted<Box<str>, u32>>(&kept).unwrap(), map);
    }
}
