//! The tokens of one answer: their statements are gathered, then sealed together and written as text together, which takes
//! each the least time.

use std::cell::Cell;
use std::ops::Range;

use base64::Engine as _;

use super::siv::TAG;
use super::{HEAD, Sealer, write_number, write_text};

/// Bytes that a token of usual texts takes.
const BYTES_EXPECTED: usize = 160;
/// Bytes that the base64 library takes at a time, and from how many on.
const BLOCK: usize = 24;
const BLOCKS_FROM: usize = 128;

/// What a thread keeps of the room for the tokens of one answer, for its next one: taking kilobytes anew each time, and
/// clearing them, takes as long as writing the texts does.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Room for the tokens of an answer. What stands in it is of no meaning to the next one.
#[derive(Default)]
struct Room {
    /// Head, statement and room for a tag of each, on a multiple of three: there a text begins on four characters.
    bytes: Vec<u8>,
    /// Where each statement stands.
    statements: Vec<Range<usize>>,
    /// The tokens as base64url text.
    texts: Vec<u8>,
}

impl Room {
    fn bytes_kept(&self) -> usize {
        let statements = self.statements.capacity() * size_of::<Range<usize>>();
        self.bytes.capacity() + statements + self.texts.capacity()
    }
}

thread_local! {
    static ROOM: Cell<Room> = Cell::default();
}

/// Statements to be sealed.
pub struct Batch<'k> {
    sealer: Sealer<'k>,
    room: Room,
}

/// Tokens as base64url text.
#[derive(Default)]
pub struct Sealed(Room);

impl Drop for Sealed {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.0);
        // A thread that ends has no place for it any more.
        if (1..=KEPT_BYTES_MAX).contains(&room.bytes_kept()) {
            let _kept = ROOM.try_with(|kept| kept.set(room));
        }
    }
}

impl<'k> Batch<'k> {
    /// A batch of about `tokens`.
    #[must_use]
    pub fn new(sealer: Sealer<'k>, tokens: usize) -> Self {
        let mut room = ROOM.try_with(Cell::take).unwrap_or_default();
        room.bytes.clear();
        room.bytes.reserve(BLOCKS_FROM + tokens * BYTES_EXPECTED);
        room.statements.clear();
        room.statements.reserve(tokens);
        Self { sealer, room }
    }

    /// Adds a statement: what was decided (see [`super::decided`]), for whom, and with which attributes; its place among the
    /// tokens.
    pub fn push<'t, V: AsRef<str>>(
        &mut self,
        decided: &[u8],
        unit: &str,
        bucket: Option<u32>,
        captured: impl ExactSizeIterator<Item = (&'t str, V)>,
    ) -> usize {
        self.push_with(|out| {
            out.extend_from_slice(decided);
            write_text(unit, out);
            write_number(bucket.map_or(0, |bucket| u64::from(bucket) + 1), out);
            write_number(captured.len() as u64, out);
            for (name, value) in captured {
                write_text(name, out);
                write_text(value.as_ref(), out);
            }
        })
    }

    /// Adds what `write` writes.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let Room { bytes: out, statements, .. } = &mut self.room;
        out.extend_from_slice(&self.sealer.head);
        let from = out.len();
        write(out);
        statements.push(from..out.len());
        out.extend_from_slice(&[0; TAG + 2]);
        out.truncate((out.len() - 2).next_multiple_of(3));
        statements.len() - 1
    }

    /// Seals them all.
    #[must_use]
    pub fn seal(self) -> Sealed {
        let Self { sealer, mut room } = self;
        let Room { bytes, statements, texts } = &mut room;
        if statements.is_empty() {
            return Sealed(room);
        }
        sealer.keys.seal_all(&sealer.head, bytes, statements);
        // The library takes 24 bytes at a time where it has 128 or more, while 32 are there: zeros stand behind the last.
        let padded = (bytes.len().next_multiple_of(BLOCK) + 8).max(BLOCKS_FROM);
        bytes.resize(padded, 0);
        let length = padded.div_ceil(3) * 4;
        if texts.len() < length {
            texts.resize(length, 0);
        }
        if sealer.base64.encode_slice(bytes, texts).is_err() {
            statements.clear();
        }
        Sealed(room)
    }
}

impl Sealed {
    /// The token at `place`.
    #[must_use]
    #[inline]
    pub fn text(&self, place: usize) -> Option<&[u8]> {
        let statement = self.0.statements.get(place)?;
        let (from, to) = (statement.start - HEAD, statement.end + TAG);
        let at = from / 3 * 4;
        self.0.texts.get(at..at + ((to - from) * 4).div_ceil(3))
    }
}
