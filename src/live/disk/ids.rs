//! Members of audiences in files: the hashes of a base, and what single ids became since. Both are named by their
//! contents, so that what did not change is not written again.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::frame::{self, Kind, Sum};
use super::state::{FileRef, Held};
use super::{DiskError, file};
use crate::engine::membership::{IdSet, Members};

/// Hashes that are handed over at a time.
const HASHES_AT_A_TIME: usize = 8_192;
/// Bytes of one id that became something else: hash, version, whether it is a member.
const TURNED_BYTES: usize = 17;

/// Writes the hashes of `base`, unless they are there.
pub(super) fn write_base(folder: &Path, base: &IdSet) -> Result<FileRef, DiskError> {
    let bytes = base.len() as u64 * 8;
    let each = |out: &mut dyn FnMut(&[u8]) -> std::io::Result<()>| {
        let mut hashes = base.iter();
        let mut chunk = Vec::with_capacity(HASHES_AT_A_TIME * 8);
        loop {
            chunk.clear();
            chunk.extend(hashes.by_ref().take(HASHES_AT_A_TIME).flat_map(u64::to_le_bytes));
            if chunk.is_empty() {
                return Ok(());
            }
            out(&chunk)?;
        }
    };
    write(folder, Kind::Base, bytes, &each)
}

/// Writes what stands over the base of `members`; `None` if nothing does.
pub(super) fn write_turned(folder: &Path, members: &Members) -> Result<Option<FileRef>, DiskError> {
    let mut turned: Vec<_> = members.turned_ids().collect();
    if turned.is_empty() {
        return Ok(None);
    }
    turned.sort_unstable();
    let mut body = Vec::with_capacity(turned.len() * TURNED_BYTES);
    for (hash, version, member) in turned {
        body.extend_from_slice(&hash.to_le_bytes());
        body.extend_from_slice(&version.to_le_bytes());
        body.push(member.into());
    }
    write(folder, Kind::Turned, body.len() as u64, &|out| out(&body)).map(Some)
}

type Body<'b> = dyn Fn(&mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> + 'b;

fn write(folder: &Path, kind: Kind, bytes: u64, body: &Body<'_>) -> Result<FileRef, DiskError> {
    let mut sum = Sum::new(kind, bytes);
    let mut add = |part: &[u8]| {
        sum.update(part);
        Ok(())
    };
    body(&mut add).map_err(|error| DiskError::Io { path: folder.to_owned(), error })?;
    let sha256 = sum.finish();
    let name = format!("{}.{}", sha256.get(..32).unwrap_or_default(), kind.as_str());
    // Named by its contents: one that is there is the same, or damaged, which its length does not show.
    let there = std::fs::metadata(folder.join(&name)).is_ok()
        && file::read(&folder.join(&name)).is_ok_and(|found| frame::open(&found, kind).is_ok());
    if !there {
        let line = frame::line(kind, bytes, &sha256);
        file::write(folder, &name, |out: &mut dyn Write| {
            out.write_all(line.as_bytes())?;
            body(&mut |part| out.write_all(part))
        })?;
    }
    Ok(FileRef { name, sha256 })
}

/// Reads the members of an audience.
pub(super) fn read(folder: &Path, held: &Held) -> Result<Members, DiskError> {
    let base = read_file(folder, &held.base, Kind::Base)?;
    let base = base.open(Kind::Base)?;
    let (hashes, rest) = base.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(DiskError::Damaged("the base is cut".into()));
    }
    let set = IdSet::new(hashes.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect());
    let members = Members::over_base(Arc::new(set));
    let Some(turned) = &held.turned else { return Ok(members) };
    let turned = read_file(folder, turned, Kind::Turned)?;
    let (turned, rest) = turned.open(Kind::Turned)?.as_chunks::<TURNED_BYTES>();
    if !rest.is_empty() {
        return Err(DiskError::Damaged("the turned ids are cut".into()));
    }
    Ok(members.with(turned.iter().map(|bytes| {
        let [hash @ .., _, _, _, _, _, _, _, _, member] = bytes;
        let [_, _, _, _, _, _, _, _, version @ .., _] = bytes;
        (u64::from_le_bytes(*hash), i64::from_le_bytes(*version), *member == 1)
    })))
}

/// A file that was read and whose sum is the one that the state names.
struct Checked(Vec<u8>);

impl Checked {
    fn open(&self, kind: Kind) -> Result<&[u8], DiskError> {
        // The sum holds: only the line is looked for again.
        let end = self.0.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        end.and_then(|end| self.0.get(end..))
            .ok_or_else(|| DiskError::Damaged(format!("the {} has no head", kind.as_str())))
    }
}

fn read_file(folder: &Path, named: &FileRef, kind: Kind) -> Result<Checked, DiskError> {
    if named.name.contains('/') {
        return Err(DiskError::Damaged("a file outside the folder is named".into()));
    }
    let found = file::read(&folder.join(&named.name))?;
    let (_, sum) = frame::open(&found, kind)?;
    if sum != named.sha256 {
        return Err(DiskError::Damaged(format!("{} is another file than the state names", named.name)));
    }
    Ok(Checked(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_and_damaged_files_do_not() {
        let folder = tempfile::tempdir().unwrap();
        // Spread as hashes are: neighbours would all stand in one place, and every look-up would walk through it.
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let base = IdSet::new((0..20_000).map(|n| spread(n * 7)).collect());
        let members = Members::from(base).with([(7, 2, false), (8, 3, true), (u64::MAX, 4, true)]);
        let base = write_base(folder.path(), members.base_set()).unwrap();
        let turned = write_turned(folder.path(), &members).unwrap();
        let held = Held { base, turned };
        let back = read(folder.path(), &held).unwrap();
        for hash in (0..200_000).map(spread).chain([7, 8, u64::MAX, u64::MAX - 1]) {
            assert_eq!(back.contains(hash), members.contains(hash), "{hash}");
        }
        let order = |members: &Members| {
            let mut turned: Vec<_> = members.turned_ids().collect();
            turned.sort_unstable();
            turned
        };
        assert_eq!(order(&back), order(&members));
        let path = folder.path().join(&held.base.name);
        let whole = std::fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, &flipped).unwrap();
            assert!(read(folder.path(), &held).is_err(), "byte {at}");
        }
        write_base(folder.path(), members.base_set()).unwrap();
        assert!(read(folder.path(), &held).is_ok(), "what is damaged is written again");
        let other = write_base(folder.path(), &IdSet::new(vec![1])).unwrap();
        std::fs::copy(folder.path().join(&other.name), &path).unwrap();
        assert!(read(folder.path(), &held).is_err(), "another audience's");
        assert!(write_turned(folder.path(), &Members::default()).unwrap().is_none());
    }
}
