//! Maps of the engine: a fixed hasher, since nothing here may depend on a process's random seed.
//! Keys come from documents, never from requests, so a caller cannot choose collisions.

/// A hash map with a fixed seed.
pub type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;

/// A hash set with a fixed seed.
pub type Set<K> = hashbrown::HashSet<K, foldhash::fast::FixedState>;
