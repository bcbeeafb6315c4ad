//! Numbers of contexts and conditions: compared by value, whole ones exactly.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// The largest whole number that JavaScript keeps exactly: 2^53 - 1. Money stays within it.
pub const SAFE_INTEGER_MAX: i64 = 9_007_199_254_740_991;

/// A finite number; `1` and `1.0` are the same.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A whole number that fits 64 bits.
    Whole(i64),
    /// Any other finite number.
    Real(f64),
}

impl Number {
    /// A number from a float; whole values become [`Number::Whole`], so equal numbers look alike.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked, the fraction is zero")]
    pub fn from_f64(value: f64) -> Self {
        // 2^63 itself does not fit, -2^63 does.
        if value.fract() == 0.0
            && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value)
        {
            Self::Whole(value as i64)
        } else {
            Self::Real(value)
        }
    }

    /// A number from JSON; `None` if it is no JSON number.
    #[must_use]
    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        let number = value.as_number()?;
        number.as_i64().map(Self::Whole).or_else(|| number.as_f64().map(Self::from_f64))
    }

    /// The whole number, if it is one.
    #[must_use]
    pub fn whole(self) -> Option<i64> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Real(_) => None,
        }
    }

    /// Order by value, exact for whole numbers beyond 2^53 too.
    #[must_use]
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(&b),
            (Self::Real(a), Self::Real(b)) => a.total_cmp(&b),
            (Self::Whole(a), Self::Real(b)) => whole_to_real(a, b),
            (Self::Real(a), Self::Whole(b)) => whole_to_real(b, a).reverse(),
        }
    }
}

/// A `Real` beside a `Whole` has a fraction or lies outside 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "only values inside the range are cast")]
fn whole_to_real(whole: i64, real: f64) -> Ordering {
    if real >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    if real < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    let floor = real.floor();
    match whole.cmp(&(floor as i64)) {
        Ordering::Equal if real > floor => Ordering::Less,
        order => order,
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.compare(*other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Whole(value) => value.hash(state),
            Self::Real(value) => value.to_bits().hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_compare_by_value() {
        let two_53_plus_1 = Number::Whole(9_007_199_254_740_993);
        for (a, b, order) in [
            (Number::Whole(1), Number::from_f64(1.0), Ordering::Equal),
            (Number::Whole(1), Number::from_f64(1.5), Ordering::Less),
            (Number::Whole(-1), Number::from_f64(-1.5), Ordering::Greater),
            (Number::Whole(0), Number::from_f64(-0.0), Ordering::Equal),
            (two_53_plus_1, Number::from_f64(9_007_199_254_740_992.0), Ordering::Greater),
            (Number::Whole(i64::MAX), Number::from_f64(1e300), Ordering::Less),
            (Number::Whole(i64::MIN), Number::from_f64(-1e300), Ordering::Greater),
        ] {
            assert_eq!(a.compare(b), order, "{a:?} {b:?}");
            assert_eq!(b.compare(a), order.reverse(), "{b:?} {a:?}");
        }
    }

    proptest! {
        #[test]
        fn equal_numbers_hash_alike(value in any::<i32>()) {
            use std::hash::BuildHasher as _;
            let state = foldhash::fast::FixedState::default();
            let (a, b) = (Number::Whole(i64::from(value)), Number::from_f64(f64::from(value)));
            prop_assert_eq!(a, b);
            prop_assert_eq!(state.hash_one(a), state.hash_one(b));
        }
    }
}
