//! Keys: made, hashed, found. Only a key's hash is stored; a running server holds all hashes in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::watch;

use crate::access::Role;
use crate::engine::map::Map;
use crate::random::{Random, RandomError, base32};
use crate::store::KeyRow;

/// Characters of a key's random part: 160 bits.
const RANDOM_CHARACTERS: usize = 32;

/// BLAKE3 of a whole key. Keys are random, so no salt and no slow hash is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(*blake3::hash(key.as_bytes()).as_bytes())
    }

    /// The hash as bytes.
    #[must_use]
    pub fn array(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A key that was just made: the only time its text is known.
pub struct NewKey {
    /// The key itself.
    pub text: String,
    /// Its hash.
    pub hash: KeyHash,
}

/// Makes a key `huidu_<role>_<random>`, so that scanners find a leaked one.
///
/// # Errors
/// [`RandomError`] when no random bytes can be had.
pub fn make_key(role: Role, random: &dyn Random) -> Result<NewKey, RandomError> {
    let text = format!("huidu_{role}_{}", base32(random, RANDOM_CHARACTERS)?);
    Ok(NewKey { hash: KeyHash::of(&text), text })
}

/// Who calls: what a key says of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The key's id.
    pub id: Box<str>,
    /// The key's name, for people.
    pub name: Box<str>,
    /// What it may do.
    pub role: Role,
    /// The number of its environment; `None`: all.
    pub environment: Option<i64>,
    /// Milliseconds since 1970 from which it is refused.
    pub expires_at: Option<i64>,
}

impl Actor {
    /// How the audit names it.
    #[must_use]
    pub fn audit_name(&self) -> String {
        format!("key:{} ({})", self.id, self.name)
    }

    /// Whether it is refused at `now_ms`, milliseconds since 1970.
    #[must_use]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_at.is_some_and(|at| at <= now_ms)
    }
}

struct Held {
    hash: [u8; 32],
    actor: Arc<Actor>,
    /// Milliseconds since 1970 of the last use that was noted.
    used: AtomicI64,
}

/// How exact the time of a key's last use is: noting each use would have all workers write one cache line.
const USE_MS: i64 = 10_000;

#[derive(Default)]
struct Table {
    by_hash: Map<[u8; 8], Vec<Held>>,
    by_id: Map<Box<str>, Arc<Actor>>,
    rows: Arc<[KeyRow]>,
    sequence: i64,
}

/// All keys that are not revoked, in memory.
pub struct KeyTable {
    table: ArcSwap<Table>,
    replaced: watch::Sender<()>,
}

impl Default for KeyTable {
    fn default() -> Self {
        Self { table: ArcSwap::default(), replaced: watch::Sender::new(()) }
    }
}

impl std::fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyTable({})", self.table.load().by_id.len())
    }
}

impl KeyTable {
    /// Takes the place of what was held before: all keys, as of the change `sequence`. Rows that are revoked or cannot be
    /// read are never found.
    pub fn replace(&self, rows: Vec<KeyRow>, sequence: i64) {
        let old = self.table.load();
        let mut table = Table { rows: rows.clone().into(), sequence, ..Table::default() };
        for row in rows.into_iter().filter(|row| row.revoked_at.is_none()) {
            let (Ok(hash), Some(role)) = (<[u8; 32]>::try_from(row.hash.as_slice()), Role::parse(&row.role))
            else {
                tracing::error!(key = %row.id, "a stored key cannot be read; it is refused");
                continue;
            };
            let actor = Arc::new(Actor {
                id: row.id.into(),
                name: row.name.into(),
                role,
                environment: row.environment,
                expires_at: row.expires_at,
            });
            let noted = old.by_hash.get(&prefix(&hash)).into_iter().flatten().find(|held| held.hash == hash);
            let noted = noted.map_or(i64::MIN, |held| held.used.load(Ordering::Relaxed));
            let used = AtomicI64::new(row.last_used_at.unwrap_or(i64::MIN).max(noted));
            table.by_id.insert(actor.id.clone(), actor.clone());
            table.by_hash.entry(prefix(&hash)).or_default().push(Held { hash, actor, used });
        }
        self.table.store(Arc::new(table));
        self.replaced.send_replace(());
    }

    /// Whether no key is known yet: each database has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.load().rows.is_empty()
    }

    /// The rows held, revoked ones included, and the number of the last change that they hold.
    #[must_use]
    pub fn held(&self) -> (Arc<[KeyRow]>, i64) {
        let table = self.table.load();
        (table.rows.clone(), table.sequence)
    }

    /// The holder of `key` at `now_ms`; unknown, revoked and expired keys look the same.
    #[must_use]
    pub fn find(&self, key: &str, now_ms: i64) -> Option<Arc<Actor>> {
        let hash = KeyHash::of(key).0;
        let table = self.table.load();
        let held = table.by_hash.get(&prefix(&hash))?.iter().find(|held| same(&held.hash, &hash))?;
        if held.actor.is_expired(now_ms) {
            return None;
        }
        if now_ms.saturating_sub(held.used.load(Ordering::Relaxed)) >= USE_MS {
            held.used.store(now_ms, Ordering::Relaxed);
        }
        Some(held.actor.clone())
    }

    /// The holder of the key whose id is `id` at `now_ms`: for what was proved before, and must end with its key.
    #[must_use]
    pub fn holder(&self, id: &str, now_ms: i64) -> Option<Arc<Actor>> {
        self.table.load().by_id.get(id).filter(|actor| !actor.is_expired(now_ms)).cloned()
    }

    /// Tells whenever the keys are replaced.
    #[must_use]
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// The keys used since `since_ms`: id, and milliseconds since 1970 of the last use, to ten seconds.
    #[must_use]
    pub fn used_since(&self, since_ms: i64) -> Vec<(Box<str>, i64)> {
        let table = self.table.load();
        let held = table.by_hash.values().flatten();
        held.map(|held| (held.actor.id.clone(), held.used.load(Ordering::Relaxed)))
            .filter(|(_, used)| *used >= since_ms)
            .collect()
    }
}

/// Compares in constant time, eight bytes at a time.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let same = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a).ct_eq(&u64::from_ne_bytes(*b));
    a.iter().zip(b).map(same).fold(Choice::from(1), |all, one| all & one).into()
}

/// What the map is keyed by: the rest is compared in constant time.
fn prefix(hash: &[u8; 32]) -> [u8; 8] {
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    fn row(key: &NewKey, expires_at: Option<i64>, revoked_at: Option<i64>) -> KeyRow {
        KeyRow {
            id: "k-1".into(),
            name: "checkout".into(),
            role: "client".into(),
            environment: Some(1),
            hash: key.hash.array().to_vec(),
            hint: "abcd".into(),
            created_at: 0,
            created_by: "test".into(),
            expires_at,
            revoked_at,
            last_used_at: None,
        }
    }

    #[test]
    fn a_key_has_its_form_and_is_found_by_its_hash() {
        let key = make_key(Role::Client, &SystemRandom).unwrap();
        assert!(key.text.starts_with("huidu_client_") && key.text.len() == 13 + RANDOM_CHARACTERS);
        let table = KeyTable::default();
        table.replace(vec![row(&key, None, None)], 1);
        assert_eq!(table.find(&key.text, 0).unwrap().role, Role::Client);
        assert_eq!(table.find("huidu_client_guess", 0), None);
    }

    #[test]
    fn each_byte_of_a_hash_is_compared() {
        // Of two hashes that begin alike, which the map does not tell apart, only this does.
        let hash = KeyHash::of("a key").0;
        assert!(same(&hash, &hash));
        for bit in 0..256 {
            let mut other = hash;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!same(&hash, &other), "bit {bit}");
        }
    }

    #[test]
    fn expired_and_revoked_keys_are_unknown() {
        let key = make_key(Role::Client, &SystemRandom).unwrap();
        let table = KeyTable::default();
        table.replace(vec![row(&key, Some(10), None)], 1);
        assert!(table.find(&key.text, 9).is_some());
        assert!(table.find(&key.text, 10).is_none());
        table.replace(vec![row(&key, None, Some(5))], 1);
        assert!(table.find(&key.text, 9).is_none());
    }

    #[test]
    fn revoked_rows_are_held_for_the_copy_and_never_found() {
        let key = make_key(Role::Client, &SystemRandom).unwrap();
        let table = KeyTable::default();
        table.replace(vec![row(&key, None, Some(5))], 7);
        let (rows, sequence) = table.held();
        assert_eq!((rows[0].revoked_at, sequence), (Some(5), 7));
        assert!(table.find(&key.text, 0).is_none());
    }

    #[test]
    fn a_holder_is_known_by_the_id_as_long_as_the_key_is_good() {
        let key = make_key(Role::Client, &SystemRandom).unwrap();
        let table = KeyTable::default();
        let mut replacements = table.replacements();
        table.replace(vec![row(&key, Some(10), None)], 1);
        assert!(replacements.has_changed().unwrap());
        replacements.mark_unchanged();
        assert_eq!(table.holder("k-1", 9), table.find(&key.text, 9));
        assert!(table.holder("k-1", 9).is_some());
        assert_eq!((table.holder("k-1", 10), table.holder("k-2", 9)), (None, None));
        table.replace(vec![row(&key, None, Some(5))], 1);
        assert_eq!(table.holder("k-1", 9), None);
        assert!(replacements.has_changed().unwrap());
    }

    #[test]
    fn the_last_use_is_noted_to_ten_seconds() {
        let key = make_key(Role::Client, &SystemRandom).unwrap();
        let table = KeyTable::default();
        table.replace(vec![row(&key, None, None)], 1);
        assert_eq!(table.used_since(0), []);
        for (now, noted) in [(50_000, 50_000), (59_999, 50_000), (60_000, 60_000)] {
            assert!(table.find(&key.text, now).is_some());
            assert_eq!(table.used_since(0), [("k-1".into(), noted)]);
        }
        assert_eq!(table.used_since(60_001), []);
        table.replace(vec![row(&key, None, None)], 1);
        assert_eq!(table.used_since(0), [("k-1".into(), 60_000)], "a reload forgets no use");
    }
}
