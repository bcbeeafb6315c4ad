//! AES-256-GCM-SIV (RFC 8452) whose keys of a nonce are derived once and kept.
//!
//! A token's nonce is made of purpose, day and environment: the same all day. Deriving its keys anew for each token, as
//! the crate `aes-gcm-siv` does, is nearly half of what a token takes, and a bulk answer holds one for each flag.
//! The primitives are the ones that crate stands on, `aes` and `polyval`; the tests hold all of this against it, and
//! against the vectors of the RFC.

use aes::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes256Enc, Block};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash as _;
use subtle::ConstantTimeEq as _;

/// Bytes of a nonce.
pub(super) const NONCE: usize = 12;
/// Bytes of a tag.
pub(super) const TAG: usize = 16;
const BLOCK: usize = 16;
/// Blocks of the key stream made at a time: most tokens need no more.
const BLOCKS: usize = 8;

/// The key that the keys of a nonce are derived from.
pub(super) struct MasterKey(Aes256Enc);

impl MasterKey {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Enc::new(&Array::from(*key)))
    }

    /// Derives the keys of `nonce` (RFC 8452, section 4): of each encrypted block of counter and nonce the first half.
    pub(super) fn derive(&self, nonce: [u8; NONCE]) -> NonceKeys {
        let mut blocks = [Block::default(); 6];
        for (counter, block) in (0_u32..).zip(&mut blocks) {
            let bytes = counter.to_le_bytes().into_iter().chain(nonce);
            block.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        }
        self.0.encrypt_blocks(&mut blocks);
        let mut derived = blocks.iter().flat_map(|block| block.iter().take(BLOCK / 2).copied());
        let authentication = Array::from_fn(|_| derived.next().unwrap_or_default());
        let encryption = Array::from_fn(|_| derived.next().unwrap_or_default());
        NonceKeys { cipher: Aes256Enc::new(&encryption), hash: Polyval::new(&authentication), nonce }
    }
}

/// The keys of one nonce, expanded.
pub(super) struct NonceKeys {
    cipher: Aes256Enc,
    hash: Polyval,
    nonce: [u8; NONCE],
}

impl NonceKeys {
    /// Encrypts `text` in its place; the tag is of it and of `open`, which stays as it is.
    pub(super) fn seal(&self, open: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let tag = self.tag(open, text);
        self.apply_key_stream(tag, text);
        tag.into()
    }

    /// Decrypts `text` in its place. `false`: `tag` is not that of `open` and `text`, and nothing of it is left.
    #[must_use]
    pub(super) fn open(&self, open: &[u8], text: &mut [u8], tag: [u8; TAG]) -> bool {
        self.apply_key_stream(Array(tag), text);
        let same = bool::from(self.tag(open, text).ct_eq(&tag));
        if !same {
            text.fill(0);
        }
        same
    }

    /// POLYVAL of both, their lengths in bits behind them, the nonce in it, encrypted (RFC 8452, section 4).
    fn tag(&self, open: &[u8], text: &[u8]) -> Block {
        let mut hash = self.hash.clone();
        hash.update_padded(open);
        hash.update_padded(text);
        let bits = |bytes: &[u8]| (bytes.len() as u64 * 8).to_le_bytes();
        let lengths = bits(open).into_iter().chain(bits(text));
        let mut block = Block::default();
        block.iter_mut().zip(lengths).for_each(|(place, byte)| *place = byte);
        hash.update(&[block]);
        let mut tag = hash.finalize();
        tag.iter_mut().zip(self.nonce).for_each(|(place, byte)| *place ^= byte);
        if let Some(last) = tag.last_mut() {
            *last &= 0x7f;
        }
        self.cipher.encrypt_block(&mut tag);
        tag
    }

    /// Counter mode from the tag on, its highest bit set, its first four bytes a little-endian counter.
    fn apply_key_stream(&self, tag: Block, text: &mut [u8]) {
        let mut counted: [u8; BLOCK] = tag.into();
        if let Some(last) = counted.last_mut() {
            *last |= 0x80;
        }
        let mut counter = counted.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        for chunk in text.chunks_mut(BLOCK * BLOCKS) {
            let mut stream = [Block::default(); BLOCKS];
            let stream = stream.get_mut(..chunk.len().div_ceil(BLOCK)).unwrap_or_default();
            for block in &mut *stream {
                if let Some(bytes) = counted.first_chunk_mut() {
                    *bytes = counter.to_le_bytes();
                }
                *block = Array(counted);
                counter = counter.wrapping_add(1);
            }
            self.cipher.encrypt_blocks(stream);
            let (whole, rest) = chunk.as_chunks_mut::<BLOCK>();
            let mut keys = stream.iter();
            for (bytes, key) in whole.iter_mut().zip(&mut keys) {
                *bytes = (u128::from_ne_bytes(*bytes) ^ u128::from_ne_bytes(key.0)).to_ne_bytes();
            }
            rest.iter_mut().zip(keys.flatten()).for_each(|(byte, key)| *byte ^= key);
        }
    }
}

#[cfg(test)]
mod tests {
    use aes_gcm_siv::aead::inout::InOutBuf;
    use aes_gcm_siv::{AeadInOut as _, Aes256GcmSiv};
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        // RFC 8452, appendices C.2 and C.3 (a counter that overflows): key, nonce, open text, text, sealed text and tag.
        let (one, zero) = (format!("01{}", "00".repeat(31)), "00".repeat(32));
        let three = format!("03{}", "00".repeat(11));
        for (key, nonce, open, text, sealed) in [
            (&one, &three, "", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
            (&one, &three, "", "0100000000000000", "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28"),
            (&one, &three, "01", "0200000000000000", "1de22967237a813291213f267e3b452f02d01ae33e4ec854"),
            (
                &zero,
                &"00".repeat(12),
                "",
                "000000000000000000000000000000004db923dc793ee6497c76dcc03a98e108",
                "f3f80f2cf0cb2dd9c5984fcda908456cc537703b5ba70324a6793a7bf218d3eaffffffff000000000000000000000000",
            ),
        ] {
            let key = MasterKey::new(&bytes(key).try_into().unwrap());
            let keys = key.derive(bytes(nonce).try_into().unwrap());
            let (open, mut text) = (bytes(open), bytes(text));
            let tag = keys.seal(&open, &mut text);
            text.extend_from_slice(&tag);
            assert_eq!(text, bytes(sealed), "{sealed}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_library_makes(
            key: [u8; 32],
            nonce: [u8; NONCE],
            open in prop::collection::vec(any::<u8>(), 0..40),
            text in prop::collection::vec(any::<u8>(), 0..400),
            bit: prop::sample::Index,
        ) {
            let mut expected = text.clone();
            let library = <Aes256GcmSiv as aes_gcm_siv::KeyInit>::new(&key.into());
            let buffer = InOutBuf::from(expected.as_mut_slice());
            let tag = library.encrypt_inout_detached(&nonce.into(), &open, buffer).unwrap();
            let keys = MasterKey::new(&key).derive(nonce);
            let mut sealed = text.clone();
            prop_assert_eq!(keys.seal(&open, &mut sealed), <[u8; TAG]>::from(tag));
            prop_assert_eq!(&sealed, &expected);

            let mut opened = sealed.clone();
            prop_assert!(keys.open(&open, &mut opened, tag.into()));
            prop_assert_eq!(&opened, &text);

            // One bit of what was open, of the text, or of the tag.
            let mut all = [open.clone(), sealed, tag.to_vec()].concat();
            let at = bit.index(all.len() * 8);
            all[at / 8] ^= 1 << (at % 8);
            let (front, tag) = all.split_at(all.len() - TAG);
            let (changed, sealed) = front.split_at(open.len());
            let mut opened = sealed.to_vec();
            prop_assert!(!keys.open(changed, &mut opened, tag.try_into().unwrap()));
            prop_assert!(opened.iter().all(|byte| *byte == 0), "nothing of it is left");
        }
    }
}
