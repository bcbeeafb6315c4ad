//! Times in a histogram whose buckets grow with the time: exact below 64 ms, then 32 buckets an octave, so that a
//! time is told within 1.6 %. Histograms add up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Times below this many milliseconds are exact.
const EXACT_MS: u64 = 64;
/// Binary digits that are kept of larger ones: 32 buckets an octave.
const DIGITS: u32 = 5;

/// Times by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram(BTreeMap<u16, u64>);

/// The bucket of a time.
fn bucket(ms: u64) -> u16 {
    if ms < EXACT_MS {
        return u16::try_from(ms).unwrap_or_default();
    }
    let shift = ms.ilog2() - DIGITS;
    // The leading digit stands for itself, so octaves follow on each other without a gap.
    u16::try_from(u64::from(shift << DIGITS) + (ms >> shift)).unwrap_or(u16::MAX)
}

/// The middle of a bucket in milliseconds.
fn middle(bucket: u16) -> f64 {
    let bucket = u64::from(bucket);
    if bucket < EXACT_MS {
        return bucket as f64;
    }
    let shift = (bucket >> DIGITS) - 1;
    let low = (bucket - (shift << DIGITS)) << shift;
    low as f64 + ((1_u64 << shift) as f64 - 1.0) / 2.0
}

impl Histogram {
    /// Takes a time in.
    pub fn add(&mut self, ms: u64) {
        *self.0.entry(bucket(ms)).or_default() += 1;
    }

    /// Takes all times of another in.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_default() += count;
        }
    }

    /// The lower median in milliseconds, within 1.6 %; `None` of nothing.
    #[must_use]
    pub fn median_ms(&self) -> Option<f64> {
        let count: u64 = self.0.values().sum();
        let mut before = 0;
        let half = self.0.iter().find(|(_, in_it)| {
            before += **in_it;
            before * 2 >= count
        });
        half.map(|(bucket, _)| middle(*bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_told_within_its_resolution_and_in_order() {
        let mut last = 0;
        let times = (0..5_000).chain((5_000..3_000_000_000).step_by(1_234_567));
        for ms in times {
            let at = bucket(ms);
            assert!(at >= last, "{ms}: buckets follow on each other");
            last = at;
            let off = (middle(at) - ms as f64).abs() / (ms as f64).max(1.0);
            assert!(off <= if ms < EXACT_MS { 0.0 } else { 0.016 }, "{ms}: {} is {off} off", middle(at));
        }
        let mut distinct: Vec<u16> = (0..100_000).map(bucket).collect();
        distinct.dedup();
        assert!(distinct.windows(2).all(|pair| pair[1] == pair[0] + 1), "no bucket is left out");
    }

    #[test]
    fn the_median_is_the_middle_one_and_adds_up() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.median_ms(), None);
        histogram.add(7);
        assert_eq!(histogram.median_ms(), Some(7.0));
        let mut others = Histogram::default();
        for ms in [9, 11, 60_000] {
            others.add(ms);
        }
        histogram.merge(&others);
        assert_eq!(histogram.median_ms(), Some(9.0), "of 7, 9, 11, 60000 the lower middle");
    }
}
