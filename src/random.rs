//! Random bytes as a value that is passed in: keys, salts and secrets come from here.

use std::sync::Arc;

/// Why no random bytes could be had.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random bytes: {0}")]
pub struct RandomError(String);

/// A source of unpredictable bytes.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// [`RandomError`] when the source fails; nothing may be made of the bytes then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// The source that every part of the service shares.
pub type SharedRandom = Arc<dyn Random>;

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(|e| RandomError(e.to_string()))
    }
}

/// `N` random bytes.
///
/// # Errors
/// [`RandomError`] when the source fails.
pub fn bytes<const N: usize>(random: &dyn Random) -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

/// `length` random lower-case base32 characters (5 bits each): salts and the random part of keys.
///
/// # Errors
/// [`RandomError`] when the source fails.
pub fn base32(random: &dyn Random, length: usize) -> Result<String, RandomError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = vec![0; length];
    random.fill(&mut bytes)?;
    Ok(bytes.iter().filter_map(|b| ALPHABET.get(usize::from(b & 31))).map(|b| char::from(*b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_has_its_length_and_alphabet_and_does_not_repeat() {
        let (a, b) = (base32(&SystemRandom, 26).unwrap(), base32(&SystemRandom, 26).unwrap());
        assert_eq!(a.len(), 26);
        assert!(a.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)));
        assert_ne!(a, b);
    }
}
