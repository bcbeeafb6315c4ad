//! Takes an upload in: inflated, parsed and sorted on a thread of its own, as its chunks come.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use bytes::{Buf as _, Bytes};
use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::UploadError;
use super::lines::{Format, read_ids};
use super::sort::{Sorted, Sorter};

/// How many times its size an upload may inflate to.
pub const RATIO_MAX: u64 = 100;
/// What it may inflate to whatever its size.
const INFLATED_BYTES_FREE: u64 = 1 << 20;
/// Chunks that wait for the parser.
const CHUNKS_MAX: usize = 4;

/// How an upload comes.
#[derive(Debug, Clone)]
pub struct Shape {
    /// How ids are written.
    pub format: Format,
    /// Whether they are compressed.
    pub gzip: bool,
    /// Where what does not fit into memory is kept meanwhile.
    pub folder: PathBuf,
    /// Ids that it may have, repeats not counted.
    pub ids_max: i64,
}

/// A piece of an upload. One that ends without [`Piece::End`] was cut off.
enum Piece {
    Chunk(Bytes),
    End,
}

/// An upload under way.
pub struct Intake {
    pieces: mpsc::Sender<Piece>,
    task: JoinHandle<Result<Sorted, UploadError>>,
}

impl Intake {
    /// Begins.
    #[must_use]
    pub fn begin(shape: Shape) -> Self {
        let (pieces, received) = mpsc::channel(CHUNKS_MAX);
        let task = tokio::task::spawn_blocking(move || take_in(&shape, Chunks::new(received)));
        Self { pieces, task }
    }

    /// Hands over the next chunk; `false` once nothing more is taken: [`Intake::finish`] says why.
    pub async fn feed(&self, chunk: Bytes) -> bool {
        self.pieces.send(Piece::Chunk(chunk)).await.is_ok()
    }

    /// The ids of the whole upload, in order.
    ///
    /// # Errors
    /// [`UploadError`]: then nothing of it is kept.
    pub async fn finish(self) -> Result<Sorted, UploadError> {
        // A parser that has given up hears nothing.
        let told = self.pieces.send(Piece::End).await;
        drop((told, self.pieces));
        self.task.await.unwrap_or_else(|error| Err(UploadError::Disk(io::Error::other(error))))
    }
}

fn take_in(shape: &Shape, chunks: Chunks) -> Result<Sorted, UploadError> {
    let mut sorter = Sorter::new(&shape.folder, shape.ids_max);
    let mut take = |id: &str| sorter.push(id);
    if shape.gzip {
        let inflated = Inflated { inner: MultiGzDecoder::new(chunks), bytes: 0, over: false };
        read_ids(shape.format, BufReader::with_capacity(64 << 10, inflated), refused, &mut take)?;
    } else {
        read_ids(shape.format, chunks, refused, &mut take)?;
    }
    sorter.finish()
}

fn refused(error: io::Error) -> UploadError {
    match error.kind() {
        io::ErrorKind::ConnectionAborted => UploadError::Incomplete,
        io::ErrorKind::QuotaExceeded => UploadError::Bomb,
        _ => UploadError::Gzip(error.to_string()),
    }
}

/// The chunks as something to read from.
struct Chunks {
    received: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
    bytes: u64,
}

impl Chunks {
    fn new(received: mpsc::Receiver<Piece>) -> Self {
        Self { received, current: Bytes::new(), ended: false, bytes: 0 }
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            match self.received.blocking_recv() {
                Some(Piece::Chunk(chunk)) => {
                    self.bytes += chunk.len() as u64;
                    self.current = chunk;
                }
                Some(Piece::End) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount.min(self.current.len()));
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// Inflates, and stops at the bound on the ratio.
struct Inflated {
    inner: MultiGzDecoder<Chunks>,
    bytes: u64,
    over: bool,
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        self.over |= self.bytes > INFLATED_BYTES_FREE + RATIO_MAX * self.inner.get_ref().bytes;
        if self.over { Err(io::ErrorKind::QuotaExceeded.into()) } else { Ok(read) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    /// What an upload in chunks of `chunk` bytes is taken as; `whole` is whether its end comes.
    fn taken(body: &[u8], gzip: bool, chunk: usize, whole: bool) -> Result<Vec<String>, UploadError> {
        let folder = tempfile::tempdir().unwrap();
        let shape = Shape { format: Format::Text, gzip, folder: folder.path().to_owned(), ids_max: 1_000 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let intake = Intake::begin(shape);
            for piece in body.chunks(chunk) {
                if !intake.feed(Bytes::copy_from_slice(piece)).await {
                    break;
                }
            }
            let finished = if whole {
                intake.finish().await
            } else {
                drop(intake.pieces);
                intake.task.await.unwrap()
            };
            let mut sorted = finished?;
            let mut ids = Vec::new();
            while let Some(id) = sorted.take_next()? {
                ids.push(id.to_owned());
            }
            Ok(ids)
        })
    }

    #[test]
    fn chunks_may_end_anywhere_plain_or_compressed() {
        let body = "u-2\r\n灰\nu-1\nu-2".as_bytes();
        for chunk in [1, 2, 3, 5, 1_000] {
            assert_eq!(taken(body, false, chunk, true).unwrap(), ["u-1", "u-2", "灰"], "{chunk}");
            assert_eq!(taken(&gzip(body), true, chunk, true).unwrap(), ["u-1", "u-2", "灰"], "{chunk}");
            let members = [gzip(b"u-1\nu"), gzip(b"-3\n"), gzip(b"")].concat();
            assert_eq!(taken(&members, true, chunk, true).unwrap(), ["u-1", "u-3"], "{chunk}");
        }
        assert!(taken(b"", false, 1, true).unwrap().is_empty());
    }

    #[test]
    fn what_is_cut_off_is_never_a_shorter_list() {
        let whole = gzip(b"u-1\nu-2\nu-3\n");
        for end in 0..whole.len() {
            let cut = taken(&whole[..end], true, 7, true);
            assert!(matches!(cut, Err(UploadError::Gzip(_))), "{end}: {cut:?}");
        }
        assert!(matches!(taken(b"u-1\n", true, 7, true), Err(UploadError::Gzip(_))), "no gzip at all");
        assert!(matches!(taken(&[&whole[..], b"rest"].concat(), true, 7, true), Err(UploadError::Gzip(_))));
        for gzip in [false, true] {
            let body = if gzip { &whole[..] } else { b"u-1\nu-2\n" };
            assert!(matches!(taken(body, gzip, 7, false), Err(UploadError::Incomplete)), "{gzip}");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_bound() {
        let bomb = gzip(&b"\n".repeat(8 << 20));
        assert!(bomb.len() < 20_000, "{}", bomb.len());
        assert!(matches!(taken(&bomb, true, 1_000, true), Err(UploadError::Bomb)));
        let harmless = gzip(&b"u-1\n".repeat(200_000));
        assert_eq!(taken(&harmless, true, 1_000, true).unwrap(), ["u-1"], "under a megabyte all is free");
    }
}
