//! From sorted ids to what is stored: blocks for one transaction each, and the hashes beside them.

use tokio::sync::mpsc;

use super::UploadError;
use super::sort::Sorted;
use crate::engine::membership::IdHasher;
use crate::store::NewBlock;

/// Ids of one block, at most.
const BLOCK_IDS_MAX: usize = 256;
/// Bytes of one block, about: a page of the database has room for it.
const BLOCK_BYTES_MAX: usize = 3_600;
/// Ids of one transaction: the writer is never held for long.
const IDS_PER_TRANSACTION: usize = 5_000;
/// Hashes of one stored part: 512 KiB.
const HASHES_PER_PART: usize = 65_536;
/// Batches that wait for the database.
const BATCHES_MAX: usize = 2;

/// What one transaction stores.
#[derive(Debug, Default)]
pub struct Batch {
    /// Blocks in the order of their ids.
    pub blocks: Vec<NewBlock>,
    /// A hash for each of their ids.
    pub hashes: Vec<u64>,
}

/// Cuts ids into batches, on a thread of its own, as they are taken.
#[must_use]
pub fn cut(mut sorted: Sorted, hasher: IdHasher, ids_max: i64) -> mpsc::Receiver<Result<Batch, UploadError>> {
    let (batches, received) = mpsc::channel(BATCHES_MAX);
    tokio::task::spawn_blocking(move || {
        let outcome =
            cut_all(&mut sorted, &hasher, ids_max, &mut |batch| batches.blocking_send(Ok(batch)).is_ok());
        if let Err(error) = outcome {
            // Whoever went away needs no reason.
            drop(batches.blocking_send(Err(error)));
        }
    });
    received
}

/// Cuts a few ids, which are sorted and different, into one batch: for what is stored in one transaction.
#[must_use]
pub fn batch(ids: &[String], hasher: &IdHasher) -> Batch {
    let (mut batch, mut block, mut bytes) = (Batch::default(), Vec::<String>::new(), 0);
    for id in ids {
        if block.len() >= BLOCK_IDS_MAX || bytes + id.len() > BLOCK_BYTES_MAX {
            end_block(&mut batch, &mut block);
            bytes = 0;
        }
        batch.hashes.push(hasher.hash(id));
        bytes += id.len() + 1;
        block.push(id.clone());
    }
    end_block(&mut batch, &mut block);
    batch
}

fn cut_all(
    sorted: &mut Sorted,
    hasher: &IdHasher,
    ids_max: i64,
    give: &mut dyn FnMut(Batch) -> bool,
) -> Result<(), UploadError> {
    let (mut batch, mut block, mut bytes, mut size) = (Batch::default(), Vec::<String>::new(), 0, 0);
    while let Some(id) = sorted.take_next()? {
        size += 1;
        if size > ids_max {
            return Err(UploadError::TooLarge(ids_max));
        }
        if block.len() >= BLOCK_IDS_MAX || bytes + id.len() > BLOCK_BYTES_MAX {
            end_block(&mut batch, &mut block);
            bytes = 0;
            if batch.hashes.len() + BLOCK_IDS_MAX > IDS_PER_TRANSACTION && !give(std::mem::take(&mut batch)) {
                return Ok(());
            }
        }
        batch.hashes.push(hasher.hash(id));
        bytes += id.len() + 1;
        block.push(id.to_owned());
    }
    end_block(&mut batch, &mut block);
    if !batch.blocks.is_empty() {
        give(batch);
    }
    Ok(())
}

fn end_block(batch: &mut Batch, block: &mut Vec<String>) {
    let ids: Vec<&str> = block.iter().map(String::as_str).collect();
    batch.blocks.extend(NewBlock::new(&ids));
    block.clear();
}

/// Hashes as stored: sorted within a part, little-endian.
#[must_use]
pub fn parts(mut hashes: Vec<u64>) -> Vec<Vec<u8>> {
    hashes.sort_unstable();
    hashes.chunks(HASHES_PER_PART).map(bytes_of).collect()
}

/// Takes full parts off the front of `hashes`.
pub fn full_part(hashes: &mut Vec<u64>) -> Option<Vec<u8>> {
    if hashes.len() < HASHES_PER_PART {
        return None;
    }
    let rest = hashes.split_off(HASHES_PER_PART);
    let mut part = std::mem::replace(hashes, rest);
    part.sort_unstable();
    Some(bytes_of(&part))
}

fn bytes_of(hashes: &[u64]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audiences::sort::Sorter;

    fn batches(ids: &[String], ids_max: i64) -> Result<Vec<Batch>, UploadError> {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(folder.path(), 1_000_000);
        for id in ids {
            sorter.push(id).unwrap();
        }
        let mut all = Vec::new();
        cut_all(&mut sorter.finish().unwrap(), &IdHasher::new([1; 32]), ids_max, &mut |batch| {
            all.push(batch);
            true
        })?;
        Ok(all)
    }

    #[test]
    fn no_transaction_is_long_and_no_id_is_lost() {
        for (ids, name) in [(20_000, "u-"), (20_000, &*"灰".repeat(80)), (1, "u-"), (0, "")] {
            let ids: Vec<String> = (0..ids).map(|n| format!("{name}{n:05}")).collect();
            let batches = batches(&ids, 20_000).unwrap();
            let mut all: Vec<String> = Vec::new();
            for batch in &batches {
                let size: i64 = batch.blocks.iter().map(|block| block.size).sum();
                assert_eq!(batch.hashes.len() as i64, size);
                assert!((1..=IDS_PER_TRANSACTION as i64).contains(&size), "{size}");
                for block in &batch.blocks {
                    let own: Vec<&str> = block.ids.split_terminator('\n').skip(1).collect();
                    assert_eq!((own.len() as i64, own[0]), (block.size, &*block.first));
                    assert!(block.ids.len() < 4_000);
                    all.extend(own.iter().map(|id| (*id).to_owned()));
                }
            }
            assert_eq!(all, ids);
        }
    }

    #[test]
    fn one_id_too_many_is_refused() {
        let ids: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        assert!(batches(&ids, 300).is_ok());
        assert!(matches!(batches(&ids, 299), Err(UploadError::TooLarge(299))));
    }

    #[test]
    fn parts_are_full_but_for_the_last() {
        let mut hashes: Vec<u64> = (0..HASHES_PER_PART as u64 + 5).rev().collect();
        assert_eq!(full_part(&mut hashes).unwrap().len(), HASHES_PER_PART * 8);
        assert_eq!((hashes.len(), full_part(&mut hashes)), (5, None));
        assert_eq!(
            parts(hashes),
            [[0_u64, 1, 2, 3, 4].iter().flat_map(|h| h.to_le_bytes()).collect::<Vec<_>>()]
        );
        assert!(parts(Vec::new()).is_empty());
    }
}
