//! What stands around the bytes of each file: one line that says what follows, and the SHA-256 of it all.
//!
//! ```text
//! huidu-last-good <format> <kind> <bytes of the body> <SHA-256 of "<format> <kind> <bytes>\n" and the body>\n<body>
//! ```

use sha2::{Digest as _, Sha256};

use super::DiskError;

/// The format that this release writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;
const MAGIC: &str = "huidu-last-good ";
/// Longest first line.
const LINE_BYTES_MAX: usize = 160;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The state.
    State,
    /// Hashes of an audience's base.
    Base,
    /// What single ids became since.
    Turned,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Base => "base",
            Self::Turned => "turned",
        }
    }
}

/// The sum of a body that is given in pieces.
pub(super) struct Sum(Sha256);

impl Sum {
    pub(super) fn new(kind: Kind, bytes: u64) -> Self {
        Self::of_format(FORMAT, kind, bytes)
    }

    fn of_format(format: u32, kind: Kind, bytes: u64) -> Self {
        let mut sum = Sha256::new();
        sum.update(format!("{format} {} {bytes}\n", kind.as_str()));
        Self(sum)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The first line of a file.
pub(super) fn line(kind: Kind, bytes: u64, sum: &str) -> String {
    format!("{MAGIC}{FORMAT} {} {bytes} {sum}\n", kind.as_str())
}

/// The body of a file, once its line and its sum hold; and the sum.
pub(super) fn open(file: &[u8], kind: Kind) -> Result<(&[u8], String), DiskError> {
    let damaged = |why: &str| DiskError::Damaged(format!("the {} is damaged: {why}", kind.as_str()));
    let end = file.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n');
    let (line, body) =
        end.and_then(|end| file.split_at_checked(end + 1)).ok_or_else(|| damaged("no head"))?;
    let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(MAGIC)?.strip_suffix('\n'));
    let words: Vec<&str> = line.ok_or_else(|| damaged("no head"))?.split(' ').collect();
    let [format, named, bytes, sum] = words.as_slice() else { return Err(damaged("no head")) };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let format: u32 = format.parse().ok().filter(|_| plain(format)).ok_or_else(|| damaged("no format"))?;
    if format > FORMAT {
        return Err(DiskError::Newer(format));
    }
    let length: u64 = bytes.parse().ok().filter(|_| plain(bytes)).ok_or_else(|| damaged("no length"))?;
    if format != FORMAT || *named != kind.as_str() {
        return Err(damaged("it is something else"));
    }
    if u64::try_from(body.len()) != Ok(length) {
        return Err(damaged(&format!("it has {} bytes of {length}", body.len())));
    }
    let mut own = Sum::new(kind, length);
    own.update(body);
    let own = own.finish();
    if own != *sum {
        return Err(damaged("its checksum does not match"));
    }
    Ok((body, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(body: &[u8]) -> Vec<u8> {
        let mut sum = Sum::new(Kind::State, body.len() as u64);
        sum.update(body);
        [line(Kind::State, body.len() as u64, &sum.finish()).as_bytes(), body].concat()
    }

    #[test]
    fn a_body_comes_back_only_as_it_was_written() {
        let whole = file(b"the body");
        assert_eq!(open(&whole, Kind::State).unwrap().0, b"the body");
        assert_eq!(open(&file(b""), Kind::State).unwrap().0, b"");
        assert!(open(&whole, Kind::Base).is_err());
        for cut in 0..whole.len() {
            assert!(open(&whole[..cut], Kind::State).is_err(), "cut to {cut}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert!(open(&flipped, Kind::State).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(open(&[&whole[..], b"x"].concat(), Kind::State).is_err(), "longer");
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut sum = Sum::of_format(2, Kind::State, 1);
        sum.update(b"x");
        let newer = format!("{MAGIC}2 state 1 {}\nx", sum.finish());
        let error = open(newer.as_bytes(), Kind::State).unwrap_err();
        assert!(error.to_string().contains("format 2"), "{error}");
    }
}
