//! Signed units: what the shop's backend says of a user id, so that a browser cannot name another's.
//!
//! `unitSignature` = hex(HMAC-SHA256(key, user id)). The key is the secret's text itself, its bytes as they are shown,
//! so that one line in any language signs.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 32;

/// The secrets that units may be signed with, made ready once; two during a rotation.
pub struct UnitSecrets(Vec<Hmac<Sha256>>);

impl std::fmt::Debug for UnitSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnitSecrets({})", self.0.len())
    }
}

impl UnitSecrets {
    /// The secrets with these texts. With none, no signature is right.
    #[must_use]
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        // HMAC takes a key of any length.
        Self(texts.into_iter().filter_map(|text| Hmac::new_from_slice(text.as_bytes()).ok()).collect())
    }

    /// Whether `signature` (hex, of either case) is that of `unit` by one of the secrets; compared in constant time.
    #[must_use]
    pub fn verify(&self, unit: &str, signature: &str) -> bool {
        let Some(signature) = decoded(signature) else { return false };
        let signed = |secret: &Hmac<Sha256>| {
            secret.clone().chain_update(unit.as_bytes()).verify_slice(&signature).is_ok()
        };
        self.0.iter().any(signed)
    }
}

/// The bytes of 64 hexadecimal digits.
fn decoded(text: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != SIGNATURE_BYTES || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; SIGNATURE_BYTES];
    for (place, [high, low]) in bytes.iter_mut().zip(pairs) {
        *place = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Python's `hmac` for `u-1` with the secret `huidu_unit_test`.
    const SIGNATURE: &str = "f40834e32c147f6f101dc982f82a44901cd2409caab622aa42b7516c40eebdc7";

    #[test]
    fn exactly_the_signature_of_the_unit_by_a_known_secret_is_right() {
        let both = UnitSecrets::new(["other", "huidu_unit_test"]);
        let changed = format!("{}0", SIGNATURE.split_at(63).0);
        let upper = SIGNATURE.to_uppercase();
        for (unit, signature, right) in [
            ("u-1", SIGNATURE, true),
            ("u-1", upper.as_str(), true),
            ("u-2", SIGNATURE, false),
            ("", SIGNATURE, false),
            ("u-1", "", false),
            ("u-1", SIGNATURE.split_at(62).0, false),
            ("u-1", SIGNATURE.split_at(63).0, false),
            ("u-1", changed.as_str(), false),
            ("u-1", "灰度灰度灰度灰度灰度灰度灰度灰度灰度灰度灰", false),
            ("u-1", &"+1".repeat(32), false),
        ] {
            assert_eq!(both.verify(unit, signature), right, "{unit:?} {signature:?}");
        }
        assert!(!UnitSecrets::new(["other"]).verify("u-1", SIGNATURE));
        assert!(!UnitSecrets::new([]).verify("u-1", SIGNATURE));
    }

    #[test]
    fn each_flipped_bit_of_a_signature_is_seen() {
        let secrets = UnitSecrets::new(["huidu_unit_test"]);
        for bit in 0..256 {
            let mut bytes = decoded(SIGNATURE).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!secrets.verify("u-1", &hex), "bit {bit}");
        }
    }
}
