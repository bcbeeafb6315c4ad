//! From counts to the whole comparison of a variant with control: fixed-sample figures, always-valid figures, the
//! Bayesian ones, the verdict, and when to look again.

use crate::stats::bayes::{self, Posterior};
use crate::stats::counts::{Count, Strata, Stratum};
use crate::stats::figures::{self, Interval, Note, Span, Verdict, Why};
use crate::stats::power::{LookAgain, Pace, Plan, Power};
use crate::stats::proportion;
use crate::stats::sequential::{self, ALPHA, GOAL_TUNING};
use crate::stats::special::{two_sided, z};
use crate::stats::stratified::{Pool, fieller};

/// What the metric is in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The conversion: the level is shared among the variants, and Bayesian figures are computed.
    Goal,
    /// Any other metric: to be adjusted for how many there are ([`crate::stats::multiple::adjust`]).
    Metric,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Better {
    /// More conversions are better.
    More,
    /// Fewer are better (a failure as goal).
    Less,
}

/// What is asked: one variant of one rule against its control, on one metric.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Matured units.
    pub counts: Strata<'a>,
    /// Units whose window is open: only to say so where there are no others.
    pub maturing_users: u64,
    /// Goal or another metric.
    pub role: Role,
    /// Which way is good.
    pub better: Better,
    /// Treatment variants of the rule, at least 1: the goal's level is 0.05 over it.
    pub treatments: u32,
    /// `false` where units arrived in other shares than expected: nothing is concluded then.
    pub srm_ok: bool,
    /// "Not worse than" margin to report on, as a share.
    pub margin: Option<f64>,
    /// The relative effect worth finding (0.05 = 5 % of control's rate).
    pub min_effect: f64,
    /// How fast it grows.
    pub pace: Option<Pace>,
    /// The attribution window in hours.
    pub window_hours: u32,
}

/// The whole comparison. Figures that are not defined are `None`, and `notes` say why.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Stages with both arms.
    pub stages_pooled: Vec<u32>,
    /// Stages with units of one arm only, which give nothing.
    pub stages_left_out: Vec<u32>,
    /// `R_1`: the variant's rate, weighted over the stages.
    pub treatment_rate: Option<f64>,
    /// `R_0`: control's rate with the same weights.
    pub control_rate: Option<f64>,
    /// `R_1 - R_0`.
    pub absolute_lift: Option<f64>,
    /// Its interval if this were the only look.
    pub absolute_ci: Option<Interval>,
    /// `R_1 / R_0 - 1`.
    pub relative_lift: Option<f64>,
    /// Its interval if this were the only look.
    pub relative_ci: Option<Span>,
    /// Of every interval here: 0.95, or 1 - 0.05 / m of the goal with m variants.
    pub confidence: f64,
    /// Two-sided, if this were the only look.
    pub p_value: Option<f64>,
    /// The difference's interval that holds however often it is looked at: the one that decides.
    pub always_valid_ci: Option<Interval>,
    /// The lift's, which has 0 outside exactly where the difference's has.
    pub always_valid_relative_ci: Option<Span>,
    /// Under 1 - `confidence` exactly where 0 is outside the interval.
    pub always_valid_p: Option<f64>,
    /// P(the variant's rate is the better one); the goal's only. Decides nothing.
    pub probability_better: Option<f64>,
    /// What choosing the variant costs if it is the worse one, in expectation, as a share.
    pub expected_loss: Option<f64>,
    /// `W`.
    pub information: f64,
    /// Standard error of the difference.
    pub se: Option<f64>,
    /// What may be said.
    pub verdict: Verdict,
    /// Why there is no comparison.
    pub why: Option<Why>,
    /// Where undecided and a margin was named: the margin, if the variant is proven to be worse by less.
    pub not_worse_than: Option<f64>,
    /// What could be found now; days with the attribution window.
    pub power: Option<Power>,
    /// Where undecided: when it is worth looking again; the goal's only.
    pub look_again: Option<LookAgain>,
    /// Why figures are missing.
    pub notes: Vec<Note>,
}

impl Comparison {
    /// Nothing to compare.
    #[must_use]
    pub fn none(why: Why) -> Self {
        let mut made = Self {
            stages_pooled: Vec::new(),
            stages_left_out: Vec::new(),
            treatment_rate: None,
            control_rate: None,
            absolute_lift: None,
            absolute_ci: None,
            relative_lift: None,
            relative_ci: None,
            confidence: 1.0 - ALPHA,
            p_value: None,
            always_valid_ci: None,
            always_valid_relative_ci: None,
            always_valid_p: None,
            probability_better: None,
            expected_loss: None,
            information: 0.0,
            se: None,
            verdict: Verdict::NoComparison,
            why: Some(why),
            not_worse_than: None,
            power: None,
            look_again: None,
            notes: Vec::new(),
        };
        made.note_missing(why);
        made
    }

    /// The same, with each reason told as `by` tells it.
    #[must_use]
    pub fn explained(mut self, by: impl Fn(Why) -> Why) -> Self {
        self.why = self.why.map(&by);
        figures::explain(&mut self.notes, by);
        self
    }

    /// No figure is missing without a note.
    fn note_missing(&mut self, why: Why) {
        let power = |of: fn(&Power) -> bool| self.power.as_ref().is_some_and(of);
        let missing = [
            ("treatment_rate", self.treatment_rate.is_none()),
            ("control_rate", self.control_rate.is_none()),
            ("absolute_lift", self.absolute_lift.is_none()),
            ("absolute_ci", self.absolute_ci.is_none()),
            ("relative_lift", self.relative_lift.is_none()),
            ("relative_ci", self.relative_ci.is_none()),
            ("p_value", self.p_value.is_none()),
            ("always_valid_ci", self.always_valid_ci.is_none()),
            ("always_valid_relative_ci", self.always_valid_relative_ci.is_none()),
            ("always_valid_p", self.always_valid_p.is_none()),
            ("probability_better", self.probability_better.is_none()),
            ("expected_loss", self.expected_loss.is_none()),
            ("smallest_effect", self.power.is_none()),
            ("smallest_effect/fixed", power(|power| power.mde_fixed.is_none())),
            ("smallest_effect/always_valid", power(|power| power.mde_sequential.is_none())),
        ];
        figures::note_missing(&mut self.notes, &missing, why);
    }

    fn note(&mut self, field: &'static str, why: Why) {
        self.notes.push(Note { field, why });
    }
}

/// Compares. Sources of the formulas: [`crate::stats::stratified`], [`crate::stats::sequential`],
/// [`crate::stats::proportion`], [`crate::stats::bayes`], [`crate::stats::power`].
#[must_use]
pub fn compare(question: &Question<'_>) -> Comparison {
    let counts = &question.counts;
    let alpha = match question.role {
        Role::Goal => ALPHA / f64::from(question.treatments.max(1)),
        Role::Metric => ALPHA,
    };
    let stages = |with_both: bool| -> Vec<u32> {
        let chosen =
            counts.strata.iter().filter(|stratum| match (stratum.treatment.units, stratum.control.units) {
                (0, 0) => false,
                (treatment, control) => (treatment > 0 && control > 0) == with_both,
            });
        chosen.map(|stratum| stratum.stage).collect()
    };
    let mut made = match Pool::new(&counts.rows(), &counts.links()) {
        None => {
            let why = match counts.why_nothing() {
                Why::NothingExposed if question.maturing_users > 0 => Why::Maturing,
                why => why,
            };
            Comparison::none(why)
        }
        Some(mut pool) => {
            pool.add_one_conversion();
            computed(question, &pool, alpha)
        }
    };
    made.confidence = 1.0 - alpha;
    (made.stages_pooled, made.stages_left_out) = (stages(true), stages(false));
    if !made.stages_left_out.is_empty() && made.why.is_none() {
        made.note("stages_pooled", Why::StageLeftOut);
    }
    made
}

fn computed(question: &Question<'_>, pool: &Pool, alpha: f64) -> Comparison {
    let (difference, [treatment, control]) = (pool.difference(), pool.means);
    let se = pool.spread().iter().sum::<f64>().sqrt();
    let r = sequential::r(pool.information, GOAL_TUNING);
    let c = sequential::c(r, alpha);
    let always_valid = Interval { low: difference - c * se, high: difference + c * se };
    let mut made = Comparison {
        treatment_rate: Some(treatment),
        control_rate: Some(control),
        absolute_lift: Some(difference),
        relative_lift: (control > 0.0).then(|| treatment / control - 1.0),
        always_valid_ci: Some(always_valid.clip(-1.0, 1.0)),
        always_valid_relative_ci: Some(fieller(pool.means, pool.spread_for_ratio(), c).shift(-1.0)),
        always_valid_p: Some(sequential::p(difference / se, r)),
        information: pool.information,
        se: Some(se),
        why: None,
        notes: Vec::new(),
        ..Comparison::none(Why::NothingExposed)
    };
    fixed(question, pool, alpha, &mut made);
    match question.role {
        Role::Goal => {
            let posterior = posterior(question, pool);
            made.probability_better = posterior.map(|posterior| posterior.probability_better);
            made.expected_loss = posterior.map(|posterior| posterior.expected_loss);
        }
        Role::Metric => {
            made.note("probability_better", Why::NotTheGoal);
            made.note("expected_loss", Why::NotTheGoal);
        }
    }
    if made.relative_lift.is_none() {
        made.note("relative_lift", Why::ControlZero);
    }
    for (field, span) in
        [("relative_ci", made.relative_ci), ("always_valid_relative_ci", made.always_valid_relative_ci)]
    {
        if span.is_some_and(Span::is_open) {
            made.note(field, Why::Unbounded);
        }
    }
    judge(question, always_valid, &mut made);
    plan(question, pool, alpha, &mut made);
    made.note_missing(Why::InputInvalid);
    made
}

/// Figures that are right if this is the only look.
fn fixed(question: &Question<'_>, pool: &Pool, alpha: f64, made: &mut Comparison) {
    let z = z(alpha);
    let both = |stratum: &&Stratum| stratum.treatment.units > 0 && stratum.control.units > 0;
    let only = question.counts.strata.iter().find(both).filter(|_| pool.strata == 1);
    if let Some(Stratum { treatment, control, .. }) = only {
        let [treatment, control] =
            [treatment, control].map(|count| Count { converted: count.converted.min(count.units), ..*count });
        made.absolute_ci = Some(proportion::newcombe(treatment, control, z));
        made.relative_ci = Some(proportion::mover_r(treatment, control, z).shift(-1.0));
        made.p_value = Some(proportion::p_value(treatment, control));
    } else {
        let difference = pool.difference();
        let se = pool.spread().iter().sum::<f64>().sqrt();
        made.absolute_ci = Interval::around(difference, z * se).map(|interval| interval.clip(-1.0, 1.0));
        made.relative_ci = Some(fieller(pool.means, pool.spread_for_ratio(), z).shift(-1.0));
        made.p_value = Some(two_sided(difference / se));
    }
}

/// The goal's posteriors, from effective counts.
fn posterior(question: &Question<'_>, pool: &Pool) -> Option<Posterior> {
    let strata = question.counts.strata;
    let ([r1, r0], [v1, v0]) = (pool.means, pool.variances);
    let treatment = pool.effective_units(strata.iter().map(|stratum| stratum.treatment.cell()), v1);
    let control = pool.effective_units(strata.iter().map(|stratum| stratum.control.cell()), v0);
    let (treatment, control) = ((treatment, r1.clamp(0.0, 1.0)), (control, r0.clamp(0.0, 1.0)));
    match question.better {
        Better::More => bayes::compare(treatment, control),
        // Better is to be smaller: control's chance to be larger, and what it costs if treatment is.
        Better::Less => bayes::compare(control, treatment),
    }
}

/// The verdict: the first that holds. Only the always-valid interval colours.
fn judge(question: &Question<'_>, interval: Interval, made: &mut Comparison) {
    let (above, below) = (interval.low > 0.0, interval.high < 0.0);
    made.verdict = match question.better {
        _ if !question.srm_ok => Verdict::NoComparison,
        Better::More if above => Verdict::Better,
        Better::More if below => Verdict::Worse,
        Better::Less if above => Verdict::Worse,
        Better::Less if below => Verdict::Better,
        _ => Verdict::Undecided,
    };
    if !question.srm_ok {
        made.why = Some(Why::Srm);
        made.note("verdict", Why::Srm);
    }
    if made.verdict == Verdict::Undecided {
        made.not_worse_than = question.margin.filter(|margin| match question.better {
            Better::More => interval.low > -margin,
            Better::Less => interval.high < *margin,
        });
    }
}

/// What could be found now, and, of the goal, when to look again.
fn plan(question: &Question<'_>, pool: &Pool, alpha: f64, made: &mut Comparison) {
    let [_, control] = pool.means;
    let is_goal = question.role == Role::Goal;
    let pace = question.pace.filter(|_| is_goal).unwrap_or_default();
    let plan = Plan {
        variance: pool.spread().iter().sum::<f64>() * pool.information,
        information: pool.information,
        information_per_day: pace.information_per_day,
        effect: question.min_effect * control,
        tuning: GOAL_TUNING,
        alpha,
    };
    let power = plan.power();
    made.power = Some(power.with_window(question.window_hours));
    let why = match (is_goal, control > 0.0, pace.information_per_day > 0.0) {
        (false, ..) => Why::NotTheGoal,
        (true, false, _) => Why::ControlZero,
        (true, true, false) => Why::NoGrowth,
        (true, true, true) => Why::OutOfReach,
    };
    let days = [
        ("smallest_effect/days_fixed", power.days_fixed.is_none()),
        ("smallest_effect/days_always_valid", power.days_sequential.is_none()),
    ];
    figures::note_missing(&mut made.notes, &days, why);
    // A verdict of a metric may yet be taken back, so that it is never without the note.
    if is_goal && made.verdict == Verdict::Undecided {
        made.look_again = power.look_again(&pace, question.window_hours);
    }
    if made.look_again.is_none() && (!is_goal || made.verdict == Verdict::Undecided) {
        made.note("look_again", why);
    }
}

#[cfg(test)]
mod tests;
