//! The tokens of one answer: their statements are gathered, then sealed together and written as text together, which takes
//! each the least time.

use std::ops::Range;

use base64::Engine as _;
use smallvec::SmallVec;

use super::siv::TAG;
use super::{HEAD, Sealer, write_number, write_text};

/// Bytes that a token of usual texts takes.
const BYTES_EXPECTED: usize = 160;
/// Bytes that the base64 library takes at a time, and from how many on.
const BLOCK: usize = 24;
const BLOCKS_FROM: usize = 128;

/// Statements to be sealed.
pub struct Batch<'k> {
    sealer: Sealer<'k>,
    /// Head, statement and room for a tag of each, on a multiple of three: there a text begins on four characters.
    bytes: Vec<u8>,
    /// Where each statement stands.
    statements: SmallVec<[Range<usize>; 2]>,
}

/// Tokens as base64url text.
#[derive(Default)]
pub struct Sealed {
    texts: Vec<u8>,
    tokens: SmallVec<[Range<usize>; 2]>,
}

impl<'k> Batch<'k> {
    /// A batch of about `tokens`.
    #[must_use]
    pub fn new(sealer: Sealer<'k>, tokens: usize) -> Self {
        Self {
            sealer,
            bytes: Vec::with_capacity(BLOCKS_FROM + tokens * BYTES_EXPECTED),
            statements: SmallVec::with_capacity(tokens),
        }
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
        let out = &mut self.bytes;
        out.extend_from_slice(&self.sealer.head);
        let from = out.len();
        write(out);
        self.statements.push(from..out.len());
        out.extend_from_slice(&[0; TAG + 2]);
        out.truncate((out.len() - 2).next_multiple_of(3));
        self.statements.len() - 1
    }

    /// Seals them all.
    #[must_use]
    pub fn seal(mut self) -> Sealed {
        if self.statements.is_empty() {
            return Sealed::default();
        }
        self.sealer.keys.seal_all(&self.sealer.head, &mut self.bytes, &self.statements);
        // The library takes 24 bytes at a time where it has 128 or more, while 32 are there: zeros stand behind the last.
        let padded = (self.bytes.len().next_multiple_of(BLOCK) + 8).max(BLOCKS_FROM);
        self.bytes.resize(padded, 0);
        let mut texts = vec![0; padded.div_ceil(3) * 4];
        if self.sealer.base64.encode_slice(&self.bytes, &mut texts).is_err() {
            return Sealed::default();
        }
        let text = |statement: &Range<usize>| {
            let (from, to) = (statement.start - HEAD, statement.end + TAG);
            let at = from / 3 * 4;
            at..at + ((to - from) * 4).div_ceil(3)
        };
        Sealed { texts, tokens: self.statements.iter().map(text).collect() }
    }
}

impl Sealed {
    /// The token at `place`.
    #[must_use]
    #[inline]
    pub fn text(&self, place: usize) -> Option<&[u8]> {
        self.texts.get(self.tokens.get(place)?.clone())
    }
}
