//! Counters of one flag, taken from the registry when its snapshot is published, so that a decision
//! only adds one. They stand beside the snapshot, since the engine knows no metrics.

use prometheus::IntCounter;
use smallvec::SmallVec;

use super::facts;
use crate::engine::compile::CompiledFlag;
use crate::engine::decision::{Arm, Decision, DecisionError, Reason};
use crate::engine::flag::{Document, Serve, State};
use crate::engine::key::VariantKey;
use crate::telemetry::metrics::Metrics;

/// Counters of one flag.
#[derive(Debug, Default)]
pub struct FlagMeters {
    /// By variant, then reason; `None` where a flag cannot serve that. Most flags have two variants.
    served: SmallVec<[[Option<IntCounter>; Reason::ALL.len()]; 2]>,
    errors: Option<[IntCounter; DecisionError::ALL.len()]>,
}

impl FlagMeters {
    /// Takes the counters of `flag`, and sets its gauges; all its series exist from here on, and those of its `old`
    /// form that it has no more are gone. An archived flag has none.
    #[must_use]
    pub fn new(
        metrics: &Metrics,
        environment: &str,
        flag: &CompiledFlag,
        old: Option<&CompiledFlag>,
    ) -> Self {
        let key = flag.key.as_str();
        let document = flag.document.as_deref().filter(|_| flag.state != State::Archived);
        if let Some(old) = old.and_then(|old| old.document.as_deref()) {
            forget(metrics, environment, old, document);
            facts::forget(metrics, environment, old);
        }
        if flag.state == State::Archived {
            forget_flag(metrics, environment, key);
            return Self::default();
        }
        metrics.flag_open.with_label_values(&[environment, key]).set(flag.is_open().into());
        let Some(document) = document else { return Self::default() };
        create_event_series(metrics, environment, document);
        set_ratios(metrics, environment, flag, document);
        facts::tell(metrics, environment, document);
        let reasons = |variant: &VariantKey| {
            Reason::ALL.map(|reason| {
                can_serve(document, variant, reason).then(|| {
                    metrics.decisions.with_label_values(&[
                        environment,
                        key,
                        variant.as_str(),
                        reason.as_str(),
                    ])
                })
            })
        };
        let errors = DecisionError::ALL
            .map(|error| metrics.decision_errors.with_label_values(&[environment, key, error.code()]));
        Self {
            served: flag.variants().iter().map(|variant| reasons(&variant.key)).collect(),
            errors: Some(errors),
        }
    }

    /// Counts one decision.
    #[inline]
    pub fn count(&self, decision: &Decision<'_>) {
        match decision.result {
            Ok(served) => {
                let counters = self.served.get(usize::from(served.variant));
                if let Some(Some(counter)) = counters.and_then(|reasons| reasons.get(served.reason.at())) {
                    counter.inc();
                }
            }
            Err(error) => {
                if let Some(counter) = self.errors.as_ref().and_then(|errors| errors.get(error as usize)) {
                    counter.inc();
                }
            }
        }
    }
}

fn serves(document: &Document) -> impl Iterator<Item = &Serve> {
    document.rules.iter().map(|rule| &rule.serve)
}

/// Whether the flag can serve `variant` for `reason`: the others need no series.
fn can_serve(document: &Document, variant: &VariantKey, reason: Reason) -> bool {
    let off = *variant == document.off_variant;
    let rolls_out = serves(document).any(|serve| matches!(serve, Serve::Rollout(_)));
    match reason {
        Reason::Disabled => off,
        Reason::Static => document.rules.is_empty() && *variant == document.default_variant,
        Reason::Default => !document.rules.is_empty() && *variant == document.default_variant,
        Reason::TargetingMatch => {
            off && (document.goods.is_some() || !document.prerequisites.is_empty())
                || serves(document).any(|serve| matches!(serve, Serve::Variant(fixed) if fixed == variant))
        }
        Reason::Split => {
            off && (rolls_out || document.layer.is_some())
                || serves(document)
                    .any(|serve| matches!(serve, Serve::Rollout(r) if r.split.contains_key(variant)))
        }
    }
}

/// The pairs of variant and arm that the flag's rules can give.
fn measured(document: &Document) -> Vec<(&VariantKey, Arm)> {
    let mut pairs: Vec<_> =
        serves(document).flat_map(|serve| serve.outcomes(&document.off_variant)).collect();
    pairs.sort_by_key(|(variant, arm)| ((*variant).clone(), arm.number()));
    pairs.dedup();
    pairs
}

fn create_event_series(metrics: &Metrics, environment: &str, document: &Document) {
    let flag = document.key.as_str();
    for (variant, arm) in measured(document) {
        let labels = [environment, flag, variant.as_str(), arm.as_str()];
        metrics.exposures.with_label_values(&labels);
        metrics.exposed_users.with_label_values(&labels);
        let steps = document
            .funnel
            .iter()
            .map(|stop| &stop.step)
            .chain(document.metrics.iter().map(|metric| &metric.step));
        for step in steps {
            metrics.steps.with_label_values(&[
                environment,
                flag,
                variant.as_str(),
                arm.as_str(),
                step.as_str(),
            ]);
        }
    }
}

fn set_ratios(metrics: &Metrics, environment: &str, flag: &CompiledFlag, document: &Document) {
    for rule in &document.rules {
        if let Serve::Rollout(rollout) = &rule.serve {
            for (arm, share) in [(Arm::Treatment, rollout.percent), (Arm::Control, rollout.control)] {
                let ratio = if flag.is_open() { share.percent() / 100.0 } else { 0.0 };
                let labels = [environment, flag.key.as_str(), rule.id.as_str(), arm.as_str()];
                metrics.rollout_ratio.with_label_values(&labels).set(ratio);
            }
        }
    }
}

/// Takes away the series that `old` had and `keep` has no more: all of them for an archived flag (`None`).
fn forget(metrics: &Metrics, environment: &str, old: &Document, keep: Option<&Document>) {
    let key = old.key.as_str();
    let steps = |document: &Document| -> Vec<String> {
        let stops = document.funnel.iter().map(|stop| &stop.step);
        stops.chain(document.metrics.iter().map(|metric| &metric.step)).map(ToString::to_string).collect()
    };
    let kept_steps = keep.map(steps).unwrap_or_default();
    for variant in old.variants.keys() {
        let gone = !keep.is_some_and(|keep| keep.variants.contains_key(variant));
        let variant = variant.as_str();
        for reason in Reason::ALL.iter().filter(|_| gone) {
            metrics.decisions.remove_label_values(&[environment, key, variant, reason.as_str()]);
        }
        for arm in Arm::ALL.map(Arm::as_str) {
            if gone {
                metrics.exposures.remove_label_values(&[environment, key, variant, arm]);
                metrics.exposed_users.remove_label_values(&[environment, key, variant, arm]);
            }
            for step in steps(old).iter().filter(|step| gone || !kept_steps.contains(step)) {
                metrics.steps.remove_label_values(&[environment, key, variant, arm, step]);
            }
        }
    }
    let rules = old.rules.iter().map(|rule| &rule.id);
    for rule in rules.filter(|id| !keep.is_some_and(|keep| keep.rules.iter().any(|rule| rule.id == **id))) {
        for arm in Arm::ALL.map(Arm::as_str) {
            metrics.rollout_ratio.remove_label_values(&[environment, key, rule.as_str(), arm]);
        }
    }
}

/// Takes the series of a flag itself away.
fn forget_flag(metrics: &Metrics, environment: &str, key: &str) {
    metrics.flag_open.remove_label_values(&[environment, key]);
    // Whatever the currencies.
    metrics.step_value.remove_beginning(&[environment, key]);
    metrics.srm_sequential_p.remove_label_values(&[environment, key]);
    for error in DecisionError::ALL {
        metrics.decision_errors.remove_label_values(&[environment, key, error.code()]);
    }
}
