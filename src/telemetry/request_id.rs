//! Ids of requests: the caller's if it has a plain form, else one of our own. No heap, no system call.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::{Random, RandomError, bytes};

/// Longest id in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// An id that matches `[A-Za-z0-9._-]{1,64}`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Zero after `length`.
    text: [u8; REQUEST_ID_BYTES_MAX],
    length: u8,
}

impl RequestId {
    /// Reads a caller's id; `None` if it has another form.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let length = u8::try_from(text.len()).ok().filter(|n| *n > 0)?;
        let mut id = Self { text: [0; REQUEST_ID_BYTES_MAX], length };
        id.text.get_mut(..text.len()).filter(|_| text.iter().all(plain))?.copy_from_slice(text);
        Some(id)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes ids: 16 hexadecimal digits, counted up from a random start, so that they differ within a
/// process and, but for bad luck, between processes.
#[derive(Debug)]
pub struct RequestIds(AtomicU64);

impl RequestIds {
    /// Ids from a random start.
    ///
    /// # Errors
    /// [`RandomError`] when the source fails.
    pub fn new(random: &dyn Random) -> Result<Self, RandomError> {
        Ok(Self(AtomicU64::new(u64::from_le_bytes(bytes(random)?))))
    }

    /// The id that the caller `sent`, if it has the form; else a new one.
    #[must_use]
    pub fn take(&self, sent: Option<&[u8]>) -> RequestId {
        sent.and_then(RequestId::parse).unwrap_or_else(|| self.make())
    }

    /// A new id.
    #[must_use]
    pub fn make(&self) -> RequestId {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; REQUEST_ID_BYTES_MAX];
        for (place, byte) in text.iter_mut().take(16).enumerate() {
            let digit = (number >> (60 - 4 * place)) & 15;
            *byte = usize::try_from(digit).ok().and_then(|d| DIGITS.get(d)).copied().unwrap_or(b'0');
        }
        RequestId { text, length: 16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn a_callers_id_counts_only_in_a_plain_form() {
        let longest = "x".repeat(64);
        let over = "x".repeat(65);
        let far_over = "x".repeat(256 + 3);
        for (text, good) in [
            ("a", true),
            ("A.b_c-9", true),
            (longest.as_str(), true),
            ("", false),
            (over.as_str(), false),
            (far_over.as_str(), false),
            ("a b", false),
            ("a\nb", false),
            ("灰度", false),
        ] {
            let ids = RequestIds::new(&SystemRandom).unwrap();
            let id = ids.take(Some(text.as_bytes()));
            assert_eq!(id.as_str() == text, good, "{text:?}");
            assert_eq!(RequestId::parse(text.as_bytes()).is_some(), good, "{text:?}");
            assert!(RequestId::parse(id.as_str().as_bytes()).is_some(), "our own has the form too");
        }
    }

    #[test]
    fn own_ids_count_up_from_a_random_start_and_wrap() {
        let ids = RequestIds::new(&Fixed(0xff)).unwrap();
        assert_eq!(ids.make().to_string(), "ffffffffffffffff");
        assert_eq!(ids.take(None).as_str(), "0000000000000000");
        assert_eq!(ids.take(Some(b"bad id")).as_str(), "0000000000000001");
        let (one, other) = (RequestIds::new(&SystemRandom).unwrap(), RequestIds::new(&SystemRandom).unwrap());
        assert_ne!(one.make(), other.make());
        assert_ne!(one.make(), one.make());
    }
}
