//! AES-256-GCM-SIV (RFC 8452) whose keys of a nonce are derived once and kept.
//!
//! A token's nonce is made of purpose, day and environment: the same all day. Deriving its keys anew for each token, as
//! the crate `aes-gcm-siv` does, is nearly half of what a token takes, and a bulk answer holds one for each flag.
//! The primitives are the ones that crate stands on, `aes` and `polyval`; the tests hold all of this against it, and
//! against the vectors of the RFC.

use std::ops::Range;

use aes::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes256Enc, Block};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash as _;
use smallvec::SmallVec;
use subtle::ConstantTimeEq as _;

/// Bytes of a nonce.
pub(super) const NONCE: usize = 12;
/// Bytes of a tag.
pub(super) const TAG: usize = 16;
const BLOCK: usize = 16;
/// Texts that are sealed at a time: their blocks are encrypted together, which takes a block the least time.
const TOGETHER: usize = 32;
/// Room for the hashed blocks of a text of usual length, and for the key stream of several.
const HASHED: usize = 16;
const STREAM: usize = 128;

/// The highest bit of a block.
const HIGHEST: u128 = 1 << 127;

type Stream = SmallVec<[Block; STREAM]>;

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
        let mut nonce_block = [0; BLOCK];
        put(&mut nonce_block, 0, &nonce);
        let (cipher, hash) = (Aes256Enc::new(&encryption), Polyval::new(&authentication));
        NonceKeys { cipher, hash, nonce: u128::from_le_bytes(nonce_block) }
    }
}

/// The keys of one nonce, expanded.
pub(super) struct NonceKeys {
    cipher: Aes256Enc,
    hash: Polyval,
    /// Little-endian, as all blocks are here.
    nonce: u128,
}

impl NonceKeys {
    /// Encrypts each of `texts`, places in `bytes`, and writes the tag of it and of `open` behind it. Texts behind which there
    /// is no room for a tag stay as they are.
    pub(super) fn seal_all(&self, open: &[u8], bytes: &mut [u8], texts: &[Range<usize>]) {
        for texts in texts.chunks(TOGETHER) {
            let hashed = |text: &Range<usize>| self.hashed(open, bytes.get(text.clone()).unwrap_or_default());
            let mut tags: SmallVec<[Block; TOGETHER]> = texts.iter().map(hashed).collect();
            self.cipher.encrypt_blocks(&mut tags);
            let mut stream = Stream::new();
            for (text, tag) in texts.iter().zip(&tags) {
                push_counters(*tag, text.len().div_ceil(BLOCK), &mut stream);
            }
            self.cipher.encrypt_blocks(&mut stream);
            let mut keys = stream.as_slice();
            for (text, tag) in texts.iter().zip(tags) {
                let Some((own, rest)) = keys.split_at_checked(text.len().div_ceil(BLOCK)) else { return };
                keys = rest;
                let Some((text, behind)) =
                    bytes.get_mut(text.start..).and_then(|from| from.split_at_mut_checked(text.len()))
                else {
                    return;
                };
                if let Some(place) = behind.first_chunk_mut::<TAG>() {
                    apply(own, text);
                    *place = tag.into();
                }
            }
        }
    }

    /// Decrypts `text` in its place. `false`: `tag` is not that of `open` and `text`, and nothing of it is left.
    #[must_use]
    pub(super) fn open(&self, open: &[u8], text: &mut [u8], tag: [u8; TAG]) -> bool {
        let mut stream = Stream::new();
        push_counters(Array(tag), text.len().div_ceil(BLOCK), &mut stream);
        self.cipher.encrypt_blocks(&mut stream);
        apply(&stream, text);
        let same = bool::from(self.tag(open, text).ct_eq(&tag));
        if !same {
            text.fill(0);
        }
        same
    }

    /// The tag of both, which nobody can make without the key.
    pub(super) fn tag(&self, open: &[u8], text: &[u8]) -> [u8; TAG] {
        let mut tag = self.hashed(open, text);
        self.cipher.encrypt_block(&mut tag);
        tag.into()
    }

    /// POLYVAL of both, their lengths in bits behind them, the nonce in it (RFC 8452, section 4): a tag but for its
    /// encryption. The hash takes four blocks at a time, so blocks of zeros stand before the others where these are few: of
    /// them it stays zero.
    fn hashed(&self, open: &[u8], text: &[u8]) -> Block {
        let (of_open, of_text) = (open.len().div_ceil(BLOCK), text.len().div_ceil(BLOCK));
        let bits = |bytes: &[u8]| bytes.len() as u128 * 8;
        let lengths = (bits(open) | bits(text) << 64).to_le_bytes();
        let used = of_open + of_text + 1;
        let count = used.next_multiple_of(4);
        let mut room = [[0; BLOCK]; HASHED];
        let mut hash = self.hash.clone();
        if let Some(blocks) = room.get_mut(..count) {
            let all = blocks.as_flattened_mut();
            let from = (count - used) * BLOCK;
            put(all, from, open);
            put(all, from + of_open * BLOCK, text);
            if let Some(last) = blocks.last_mut() {
                *last = lengths;
            }
            hash.update(Array::cast_slice_from_core(blocks));
        } else {
            hash.update_padded(open);
            hash.update_padded(text);
            hash.update(&[Array(lengths)]);
        }
        let hash = u128::from_le_bytes(hash.finalize().into());
        Array(((hash ^ self.nonce) & !HIGHEST).to_le_bytes())
    }
}

/// Copies `bytes` to `all` from `at` on.
fn put(all: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = all.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Appends the counters that encrypt the `count` blocks of a text (RFC 8452, section 4): the tag, its highest bit set, its
/// first four bytes a little-endian counter.
#[expect(clippy::cast_possible_truncation, reason = "the counter is the first four bytes")]
fn push_counters(tag: Block, count: usize, stream: &mut Stream) {
    let first = u128::from_le_bytes(tag.into()) | HIGHEST;
    let mut counter = first as u32;
    stream.extend((0..count).map(|_| {
        let block = first & !u128::from(u32::MAX) | u128::from(counter);
        counter = counter.wrapping_add(1);
        Array(block.to_le_bytes())
    }));
}

/// Mixes the key stream into `text`.
fn apply(stream: &[Block], text: &mut [u8]) {
    let (whole, rest) = text.as_chunks_mut::<BLOCK>();
    let mut keys = stream.iter();
    for (bytes, key) in whole.iter_mut().zip(&mut keys) {
        *bytes = (u128::from_ne_bytes(*bytes) ^ u128::from_ne_bytes(key.0)).to_ne_bytes();
    }
    rest.iter_mut().zip(keys.flatten()).for_each(|(byte, key)| *byte ^= key);
}

#[cfg(test)]
mod tests {
    use aes_gcm_siv::aead::inout::InOutBuf;
    use aes_gcm_siv::{AeadInOut as _, Aes256GcmSiv};
    use proptest::prelude::*;

    use super::*;

    /// Seals one text.
    fn seal(keys: &NonceKeys, open: &[u8], text: &[u8]) -> Vec<u8> {
        let mut bytes = [text, &[0; TAG]].concat();
        keys.seal_all(open, &mut bytes, std::slice::from_ref(&(0..text.len())));
        bytes
    }

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
            assert_eq!(seal(&keys, &bytes(open), &bytes(text)), bytes(sealed), "{sealed}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_library_makes(
            key: [u8; 32],
            nonce: [u8; NONCE],
            open in prop::collection::vec(any::<u8>(), 0..400),
            text in prop::collection::vec(any::<u8>(), 0..400),
            bit: prop::sample::Index,
        ) {
            let mut expected = text.clone();
            let library = <Aes256GcmSiv as aes_gcm_siv::KeyInit>::new(&key.into());
            let buffer = InOutBuf::from(expected.as_mut_slice());
            let tag = library.encrypt_inout_detached(&nonce.into(), &open, buffer).unwrap();
            let keys = MasterKey::new(&key).derive(nonce);
            let both = seal(&keys, &open, &text);
            let (sealed, own) = both.split_at(text.len());
            prop_assert_eq!(own, &tag[..]);
            prop_assert_eq!(sealed, &expected);

            let mut opened = sealed.to_vec();
            prop_assert!(keys.open(&open, &mut opened, tag.into()));
            prop_assert_eq!(&opened, &text);

            // One bit of what was open, of the text, or of the tag.
            let mut all = [&*open, sealed, &*tag].concat();
            let at = bit.index(all.len() * 8);
            all[at / 8] ^= 1 << (at % 8);
            let (front, tag) = all.split_at(all.len() - TAG);
            let (changed, sealed) = front.split_at(open.len());
            let mut opened = sealed.to_vec();
            prop_assert!(!keys.open(changed, &mut opened, tag.try_into().unwrap()));
            prop_assert!(opened.iter().all(|byte| *byte == 0), "nothing of it is left");
        }

        #[test]
        fn many_are_sealed_as_each_alone(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..100), gap in 0..4_usize) {
            let keys = MasterKey::new(&[7; 32]).derive([9; NONCE]);
            let (mut all, mut places, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            for text in &texts {
                places.push(all.len()..all.len() + text.len());
                all.extend_from_slice(text);
                all.extend_from_slice(&[0; TAG]);
                expected.extend(seal(&keys, b"open", text));
                for bytes in [&mut all, &mut expected] {
                    bytes.extend(std::iter::repeat_n(b'.', gap));
                }
            }
            keys.seal_all(b"open", &mut all, &places);
            prop_assert_eq!(all, expected);
        }
    }
}
