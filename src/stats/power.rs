//! What could be found now, and when to look again.

use crate::stats::counts::Stratum;
use crate::stats::sequential::{c, r};
use crate::stats::special::z;
use crate::stats::stratified::information;

/// Four of five real effects of the size named are found.
pub const Z_POWER: f64 = 0.841_621_233_572_914_3;
/// A date later than this is none.
const DAYS_MAX: u32 = 36_500;
/// The longest wait that is advised.
const ADVISED_DAYS_MAX: u32 = 365;

/// How fast a comparison grows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    /// Growth of `W` a day.
    pub information_per_day: f64,
    /// Units of both arms a day.
    pub users_per_day: f64,
}

impl Pace {
    /// From the present stage's matured units now and `days` days ago (at most 7, and not before the stage began).
    #[must_use]
    pub fn of(now: &Stratum, before: &Stratum, days: f64) -> Self {
        let of = |stratum: &Stratum| {
            let (treatment, control) = (stratum.treatment.units as f64, stratum.control.units as f64);
            (information(treatment, control), treatment + control)
        };
        let ((information_now, users_now), (information_then, users_then)) = (of(now), of(before));
        let a_day = |growth: f64| if days > 0.0 { (growth / days).max(0.0) } else { 0.0 };
        Self {
            information_per_day: a_day(information_now - information_then),
            users_per_day: a_day(users_now - users_then),
        }
    }
}

/// A comparison's precision and what it should be able to find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// `sigma^2 = se^2 W`.
    pub variance: f64,
    /// `W` now.
    pub information: f64,
    /// Growth of `W` a day.
    pub information_per_day: f64,
    /// The difference worth finding, as declared: never the one just seen.
    pub effect: f64,
    /// Tuning of the always-valid interval.
    pub tuning: f64,
    /// Level.
    pub alpha: f64,
}

/// The least differences that four of five times are found.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Power {
    /// Now, if this were the only look.
    pub mde_fixed: Option<f64>,
    /// Now, looking as often as one likes.
    pub mde_sequential: Option<f64>,
    /// Days until the declared effect would be found at a single look.
    pub days_fixed: Option<u32>,
    /// Days until it would be found looking as often as one likes; on the safe side.
    pub days_sequential: Option<u32>,
}

/// When it is worth looking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookAgain {
    /// Units that will have joined by then.
    pub users: u64,
    /// Days from now, the attribution window included; at most 365.
    pub days: u32,
}

impl Plan {
    /// Least detectable difference at one look: `(z + z_b) sigma / sqrt(W)` (Lachin, Controlled Clinical Trials 2:93, 1981,
    /// with information in place of the sample's size).
    #[must_use]
    pub fn mde_fixed(&self, information: f64) -> Option<f64> {
        self.mde(z(self.alpha), information)
    }

    /// The same with the always-valid multiplier, [`c`]: `(c(r(W)) + z_b) sigma / sqrt(W)`. On the safe side: looked at
    /// daily, four of five such effects are found earlier.
    #[must_use]
    pub fn mde_sequential(&self, information: f64) -> Option<f64> {
        self.mde(c(r(information, self.tuning), self.alpha), information)
    }

    fn mde(&self, multiplier: f64, information: f64) -> Option<f64> {
        let found = (multiplier + Z_POWER) * (self.variance / information).sqrt();
        (information > 0.0 && found.is_finite()).then_some(found)
    }

    /// Everything at once. Days are `None` without growth, or where it would take over a hundred years.
    #[must_use]
    pub fn power(&self) -> Power {
        Power {
            mde_fixed: self.mde_fixed(self.information),
            mde_sequential: self.mde_sequential(self.information),
            days_fixed: self.days(|information| self.mde_fixed(information)),
            days_sequential: self.days(|information| self.mde_sequential(information)),
        }
    }

    /// The least d with `MDE(W + d W_day) <= effect`, by halving: both formulas fall with W.
    fn days(&self, mde: impl Fn(f64) -> Option<f64>) -> Option<u32> {
        let enough = |days: u32| {
            let information = self.information + f64::from(days) * self.information_per_day;
            mde(information).is_some_and(|mde| mde <= self.effect)
        };
        if enough(0) {
            return Some(0);
        }
        if !(self.information_per_day > 0.0 && enough(DAYS_MAX)) {
            return None;
        }
        let (mut too_few, mut days) = (0, DAYS_MAX);
        while days - too_few > 1 {
            let middle = too_few + (days - too_few) / 2;
            if enough(middle) { days = middle } else { too_few = middle }
        }
        Some(days)
    }
}

impl Power {
    /// With the attribution window added to the days, since nobody counts before it has closed; what can be found now
    /// stays so.
    #[must_use]
    pub fn with_window(self, window_hours: u32) -> Self {
        let waited = |days: Option<u32>| {
            days.map(|days| if days == 0 { 0 } else { days.saturating_add(window_hours.div_ceil(24)) })
        };
        Self { days_fixed: waited(self.days_fixed), days_sequential: waited(self.days_sequential), ..self }
    }

    /// The day to look again: `days_sequential` and the attribution window, with the units that will have joined.
    #[must_use]
    pub fn look_again(&self, pace: &Pace, window_hours: u32) -> Option<LookAgain> {
        let days = self.days_sequential?;
        let advised =
            if days == 0 { 0 } else { days.saturating_add(window_hours.div_ceil(24)).min(ADVISED_DAYS_MAX) };
        let users = (pace.users_per_day * f64::from(days.min(ADVISED_DAYS_MAX))).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates; not negative, not NaN"
        )]
        Some(LookAgain { users: users.max(0.0) as u64, days: advised })
    }
}

#[cfg(test)]
mod tests {
    use super::{LookAgain, Pace, Plan, Power};
    use crate::stats::counts::{Count, Stratum};

    const PLAN: Plan = Plan {
        variance: 0.1,
        information: 1e3,
        information_per_day: 500.0,
        effect: 0.01,
        tuning: 5e3,
        alpha: 0.05,
    };

    #[test]
    fn days_are_the_least_that_suffice() {
        let days = PLAN.power().days_sequential.unwrap();
        let after = |days: u32| PLAN.mde_sequential(1e3 + 500.0 * f64::from(days)).unwrap();
        assert!(after(days) <= 0.01 && after(days - 1) > 0.01);
        assert_eq!(Plan { information: 1e6, ..PLAN }.power().days_sequential, Some(0));
    }

    #[test]
    fn without_growth_or_effect_there_is_no_date() {
        for plan in [
            Plan { information_per_day: 0.0, ..PLAN },
            Plan { effect: 0.0, ..PLAN },
            Plan { information_per_day: f64::NAN, ..PLAN },
            Plan { effect: f64::NAN, ..PLAN },
        ] {
            assert_eq!(plan.power().days_sequential, None, "{plan:?}");
        }
        let nothing = Plan { information: 0.0, ..PLAN }.power();
        assert_eq!((nothing.mde_fixed, nothing.mde_sequential), (None, None));
    }

    #[test]
    fn the_window_is_waited_for() {
        let pace = Pace { information_per_day: 1.0, users_per_day: 100.4 };
        let power = |days| Power { days_sequential: days, ..Power::default() };
        assert_eq!(power(Some(5)).look_again(&pace, 25), Some(LookAgain { users: 502, days: 7 }));
        assert_eq!(power(Some(0)).look_again(&pace, 24), Some(LookAgain { users: 0, days: 0 }));
        assert_eq!(power(Some(9_000)).look_again(&pace, 24).map(|look| look.days), Some(365));
        assert_eq!(power(None).look_again(&pace, 24), None);
        for (days, shown) in [(Some(5), Some(7)), (Some(0), Some(0)), (None, None)] {
            assert_eq!(power(days).with_window(25).days_sequential, shown);
        }
    }

    #[test]
    fn pace_is_the_present_stages_growth() {
        let at = |treatment, control| Stratum {
            stage: 2,
            treatment: Count { units: treatment, converted: 0 },
            control: Count { units: control, converted: 0 },
        };
        let pace = Pace::of(&at(300, 300), &at(100, 100), 2.0);
        assert_eq!(pace, Pace { information_per_day: 50.0, users_per_day: 200.0 });
        assert_eq!(Pace::of(&at(3, 3), &at(1, 1), 0.0), Pace::default());
    }
}
