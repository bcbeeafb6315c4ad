//! Numbers as text: as many decimals as their precision deserves, limits rounded outward.

use crate::stats::figures::Interval;

/// No figure has more decimals.
const DECIMALS_MAX: i32 = 9;

/// Decimals of points and percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digits(i32);

impl Digits {
    /// As many as an interval of this width deserves, and enough that a limit beside 0 is not written as 0.
    pub(crate) fn of(low: f64, high: f64) -> Self {
        let half = 50.0 * (high - low).abs();
        let mut digits = Self(1);
        while digits.0 < DECIMALS_MAX && half * digits.scale() < 1.0 {
            digits.0 += 1;
        }
        digits.until(|digits| {
            let (shown_low, shown_high) = digits.outward(low, high);
            (low > 0.0) == (shown_low > 0.0) && (high < 0.0) == (shown_high < 0.0)
        })
    }

    /// And enough that the limits are on the same sides of `margin` as they are.
    pub(crate) fn apart(self, margin: f64, bounds: Interval) -> Self {
        self.until(|digits| {
            let (low, high) = digits.outward(bounds.low, bounds.high);
            let shown = 100.0 * margin;
            (bounds.low > margin) == (low > shown + 1e-12) && (bounds.high < margin) == (high < shown - 1e-12)
        })
    }

    /// As few as make two different numbers look different.
    pub(crate) fn apart_from(one: f64, other: f64) -> Self {
        Self(1).until(|digits| (one - other).abs() < 1e-15 || digits.rate(one) != digits.rate(other))
    }

    fn until(mut self, good: impl Fn(Self) -> bool) -> Self {
        while self.0 < DECIMALS_MAX && !good(self) {
            self.0 += 1;
        }
        self
    }

    fn scale(self) -> f64 {
        10_f64.powi(self.0)
    }

    /// Both limits in points, rounded outward (a billionth of a digit is taken for an error of rounding).
    fn outward(self, low: f64, high: f64) -> (f64, f64) {
        let scale = self.scale();
        ((100.0 * low * scale + 1e-7).floor() / scale, (100.0 * high * scale - 1e-7).ceil() / scale)
    }

    fn text(self, points: f64) -> String {
        let decimals = usize::try_from(self.0).unwrap_or(1);
        let text = format!("{points:+.decimals$}");
        // No "-0.0".
        if text.trim_start_matches(['+', '-']).chars().all(|digit| matches!(digit, '0' | '.')) {
            text.trim_start_matches(['+', '-']).to_owned()
        } else {
            text
        }
    }

    /// A difference in points, with its sign.
    pub(crate) fn signed(self, difference: f64) -> String {
        self.text(100.0 * difference)
    }

    /// A lower limit in points.
    pub(crate) fn floor(self, low: f64) -> String {
        self.text(self.outward(low, low).0)
    }

    /// An upper limit in points.
    pub(crate) fn ceil(self, high: f64) -> String {
        self.text(self.outward(high, high).1)
    }

    /// A rate in percent, without a sign.
    pub(crate) fn rate(self, rate: f64) -> String {
        self.text(100.0 * rate).trim_start_matches('+').to_owned()
    }
}

/// A share in percent as somebody typed it: no zeros behind.
pub(crate) fn share(share: f64) -> String {
    trimmed(&format!("{:.4}", 100.0 * share))
}

/// A computed share in percent: one decimal, or two digits of a small one.
pub(crate) fn about(share: f64) -> String {
    let percent = 100.0 * share;
    if percent >= 1.0 { trimmed(&format!("{percent:.1}")) } else { trimmed(&format!("{percent:.2}")) }
}

fn trimmed(text: &str) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A confidence: 95, 97.5, 98.3.
pub(crate) fn percent(confidence: f64) -> String {
    // Down, so that no more is claimed than is known.
    let text = format!("{:.1}", (1_000.0 * confidence + 1e-7).floor() / 10.0);
    trimmed(&text)
}

/// A whole number with commas.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }
}
