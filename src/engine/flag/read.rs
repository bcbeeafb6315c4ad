//! Reads a whole document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::condition::ConditionReader;
use super::reader::{Faults, Reader, refuse_nul, type_of};
use super::rules::{Variants, goods, layer, prerequisites, rules};
use super::{
    ATTRIBUTION_HOURS_DEFAULT, ATTRIBUTION_HOURS_MAX, Attribute, CAPTURE_MAX, Document, Guardrail,
    GuardrailBound, MIN_EFFECT_DEFAULT, Metric, STEPS_MAX, Scope, Stop, VARIANTS_MAX, ValueType,
    VariantValue,
};
use crate::engine::json::child;
use crate::engine::key::{FlagKey, PlacementKey, StepKey, VariantKey, is_key};

/// Every field of a document.
pub const FIELDS: [&str; 25] = [
    "key",
    "name",
    "description",
    "owner",
    "tags",
    "placement",
    "position",
    "value_type",
    "variants",
    "off_variant",
    "default_variant",
    "salt",
    "unit",
    "layer",
    "prerequisites",
    "goods",
    "rules",
    "funnel",
    "metrics",
    "goal",
    "attribution_hours",
    "capture",
    "min_effect",
    "guardrails",
    "expire_at",
];

/// Longest text that a metric's `values` may list, in bytes: what an event keeps of an attribute.
const METRIC_VALUE_BYTES_MAX: usize = 64;

/// Reads a document; all faults that it has by itself are added to `faults`.
/// `None`, or `faults` not empty: it must not be used.
#[must_use]
pub fn read(value: &Value, faults: &mut Faults) -> Option<Document> {
    refuse_nul(value, "", faults);
    let mut reader = Reader::open(value, "", &FIELDS, faults)?;
    let key = reader.required_key("key", FlagKey::parse);
    let value_type = value_type(&mut reader);
    let (variants, names) = variants(&mut reader, value_type);
    let off_variant = reader.required_key("off_variant", VariantKey::parse);
    let off_variant = known_variant(&mut reader, "off_variant", off_variant, &names);
    let default_variant = reader.key("default_variant", VariantKey::parse);
    let default_variant = match reader.has("default_variant") {
        true => known_variant(&mut reader, "default_variant", default_variant, &names),
        false => off_variant.clone(),
    };
    let mut conditions = ConditionReader { in_goods: false, count: 0 };
    let rules = rules(&mut reader, &Variants { all: &names, off: off_variant.as_ref() }, &mut conditions);
    let goods = goods(&mut reader, &mut conditions);
    let (funnel, metrics) = (funnel(&mut reader), metrics(&mut reader));
    one_kind_a_step(&mut reader, &funnel, &metrics);
    let goal = goal(&mut reader, &funnel, &metrics);
    let guardrails = guardrails(&mut reader, &metrics);
    let attribution_hours = reader.whole("attribution_hours", 1..=ATTRIBUTION_HOURS_MAX);
    let attribution_hours = attribution_hours.unwrap_or(ATTRIBUTION_HOURS_DEFAULT);
    ratios(&metrics, attribution_hours, reader.faults);
    Some(Document {
        name: reader.name("name").or(key.as_ref().map(FlagKey::as_str)).unwrap_or_default().to_owned(),
        description: reader.text("description").unwrap_or_default().to_owned(),
        owner: reader.name("owner").unwrap_or_default().to_owned(),
        tags: reader.texts("tags", 50, 100).into_iter().map(Into::into).collect(),
        placement: reader.key("placement", PlacementKey::parse),
        position: reader.whole("position", -1_000_000..=1_000_000).unwrap_or_default(),
        salt: salt(&mut reader),
        unit: unit(&mut reader),
        layer: layer(&mut reader),
        prerequisites: prerequisites(&mut reader),
        attribution_hours,
        capture: capture(&mut reader),
        min_effect: reader.real("min_effect", 0.0001..=10.0).unwrap_or(MIN_EFFECT_DEFAULT),
        expire_at: expire_at(&mut reader),
        key: key?,
        value_type: value_type?,
        variants,
        off_variant: off_variant?,
        default_variant: default_variant?,
        goods,
        rules,
        funnel,
        metrics,
        goal,
        guardrails,
    })
}

fn value_type(reader: &mut Reader<'_, '_>) -> Option<ValueType> {
    reader.required("value_type")?;
    let text = reader.text("value_type")?;
    let known = ValueType::ALL.into_iter().find(|(_, name)| *name == text).map(|(value_type, _)| value_type);
    if known.is_none() {
        let all: Vec<_> = ValueType::ALL.iter().map(|(_, name)| *name).collect();
        reader.fault("value_type", "out_of_range", format!("`value_type` is one of {}", all.join(", ")));
    }
    known
}

/// The values, and the names alone: rules are checked against them even where a value is wrong.
fn variants(
    reader: &mut Reader<'_, '_>,
    value_type: Option<ValueType>,
) -> (BTreeMap<VariantKey, VariantValue>, BTreeSet<VariantKey>) {
    let (mut variants, mut names) = (BTreeMap::new(), BTreeSet::new());
    let Some(value) = reader.required("variants") else { return (variants, names) };
    let pointer = reader.at("variants");
    let Some(object) = value.as_object() else {
        reader.fault("variants", "wrong_type", format!("an object is needed, this is {}", type_of(value)));
        return (variants, names);
    };
    if object.is_empty() || object.len() > VARIANTS_MAX {
        reader.fault("variants", "out_of_range", format!("1 to {VARIANTS_MAX} variants"));
    }
    for (name, value) in object {
        let at = child(&pointer, name);
        let Ok(key) = VariantKey::parse(name) else {
            reader.faults.add(at, "key_invalid", crate::engine::key::KeyError.to_string());
            continue;
        };
        names.insert(key.clone());
        let Some(value_type) = value_type else { continue };
        match VariantValue::typed(value_type, value) {
            Some(value) => {
                variants.insert(key, value);
            }
            None => reader.faults.add(
                at,
                "wrong_type",
                format!("all values have the flag's `value_type`; this is {}", type_of(value)),
            ),
        }
    }
    (variants, names)
}

fn known_variant(
    reader: &mut Reader<'_, '_>,
    field: &str,
    key: Option<VariantKey>,
    names: &BTreeSet<VariantKey>,
) -> Option<VariantKey> {
    let key = key?;
    if !names.contains(&key) {
        reader.fault(field, "unknown_variant", format!("the flag has no variant {key:?}"));
        return None;
    }
    Some(key)
}

fn salt(reader: &mut Reader<'_, '_>) -> Option<Box<str>> {
    let salt = reader.text("salt")?;
    if !is_key(salt) {
        reader.fault("salt", "salt_invalid", "a salt is 1 to 100 characters of A-Z a-z 0-9 . _ -");
        return None;
    }
    Some(salt.into())
}

fn unit(reader: &mut Reader<'_, '_>) -> Attribute {
    let Some(text) = reader.text("unit") else { return Attribute::user_id() };
    match Attribute::parse(text) {
        Some(attribute) if attribute.scope != Scope::Goods => attribute,
        _ => {
            reader.fault("unit", "attribute_invalid", "`unit` is a `user.*` or `order.*` attribute");
            Attribute::user_id()
        }
    }
}

fn funnel(reader: &mut Reader<'_, '_>) -> Vec<Stop> {
    let mut stops: Vec<Stop> = Vec::new();
    for (pointer, item) in reader.list("funnel", STEPS_MAX) {
        let stop = match item {
            Value::String(text) => {
                step(text, &pointer, reader.faults).map(|step| Stop { step, optional: false })
            }
            _ => Reader::open(item, &pointer, &["step", "optional"], reader.faults).and_then(|mut inner| {
                let optional = inner.boolean("optional").unwrap_or_default();
                inner.required_key("step", StepKey::parse).map(|step| Stop { step, optional })
            }),
        };
        let Some(stop) = stop else { continue };
        if stops.iter().any(|known| known.step == stop.step) {
            reader.faults.add(pointer, "duplicate_step", format!("the step {:?} stands twice", stop.step));
        }
        stops.push(stop);
    }
    stops
}

fn step(text: &str, pointer: &str, faults: &mut Faults) -> Option<StepKey> {
    match StepKey::parse(text) {
        Ok(step) => Some(step),
        Err(error) => {
            faults.add(pointer, "key_invalid", error.to_string());
            None
        }
    }
}

fn metrics(reader: &mut Reader<'_, '_>) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for (pointer, item) in reader.list("metrics", STEPS_MAX) {
        let metric = match item {
            Value::String(text) => step(text, &pointer, reader.faults).map(|step| Metric {
                step,
                by: None,
                values: Vec::new(),
                window_hours: None,
                ratio: None,
            }),
            _ => metric(item, &pointer, reader.faults),
        };
        let Some(metric) = metric else { continue };
        if metrics.iter().any(|known| known.step == metric.step) {
            reader.faults.add(pointer, "duplicate_step", format!("the step {:?} stands twice", metric.step));
        }
        metrics.push(metric);
    }
    metrics
}

fn metric(item: &Value, pointer: &str, faults: &mut Faults) -> Option<Metric> {
    let mut inner = Reader::open(item, pointer, &["step", "by", "values", "window_hours", "ratio"], faults)?;
    let by = inner.text("by");
    if by.is_some_and(|by| by.is_empty() || by.len() > 256) {
        inner.fault("by", "too_long", "1 to 256 bytes");
    }
    let values = inner.texts("values", 50, METRIC_VALUE_BYTES_MAX);
    if inner.has("values") && by.is_none() {
        inner.fault("values", "unknown_field", "`values` are those of `by`");
    }
    let window_hours = inner.whole("window_hours", 1..=ATTRIBUTION_HOURS_MAX);
    let ratio = inner.key("ratio", StepKey::parse);
    Some(Metric {
        step: inner.required_key("step", StepKey::parse)?,
        by: by.map(Into::into),
        values,
        window_hours,
        ratio,
    })
}

/// A ratio's denominator is another metric, counted over the same window.
fn ratios(metrics: &[Metric], own_hours: i64, faults: &mut Faults) {
    let hours = |metric: &Metric| metric.window_hours.unwrap_or(own_hours);
    for (at, metric) in metrics.iter().enumerate() {
        let Some(ratio) = &metric.ratio else { continue };
        let pointer = format!("/metrics/{at}/ratio");
        match metrics.iter().find(|other| other.step == *ratio && other.step != metric.step) {
            None => faults.add(pointer, "unknown_step", "the ratio's step is not another one of `metrics`"),
            Some(other) if hours(other) != hours(metric) => {
                faults.add(pointer, "out_of_range", "both steps of a ratio need the same window");
            }
            Some(_) => {}
        }
    }
}

fn one_kind_a_step(reader: &mut Reader<'_, '_>, funnel: &[Stop], metrics: &[Metric]) {
    for (at, metric) in metrics.iter().enumerate() {
        if funnel.iter().any(|stop| stop.step == metric.step) {
            reader.faults.add(
                format!("/metrics/{at}"),
                "step_kind_conflict",
                format!("the step {:?} is a stop of the funnel already", metric.step),
            );
        }
    }
}

fn goal(reader: &mut Reader<'_, '_>, funnel: &[Stop], metrics: &[Metric]) -> Option<StepKey> {
    let goal = reader.key("goal", StepKey::parse)?;
    if !funnel.iter().any(|stop| stop.step == goal) && !metrics.iter().any(|metric| metric.step == goal) {
        reader.fault("goal", "unknown_step", "the goal stands neither in `funnel` nor in `metrics`");
        return None;
    }
    Some(goal)
}

fn capture(reader: &mut Reader<'_, '_>) -> Vec<Attribute> {
    let mut capture = Vec::new();
    for (pointer, item) in reader.list("capture", CAPTURE_MAX) {
        match item.as_str().and_then(Attribute::parse) {
            Some(attribute) if attribute.scope == Scope::User && !capture.contains(&attribute) => {
                capture.push(attribute)
            }
            _ => reader.faults.add(
                pointer,
                "attribute_invalid",
                "`capture` names different `user.*` attributes",
            ),
        }
    }
    capture
}

fn guardrails(reader: &mut Reader<'_, '_>, metrics: &[Metric]) -> Vec<Guardrail> {
    let mut guardrails = Vec::new();
    for (pointer, item) in reader.list("guardrails", STEPS_MAX) {
        let Some(mut inner) = Reader::open(item, &pointer, &["step", "margin", "limit"], reader.faults)
        else {
            continue;
        };
        let step = inner.required_key("step", StepKey::parse);
        if let Some(step) = &step
            && !metrics.iter().any(|metric| metric.step == *step)
        {
            inner.fault("step", "unknown_step", "a guardrail's step stands in `metrics`");
        }
        let (margin, limit) = (inner.real("margin", 0.0..=1.0), inner.real("limit", 0.0..=1.0));
        let bound = match (inner.has("margin"), inner.has("limit")) {
            (true, false) => margin.map(GuardrailBound::Margin),
            (false, true) => limit.map(GuardrailBound::Limit),
            _ => {
                inner.faults.add(
                    pointer.as_str(),
                    "guardrail_invalid",
                    "a guardrail has either `margin` or `limit`",
                );
                None
            }
        };
        if let (Some(step), Some(bound)) = (step, bound) {
            guardrails.push(Guardrail { step, bound });
        }
    }
    guardrails
}

fn expire_at(reader: &mut Reader<'_, '_>) -> Option<i64> {
    let text = reader.text("expire_at")?;
    let time = crate::clock::parse_rfc3339(text);
    if time.is_none() {
        reader.fault("expire_at", "time_invalid", "a time is RFC 3339, such as 2026-12-31T16:00:00Z");
    }
    time
}
