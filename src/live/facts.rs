//! What a flag's document says, as gauges that queries join with: which variant is seen, which step is the goal, what a
//! guardrail allows. Without them a dashboard would have to know each flag.

use crate::engine::flag::{Document, GuardrailBound};
use crate::telemetry::metrics::Metrics;

/// Sets the facts of a flag.
pub(super) fn tell(metrics: &Metrics, environment: &str, document: &Document) {
    let flag = document.key.as_str();
    for variant in document.variants.keys() {
        let seen = *variant != document.off_variant;
        metrics.variant_visible.with_label_values(&[environment, flag, variant.as_str()]).set(seen.into());
    }
    for (position, stop) in (1..).zip(&document.funnel) {
        metrics.funnel_position.with_label_values(&[environment, flag, stop.step.as_str()]).set(position);
    }
    if let Some(goal) = &document.goal {
        metrics.goal.with_label_values(&[environment, flag, goal.as_str()]).set(1);
    }
    for guardrail in &document.guardrails {
        let (gauge, bound) = match guardrail.bound {
            GuardrailBound::Margin(margin) => (&metrics.guardrail_margin, margin),
            GuardrailBound::Limit(limit) => (&metrics.guardrail_limit, limit),
        };
        gauge.with_label_values(&[environment, flag, guardrail.step.as_str()]).set(bound);
    }
}

/// Takes away what an older form of a flag told.
pub(super) fn forget(metrics: &Metrics, environment: &str, old: &Document) {
    let flag = old.key.as_str();
    for variant in old.variants.keys() {
        metrics.variant_visible.remove_label_values(&[environment, flag, variant.as_str()]);
    }
    for stop in &old.funnel {
        metrics.funnel_position.remove_label_values(&[environment, flag, stop.step.as_str()]);
    }
    if let Some(goal) = &old.goal {
        metrics.goal.remove_label_values(&[environment, flag, goal.as_str()]);
    }
    for guardrail in &old.guardrails {
        let labels = [environment, flag, guardrail.step.as_str()];
        metrics.guardrail_margin.remove_label_values(&labels);
        metrics.guardrail_limit.remove_label_values(&labels);
    }
}
