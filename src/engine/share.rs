//! Percentages as whole parts per million, so that a ramp stays monotone.

use std::fmt;

/// Parts of the whole line.
pub const PPM: u32 = 1_000_000;

/// A share of a line in parts per million, `0 ..= 1_000_000`: cannot be wrong once made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

impl Share {
    /// Everything.
    pub const ALL: Self = Self(PPM);
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// `percent` with at most four decimals. `None` outside `0 ..= 100`, for NaN, and for finer steps.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ..= 1,000,000 after the range check"
    )]
    #[expect(
        clippy::float_cmp,
        reason = "n / 10,000 is rounded as the decimal text is, so equality is exact"
    )]
    pub fn from_percent(percent: f64) -> Option<Self> {
        if !(0.0..=100.0).contains(&percent) {
            return None;
        }
        let steps = (percent * 10_000.0).round();
        (steps / 10_000.0 == percent).then_some(Self(steps as u32))
    }

    /// Parts per million.
    #[must_use]
    pub fn ppm(self) -> u32 {
        self.0
    }

    /// As percent, exact to its four decimals.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// What is left of the line.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(PPM - self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_has_at_most_four_decimals() {
        for (percent, ppm) in [
            (0.0, Some(0)),
            (100.0, Some(1_000_000)),
            (0.0001, Some(1)),
            (0.1, Some(1_000)),
            (33.3333, Some(333_333)),
            (99.9999, Some(999_999)),
            (0.00001, None),
            (5.00005, None),
            (1e-9, None),
            (-0.0001, None),
            (100.0001, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(Share::from_percent(percent).map(Share::ppm), ppm, "{percent}");
        }
    }

    #[test]
    fn every_step_survives_the_way_through_text() {
        for ppm in (0..=PPM).step_by(7) {
            let text = format!("{}", Share(ppm).percent());
            assert_eq!(Share::from_percent(text.parse().unwrap()), Some(Share(ppm)));
        }
    }
}
