//! Reads rules, rollouts, the layer, prerequisites and the goods gate.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::condition::ConditionReader;
use super::reader::{Faults, Reader};
use super::{
    Condition, Goods, LayerRange, Match, PREREQUISITES_MAX, Prerequisite, RULES_MAX, Rollout, Rule, Serve,
    VARIANTS_MAX,
};
use crate::engine::key::{FlagKey, LayerKey, RuleId, VariantKey};
use crate::engine::share::{PPM, Share};

/// The variants that rules may name.
pub(super) struct Variants<'d> {
    pub(super) all: &'d BTreeSet<VariantKey>,
    pub(super) off: Option<&'d VariantKey>,
}

pub(super) fn rules(
    reader: &mut Reader<'_, '_>,
    variants: &Variants<'_>,
    conditions: &mut ConditionReader,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut ids = BTreeSet::new();
    for (pointer, item) in reader.list("rules", RULES_MAX) {
        if let Some(rule) = rule(item, &pointer, variants, conditions, reader.faults) {
            if !ids.insert(rule.id.clone()) {
                reader.faults.add(
                    format!("{pointer}/id"),
                    "duplicate_rule",
                    format!("the rule id {:?} stands twice", rule.id),
                );
            }
            rules.push(rule);
        }
    }
    rules
}

fn rule(
    value: &Value,
    pointer: &str,
    variants: &Variants<'_>,
    conditions: &mut ConditionReader,
    faults: &mut Faults,
) -> Option<Rule> {
    let mut reader = Reader::open(value, pointer, &["id", "description", "when", "serve"], faults)?;
    let id = reader.required_key("id", RuleId::parse);
    let description = reader.text("description").unwrap_or_default().to_owned();
    let when = match reader.raw("when") {
        Some(when) => conditions.read(when, &reader.at("when"), reader.faults),
        None => Some(Condition::AllOf(Vec::new())),
    };
    let serve = reader.required("serve").and_then(|value| {
        let at = reader.at("serve");
        serve(value, &at, variants, reader.faults)
    });
    Some(Rule { id: id?, description, when: when?, serve: serve? })
}

fn serve(value: &Value, pointer: &str, variants: &Variants<'_>, faults: &mut Faults) -> Option<Serve> {
    let mut reader = Reader::open(value, pointer, &["variant", "rollout"], faults)?;
    match (reader.has("variant"), reader.raw("rollout")) {
        (true, None) => {
            let variant = reader.key("variant", VariantKey::parse)?;
            if !variants.all.contains(&variant) {
                reader.fault("variant", "unknown_variant", format!("the flag has no variant {variant:?}"));
                return None;
            }
            Some(Serve::Variant(variant))
        }
        (false, Some(value)) => {
            let at = reader.at("rollout");
            rollout(value, &at, variants, reader.faults).map(Serve::Rollout)
        }
        _ => {
            reader.faults.add(pointer, "serve_invalid", "a rule serves either `variant` or `rollout`");
            None
        }
    }
}

fn rollout(value: &Value, pointer: &str, variants: &Variants<'_>, faults: &mut Faults) -> Option<Rollout> {
    let mut reader = Reader::open(value, pointer, &["percent", "control", "split"], faults)?;
    reader.required("percent");
    let percent = reader.percent("percent");
    let control = if reader.has("control") { reader.percent("control") } else { Some(Share::NONE) };
    if let (Some(percent), Some(control)) = (percent, control)
        && percent.ppm() + control.ppm() > PPM
    {
        reader.fault(
            "percent",
            "share_over_100",
            format!(
                "percent and control are over 100 together; with control {control} at most {} fits",
                control.rest()
            ),
        );
    }
    let split = split(&mut reader, variants);
    Some(Rollout { percent: percent?, control: control?, split: split? })
}

fn split(reader: &mut Reader<'_, '_>, variants: &Variants<'_>) -> Option<BTreeMap<VariantKey, u32>> {
    let Some(value) = reader.raw("split") else {
        let mut others = variants.all.iter().filter(|key| Some(*key) != variants.off);
        return match (others.next(), others.next()) {
            (Some(only), None) => Some(BTreeMap::from([(only.clone(), 1)])),
            _ => {
                reader.fault(
                    "split",
                    "required",
                    "`split` may be left out only where one variant besides `off_variant` exists",
                );
                None
            }
        };
    };
    let at = reader.at("split");
    let weights: Vec<&str> =
        value.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default();
    let mut weight_reader = Reader::open(value, &at, &weights, reader.faults)?;
    let before = weight_reader.faults.0.len();
    let mut split = BTreeMap::new();
    for name in weights {
        let weight =
            weight_reader.whole(name, 0..=i64::from(PPM)).and_then(|weight| u32::try_from(weight).ok());
        match VariantKey::parse(name) {
            Ok(key) if Some(&key) == variants.off => {
                weight_reader.fault(
                    name,
                    "off_variant_in_split",
                    "`off_variant` is served outside the percentage, never by the split",
                );
            }
            Ok(key) if variants.all.contains(&key) => {
                split.insert(key, weight.unwrap_or_default());
            }
            _ => weight_reader.fault(name, "unknown_variant", format!("the flag has no variant {name:?}")),
        }
    }
    if weight_reader.faults.0.len() > before {
        return None;
    }
    if split.values().all(|weight| *weight == 0) {
        reader.fault("split", "out_of_range", "the weights add up to 0");
        return None;
    }
    // A weight of 0 cuts nothing from the line.
    split.retain(|_, weight| *weight > 0);
    Some(split)
}

pub(super) fn layer(reader: &mut Reader<'_, '_>) -> Option<LayerRange> {
    let value = reader.raw("layer")?;
    let at = reader.at("layer");
    let mut reader = Reader::open(value, &at, &["key", "from", "to"], reader.faults)?;
    let key = reader.required_key("key", LayerKey::parse);
    reader.required("from");
    reader.required("to");
    let (from, to) = (reader.percent("from"), reader.percent("to"));
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        reader.fault("to", "out_of_range", "`to` is over `from`");
    }
    Some(LayerRange { key: key?, from: from?, to: to? })
}

pub(super) fn prerequisites(reader: &mut Reader<'_, '_>) -> Vec<Prerequisite> {
    let mut prerequisites = Vec::new();
    for (pointer, item) in reader.list("prerequisites", PREREQUISITES_MAX) {
        let Some(mut inner) = Reader::open(item, &pointer, &["flag", "variants"], reader.faults) else {
            continue;
        };
        let flag = inner.required_key("flag", FlagKey::parse);
        inner.required("variants");
        let mut variants = Vec::new();
        for (at, variant) in inner.list("variants", VARIANTS_MAX) {
            match variant.as_str().map(VariantKey::parse) {
                Some(Ok(key)) => variants.push(key),
                _ => inner.faults.add(at, "key_invalid", "a variant's key is needed"),
            }
        }
        if variants.is_empty()
            && inner.raw("variants").is_some_and(|v| v.as_array().is_some_and(Vec::is_empty))
        {
            inner.fault("variants", "out_of_range", "at least one variant is needed");
        }
        variants.sort_unstable();
        variants.dedup();
        if let Some(flag) = flag {
            prerequisites.push(Prerequisite { flag, variants });
        }
    }
    prerequisites
}

pub(super) fn goods(reader: &mut Reader<'_, '_>, conditions: &mut ConditionReader) -> Option<Goods> {
    const KNOWN: [&str; 6] = ["match", "share_percent", "required", "include", "exclude", "rollout_percent"];
    let value = reader.raw("goods")?;
    let at = reader.at("goods");
    let mut reader = Reader::open(value, &at, &KNOWN, reader.faults)?;
    let share = reader.percent("share_percent");
    let matching = match if reader.has("match") { reader.text("match")? } else { "all" } {
        "all" => Some(Match::All),
        "any" => Some(Match::Any),
        "value_share" => {
            reader.required("share_percent");
            share.map(Match::ValueShare)
        }
        other => {
            reader.fault(
                "match",
                "out_of_range",
                format!("`match` is all, any or value_share, not {other:?}"),
            );
            None
        }
    };
    if reader.has("share_percent") && matches!(matching, Some(Match::All | Match::Any)) {
        reader.fault("share_percent", "unknown_field", "`share_percent` is for `match`: `value_share` only");
    }
    let required = if reader.has("required") { reader.boolean("required") } else { Some(true) };
    let rollout =
        if reader.has("rollout_percent") { reader.percent("rollout_percent") } else { Some(Share::ALL) };
    conditions.in_goods = true;
    let mut read = |field: &str| -> Option<Vec<Condition>> {
        let items = reader.list(field, super::CONDITIONS_MAX);
        let read: Vec<_> = items.iter().map(|(at, item)| conditions.read(item, at, reader.faults)).collect();
        read.into_iter().collect()
    };
    let (include, exclude) = (read("include"), read("exclude"));
    Some(Goods {
        matching: matching?,
        required: required?,
        include: include?,
        exclude: exclude?,
        rollout: rollout?,
    })
}
