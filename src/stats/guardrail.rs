//! Guardrails: metrics of which more is worse. Proof of harm stops a ramp; proof that there is no harm beyond the margin
//! lets it go on; in between it waits.

use crate::stats::counts::{Count, Strata};
use crate::stats::figures::{self, Interval, Note, Why};
use crate::stats::quadrature::Hill;
use crate::stats::sequential::{ALPHA, GUARDRAIL_TUNING, c1, r};
use crate::stats::stratified::Pool;

/// Evidence from which a limit is called broken: `1 / alpha`.
const E_BROKEN: f64 = 20.0;
/// An e-value is shown no larger than this.
const E_SHOWN_MAX: f64 = 1e300;

/// What a guardrail says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Proven not to be beyond the margin: a ramp may go on.
    Holds,
    /// Neither proven: wait.
    Undecided,
    /// Proven worse than control, not proven to be beyond the margin: pause, tell a person.
    Harmed,
    /// Proven to be beyond the margin, or the limit: roll back.
    Broken,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Holds, Self::Undecided, Self::Harmed, Self::Broken];

    /// The stable word of the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Undecided => "undecided",
            Self::Harmed => "harmed",
            Self::Broken => "broken",
        }
    }
}

/// A guardrail against control.
#[derive(Debug, Clone, PartialEq)]
pub struct MarginGuardrail {
    /// By how much it may be worse, as a share (0.002 = 0.2 points).
    pub margin: f64,
    /// The variant's rate, weighted over the stages.
    pub treatment_rate: Option<f64>,
    /// Control's rate with the same weights.
    pub control_rate: Option<f64>,
    /// Their difference; over 0 is worse.
    pub difference: Option<f64>,
    /// `difference -+ c1 se`: each side holds by itself with 95 %, however often it is looked at.
    pub always_valid_bounds: Option<Interval>,
    /// The smallest margin that could be proven now: `c1 se + max(0, difference)`.
    pub provable_margin: Option<f64>,
    /// What it says.
    pub state: State,
    /// Why figures are missing.
    pub notes: Vec<Note>,
}

/// A guardrail against an absolute rate.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitGuardrail {
    /// The highest rate allowed, as a share.
    pub limit: f64,
    /// The rate seen.
    pub rate: Option<f64>,
    /// Evidence against "the rate is at most the limit", always valid; broken from 20 on. `None` where it would be
    /// infinite.
    pub e_value: Option<f64>,
    /// What it says; never `Harmed`, as there is no control.
    pub state: State,
    /// Why figures are missing.
    pub notes: Vec<Note>,
}

/// Where units came in other shares than they should, nothing is proven to be harmless, and `notes` say so.
fn distrust(state: &mut State, notes: &mut Vec<Note>) {
    if *state == State::Holds {
        *state = State::Undecided;
    }
    notes.push(Note { field: "state", why: Why::Srm });
}

impl MarginGuardrail {
    /// The same, with each reason told as `by` tells it.
    #[must_use]
    pub fn explained(mut self, by: impl Fn(Why) -> Why) -> Self {
        figures::explain(&mut self.notes, by);
        self
    }

    /// The same where units came in other shares than expected: nothing holds.
    #[must_use]
    pub fn distrusted(mut self) -> Self {
        distrust(&mut self.state, &mut self.notes);
        self
    }
}

impl LimitGuardrail {
    /// The same, with each reason told as `by` tells it.
    #[must_use]
    pub fn explained(mut self, by: impl Fn(Why) -> Why) -> Self {
        figures::explain(&mut self.notes, by);
        self
    }

    /// The same where units came in other shares than expected: nothing holds.
    #[must_use]
    pub fn distrusted(mut self) -> Self {
        distrust(&mut self.state, &mut self.notes);
        self
    }
}

/// A metric that may not be worse than control by more than `margin` (>= 0): one-sided always-valid bounds at 5 %,
/// broken if the lower is over the margin, harmed if it is over 0, holding if the upper is under the margin.
#[must_use]
pub fn margin(counts: &Strata<'_>, margin: f64) -> MarginGuardrail {
    let pool = Pool::new(&counts.rows(), &counts.links()).map(|mut pool| {
        pool.add_one_conversion();
        pool
    });
    let Some(pool) = pool.filter(|_| margin.is_finite()) else {
        return nothing(counts, margin);
    };
    let difference = pool.difference();
    let se = pool.spread().iter().sum::<f64>().sqrt();
    let half = c1(r(pool.information, GUARDRAIL_TUNING), ALPHA) * se;
    let (low, high) = (difference - half, difference + half);
    let state = if low > margin {
        State::Broken
    } else if low > 0.0 {
        State::Harmed
    } else if high < margin {
        State::Holds
    } else {
        State::Undecided
    };
    let [treatment, control] = pool.means;
    MarginGuardrail {
        margin,
        treatment_rate: Some(treatment),
        control_rate: Some(control),
        difference: Some(difference),
        always_valid_bounds: Some(Interval { low, high }.clip(-1.0, 1.0)),
        provable_margin: Some((half + difference.max(0.0)).min(1.0)),
        state,
        notes: Vec::new(),
    }
}

fn nothing(counts: &Strata<'_>, margin: f64) -> MarginGuardrail {
    let why = if margin.is_finite() { counts.why_nothing() } else { Why::InputInvalid };
    let fields = ["treatment_rate", "control_rate", "difference", "always_valid_bounds", "provable_margin"];
    MarginGuardrail {
        margin,
        treatment_rate: None,
        control_rate: None,
        difference: None,
        always_valid_bounds: None,
        provable_margin: None,
        state: State::Undecided,
        notes: fields.map(|field| Note { field, why }).to_vec(),
    }
}

/// A metric whose rate may be at most `limit`. Broken from an e-value of 20 on ([`ln_e_over`]); holding where the
/// mirrored one, against "the rate is at least the limit", reaches 20. A limit of 0 is broken by the first event, one
/// of 1 or more always holds. 20 is 1 over the level of 5 %: Ville's inequality (Étude critique de la notion de
/// collectif, 1939) bounds the chance that such evidence ever comes without cause.
#[must_use]
pub fn limit(count: Count, limit: f64) -> LimitGuardrail {
    let rate = (count.units > 0).then(|| count.rate());
    let made = |e_value: Result<f64, Why>, state| {
        let no_rate = rate.is_none().then_some(Note { field: "rate", why: Why::NothingExposed });
        let no_e_value = e_value.err().map(|why| Note { field: "e_value", why });
        let notes = no_rate.into_iter().chain(no_e_value).collect();
        LimitGuardrail { limit, rate, e_value: e_value.ok(), state, notes }
    };
    if !limit.is_finite() || limit < 0.0 {
        return made(Err(Why::InputInvalid), State::Undecided);
    }
    if limit >= 1.0 {
        return made(Ok(1.0), State::Holds);
    }
    if limit <= 0.0 {
        return if count.converted > 0 {
            made(Err(Why::Certain), State::Broken)
        } else {
            made(Ok(1.0), State::Undecided)
        };
    }
    let over = ln_e_over(count, limit).min(E_SHOWN_MAX.ln()).exp();
    let under = ln_e_under(count, limit);
    let state = if over >= E_BROKEN {
        State::Broken
    } else if under >= E_BROKEN.ln() {
        State::Holds
    } else {
        State::Undecided
    };
    made(Ok(over), state)
}

/// `ln` of the e-value against "the rate is at most L", 0 < L < 1: the likelihood ratio to L, mixed over the rates above
/// L with a Beta(1, 1/L - 1) cut there, worth about one event. In the logit counted from L it is
/// `(1 - L) integral over d > 0 of exp(A d - N ln(1 + L (e^d - 1)))`, A = 1 + y, N = 1/L + n. (Mixtures of likelihood
/// ratios: Robbins, Annals of Mathematical Statistics 41:1397, 1970.)
#[must_use]
pub fn ln_e_over(count: Count, limit: f64) -> f64 {
    (-limit).ln_1p() + hill(count, limit).ln_right()
}

/// The mirror: against "the rate is at least L", mixed over the rates below L with the same Beta cut there.
fn ln_e_under(count: Count, limit: f64) -> f64 {
    // ln((1 - L)^(b + 1) / (1 - (1 - L)^b)), b = 1/L - 1: what the cut leaves.
    let ln_outside = (limit.recip() - 1.0) * (-limit).ln_1p();
    let scale = (-limit).ln_1p() + ln_outside - (-ln_outside.exp_m1()).ln();
    scale + hill(count, limit).ln_left()
}

fn hill(count: Count, limit: f64) -> Hill {
    let (units, events) = (count.units as f64, count.converted.min(count.units) as f64);
    Hill { a: 1.0 + events, b: (1.0 - limit) / limit + (units - events), q: limit, p: 1.0 - limit }
}

#[cfg(test)]
mod tests {
    use super::{State, limit, ln_e_under, margin};
    use crate::stats::counts::{Count, Strata, Stratum, Waiting};
    use crate::stats::figures::{Note, Why};

    fn count(converted: u64, units: u64) -> Count {
        Count { units, converted }
    }

    fn state(treatment: Count, control: Count) -> State {
        let strata = [Stratum { stage: 1, treatment, control }];
        margin(&Strata { strata: &strata, ..Strata::default() }, 0.005).state
    }

    #[test]
    fn four_states() {
        let control = count(2_000, 100_000);
        for (failed, wanted) in
            [(4_000, State::Broken), (2_350, State::Harmed), (2_000, State::Holds), (1_500, State::Holds)]
        {
            assert_eq!(state(count(failed, 100_000), control), wanted, "{failed}");
        }
        assert_eq!(state(count(2, 100), count(20, 1_000)), State::Undecided);
        assert_eq!(state(count(0, 0), control), State::Undecided);
    }

    #[test]
    fn without_control_nothing_is_proven() {
        let strata = [Stratum { stage: 1, treatment: count(9, 10), control: count(0, 0) }];
        let found = margin(&Strata { strata: &strata, ..Strata::default() }, 0.0);
        assert_eq!((found.state, found.difference), (State::Undecided, None));
        assert!(found.notes.iter().all(|note| note.why == Why::NoControl));
        let fields: Vec<_> = found.notes.iter().map(|note| note.field).collect();
        assert!(fields.contains(&"treatment_rate") && fields.contains(&"control_rate"), "{fields:?}");
        let waiting = Waiting { control: 4, ..Waiting::default() };
        let told = found.explained(|why| waiting.explains(why));
        assert!(told.notes.iter().all(|note| note.why == Why::Maturing));
    }

    #[test]
    fn nothing_holds_where_shares_are_wrong() {
        let strata = [Stratum { stage: 1, treatment: count(2_000, 100_000), control: count(2_000, 100_000) }];
        let found = margin(&Strata { strata: &strata, ..Strata::default() }, 0.005);
        assert_eq!(found.state, State::Holds);
        let distrusted = found.distrusted();
        assert_eq!(distrusted.state, State::Undecided);
        assert_eq!(distrusted.notes, [Note { field: "state", why: Why::Srm }]);
        let limited = limit(count(10, 1_000), 0.03).distrusted();
        assert_eq!((limited.state, limited.notes), (State::Undecided, distrusted.notes));
        assert_eq!(
            limit(count(60, 1_000), 0.03).distrusted().state,
            State::Broken,
            "harm is told all the same"
        );
    }

    #[test]
    fn limits_at_their_ends() {
        assert_eq!(limit(count(0, 100), 0.0).state, State::Undecided);
        assert_eq!(limit(count(1, 100), 0.0).state, State::Broken);
        assert_eq!(limit(count(100, 100), 1.0).state, State::Holds);
        assert_eq!(limit(count(0, 0), 0.02).e_value.map(f64::round), Some(1.0));
        let all = limit(count(1_000_000_000, 1_000_000_000), 0.001);
        assert!(all.state == State::Broken && all.e_value.unwrap().is_finite());
        assert_eq!(limit(count(0, 1), f64::NAN).state, State::Undecided);
    }

    #[test]
    fn a_rate_far_under_the_limit_is_proven() {
        assert!(ln_e_under(count(0, 0), 0.03).abs() < 1e-9);
        assert_eq!(limit(count(10, 1_000), 0.03).state, State::Holds);
        assert_eq!(limit(count(28, 1_000), 0.03).state, State::Undecided);
        assert_eq!(limit(count(60, 1_000), 0.03).state, State::Broken);
    }
}
