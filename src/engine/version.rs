//! App versions, ordered as semantic versions but read as they are in the wild: one to four numeric
//! parts, missing ones zero, leading zeros and a leading `v` allowed, build metadata ignored.
//! Pre-release order follows Semantic Versioning 2.0.0, section 11.

use std::cmp::Ordering;

/// A parsed version that borrows its pre-release text.
#[derive(Debug, Clone, Copy)]
pub struct Version<'t> {
    parts: [u64; 4],
    pre_release: &'t str,
}

impl<'t> Version<'t> {
    /// The version of these four parts, without a pre-release.
    #[must_use]
    pub fn of_parts(parts: [u64; 4]) -> Self {
        Self { parts, pre_release: "" }
    }

    /// Its parts, if it is no pre-release.
    #[must_use]
    pub fn parts(&self) -> Option<[u64; 4]> {
        self.pre_release.is_empty().then_some(self.parts)
    }

    /// Parses a version; `None` if the text is none.
    #[must_use]
    pub fn parse(text: &'t str) -> Option<Self> {
        match plain(text) {
            Some(parts) => Some(Self { parts, pre_release: "" }),
            None => Self::parse_any(text),
        }
    }

    fn parse_any(text: &'t str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, pre_release) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        if !pre_release.is_none_or(identifiers) || !build.is_none_or(identifiers) {
            return None;
        }
        let mut parts = [0; 4];
        let mut places = parts.iter_mut();
        for part in core.split('.') {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            *places.next()? = part.parse().ok()?;
        }
        Some(Self { parts, pre_release: pre_release.unwrap_or_default() })
    }

    /// Order of two versions.
    #[must_use]
    pub fn compare(&self, other: &Version<'_>) -> Ordering {
        self.parts.cmp(&other.parts).then_with(|| compare_pre_releases(self.pre_release, other.pre_release))
    }
}

/// Numbers and dots alone, as nearly all are: one pass without a search. `None`: it is something else, or nothing.
fn plain(text: &str) -> Option<[u64; 4]> {
    let (mut parts, mut at, mut digits) = ([0_u64; 4], 0, 0);
    for byte in text.bytes() {
        match byte {
            // Nineteen digits may be too many.
            b'0'..=b'9' if digits < 18 => {
                let part = parts.get_mut(at)?;
                *part = *part * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 => (at, digits) = (at + 1, 0),
            _ => return None,
        }
    }
    (digits > 0).then_some(parts)
}

fn identifiers(text: &str) -> bool {
    text.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

fn compare_pre_releases(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => compare_identifiers(a, b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Numeric identifiers by value and below the others; the others as bytes.
fn compare_identifiers(a: &str, b: &str) -> Ordering {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match (digits(a), digits(b)) {
        (true, true) => {
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        }
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.cmp(b),
    }
}

impl std::fmt::Display for OwnedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch, build] = self.parts;
        write!(f, "{major}.{minor}.{patch}")?;
        if build > 0 {
            write!(f, ".{build}")?;
        }
        if !self.pre_release.is_empty() {
            write!(f, "-{}", self.pre_release)?;
        }
        Ok(())
    }
}

/// A version that a condition compares with: parsed when the flag is compiled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnedVersion {
    parts: [u64; 4],
    pre_release: Box<str>,
}

impl OwnedVersion {
    /// Parses a version; `None` if the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Version::parse(text).map(|v| Self { parts: v.parts, pre_release: v.pre_release.into() })
    }

    /// The version as a borrowed one.
    #[must_use]
    pub fn borrowed(&self) -> Version<'_> {
        Version { parts: self.parts, pre_release: &self.pre_release }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(a: &str, b: &str) -> Option<Ordering> {
        Some(Version::parse(a)?.compare(&Version::parse(b)?))
    }

    #[test]
    fn versions_of_the_wild() {
        for (a, b, expected) in [
            ("10.9.0", "10.10", Some(Ordering::Less)),
            ("10.9", "10.9.0.0", Some(Ordering::Equal)),
            ("v10.09.1", "10.9.1", Some(Ordering::Equal)),
            ("10.9.0.2", "10.9.0.10", Some(Ordering::Less)),
            ("10", "9.99.99", Some(Ordering::Greater)),
            ("1.0.0-alpha", "1.0.0", Some(Ordering::Less)),
            ("1.0.0-alpha.1", "1.0.0-alpha.beta", Some(Ordering::Less)),
            ("1.0.0-rc.11", "1.0.0-rc.2", Some(Ordering::Greater)),
            ("1.0.0+build.5", "1.0.0", Some(Ordering::Equal)),
            ("1.0.0-a-b+c-d", "1.0.0-a-b", Some(Ordering::Equal)),
            ("", "1", None),
            ("1.", "1", None),
            ("1.2.3.4.5", "1", None),
            ("1.x", "1", None),
            ("-1", "1", None),
            ("1-", "1", None),
            ("1+", "1", None),
            ("99999999999999999999", "1", None),
            (" 1", "1", None),
        ] {
            assert_eq!(order(a, b), expected, "{a} {b}");
        }
    }

    fn semver_text() -> impl Strategy<Value = String> {
        ("[0-9]{1,2}", "[0-9]{1,2}", "[0-9]{1,2}", prop::option::of("[a-z0-9]{1,3}(\\.[a-z0-9-]{1,3}){0,2}"))
            .prop_map(|(a, b, c, pre)| {
                let number = |t: String| t.parse::<u8>().unwrap_or_default();
                let pre = pre.map(|p| format!("-{p}")).unwrap_or_default();
                format!("{}.{}.{}{pre}", number(a), number(b), number(c))
            })
    }

    proptest! {
        #[test]
        fn the_quick_way_reads_what_the_thorough_one_reads(text in "[0-9]{0,20}([.][0-9]{0,3}){0,4}[-+a.]?") {
            if let Some(parts) = plain(&text) {
                let thorough = Version::parse_any(&text);
                prop_assert_eq!(thorough.map(|v| (v.parts, v.pre_release)), Some((parts, "")));
            } else {
                prop_assert_eq!(
                    Version::parse(&text).map(|v| v.parts),
                    Version::parse_any(&text).map(|v| v.parts)
                );
            }
        }

        #[test]
        fn strict_versions_order_as_the_crate_semver_says(a in semver_text(), b in semver_text()) {
            if let (Ok(x), Ok(y)) = (semver::Version::parse(&a), semver::Version::parse(&b)) {
                prop_assert_eq!(order(&a, &b), Some(x.cmp_precedence(&y)));
            }
        }
    }
}
