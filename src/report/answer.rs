//! The whole report of a flag.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::about::About;
use super::capped::Capped;
use super::compare::{self, Asking, Versus};
use super::counted::Counted;
use super::fold;
use super::load::Loaded;
use super::notes::{Notes, Told};
use super::plan::{Goal, Plan};
use super::sentence::{self, Words};
use super::shape::{self, Standing, Worth};
use super::tally::Tally;
use super::totals::{Range, Seen, Sums, Totals};
use super::{capped, ratio, stages, variants};
use crate::clock::rfc3339;
use crate::engine::flag::GuardrailBound;
use crate::stats::compare::{Better, Comparison, Role};
use crate::stats::figures::Why;
use crate::stats::mean::ValueComparison;
use crate::stats::multiple;

/// Values of an attribute that are shown; the others together.
const SEGMENTS_MAX: usize = 50;

/// A comparison with where it comes from.
struct Made {
    versus: Versus,
    step: String,
    comparison: Comparison,
    decides: bool,
    /// Units whose window is still open.
    maturing: u64,
    /// By value of the metric's `by`, where it has one.
    by: Option<Value>,
}

/// The comparisons of a part of the units.
struct Part<'p> {
    sums: &'p Sums,
    made: Vec<Made>,
}

/// The units of one value, or the others.
type Named = (Option<Box<str>>, Sums);

/// What a report says of loaded hours; `by` is the place of a captured attribute in the plan, `cap` the quantile at which
/// large values are cut.
#[must_use]
pub(super) fn answer(about: &About, loaded: &Loaded, by: Option<usize>, cap: Option<f64>) -> Value {
    let plan = about.plan();
    let totals = fold::totals(plan, loaded, compare::growth_from(about, loaded.as_of_ms));
    let mut notes = Notes::default();
    let variants = variants::variants(about, &totals.sums, "/variants", &mut notes);
    let (srm_ok, srm) = stages::srm(about, &totals.sums, &mut notes);
    let whole = overall(about, &totals, srm_ok, (loaded.range, loaded.as_of_ms));
    let segments: Vec<Named> = by.map(|by| segments(plan, loaded, by)).unwrap_or_default();
    let parts: Vec<Part<'_>> =
        segments.iter().map(|(_, sums)| Part { sums, made: explored(about, sums, srm_ok) }).collect();
    let seen = fold::overlap(plan, loaded);
    let overlap = overlap(about, &totals, &seen, srm_ok);
    let adjusted = adjust(&whole, &parts, &overlap);
    let among = adjusted.iter().flatten().count();
    let mut adjusted = adjusted.into_iter();
    let comparisons =
        comparisons(Some((about, among)), &whole.made, &mut adjusted, "/comparisons", &mut notes);
    let segments = segments_json(about, &segments, &parts, &mut adjusted, &mut notes);
    let overlap = overlap_json(&overlap, &mut adjusted, &mut notes);
    general(about, loaded, &totals, &mut notes);
    json!({
        "flag": about.key, "environment": about.environment,
        "goal": about.document.goal.as_ref().map(|goal| goal.as_str()),
        "from": rfc3339(loaded.range.from_ms), "to": rfc3339(loaded.range.to_ms),
        "computed_at": rfc3339(loaded.as_of_ms), "attribution_hours": about.document.attribution_hours,
        "variants": variants, "comparisons": comparisons,
        "guardrails": guardrails(about, &totals.sums, srm_ok, &mut notes),
        "values": values((about, loaded), &totals.sums, cap, &mut notes),
        "ratios": ratios(about, &totals.sums, &mut notes),
        "switched_units": totals.switched, "without_exposure": totals.without_exposure(),
        "segments": segments, "overlap": overlap,
        "stages": stages::stages(about, &totals.sums, loaded.range), "srm": srm, "notes": notes.json(),
    })
}

/// What to know of the whole answer.
fn general(about: &About, loaded: &Loaded, totals: &Totals, notes: &mut Notes) {
    if loaded.waiting > 0 {
        let detail = format!(
            "{} hours have late events, or windows that closed, which are not counted yet; ask again in a moment",
            loaded.waiting
        );
        notes.add("", Told::HoursWaiting, &detail);
    }
    if about.plan().goal.is_none() {
        notes.add("/goal", Told::NoGoal, "the flag names no goal, so nothing is compared but its metrics");
    }
    if loaded.range.from_ms >= loaded.range.to_ms {
        notes.add("/to", Told::RangeEmpty, "the range ends before it begins");
    } else if totals.sums.units() == 0 {
        notes.why("", "variants", Why::NothingExposed);
    }
    if totals.switched > 0 {
        let detail = "units that changed arm or variant between stages count in both; intervals are a little too wide for it";
        notes.add("/switched_units", Told::SwitchedUnits, detail);
    }
    let known = about.stages.iter().map(|stage| stage.stage).collect::<Vec<_>>();
    let strays = totals.sums.rows.iter().filter(|(key, _)| !known.contains(&key.stage));
    let strays: u64 = strays.map(|(_, row)| row.all.units).sum();
    if strays > 0 {
        let detail = format!("exposures that name a stage which is not stored: {strays}");
        notes.add("/stages", Told::StageUnknown, &detail);
    }
}

/// Asks for a comparison of each variant and metric, the goal first.
fn overall<'t>(about: &About, totals: &'t Totals, srm_ok: bool, when: (Range, i64)) -> Part<'t> {
    let plan = about.plan();
    let mut made = Vec::new();
    for versus in compare::versus(about, &totals.sums) {
        if let (Some(comparison), Some(goal)) = (compare::goal_without(plan), &about.document.goal) {
            let step = goal.as_str().to_owned();
            made.push(Made {
                versus: versus.clone(),
                step,
                comparison,
                decides: true,
                maturing: 0,
                by: None,
            });
        }
        let goal = match plan.goal {
            Some(Goal::Metric(at)) => Some(at),
            Some(Goal::Stop(_)) | None => None,
        };
        let others = (0..plan.metrics.len()).filter(|at| Some(*at) != goal);
        for metric in goal.into_iter().chain(others) {
            let decides = Some(metric) == goal;
            let pace = decides.then(|| compare::pace(about, totals, &versus, when)).flatten();
            let role = if decides { Role::Goal } else { Role::Metric };
            let counted = Counted::of(plan, &totals.sums, &versus, metric);
            made.push(made_of(about, &versus, &counted, Asking { metric, role, srm_ok, pace }));
        }
    }
    Part { sums: &totals.sums, made }
}

fn step(plan: &Plan, metric: usize) -> String {
    plan.metrics.get(metric).map(|metric| metric.step.to_string()).unwrap_or_default()
}

/// Comparisons of a part of the units: the same metrics, but none decides.
fn explored(about: &About, sums: &Sums, srm_ok: bool) -> Vec<Made> {
    let plan = about.plan();
    let mut made = Vec::new();
    for versus in compare::versus(about, sums) {
        for metric in 0..plan.metrics.len() {
            let counted = Counted::of(plan, sums, &versus, metric);
            made.push(exploring(about, &versus, &counted, metric, srm_ok));
        }
    }
    made
}

fn exploring(about: &About, versus: &Versus, counted: &Counted, metric: usize, srm_ok: bool) -> Made {
    made_of(about, versus, counted, Asking { metric, role: Role::Metric, srm_ok, pace: None })
}

fn made_of(about: &About, versus: &Versus, counted: &Counted, asking: Asking) -> Made {
    let names = variants::by_value(about.plan(), &Tally::default(), asking.metric);
    Made {
        versus: versus.clone(),
        step: step(about.plan(), asking.metric),
        comparison: compare::compared(about, versus, counted, asking),
        decides: asking.role == Role::Goal,
        maturing: counted.maturing(),
        by: (!names.is_empty()).then(|| shape::by(&names, &counted.by())),
    }
}

/// The always-valid p of everything but the goal's overall comparison, adjusted for how many there are.
fn adjust(whole: &Part<'_>, parts: &[Part<'_>], overlap: &[Overlapping<'_>]) -> Vec<Option<f64>> {
    let made = whole.made.iter().chain(parts.iter().flat_map(|part| &part.made));
    let overlapping = overlap.iter().flat_map(|one| one.saw.iter().chain(&one.did_not));
    let p: Vec<Option<f64>> = made
        .chain(overlapping)
        .filter(|made| !made.decides)
        .map(|made| made.comparison.always_valid_p)
        .collect();
    multiple::adjust(&p)
}

/// The sentence of a comparison, of the verdict that is shown.
fn words((about, among): (&About, usize), made: &Made, standing: Standing) -> Words {
    let told =
        Comparison { verdict: shape::verdict(&made.comparison, standing).0, ..made.comparison.clone() };
    sentence::comparison(
        &told,
        &sentence::About {
            goal: &made.step,
            variant: &made.versus.variant,
            treatments: made.versus.treatments,
            better: if about.is_harm(&made.step) { Better::Less } else { Better::More },
            maturing_users: made.maturing,
            among,
            min_effect: about.document.min_effect,
        },
    )
}

/// `about`, with how many are compared, only where sentences belong to them: parts that were looked at afterwards have none.
fn comparisons(
    about: Option<(&About, usize)>,
    made: &[Made],
    adjusted: &mut impl Iterator<Item = Option<f64>>,
    pointer: &str,
    notes: &mut Notes,
) -> Value {
    let json = made.iter().enumerate().map(|(at, made)| {
        let standing = match (made.decides, about) {
            (true, _) => Standing::Decides,
            (false, Some(_)) => Standing::Beside(adjusted.next().flatten()),
            (false, None) => Standing::Explores(adjusted.next().flatten()),
        };
        let pointer = format!("{pointer}/{at}");
        let mut json =
            shape::comparison(&made.versus, &made.step, &made.comparison, standing, &pointer, notes);
        if let Some(fields) = json.as_object_mut() {
            fields.extend(made.by.iter().map(|by| ("by".to_owned(), by.clone())));
            let words = about.map(|about| shape::words(&words(about, made, standing)));
            fields.extend(words.map(|words| ("sentence".to_owned(), words)));
        }
        json
    });
    json.collect()
}

/// The most frequent values of an attribute, the most frequent first, then the others together.
fn segments(plan: &Plan, loaded: &Loaded, attribute: usize) -> Vec<Named> {
    let mut segments: BTreeMap<Option<Box<str>>, Sums> = fold::segments(plan, loaded, attribute);
    let uncounted = segments.remove(&None);
    let mut values: Vec<Named> = segments.into_iter().filter(|(_, sums)| sums.units() > 0).collect();
    values.sort_by_cached_key(|(value, sums)| (std::cmp::Reverse(sums.units()), value.clone()));
    let rest = values.split_off(values.len().min(SEGMENTS_MAX));
    let mut others = uncounted.unwrap_or_default();
    rest.iter().for_each(|(_, sums)| others.merge(sums));
    if others.units() > 0 {
        values.push((None, others));
    }
    values
}

fn segments_json(
    about: &About,
    segments: &[Named],
    parts: &[Part<'_>],
    adjusted: &mut impl Iterator<Item = Option<f64>>,
    notes: &mut Notes,
) -> Value {
    let json = segments.iter().zip(parts).enumerate().map(|(at, ((value, _), part))| {
        let pointer = format!("/segments/{at}");
        let variants = variants::variants(about, part.sums, &format!("{pointer}/variants"), notes);
        let comparisons = comparisons(None, &part.made, adjusted, &format!("{pointer}/comparisons"), notes);
        json!({
            "value": value.as_deref().unwrap_or("other"), "is_rest": value.is_none(),
            "variants": variants, "comparisons": comparisons,
        })
    });
    json.collect()
}

/// Units that saw another flag of the placement, and those that did not.
struct Overlapping<'o> {
    flag: &'o str,
    units: u64,
    saw: Vec<Made>,
    did_not: Vec<Made>,
}

fn overlap<'o>(
    about: &'o About,
    totals: &Totals,
    seen: &BTreeMap<i64, Seen>,
    srm_ok: bool,
) -> Vec<Overlapping<'o>> {
    let plan = about.plan();
    let nobody = Seen::default();
    let list = about.neighbours.iter().map(|(number, key)| {
        let seen = seen.get(number).unwrap_or(&nobody);
        let (mut saw, mut did_not) = (Vec::new(), Vec::new());
        if let Some(Goal::Metric(goal)) = plan.goal {
            for versus in compare::versus(about, &totals.sums) {
                let own = Counted::of(plan, &seen.sums, &versus, goal);
                // Of pairs all go in which one side saw it, of units those that saw it. Stages in which nobody did stand
                // among them too, or pairs with them would stay.
                let rows = totals.sums.rows.keys();
                let rows =
                    rows.map(|key| (key.clone(), seen.sums.rows.get(key).cloned().unwrap_or_default()));
                let touched = Sums { rows: rows.collect(), pairs: seen.either.clone() };
                let others = Counted::of(plan, &touched, &versus, goal);
                let rest = Counted::of(plan, &totals.sums, &versus, goal).without(&others);
                saw.push(exploring(about, &versus, &own, goal, srm_ok));
                did_not.push(exploring(about, &versus, &rest, goal, srm_ok));
            }
        }
        Overlapping { flag: key, units: seen.sums.units(), saw, did_not }
    });
    list.collect()
}

fn overlap_json(
    overlap: &[Overlapping<'_>],
    adjusted: &mut impl Iterator<Item = Option<f64>>,
    notes: &mut Notes,
) -> Value {
    let json = overlap.iter().enumerate().map(|(at, one)| {
        let pointer = format!("/overlap/{at}");
        let saw = comparisons(None, &one.saw, adjusted, &format!("{pointer}/saw"), notes);
        let did_not = comparisons(None, &one.did_not, adjusted, &format!("{pointer}/did_not"), notes);
        json!({"flag": one.flag, "units": one.units, "saw": saw, "did_not": did_not})
    });
    json.collect()
}

fn guardrails(about: &About, sums: &Sums, srm_ok: bool, notes: &mut Notes) -> Value {
    let plan = about.plan();
    let mut list = Vec::new();
    for guardrail in &about.document.guardrails {
        let step = guardrail.step.as_str();
        let Some(metric) = plan.metrics.iter().position(|metric| &*metric.step == step) else { continue };
        for versus in compare::versus(about, sums) {
            let pointer = format!("/guardrails/{}", list.len());
            list.push(match guardrail.bound {
                GuardrailBound::Margin(margin) => {
                    let counted = Counted::of(plan, sums, &versus, metric);
                    let made = compare::margin_guardrail(&counted, margin);
                    let made = if srm_ok { made } else { made.distrusted() };
                    shape::margin(&versus, step, &made, &pointer, notes)
                }
                GuardrailBound::Limit(limit) => {
                    let made = compare::limit_guardrail(plan, sums, &versus, metric, limit);
                    let made = if srm_ok { made } else { made.distrusted() };
                    shape::limit(&versus, step, &made, &pointer, notes)
                }
            });
        }
    }
    Value::Array(list)
}

fn values((about, loaded): (&About, &Loaded), sums: &Sums, cap: Option<f64>, notes: &mut Notes) -> Value {
    let plan = about.plan();
    let mut list = Vec::new();
    for versus in compare::versus(about, sums) {
        for (metric, own) in plan.metrics.iter().enumerate() {
            for currency in compare::currencies(sums, metric) {
                let of = (metric, &*currency);
                let waiting = Counted::of(plan, sums, &versus, metric).waiting();
                let explained = |made: ValueComparison| made.explained(|why| waiting.explains(why));
                let worth = Worth {
                    per_user: explained(compare::value(plan, sums, &versus, metric, &currency)),
                    per_order: explained(ratio::per_order(plan, sums, &versus, of)),
                    capped: cap.map(|cap| {
                        let made = capped::compared((plan, loaded), sums, &versus, of, cap);
                        (cap, Capped { comparison: explained(made.comparison), ..made })
                    }),
                };
                let pointer = format!("/values/{}", list.len());
                list.push(shape::value(&versus, (&own.step, &currency), &worth, &pointer, notes));
            }
        }
    }
    Value::Array(list)
}

fn ratios(about: &About, sums: &Sums, notes: &mut Notes) -> Value {
    let plan = about.plan();
    let mut list = Vec::new();
    for versus in compare::versus(about, sums) {
        for (at, own) in plan.metrics.iter().enumerate() {
            let Some(per) = own.ratio else { continue };
            let waiting = Counted::of(plan, sums, &versus, at).waiting();
            let made = ratio::compared(plan, sums, &versus, at).explained(|why| waiting.explains(why));
            let pointer = format!("/ratios/{}", list.len());
            list.push(shape::ratio(&versus, (&own.step, &step(plan, per)), &made, &pointer, notes));
        }
    }
    Value::Array(list)
}
