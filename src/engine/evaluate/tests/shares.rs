//! A million units: the shares are right, and lines with different salts know nothing of each other.

use std::sync::OnceLock;

use statrs::distribution::{ChiSquared, ContinuousCDF as _};

use super::*;

const UNITS: u32 = 1_000_000;

/// The lines that are looked at.
const PREFIXES: [&str; 5] = ["salt:", "salt/split:", "pay/layer:", "k7f3v2q6m4x5n2b7c3d6t4w5ay:", "other:"];

/// Buckets of a million shoppers on the line of `prefix`, made once for all tests.
fn buckets(prefix: &str) -> &'static [u32] {
    static LINES: [OnceLock<Vec<u32>>; PREFIXES.len()] = [const { OnceLock::new() }; PREFIXES.len()];
    let at = PREFIXES.iter().position(|known| *known == prefix).unwrap();
    LINES[at].get_or_init(|| made(prefix))
}

fn made(prefix: &str) -> Vec<u32> {
    use std::fmt::Write as _;
    let (salted, mut unit) = (Salted::new(prefix), String::new());
    (0..UNITS)
        .map(|n| {
            unit.clear();
            write!(unit, "user-{n}").unwrap();
            salted.bucket(&unit).ppm()
        })
        .collect()
}

/// Whether `count` of the units is `share` of them, within five standard deviations.
#[track_caller]
fn check_share(count: usize, share: f64) {
    let units = f64::from(UNITS);
    let count = f64::from(u32::try_from(count).unwrap());
    let sigma = (units * share * (1.0 - share)).sqrt();
    assert!((count - units * share).abs() <= 5.0 * sigma, "{count} is not {share} of {units}");
}

#[test]
fn shares_are_what_the_percentages_say() {
    for salt in ["salt:", "k7f3v2q6m4x5n2b7c3d6t4w5ay:", "salt/split:", "pay/layer:"] {
        let buckets = buckets(salt);
        for share in [0.0001, 0.01, 0.05, 0.25, 0.5, 0.95] {
            let below = f64::from(PPM) * share;
            check_share(buckets.iter().filter(|bucket| f64::from(**bucket) < below).count(), share);
            let above = f64::from(PPM) - below;
            check_share(buckets.iter().filter(|bucket| f64::from(**bucket) >= above).count(), share);
        }
    }
}

/// The p-value of independence of two lines, each cut into `parts`.
fn independence(a: &[u32], b: &[u32], parts: u32) -> f64 {
    let size = usize::try_from(parts).unwrap();
    let part = |bucket: &u32| usize::try_from(bucket * parts / PPM).unwrap();
    let mut table = vec![vec![0_u32; size]; size];
    for (a, b) in a.iter().zip(b) {
        table[part(a)][part(b)] += 1;
    }
    let row = |at: usize| f64::from(table[at].iter().sum::<u32>());
    let column = |at: usize| f64::from(table.iter().map(|row| row[at]).sum::<u32>());
    let mut statistic = 0.0;
    for (x, line) in table.iter().enumerate() {
        for (y, count) in line.iter().enumerate() {
            let expected = row(x) * column(y) / f64::from(UNITS);
            statistic += (f64::from(*count) - expected).powi(2) / expected;
        }
    }
    let freedom = f64::from((parts - 1) * (parts - 1));
    1.0 - ChiSquared::new(freedom).unwrap().cdf(statistic)
}

#[test]
fn lines_are_independent() {
    let prefixes = ["salt:", "salt/split:", "other:", "pay/layer:"];
    let lines = prefixes.map(buckets);
    for (at, a) in lines.iter().enumerate() {
        for (other, b) in lines.iter().enumerate().skip(at + 1) {
            for parts in [2, 10] {
                let p = independence(a, b, parts);
                // Twelve tests of fixed data: 0.0001 leaves room for chance, none for a dependence.
                assert!(p > 1e-4, "{} and {} in {parts} parts: p = {p}", prefixes[at], prefixes[other]);
            }
        }
    }
    assert!(independence(lines[0], lines[0], 2) < 1e-9, "a line depends on itself");
}
