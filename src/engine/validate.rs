//! What a document needs of its environment, and what is doubtful about it.

use serde::Serialize;

use super::flag::{AudienceKind, Condition, Document, Faults, Scope, State};
use super::json::child;
use super::key::{AudienceKey, FlagKey, StepKey};

/// Deepest chain of prerequisites.
pub const PREREQUISITE_DEPTH_MAX: usize = 5;

/// What a step is in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A stop of a funnel.
    Stop,
    /// A metric.
    Metric,
}

impl StepKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "a stop of the funnel",
            Self::Metric => "a metric",
        }
    }
}

/// What validation must know of the environment.
pub trait Surroundings {
    /// The kind of an audience; `None`: there is none.
    fn audience(&self, key: &AudienceKey) -> Option<AudienceKind>;
    /// Another flag's document.
    fn document(&self, key: &FlagKey) -> Option<&Document>;
    /// Another flag's state.
    fn state(&self, key: &FlagKey) -> Option<State>;
    /// All documents, archived flags' included.
    fn documents(&self) -> Box<dyn Iterator<Item = &Document> + '_>;
    /// Whether every flag that declares `step` makes it `kind`, as far as that is known without asking each.
    fn agree(&self, _step: &StepKey, _kind: StepKind) -> bool {
        false
    }
}

/// Something doubtful that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// JSON pointer.
    pub pointer: String,
    /// Stable code.
    pub code: &'static str,
    /// What is doubtful, for people.
    pub detail: String,
}

/// Adds what `document` does not find in its environment to `faults`; returns what is doubtful.
#[must_use]
pub fn validate(document: &Document, surroundings: &dyn Surroundings, faults: &mut Faults) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (at, rule) in document.rules.iter().enumerate() {
        let own = if document.unit.name.as_ref() == "id" && document.unit.scope == Scope::User {
            AudienceKind::User
        } else {
            AudienceKind::Other
        };
        audiences(&rule.when, &format!("/rules/{at}/when"), own, surroundings, faults, &mut warnings);
    }
    if let Some(goods) = &document.goods {
        for (field, list) in [("include", &goods.include), ("exclude", &goods.exclude)] {
            for (at, condition) in list.iter().enumerate() {
                let pointer = format!("/goods/{field}/{at}");
                audiences(condition, &pointer, AudienceKind::Goods, surroundings, faults, &mut warnings);
            }
        }
    }
    prerequisites(document, surroundings, faults);
    steps(document, surroundings, faults);
    required_variants(document, surroundings, &mut warnings);
    layer(document, surroundings, &mut warnings);
    warnings
}

fn audiences(
    condition: &Condition,
    pointer: &str,
    own: AudienceKind,
    surroundings: &dyn Surroundings,
    faults: &mut Faults,
    warnings: &mut Vec<Warning>,
) {
    let inner = |field: &str, at: usize| format!("{pointer}/{field}/{at}");
    match condition {
        Condition::AllOf(list) => {
            for (at, condition) in list.iter().enumerate() {
                audiences(condition, &inner("all_of", at), own, surroundings, faults, warnings);
            }
        }
        Condition::AnyOf(list) => {
            for (at, condition) in list.iter().enumerate() {
                audiences(condition, &inner("any_of", at), own, surroundings, faults, warnings);
            }
        }
        Condition::Not(condition) => {
            audiences(condition, &child(pointer, "not"), own, surroundings, faults, warnings)
        }
        Condition::Audience { audience, attribute } => {
            let asked = match attribute {
                None => own,
                Some(attribute) if attribute.name.as_ref() == "id" && attribute.scope == Scope::User => {
                    AudienceKind::User
                }
                Some(attribute) if attribute.name.as_ref() == "id" && attribute.scope == Scope::Goods => {
                    AudienceKind::Goods
                }
                Some(_) => AudienceKind::Other,
            };
            match surroundings.audience(audience) {
                None => faults.add(
                    child(pointer, "audience"),
                    "unknown_audience",
                    format!("there is no audience {audience:?}"),
                ),
                Some(kind) if kind != asked => warnings.push(Warning {
                    pointer: child(pointer, "audience"),
                    code: "audience_kind",
                    detail: format!(
                        "{audience:?} holds ids of kind {}, the condition asks for {}",
                        kind.as_str(),
                        asked.as_str()
                    ),
                }),
                Some(_) => {}
            }
        }
        Condition::Attribute { .. } => {}
    }
}

fn prerequisites(document: &Document, surroundings: &dyn Surroundings, faults: &mut Faults) {
    for (at, prerequisite) in document.prerequisites.iter().enumerate() {
        let pointer = format!("/prerequisites/{at}");
        if prerequisite.flag == document.key {
            faults.add(format!("{pointer}/flag"), "prerequisite_cycle", "a flag cannot require itself");
            continue;
        }
        let Some(required) = surroundings.document(&prerequisite.flag) else {
            faults.add(
                format!("{pointer}/flag"),
                "unknown_flag",
                format!("there is no flag {:?}", prerequisite.flag),
            );
            continue;
        };
        if surroundings.state(&prerequisite.flag) == Some(State::Archived) {
            faults.add(
                format!("{pointer}/flag"),
                "flag_archived",
                format!("{:?} is archived", prerequisite.flag),
            );
        }
        for variant in &prerequisite.variants {
            if !required.variants.contains_key(variant) {
                let detail = format!("{:?} has no variant {variant:?}", prerequisite.flag);
                // Reading has sorted the list, so its places are not the sender's.
                faults.add(format!("{pointer}/variants"), "unknown_variant", detail);
            }
        }
    }
    if document.prerequisites.is_empty() {
        return;
    }
    match depth(document, document, surroundings, 1) {
        Some(depth) if depth + above(document, surroundings, 1) <= PREREQUISITE_DEPTH_MAX => {}
        Some(_) => faults.add(
            "/prerequisites",
            "prerequisite_too_deep",
            format!("a chain of prerequisites has at most {PREREQUISITE_DEPTH_MAX} links"),
        ),
        None => {
            faults.add("/prerequisites", "prerequisite_cycle", "the prerequisites lead back to this flag")
        }
    }
}

/// Warns where another flag waits for a variant that is gone.
fn required_variants(document: &Document, surroundings: &dyn Surroundings, warnings: &mut Vec<Warning>) {
    for other in surroundings.documents().filter(|other| other.key != document.key) {
        let required = other.prerequisites.iter().filter(|prerequisite| prerequisite.flag == document.key);
        for variant in required.flat_map(|prerequisite| &prerequisite.variants) {
            if !document.variants.contains_key(variant) {
                warnings.push(Warning {
                    pointer: "/variants".into(),
                    code: "variant_required",
                    detail: format!("{:?} requires the variant {variant:?}, which is not there", other.key),
                });
            }
        }
    }
}

/// Links of the longest chain below `from`; `None` where one leads back to `document`.
fn depth(
    document: &Document,
    from: &Document,
    surroundings: &dyn Surroundings,
    level: usize,
) -> Option<usize> {
    let mut longest = 0;
    if level > PREREQUISITE_DEPTH_MAX + 1 {
        return Some(longest);
    }
    for prerequisite in &from.prerequisites {
        if prerequisite.flag == document.key {
            return None;
        }
        if let Some(required) = surroundings.document(&prerequisite.flag) {
            longest = longest.max(1 + depth(document, required, surroundings, level + 1)?);
        }
    }
    Some(longest)
}

/// Links of the longest chain of flags that require `document`.
fn above(document: &Document, surroundings: &dyn Surroundings, level: usize) -> usize {
    if level > PREREQUISITE_DEPTH_MAX {
        return 0;
    }
    let dependants = surroundings.documents().filter(|other| {
        other.key != document.key
            && other.prerequisites.iter().any(|prerequisite| prerequisite.flag == document.key)
    });
    dependants.map(|dependant| 1 + above(dependant, surroundings, level + 1)).max().unwrap_or(0)
}

/// Within an environment a step is either a stop or a metric.
fn steps(document: &Document, surroundings: &dyn Surroundings, faults: &mut Faults) {
    let stops = document
        .funnel
        .iter()
        .enumerate()
        .map(|(at, stop)| (format!("/funnel/{at}"), &stop.step, StepKind::Stop));
    let metrics = document
        .metrics
        .iter()
        .enumerate()
        .map(|(at, metric)| (format!("/metrics/{at}"), &metric.step, StepKind::Metric));
    for (pointer, step, kind) in stops.chain(metrics) {
        if surroundings.agree(step, kind) {
            continue;
        }
        let conflict =
            surroundings.documents().filter(|other| other.key != document.key).find(|other| match kind {
                StepKind::Stop => other.metrics.iter().any(|metric| metric.step == *step),
                StepKind::Metric => other.funnel.iter().any(|stop| stop.step == *step),
            });
        if let Some(other) = conflict {
            let there = if kind == StepKind::Stop { StepKind::Metric } else { StepKind::Stop };
            faults.add(
                pointer,
                "step_kind_conflict",
                format!(
                    "{step:?} is {} here and {} of the flag {:?}",
                    kind.as_str(),
                    there.as_str(),
                    other.key
                ),
            );
        }
    }
}

fn layer(document: &Document, surroundings: &dyn Surroundings, warnings: &mut Vec<Warning>) {
    let Some(own) = &document.layer else { return };
    for other in surroundings.documents().filter(|other| other.key != document.key) {
        let Some(range) = other.layer.as_ref().filter(|range| range.key == own.key) else { continue };
        if surroundings.state(&other.key) == Some(State::Archived) {
            continue;
        }
        if range.from < own.to && own.from < range.to {
            warnings.push(Warning {
                pointer: "/layer".into(),
                code: "layer_overlap",
                detail: format!(
                    "the range overlaps that of {:?} ({} to {})",
                    other.key, range.from, range.to
                ),
            });
        }
        if other.unit != document.unit {
            warnings.push(Warning {
                pointer: "/unit".into(),
                code: "layer_unit",
                detail: format!("{:?} shares the layer but hashes {}", other.key, other.unit),
            });
        }
    }
}

#[cfg(test)]
mod tests;
