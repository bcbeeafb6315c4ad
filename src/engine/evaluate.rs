//! Evaluation: a pure function of snapshot, context and memberships. No clock, no I/O, no lock, no
//! allocation. The order of its steps is the contract; the first that ends it names the reason.

pub(in crate::engine) mod scene;

use scene::Scene;

use super::compile::{CompiledFlag, Gate, Serve};
use super::condition::{Cause, Condition, Truth};
use super::context::{Context, Item};
use super::decision::{Arm, Decision, DecisionError, Eligibility, Reason, Served};
use super::explain::{Outcome, Silent, Step, Trace};
use super::flag::Match;
use super::membership::Memberships;
use super::memo::Memo;
use super::share::{PPM, Share};
use super::snapshot::Snapshot;

/// Deepest chain of prerequisites that is followed; deeper ones were refused when written.
const PREREQUISITE_DEPTH_MAX: usize = 5;

/// Decides `flag` for `context`.
#[must_use]
pub fn evaluate<'s, M: Memberships, T: Trace>(
    snapshot: &Snapshot,
    flag: &'s CompiledFlag,
    context: &Context<'_>,
    memberships: &M,
    trace: &mut T,
) -> Decision<'s> {
    within(&Scene { snapshot, context, memberships, item: None, memo: None }, flag, trace)
}

/// Decides `flag` as one of many for the same context: what flags before it found out of the request stands in `memo`.
#[must_use]
pub fn evaluate_among<'s, M: Memberships>(
    snapshot: &Snapshot,
    flag: &'s CompiledFlag,
    context: &Context<'_>,
    memberships: &M,
    memo: &Memo,
) -> Decision<'s> {
    within(&Scene { snapshot, context, memberships, item: None, memo: Some(memo) }, flag, &mut Silent)
}

fn within<'s, M: Memberships, T: Trace>(
    scene: &Scene<'_, '_, M>,
    flag: &'s CompiledFlag,
    trace: &mut T,
) -> Decision<'s> {
    let mut goods = None;
    let result = decide(scene, flag, 0, &mut goods, trace);
    Decision { flag, result, goods }
}

fn decide<M: Memberships, T: Trace>(
    scene: &Scene<'_, '_, M>,
    flag: &CompiledFlag,
    depth: usize,
    goods: &mut Option<Eligibility>,
    trace: &mut T,
) -> Result<Served, DecisionError> {
    let compiled = &*flag.compiled;
    let off = |reason| Served { variant: compiled.off, reason, rule: None, arm: None, bucket: None };
    if flag.broken.is_some() || depth > PREREQUISITE_DEPTH_MAX {
        return Err(DecisionError::Broken);
    }
    trace.open(Step::State(flag));
    trace.close(Outcome::Passed(flag.is_open()));
    if !flag.is_open() {
        return Ok(off(Reason::Disabled));
    }
    if let Some(error) = refuse_unit(scene, flag, depth) {
        trace.open(Step::Unit(flag));
        trace.close(Outcome::Passed(false));
        return Err(error);
    }
    for prerequisite in &compiled.prerequisites {
        let Some(required) = scene.snapshot.flag(prerequisite.flag) else {
            return Err(DecisionError::Broken);
        };
        trace.open(Step::Prerequisite(required));
        let served = decide(scene, required, depth + 1, &mut None, trace)?;
        let variant = required.variants().get(usize::from(served.variant));
        let met = variant.is_some_and(|variant| prerequisite.variants.contains(&variant.key));
        trace.close(Outcome::Passed(met));
        if !met {
            return Ok(off(Reason::TargetingMatch));
        }
    }
    let unit = scene.context.unit(compiled.unit);
    if let Some(layer) = &compiled.layer {
        let bucket = layer.hash.bucket(unit.ok_or(DecisionError::UnitMissing)?);
        let inside = (layer.from.ppm()..layer.to.ppm()).contains(&bucket.ppm());
        trace.open(Step::Layer { bucket, from: layer.from, to: layer.to });
        trace.close(Outcome::Passed(inside));
        if !inside {
            return Ok(off(Reason::Split));
        }
    }
    if let Some(gate) = &compiled.gate {
        let (passed, eligibility) = pass(scene, gate, trace)?;
        *goods = Some(eligibility);
        if !passed {
            return Ok(off(Reason::TargetingMatch));
        }
    }
    apply_rules(scene, flag, unit, trace)
}

/// Why this flag cannot be decided for the context's units.
#[inline]
fn refuse_unit<M>(scene: &Scene<'_, '_, M>, flag: &CompiledFlag, depth: usize) -> Option<DecisionError> {
    if !scene.context.trusts(flag.compiled.unit) {
        return Some(DecisionError::UnitUnsigned);
    }
    (depth == 0 && !has_units(scene, flag, 0)).then_some(DecisionError::UnitMissing)
}

/// Whether the context has the unit of this flag and of its prerequisites, as far as they hash it.
fn has_units<M>(scene: &Scene<'_, '_, M>, flag: &CompiledFlag, depth: usize) -> bool {
    let compiled = &*flag.compiled;
    (!compiled.needs_unit || scene.context.unit(compiled.unit).is_some())
        && (depth > PREREQUISITE_DEPTH_MAX
            || compiled.prerequisites.iter().all(|prerequisite| {
                scene.snapshot.flag(prerequisite.flag).is_none_or(|flag| has_units(scene, flag, depth + 1))
            }))
}

fn apply_rules<M: Memberships, T: Trace>(
    scene: &Scene<'_, '_, M>,
    flag: &CompiledFlag,
    unit: Option<&str>,
    trace: &mut T,
) -> Result<Served, DecisionError> {
    let compiled = &*flag.compiled;
    for (at, rule) in (0..).zip(&compiled.rules) {
        trace.open(Step::Rule(rule));
        let truth = scene.rule(rule, trace);
        trace.close(Outcome::Truth(truth));
        match truth {
            Truth::True => {}
            Truth::False | Truth::Unknown(Cause::Missing | Cause::WrongType) => continue,
            Truth::Unknown(Cause::Unreadable) => return Err(DecisionError::AudienceUnavailable),
        }
        let (variant, reason, arm, bucket) = match &rule.serve {
            Serve::Variant(variant) => (*variant, Reason::TargetingMatch, Some(Arm::Fixed), None),
            Serve::Rollout { percent, control, split } => {
                let unit = unit.ok_or(DecisionError::UnitMissing)?;
                let bucket = compiled.rollout_hash.bucket(unit);
                trace.open(Step::Rollout { bucket, percent: *percent, control: *control });
                let (variant, arm) = if bucket.in_bottom(*percent) {
                    let variant = split.choose(|| {
                        let bucket = compiled.split_hash.bucket(unit);
                        trace.open(Step::Split { bucket });
                        trace.close(Outcome::Passed(true));
                        bucket
                    });
                    (variant.ok_or(DecisionError::Broken)?, Some(Arm::Treatment))
                } else if bucket.in_top(*control) {
                    (compiled.off, Some(Arm::Control))
                } else {
                    (compiled.off, None)
                };
                trace.close(Outcome::Arm(arm));
                (variant, Reason::Split, arm, Some(bucket))
            }
        };
        return Ok(Served { variant, reason, rule: Some(at), arm, bucket });
    }
    let reason = if compiled.rules.is_empty() { Reason::Static } else { Reason::Default };
    Ok(Served { variant: compiled.default, reason, rule: None, arm: None, bucket: None })
}

/// Whether the order passes the gate, and which of its goods are eligible.
fn pass<M: Memberships, T: Trace>(
    scene: &Scene<'_, '_, M>,
    gate: &Gate,
    trace: &mut T,
) -> Result<(bool, Eligibility), DecisionError> {
    let mut eligibility = Eligibility::default();
    let goods = scene.context.goods().unwrap_or_default();
    trace.open(Step::Gate(gate.matching));
    let (mut all, mut any, mut priced) = (true, false, true);
    let (mut total, mut eligible_value) = (0_i128, 0_i128);
    for (at, item) in goods.iter().enumerate() {
        let eligible = is_eligible(&Scene { item: Some(item), ..*scene }, gate, item, trace)?;
        if eligible {
            eligibility.mark(at);
        }
        all &= eligible;
        any |= eligible;
        match item.value() {
            Some(value) => {
                total += value;
                eligible_value += if eligible { value } else { 0 };
            }
            None => priced = false,
        }
    }
    let passed = match gate.matching {
        _ if goods.is_empty() => !gate.required,
        Match::All => all,
        Match::Any => any,
        Match::ValueShare(share) => priced && total > 0 && eligible_value >= least_value(total, share),
    };
    trace.close(Outcome::Passed(passed));
    Ok((passed, eligibility))
}

/// The least value that is `share` of `total`: `value >= least` <=> `value * 10^6 >= total * ppm`, without
/// the products, which leave 128 bits at 200 items of the highest price and quantity.
fn least_value(total: i128, share: Share) -> i128 {
    let (line, ppm) = (i128::from(PPM), i128::from(share.ppm()));
    (total / line) * ppm + ((total % line) * ppm + line - 1) / line
}

/// An exclude that is unknown because nothing was sent does not exclude; one of a wrong type does, since
/// unknown never opens.
fn is_eligible<M: Memberships, T: Trace>(
    scene: &Scene<'_, '_, M>,
    gate: &Gate,
    item: &Item<'_>,
    trace: &mut T,
) -> Result<bool, DecisionError> {
    trace.open(Step::Item {
        id: item.id(),
        threshold: gate.rollout,
        bucket: &|| gate.hash.bucket(item.id()),
    });
    let excluded = match any(scene, &gate.exclude, trace) {
        Truth::Unknown(Cause::Unreadable) => return Err(DecisionError::AudienceUnavailable),
        Truth::True | Truth::Unknown(Cause::WrongType) => true,
        Truth::False | Truth::Unknown(Cause::Missing) => false,
    };
    let mut eligible = !excluded;
    if !gate.include.is_empty() && (eligible || T::RECORDS) {
        eligible &= match any(scene, &gate.include, trace) {
            Truth::Unknown(Cause::Unreadable) if eligible => return Err(DecisionError::AudienceUnavailable),
            truth => truth == Truth::True,
        };
    }
    // Nearly every gate lets all goods in: then no hash is made.
    eligible = eligible && (gate.rollout.ppm() == PPM || gate.hash.bucket(item.id()).in_bottom(gate.rollout));
    trace.close(Outcome::Passed(eligible));
    Ok(eligible)
}

fn any<M: Memberships, T: Trace>(scene: &Scene<'_, '_, M>, conditions: &[Condition], trace: &mut T) -> Truth {
    let mut truth = Truth::False;
    for condition in conditions {
        truth = truth.or(scene.truth(condition, trace));
        if truth == Truth::True && !T::RECORDS {
            break;
        }
    }
    truth
}

#[cfg(test)]
mod tests;
