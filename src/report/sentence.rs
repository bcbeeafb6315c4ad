//! The plain sentence beside a result, in English and Chinese, from one place: what happened, how sure that is, what to
//! do, and when to look again. Pure. It claims no more than the always-valid interval shows: limits are rounded outward,
//! and only a verdict makes it say "gains" or "loses".

mod en;
pub(crate) mod figure;
mod zh;

use crate::stats::compare::{Better, Comparison};
use crate::stats::figures::{Note, Verdict, Why};
use crate::stats::guardrail::{LimitGuardrail, MarginGuardrail, State};
use figure::{Digits, about as rounded, count, percent, share};

/// One sentence, or a few, in both languages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// English.
    pub en: String,
    /// Simplified Chinese.
    pub zh: String,
}

/// What the sentence is about, beside the figures.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The goal's step key.
    pub goal: &'a str,
    /// The variant's key, named where there are several.
    pub variant: &'a str,
    /// Treatment variants of the rule.
    pub treatments: u32,
    /// Which way is good.
    pub better: Better,
    /// Units whose window is still open.
    pub maturing_users: u64,
    /// How many comparisons it was adjusted among.
    pub among: usize,
    /// The relative effect worth finding, as the flag declares it.
    pub min_effect: f64,
}

/// What a comparison comes to, figures written out: what both languages tell.
struct Told<'a> {
    goal: &'a str,
    /// The variant, where it must be named.
    variant: Option<&'a str>,
    better: Better,
    /// `None` where the figures do not stand.
    figures: Option<Figures>,
    verdict: Verdict,
    why: Option<Why>,
    nobody_converted: bool,
    /// How many are compared, where its interval leaves 0 out and chance among so many does not.
    among: Option<usize>,
    maturing: Option<String>,
    /// Whether there are shoppers whose time to act is over, though nothing to compare them with.
    some_matured: bool,
    min_effect: String,
    not_worse_than: Option<String>,
    next: Next,
}

/// Figures as text: rates in percent, differences in points.
struct Figures {
    treatment: String,
    control: String,
    difference: String,
    low: String,
    high: String,
    confidence: String,
    /// "10 % more", where the lift is defined: its size and whether it is more.
    lift: Option<(String, bool)>,
}

/// A wait longer than this is not advised without saying what is faster.
const LONG_DAYS: u32 = 60;

/// When to look again.
enum Next {
    /// In so many days, after so many more units.
    In { days: u32, users: String },
    /// The interval is as tight as the declared effect needs.
    Enough,
    /// Nobody joined in the last days.
    Standing,
    /// Nobody joins, as it is shut.
    Shut,
    /// Not told: it is not the goal.
    Untold,
    /// Not known, or not to be hoped for.
    Unknown,
}

fn next(result: &Comparison) -> Next {
    match result.look_again {
        Some(look) if look.days == 0 => Next::Enough,
        Some(look) => Next::In { days: look.days, users: count(look.users) },
        None => match result.notes.iter().find(|note| note.field == "look_again").map(|note| note.why) {
            Some(Why::NoGrowth) => Next::Standing,
            Some(Why::NotOpen) => Next::Shut,
            Some(Why::NotTheGoal) => Next::Untold,
            _ => Next::Unknown,
        },
    }
}

/// Whether the interval leaves 0 out, though nothing may be concluded from it.
fn is_by_itself(result: &Comparison) -> bool {
    let outside = result.always_valid_ci.is_some_and(|interval| interval.low > 0.0 || interval.high < 0.0);
    outside && result.verdict == Verdict::Undecided
}

fn figures(result: &Comparison) -> Option<Figures> {
    let (interval, difference) = result.always_valid_ci.zip(result.absolute_lift)?;
    let (treatment, control) = result.treatment_rate.zip(result.control_rate)?;
    let digits = Digits::of(interval.low, interval.high);
    let lift = result.relative_lift.filter(|lift| lift.abs() >= 0.0005);
    Some(Figures {
        treatment: digits.rate(treatment),
        control: digits.rate(control),
        difference: digits.signed(difference),
        low: digits.floor(interval.low),
        high: digits.ceil(interval.high),
        confidence: percent(result.confidence),
        lift: lift.map(|lift| (rounded(lift.abs()), lift > 0.0)),
    })
}

/// The sentence of a comparison.
#[must_use]
pub fn comparison(result: &Comparison, about: &About<'_>) -> Words {
    let zero = |rate: Option<f64>| rate.is_some_and(|rate| rate <= 0.0);
    let told = Told {
        goal: about.goal,
        variant: (about.treatments > 1).then_some(about.variant),
        better: about.better,
        figures: figures(result),
        verdict: result.verdict,
        why: result.why,
        nobody_converted: zero(result.treatment_rate) && zero(result.control_rate),
        among: is_by_itself(result).then_some(about.among),
        maturing: (about.maturing_users > 0).then(|| count(about.maturing_users)),
        some_matured: !result.stages_left_out.is_empty(),
        min_effect: share(about.min_effect),
        not_worse_than: result.not_worse_than.map(share),
        next: match next(result) {
            // They joined, but their windows are still open.
            Next::Standing if about.maturing_users > 0 => Next::Unknown,
            next => next,
        },
    };
    Words { en: en::comparison(&told), zh: zh::comparison(&told) }
}

/// What a guardrail comes to, figures written out.
struct Guarded<'a> {
    step: &'a str,
    state: State,
    /// Margin in points, or limit in percent.
    allowed: String,
    figures: Option<GuardFigures>,
    why: Why,
    /// Whether units came in other shares than the percentages say.
    distrusted: bool,
}

struct GuardFigures {
    treatment: String,
    control: String,
    difference: String,
    /// The lower bound; where a rise is proven, without its sign.
    low: String,
    high: String,
}

/// The sentence of a guardrail against control.
#[must_use]
pub fn margin_guardrail(result: &MarginGuardrail, step: &str) -> Words {
    let rates = result.treatment_rate.zip(result.control_rate);
    let figures = result.always_valid_bounds.zip(result.difference).zip(rates);
    let told = Guarded {
        step,
        state: result.state,
        allowed: share(result.margin),
        figures: figures.map(|((bounds, difference), (treatment, control))| {
            // Fine enough to tell the bounds from the margin, too.
            let digits = Digits::of(bounds.low, bounds.high).apart(result.margin, bounds);
            GuardFigures {
                treatment: digits.rate(treatment),
                control: digits.rate(control),
                difference: digits.signed(difference),
                low: match result.state {
                    State::Broken | State::Harmed => {
                        digits.floor(bounds.low).trim_start_matches('+').to_owned()
                    }
                    State::Holds | State::Undecided => digits.floor(bounds.low),
                },
                high: digits.ceil(bounds.high),
            }
        }),
        why: result.notes.first().map_or(Why::NothingExposed, |note| note.why),
        distrusted: is_distrusted(result.state, &result.notes),
    };
    Words { en: en::margin(&told), zh: zh::margin(&told) }
}

/// Harm that is proven is told all the same.
fn is_distrusted(state: State, notes: &[Note]) -> bool {
    state == State::Undecided && notes.iter().any(|note| note.why == Why::Srm)
}

/// What a limit comes to, figures written out.
struct Limited<'a> {
    step: &'a str,
    state: State,
    /// The rate in percent, or why there is none.
    rate: Result<String, Why>,
    /// In percent.
    limit: String,
    /// Whether units came in other shares than the percentages say.
    distrusted: bool,
}

/// The sentence of a guardrail against an absolute rate.
#[must_use]
pub fn limit_guardrail(result: &LimitGuardrail, step: &str) -> Words {
    let rate = result.rate.map(|rate| Digits::apart_from(rate, result.limit).rate(rate));
    let told = Limited {
        step,
        state: result.state,
        rate: rate.ok_or_else(|| result.notes.first().map_or(Why::NothingExposed, |note| note.why)),
        limit: share(result.limit),
        distrusted: is_distrusted(result.state, &result.notes),
    };
    Words { en: en::limit(&told), zh: zh::limit(&told) }
}

#[cfg(test)]
mod tests;
