//! Keys: the names that people give to flags, rules, variants, steps, layers, audiences,
//! environments and placements. They travel raw in paths, so their alphabet is narrow.

use std::borrow::Borrow;
use std::fmt;

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 100;

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 1 to 100 characters of A-Z a-z 0-9 . _ - and neither `.` nor `..`")]
pub struct KeyError;

/// Whether `text` matches `[A-Za-z0-9._-]{1,100}` and is neither `.` nor `..`.
#[must_use]
pub fn is_key(text: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether `text` may name something for people: no control characters, and none that are invisible or turn the
/// direction of text, since a name must look like what it is.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    !text.chars().any(hidden)
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses a key.
            ///
            /// # Errors
            /// [`KeyError`] when the text is outside the alphabet or the length.
            pub fn parse(text: &str) -> Result<Self, KeyError> {
                is_key(text).then(|| Self(text.into())).ok_or(KeyError)
            }

            /// The key as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    )*};
}

keys! {
    /// Names an environment.
    EnvironmentKey
    /// Names a flag inside its environment.
    FlagKey
    /// Names a variant inside its flag.
    VariantKey
    /// Names a rule inside its flag.
    RuleId
    /// Names a step (a funnel stop or a metric) inside its environment.
    StepKey
    /// Names a layer inside its environment.
    LayerKey
    /// Names an audience inside its environment.
    AudienceKey
    /// Names a placement inside its environment.
    PlacementKey
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_all_of_itself() {
        for (text, plain) in [
            ("Scan code 扫码支付 é 🛒", true),
            ("", true),
            ("a\u{7}b", false),
            ("a\nb", false),
            ("a\u{85}b", false),
            ("\u{202e}evil", false),
            ("zero\u{200b}width", false),
            ("\u{feff}mark", false),
        ] {
            assert_eq!(is_plain(text), plain, "{text:?}");
        }
    }

    #[test]
    fn keys_are_narrow() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        let over = "k".repeat(KEY_BYTES_MAX + 1);
        for (text, good) in [
            ("wechat-scan-pay", true),
            ("A.b_c-9", true),
            ("...", true),
            (longest.as_str(), true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a b", false),
            ("灰度", false),
            ("a\0", false),
            (over.as_str(), false),
        ] {
            assert_eq!(FlagKey::parse(text).is_ok(), good, "{text:?}");
        }
    }
}
