//! This instance among those that share a database.

use crate::random::{Random, RandomError, base32};

/// Random characters of a name.
const NAME_CHARACTERS: usize = 8;
/// Longest part of a host's name that is taken.
const HOST_CHARACTERS_MAX: usize = 60;

/// An instance, from its start to its end: one that starts again is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// A name that no other has, such as `shop-7-k3v5q2mz`.
    pub name: String,
    /// When it started, milliseconds since 1970.
    pub started_at: i64,
}

impl Node {
    /// An instance that starts at `now_ms` on the machine named `host`.
    ///
    /// # Errors
    /// [`RandomError`] when the source of randomness fails.
    pub fn new(host: &str, random: &dyn Random, now_ms: i64) -> Result<Self, RandomError> {
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let host: String = host.trim().chars().filter(plain).take(HOST_CHARACTERS_MAX).collect();
        let host = if host.is_empty() { "node" } else { &host };
        Ok(Self { name: format!("{host}-{}", base32(random, NAME_CHARACTERS)?), started_at: now_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_name_tells_the_host_and_is_never_another_instances() {
        let node = |host: &str| Node::new(host, &SystemRandom, 7).unwrap().name;
        assert!(node("shop-7.example\n").starts_with("shop-7.example-"));
        assert_ne!(node("shop-7"), node("shop-7"));
        assert!(node("").starts_with("node-"));
        assert_eq!(node(&"<h>".repeat(100)).len(), HOST_CHARACTERS_MAX + 1 + NAME_CHARACTERS);
    }
}
