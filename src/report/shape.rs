//! The JSON of comparisons, guardrails and values.

use serde_json::{Map, Value, json};

use super::capped::Capped;
use super::compare::Versus;
use super::counted::ByValue;
use super::notes::Notes;
use super::sentence::{self, Words};
use super::variants::interval;
use crate::stats::compare::Comparison;
use crate::stats::figures::{Note, Span, Verdict, Why};
use crate::stats::guardrail::{LimitGuardrail, MarginGuardrail};
use crate::stats::mean::ValueComparison;

/// Whether a comparison is the one that decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Standing {
    /// The goal's overall comparison.
    Decides,
    /// Another metric: its verdict holds only if it holds among all of them.
    Beside(Option<f64>),
    /// A part that was looked at afterwards: never a verdict.
    Explores(Option<f64>),
}

fn span(span: Option<Span>) -> Value {
    span.map_or(Value::Null, |span| json!([span.low, span.high]))
}

fn tell(notes: &mut Notes, pointer: &str, own: &[Note]) {
    own.iter().for_each(|note| notes.why(pointer, note.field, note.why));
}

/// Who is compared with whom.
fn names(versus: &Versus) -> Map<String, Value> {
    let mut json = Map::new();
    json.insert("rule".into(), (&*versus.rule).into());
    json.insert("variant".into(), (&*versus.variant).into());
    json.insert("baseline".into(), (&*versus.baseline).into());
    json
}

fn add(json: &mut Map<String, Value>, fields: Value) {
    if let Value::Object(fields) = fields {
        json.extend(fields);
    }
}

/// A sentence in both languages.
pub(super) fn words(words: &Words) -> Value {
    json!({"en": words.en, "zh": words.zh})
}

/// What each value of a metric's `by` adds: `names` in the order in which they were counted.
pub(super) fn by(names: &[(&str, u64)], by: &[ByValue]) -> Value {
    let entries = names.iter().zip(by).map(|((name, _), by)| {
        json!({
            "value": name, "treatment_rate": by.treatment_rate, "control_rate": by.control_rate,
            "absolute_lift": by.absolute_lift,
        })
    });
    entries.collect()
}

/// The verdict that is shown, and why there is none.
pub(super) fn verdict(made: &Comparison, standing: Standing) -> (Verdict, Option<&'static str>) {
    let why = made.why.map(Why::as_str);
    match standing {
        Standing::Decides => (made.verdict, why),
        Standing::Explores(_) => (Verdict::NoComparison, why.or(Some("exploratory"))),
        Standing::Beside(adjusted) => {
            let proven = adjusted.is_some_and(|p| p < 0.05);
            let colours = matches!(made.verdict, Verdict::Better | Verdict::Worse);
            (if colours && !proven { Verdict::Undecided } else { made.verdict }, why)
        }
    }
}

/// A comparison of one step; `pointer` is where it stands.
#[must_use]
pub(super) fn comparison(
    versus: &Versus,
    step: &str,
    made: &Comparison,
    standing: Standing,
    pointer: &str,
    notes: &mut Notes,
) -> Value {
    tell(notes, pointer, &made.notes);
    let (shown, why) = verdict(made, standing);
    let mut json = names(versus);
    add(
        &mut json,
        json!({
            "metric": step, "stages_pooled": made.stages_pooled, "stages_left_out": made.stages_left_out,
            "treatment_rate": made.treatment_rate, "control_rate": made.control_rate,
            "absolute_lift": made.absolute_lift, "absolute_ci": interval(made.absolute_ci),
            "relative_lift": made.relative_lift, "relative_ci": span(made.relative_ci),
            "confidence": made.confidence, "p_value": made.p_value,
            "always_valid_ci": interval(made.always_valid_ci),
            "always_valid_relative_ci": span(made.always_valid_relative_ci),
            "always_valid_p": made.always_valid_p,
            "probability_better": made.probability_better, "expected_loss": made.expected_loss,
            "verdict": shown.as_str(), "why": why, "not_worse_than": made.not_worse_than,
            "look_again": made.look_again.map(|again| json!({"users": again.users, "days": again.days})),
            "smallest_effect": made.power.map(|power| json!({
                "fixed": power.mde_fixed, "always_valid": power.mde_sequential,
                "days_fixed": power.days_fixed, "days_always_valid": power.days_sequential,
            })),
        }),
    );
    if let Standing::Beside(adjusted) | Standing::Explores(adjusted) = standing {
        json.insert("adjusted_p".into(), json!(adjusted));
        if adjusted.is_none() {
            notes.why(pointer, "adjusted_p", made.why.unwrap_or(Why::InputInvalid));
        }
    }
    Value::Object(json)
}

/// A guardrail against control.
#[must_use]
pub(super) fn margin(
    versus: &Versus,
    step: &str,
    made: &MarginGuardrail,
    pointer: &str,
    notes: &mut Notes,
) -> Value {
    tell(notes, pointer, &made.notes);
    let mut json = names(versus);
    add(
        &mut json,
        json!({
            "step": step, "margin": made.margin, "treatment_rate": made.treatment_rate, "control_rate": made.control_rate,
            "difference": made.difference, "always_valid_bounds": interval(made.always_valid_bounds),
            "provable_margin": made.provable_margin, "state": made.state.as_str(),
            "sentence": words(&sentence::margin_guardrail(made, step)),
        }),
    );
    Value::Object(json)
}

/// A guardrail by a limit.
#[must_use]
pub(super) fn limit(
    versus: &Versus,
    step: &str,
    made: &LimitGuardrail,
    pointer: &str,
    notes: &mut Notes,
) -> Value {
    tell(notes, pointer, &made.notes);
    let mut json = names(versus);
    let fields = json!({
        "step": step, "limit": made.limit, "rate": made.rate, "e_value": made.e_value, "state": made.state.as_str(),
        "sentence": words(&sentence::limit_guardrail(made, step)),
    });
    add(&mut json, fields);
    Value::Object(json)
}

/// What values and ratios are told alike: both means by their names, and their difference; with notes of what is missing.
fn difference(
    made: &ValueComparison,
    means: [&str; 2],
    pointer: &str,
    notes: &mut Notes,
) -> Map<String, Value> {
    let [treatment, control] = means;
    for note in &made.notes {
        // The statistics speak of means and a ratio, the answer by names and of a lift like everywhere else.
        let field = match note.field {
            "treatment_mean" => treatment,
            "control_mean" => control,
            "ratio_lift" => "relative_lift",
            "ratio_lift_ci" => "relative_ci",
            field => field,
        };
        notes.why(pointer, field, note.why);
    }
    let mut json = Map::new();
    json.insert(treatment.into(), json!(made.treatment_mean));
    json.insert(control.into(), json!(made.control_mean));
    let told = json!({
        "difference": made.difference, "difference_ci": interval(made.difference_ci),
        "relative_lift": made.ratio_lift, "relative_ci": span(made.ratio_lift_ci),
        "p_value": made.p_value, "always_valid_ci": interval(made.always_valid_ci),
        "always_valid_p": made.always_valid_p,
    });
    add(&mut json, told);
    json
}

/// What is told of the values of one currency.
pub(super) struct Worth {
    /// Per user.
    pub(super) per_user: ValueComparison,
    /// Per order.
    pub(super) per_order: ValueComparison,
    /// Per user with large values cut at this quantile, if that was asked for.
    pub(super) capped: Option<(f64, Capped)>,
}

const PER_USER: [&str; 2] = ["treatment_per_user", "control_per_user"];
const PER_ORDER: [&str; 2] = ["treatment_per_order", "control_per_order"];
const RATIOS: [&str; 2] = ["treatment_ratio", "control_ratio"];

/// Value per user and per order of one currency.
#[must_use]
pub(super) fn value(
    versus: &Versus,
    (step, currency): (&str, &str),
    worth: &Worth,
    pointer: &str,
    notes: &mut Notes,
) -> Value {
    let made = &worth.per_user;
    let mut json = names(versus);
    add(&mut json, json!({"metric": step, "currency": currency, "stages_pooled": made.stages_pooled}));
    json.extend(difference(made, PER_USER, pointer, notes));
    let per_order = difference(&worth.per_order, PER_ORDER, &format!("{pointer}/per_order"), notes);
    json.insert("per_order".into(), Value::Object(per_order));
    if let Some((quantile, made)) = &worth.capped {
        json.insert("capped".into(), capped(*quantile, made, &format!("{pointer}/capped"), notes));
    }
    Value::Object(json)
}

fn capped(quantile: f64, capped: &Capped, pointer: &str, notes: &mut Notes) -> Value {
    let made = &capped.comparison;
    let [both, treatment, control] = capped.removed;
    let figures = [
        ("cap", capped.cap),
        ("removed_share", both),
        ("treatment_removed_share", treatment),
        ("control_removed_share", control),
    ];
    // Without stages that have both arms, there is nothing to cut either.
    let nothing = made.notes.first().filter(|_| made.stages_pooled.is_empty());
    let mut json = difference(made, PER_USER, pointer, notes);
    json.insert("quantile".into(), quantile.into());
    for (field, figure) in figures {
        json.insert(field.into(), json!(figure));
        if figure.is_none() {
            notes.why(pointer, field, nothing.map_or(Why::NoValues, |note| note.why));
        }
    }
    Value::Object(json)
}

/// Events of one step per event of another.
#[must_use]
pub(super) fn ratio(
    versus: &Versus,
    (step, per): (&str, &str),
    made: &ValueComparison,
    pointer: &str,
    notes: &mut Notes,
) -> Value {
    let mut json = names(versus);
    add(&mut json, json!({"metric": step, "per": per, "stages_pooled": made.stages_pooled}));
    json.extend(difference(made, RATIOS, pointer, notes));
    Value::Object(json)
}
