//! From stored audiences to what a snapshot holds of them: members in memory, or where to ask. What is damaged is
//! unreadable, never empty or fewer.

use std::sync::Arc;

use super::budget::Plan;
use super::error::LiveError;
use super::load::{AudienceKeys, part_checksum};
use crate::engine::flag::AudienceKind;
use crate::engine::key::AudienceKey;
use crate::engine::membership::{IdHasher, IdSet, Members};
use crate::engine::snapshot::{Audience, Snapshot};
use crate::store::{AudienceRow, DeltaRow, PartRow, Place, Store};

/// Parts that are read at a time: 4 MiB.
const PARTS_AT_A_TIME: i64 = 8;

/// Reads audiences over what a snapshot has of them.
pub(super) struct Loading<'l> {
    pub(super) store: &'l Store,
    pub(super) keys: &'l AudienceKeys,
    pub(super) base: &'l Snapshot,
    pub(super) plan: &'l Plan,
}

/// An audience for a snapshot, and the hashes of ids that became something else since the snapshot before.
pub(super) struct Loaded {
    pub(super) audience: Audience,
    pub(super) turned: Vec<u64>,
}

impl Loading<'_> {
    /// Stored audiences as the snapshot shall have them.
    ///
    /// # Errors
    /// [`LiveError`] if the database fails: what decides goes on with what it has, until it can be asked again.
    pub(super) async fn audiences(&self, rows: Vec<AudienceRow>) -> Result<Vec<Loaded>, LiveError> {
        let mut audiences = Vec::with_capacity(rows.len());
        for row in rows {
            let (Ok(key), Some(kind)) = (AudienceKey::parse(&row.key), AudienceKind::parse(&row.kind)) else {
                tracing::error!(audience = %row.key, "a stored audience cannot be read");
                continue;
            };
            audiences.push(self.audience(key, kind, &row).await?);
        }
        Ok(audiences)
    }

    async fn audience(
        &self,
        key: AudienceKey,
        kind: AudienceKind,
        row: &AudienceRow,
    ) -> Result<Loaded, LiveError> {
        let environment = self.base.environment_number();
        let place = Place { environment, audience: &key, generation: row.generation };
        let known = self.base.audience_index(key.as_str()).and_then(|index| self.base.audience(index));
        // Also where the generation is another one: one that comes back may have been asked before.
        let deltas = match known {
            Some(known) => self.store.deltas_since(place, known.version).await?,
            None => Vec::new(),
        };
        let same = known.filter(|known| known.generation == row.generation);
        let in_memory = self.plan.holds(environment, key.as_str());
        let (mut ids, mut read_through) = (None, false);
        if in_memory {
            if let Some((known, members)) = same.and_then(|known| Some((known, known.ids.as_ref()?))) {
                ids = turned(members, self.base.hasher(), known.size, &deltas, row).ok();
            }
            if ids.is_none() {
                ids = self.whole(place, row).await?;
            }
        } else {
            read_through =
                same.is_some_and(|known| known.read_through) || self.can_be_asked(place, row).await?;
        }
        let turned = deltas.iter().map(|delta| self.base.hasher().hash(&delta.id)).collect();
        let audience = Audience {
            kind,
            version: row.version,
            generation: row.generation,
            size: row.size,
            ids: ids.map(Arc::new),
            read_through,
            key,
        };
        Ok(Loaded { audience, turned })
    }

    /// Whether the blocks of a generation are all there: in a gap, members would be strangers.
    async fn can_be_asked(&self, place: Place<'_>, row: &AudienceRow) -> Result<bool, LiveError> {
        let (made, found) = (self.store.generation_size(place).await?, self.store.blocks_size(place).await?);
        let whole = made.is_some() && made == found;
        if !whole {
            unreadable(row, &format!("it was made with {made:?} ids, and its blocks hold {found:?}"));
        }
        Ok(whole)
    }

    /// All members, from the database; `None` and a line in the log if they are damaged.
    async fn whole(&self, place: Place<'_>, row: &AudienceRow) -> Result<Option<Members>, LiveError> {
        match self.base_set(place).await? {
            Ok((set, size)) => {
                let deltas = self.store.deltas_since(place, 0).await?;
                match turned(&set.into(), self.base.hasher(), size, &deltas, row) {
                    Ok(members) => Ok(Some(members)),
                    Err(why) => Ok(unreadable(row, &why)),
                }
            }
            Err(why) => Ok(unreadable(row, &why)),
        }
    }

    /// The set of a generation's parts, and how many ids it holds; or why it is damaged.
    async fn base_set(&self, place: Place<'_>) -> Result<Result<(IdSet, i64), String>, LiveError> {
        let Some(size) = self.store.generation_size(place).await? else {
            return Ok(Err("its contents are not there".into()));
        };
        let mut hashes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut after = -1;
        loop {
            let parts = self.store.audience_parts_page(place, after, PARTS_AT_A_TIME).await?;
            let Some(last) = parts.last() else { break };
            after = last.part;
            if let Err(why) = add_parts(&parts, self.keys.newest_number(), &mut hashes) {
                return Ok(Err(why));
            }
        }
        // A part that is lost would make members strangers, and so open what they are excluded from.
        if i64::try_from(hashes.len()) != Ok(size) {
            return Ok(Err(format!("it has {size} ids, and {} hashes of them", hashes.len())));
        }
        // Ten million take a second: not on a thread that answers.
        let set = tokio::task::spawn_blocking(move || IdSet::new(hashes)).await;
        Ok(set.map(|set| (set, size)).map_err(|error| error.to_string()))
    }
}

fn unreadable(row: &AudienceRow, why: &str) -> Option<Members> {
    tracing::error!(audience = %row.key, %why, "an audience cannot be read; flags that ask for it answer an error");
    None
}

/// `members`, of whom there are `size`, with `deltas` over them; `Err` if they are then not as many as they should be.
fn turned(
    members: &Members,
    hasher: &IdHasher,
    mut size: i64,
    deltas: &[DeltaRow],
    row: &AudienceRow,
) -> Result<Members, String> {
    let hashed: Vec<_> =
        deltas.iter().map(|delta| (hasher.hash(&delta.id), delta.version, delta.member)).collect();
    for (hash, _, member) in &hashed {
        size += match (members.contains(*hash), member) {
            (false, true) => 1,
            (true, false) => -1,
            _ => 0,
        };
    }
    // What came after this row was read belongs to a later size.
    let later = deltas.iter().any(|delta| delta.version > row.version);
    if later || size == row.size {
        Ok(members.with(hashed))
    } else {
        Err(format!("it has {} ids, and {size} are found", row.size))
    }
}

/// Adds the hashes of parts, each checked.
fn add_parts(parts: &[PartRow], hash_key: i64, hashes: &mut Vec<u64>) -> Result<(), String> {
    for part in parts {
        if part.hash_key != hash_key {
            return Err(format!("part {} is hashed with another secret", part.part));
        }
        if part.checksum != part_checksum(&part.hashes) {
            return Err(format!("the checksum of part {} does not match", part.part));
        }
        let (chunks, rest) = part.hashes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(format!("part {} is cut", part.part));
        }
        hashes.extend(chunks.iter().map(|bytes| u64::from_le_bytes(*bytes)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: i64, hashes: &[u64]) -> PartRow {
        let hashes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        PartRow { part: number, checksum: part_checksum(&hashes), hashes, hash_key: 1 }
    }

    #[test]
    fn damaged_parts_are_unreadable_never_fewer() {
        let read = |parts: &[PartRow], hash_key| {
            let mut hashes = Vec::new();
            add_parts(parts, hash_key, &mut hashes).map(|()| hashes)
        };
        let whole = [part(0, &[1, 2]), part(1, &[3])];
        assert_eq!(read(&whole, 1), Ok(vec![1, 2, 3]));
        let [first, _] = whole;
        assert!(read(std::slice::from_ref(&first), 2).is_err(), "another secret");
        assert!(read(&[PartRow { hashes: vec![0; 16], ..first.clone() }], 1).is_err(), "flipped");
        let cut = first.hashes[..9].to_vec();
        assert!(read(&[PartRow { checksum: part_checksum(&cut), hashes: cut, ..first }], 1).is_err());
    }

    #[test]
    fn a_lost_delta_is_noticed_by_the_size() {
        let hasher = IdHasher::new([1; 32]);
        let members = Members::from(IdSet::new(["a", "b"].map(|id| hasher.hash(id)).to_vec()));
        let row = |version, size| AudienceRow {
            key: "k".into(),
            kind: "user".into(),
            version,
            generation: 1,
            size,
            updated_at: 0,
            updated_by: String::new(),
        };
        let delta = |id: &str, version, member| DeltaRow { id: id.into(), version, member };
        let deltas = [delta("a", 2, false), delta("c", 3, true), delta("d", 3, true), delta("b", 3, true)];
        let now = turned(&members, &hasher, 2, &deltas, &row(3, 3)).unwrap();
        assert_eq!(["a", "b", "c", "d"].map(|id| now.contains(hasher.hash(id))), [false, true, true, true]);
        assert!(turned(&members, &hasher, 2, &deltas[..2], &row(3, 3)).is_err());
        assert!(turned(&members, &hasher, 2, &deltas, &row(2, 1)).is_ok(), "of a later version");
    }
}
