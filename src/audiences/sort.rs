//! Sorts ids within bounded memory: runs that fit into it are sorted there and written to a file without a name,
//! then merged. What is merged comes once each, in the order of its bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::UploadError;

/// Bytes of ids that are sorted in memory at a time.
const RUN_BYTES_MAX: usize = 16 << 20;
/// Ids that are sorted in memory at a time: 8 bytes each beside their own.
const RUN_IDS_MAX: usize = 2 << 20;
/// Bytes that all runs together are read through while they are merged.
const MERGE_BYTES_MAX: usize = 16 << 20;
/// Bytes that one run is read through, at least and at most.
const READ_BYTES: (usize, usize) = (4 << 10, 256 << 10);
/// Names of files; each is gone as soon as it is made.
static FILES: AtomicU64 = AtomicU64::new(0);

/// Takes ids in any order.
pub struct Sorter {
    folder: PathBuf,
    /// Ids that an audience may have.
    most: i64,
    run_bytes_max: usize,
    texts: Vec<u8>,
    places: Vec<(u32, u16)>,
    file: Option<BufWriter<File>>,
    written: u64,
    runs: Vec<Run>,
    /// Ids in runs, each counted once a run.
    kept: u64,
}

/// Where a run lies in the file.
struct Run {
    at: u64,
    end: u64,
}

impl Sorter {
    /// Sorts at most `most` ids, with what does not fit into memory in `folder`.
    #[must_use]
    pub fn new(folder: &Path, most: i64) -> Self {
        Self {
            folder: folder.to_owned(),
            most,
            run_bytes_max: RUN_BYTES_MAX,
            texts: Vec::new(),
            places: Vec::new(),
            file: None,
            written: 0,
            runs: Vec::new(),
            kept: 0,
        }
    }

    /// Takes an id of 1 to 256 bytes.
    ///
    /// # Errors
    /// [`UploadError::Disk`]; [`UploadError::TooLarge`] once so many came that hardly all can be repeats.
    pub fn push(&mut self, id: &str) -> Result<(), UploadError> {
        if self.texts.len() + id.len() > self.run_bytes_max || self.places.len() >= RUN_IDS_MAX {
            self.write_run()?;
            // Repeats within a run are gone already.
            if self.kept > 2 * self.most.unsigned_abs() {
                return Err(UploadError::TooLarge(self.most));
            }
        }
        let at = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.places.push((at, u16::try_from(id.len()).unwrap_or(u16::MAX)));
        self.texts.extend_from_slice(id.as_bytes());
        Ok(())
    }

    fn sort(&mut self) {
        let texts = &self.texts;
        let text = |place: &(u32, u16)| slice(texts, *place);
        self.places.sort_unstable_by(|a, b| text(a).cmp(text(b)));
        self.places.dedup_by(|a, b| text(a) == text(b));
        self.kept += self.places.len() as u64;
    }

    /// Writes what is in memory as a run: each id after a byte that is its length less one.
    fn write_run(&mut self) -> Result<(), UploadError> {
        self.sort();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::with_capacity(READ_BYTES.1, nameless(&self.folder)?)),
        };
        let at = self.written;
        for place in &self.places {
            let text = slice(&self.texts, *place);
            let length = u8::try_from(text.len() - 1).unwrap_or(u8::MAX);
            file.write_all(&[length]).and_then(|()| file.write_all(text)).map_err(UploadError::Disk)?;
            self.written += 1 + text.len() as u64;
        }
        self.runs.push(Run { at, end: self.written });
        self.texts.clear();
        self.places.clear();
        Ok(())
    }

    /// The ids in order.
    ///
    /// # Errors
    /// [`UploadError::Disk`]; [`UploadError::TooLarge`] if more are there than may be, as far as known by now.
    pub fn finish(mut self) -> Result<Sorted, UploadError> {
        let Some(_) = &self.file else {
            self.sort();
            if self.kept > self.most.unsigned_abs() {
                return Err(UploadError::TooLarge(self.most));
            }
            return Ok(Sorted(Source::Memory { texts: self.texts, places: self.places, next: 0 }));
        };
        self.write_run()?;
        let file = self.file.take().map(BufWriter::into_inner);
        let file = match file {
            Some(Ok(file)) => file,
            Some(Err(error)) => return Err(UploadError::Disk(error.into_error())),
            None => return Err(UploadError::Incomplete),
        };
        (self.texts, self.places) = (Vec::new(), Vec::new());
        let bytes = (MERGE_BYTES_MAX / self.runs.len().max(1)).clamp(READ_BYTES.0, READ_BYTES.1);
        let mut heap = BinaryHeap::with_capacity(self.runs.len());
        let mut runs = Vec::with_capacity(self.runs.len());
        for (at, run) in self.runs.iter().enumerate() {
            let mut reader = RunReader { next: run.at, end: run.end, buffer: vec![0; bytes], from: 0, to: 0 };
            let mut first = Vec::new();
            if reader.read(&file, &mut first)? {
                heap.push(Reverse((first, at)));
            }
            runs.push(reader);
        }
        Ok(Sorted(Source::Runs { file, runs, heap, last: Vec::new() }))
    }
}

fn slice(texts: &[u8], (at, length): (u32, u16)) -> &[u8] {
    texts.get(at as usize..at as usize + usize::from(length)).unwrap_or_default()
}

/// A file that is gone with its last handle, whatever becomes of the process.
fn nameless(folder: &Path) -> Result<File, UploadError> {
    let path = folder.join(format!("upload-{}", FILES.fetch_add(1, Ordering::Relaxed)));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.map_err(UploadError::Disk)?;
    std::fs::remove_file(&path).map_err(UploadError::Disk)?;
    Ok(file)
}

/// Reads one run through a buffer of its own.
struct RunReader {
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl RunReader {
    /// Reads the next id; `false` at the end.
    fn read(&mut self, file: &File, id: &mut Vec<u8>) -> Result<bool, UploadError> {
        id.clear();
        let mut length = [0_u8];
        if self.from == self.to && self.next == self.end {
            return Ok(false);
        }
        self.fill(file, 1)?;
        length.copy_from_slice(self.buffer.get(self.from..=self.from).unwrap_or(&[0]));
        let bytes = usize::from(length[0]) + 1;
        self.from += 1;
        self.fill(file, bytes)?;
        id.extend_from_slice(self.buffer.get(self.from..self.from + bytes).unwrap_or_default());
        self.from += bytes;
        Ok(true)
    }

    /// Makes at least `bytes` bytes ready, which a buffer always has room for.
    fn fill(&mut self, file: &File, bytes: usize) -> Result<(), UploadError> {
        if self.to - self.from >= bytes {
            return Ok(());
        }
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        while self.to < bytes {
            let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            let room = self.buffer.len().min(self.to.saturating_add(left));
            let free = self.buffer.get_mut(self.to..room).unwrap_or_default();
            let read = file.read_at(free, self.next).map_err(UploadError::Disk)?;
            if read == 0 {
                return Err(UploadError::Disk(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.to += read;
            self.next += read as u64;
        }
        Ok(())
    }
}

/// Ids in the order of their bytes, each once.
pub struct Sorted(Source);

enum Source {
    Memory { texts: Vec<u8>, places: Vec<(u32, u16)>, next: usize },
    Runs { file: File, runs: Vec<RunReader>, heap: BinaryHeap<Reverse<(Vec<u8>, usize)>>, last: Vec<u8> },
}

impl Sorted {
    /// The next id; `None` at the end.
    ///
    /// # Errors
    /// [`UploadError::Disk`].
    pub fn take_next(&mut self) -> Result<Option<&str>, UploadError> {
        let bytes = match &mut self.0 {
            Source::Memory { texts, places, next } => {
                let Some(place) = places.get(*next) else { return Ok(None) };
                *next += 1;
                slice(texts, *place)
            }
            Source::Runs { file, runs, heap, last } => {
                loop {
                    let Some(mut top) = heap.peek_mut() else { return Ok(None) };
                    let Reverse((id, run)) = &mut *top;
                    let repeated = *id == *last;
                    std::mem::swap(id, last);
                    let more = match runs.get_mut(*run) {
                        Some(reader) => reader.read(file, id)?,
                        None => false,
                    };
                    if !more {
                        PeekMut::pop(top);
                    }
                    if !repeated {
                        break;
                    }
                }
                last.as_slice()
            }
        };
        let text = std::str::from_utf8(bytes);
        text.map(Some).map_err(|error| UploadError::Disk(std::io::Error::other(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sorted(ids: &[String], run_bytes_max: usize) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter { run_bytes_max, ..Sorter::new(folder.path(), 1_000_000) };
        for id in ids {
            sorter.push(id).unwrap();
        }
        let mut sorted = sorter.finish().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a file with a name is left");
        let mut all = Vec::new();
        while let Some(id) = sorted.take_next().unwrap() {
            all.push(id.to_owned());
        }
        all
    }

    #[test]
    fn many_runs_are_merged_and_repeats_count_once() {
        let ids: Vec<String> = (0..50_000).map(|n| format!("u-{}", n * 7_919 % 20_000)).collect();
        let expected: Vec<String> = ids.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        assert_eq!(sorted(&ids, 4_096), expected);
        assert_eq!(sorted(&ids, RUN_BYTES_MAX), expected);
        assert!(sorted(&[], 4_096).is_empty());
    }

    #[test]
    fn more_than_the_quota_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let sorter = |ids: i64, run_bytes_max| {
            let mut sorter = Sorter { run_bytes_max, ..Sorter::new(folder.path(), 10) };
            let pushed: Result<(), UploadError> =
                (0..ids).map(|n| (n % 11).to_string()).try_for_each(|id| sorter.push(&id));
            pushed.and_then(|()| sorter.finish().map(drop))
        };
        assert!(sorter(10, 1_000).is_ok());
        assert!(matches!(sorter(11, 1_000), Err(UploadError::TooLarge(10))));
        assert!(matches!(sorter(1_000, 8), Err(UploadError::TooLarge(10))), "far too many end early");
    }

    proptest! {
        // Each case makes up to as many files as ids.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_order_is_that_of_a_sorted_set(
            ids in prop::collection::vec("[a-c灰\u{1}]{1,6}|x{250,256}", 0..100), run_bytes_max in 1..400_usize,
        ) {
            let expected: Vec<String> = ids.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
            prop_assert_eq!(sorted(&ids, run_bytes_max), expected);
        }
    }
}
