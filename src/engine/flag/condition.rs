//! Reads conditions, and checks each value against its operator.

use regex::RegexBuilder;
use serde_json::Value;

use super::reader::{Faults, Reader, type_of};
use super::{
    Attribute, CONDITIONS_MAX, Condition, LIST_VALUES_MAX, List, Order, PATTERN_BYTES_MAX,
    PATTERN_COMPILED_BYTES_MAX, Scalar, Scope, TEXT_BYTES_MAX, Test,
};
use crate::engine::key::AudienceKey;
use crate::engine::number::Number;
use crate::engine::version::OwnedVersion;

/// Where conditions stand: only the goods gate knows `goods.*`.
pub(super) struct ConditionReader {
    pub(super) in_goods: bool,
    /// Conditions read so far in the whole flag.
    pub(super) count: usize,
}

impl ConditionReader {
    pub(super) fn read(&mut self, value: &Value, pointer: &str, faults: &mut Faults) -> Option<Condition> {
        self.count += 1;
        if self.count == CONDITIONS_MAX + 1 {
            faults.add(pointer, "too_many", format!("a flag has at most {CONDITIONS_MAX} conditions"));
        }
        if self.count > CONDITIONS_MAX {
            return None;
        }
        let Some(object) = value.as_object() else {
            faults.add(
                pointer,
                "wrong_type",
                format!("a condition is an object, this is {}", type_of(value)),
            );
            return None;
        };
        let has = |field: &str| object.contains_key(field);
        if has("all_of") {
            self.group(value, pointer, "all_of", faults).map(Condition::AllOf)
        } else if has("any_of") {
            self.group(value, pointer, "any_of", faults).map(Condition::AnyOf)
        } else if has("not") {
            let mut reader = Reader::open(value, pointer, &["not"], faults)?;
            let (inner, at) = (reader.required("not")?, reader.at("not"));
            self.read(inner, &at, faults).map(|inner| Condition::Not(Box::new(inner)))
        } else if has("audience") {
            self.audience(value, pointer, faults)
        } else if has("attribute") {
            self.attribute_test(value, pointer, faults)
        } else {
            faults.add(
                pointer,
                "condition_invalid",
                "a condition has `attribute` and `op`, or `audience`, `all_of`, `any_of` or `not`",
            );
            None
        }
    }

    fn group(
        &mut self,
        value: &Value,
        pointer: &str,
        field: &str,
        faults: &mut Faults,
    ) -> Option<Vec<Condition>> {
        let items = Reader::open(value, pointer, &[field], faults)?.list(field, CONDITIONS_MAX);
        let read: Vec<_> = items.iter().map(|(at, item)| self.read(item, at, faults)).collect();
        read.into_iter().collect()
    }

    fn audience(&mut self, value: &Value, pointer: &str, faults: &mut Faults) -> Option<Condition> {
        let mut reader = Reader::open(value, pointer, &["audience", "attribute"], faults)?;
        let audience = reader.required_key("audience", AudienceKey::parse);
        let attribute = match reader.text("attribute") {
            Some(text) => Some(self.attribute(text, &mut reader)?),
            None if reader.has("attribute") => return None,
            None => None,
        };
        Some(Condition::Audience { audience: audience?, attribute })
    }

    fn attribute(&self, text: &str, reader: &mut Reader<'_, '_>) -> Option<Attribute> {
        let Some(attribute) = Attribute::parse(text) else {
            reader.fault(
                "attribute",
                "attribute_invalid",
                "an attribute is `user.<name>`, `order.<name>` or `goods.<name>`",
            );
            return None;
        };
        if attribute.scope == Scope::Goods && !self.in_goods {
            reader.fault("attribute", "attribute_invalid", "`goods.*` is known inside the goods gate only");
            return None;
        }
        Some(attribute)
    }

    fn attribute_test(&mut self, value: &Value, pointer: &str, faults: &mut Faults) -> Option<Condition> {
        let mut reader = Reader::open(value, pointer, &["attribute", "op", "value"], faults)?;
        let attribute = reader.text("attribute").and_then(|text| self.attribute(text, &mut reader));
        reader.required("op")?;
        let op = reader.text("op")?;
        let test = test(op, &mut reader);
        Some(Condition::Attribute { attribute: attribute?, test: test? })
    }
}

fn test(op: &str, reader: &mut Reader<'_, '_>) -> Option<Test> {
    match op {
        "eq" | "ne" => scalar(reader).map(|value| Test::Equals { value, negated: op == "ne" }),
        "in" | "not_in" => list(reader).map(|list| Test::In { list, negated: op == "not_in" }),
        "contains" => scalar(reader).map(Test::Contains),
        "starts_with" => text(reader).map(Test::StartsWith),
        "ends_with" => text(reader).map(Test::EndsWith),
        "matches" => pattern(reader).map(Test::Matches),
        "lt" | "lte" | "gt" | "gte" => {
            let value = reader.required("value")?;
            let number = Number::from_json(value);
            if number.is_none() {
                reader.fault(
                    "value",
                    "wrong_type",
                    format!("`{op}` compares numbers, this is {}", type_of(value)),
                );
            }
            Some(Test::Compare(order(op)?, number?))
        }
        "semver_eq" | "semver_lt" | "semver_lte" | "semver_gt" | "semver_gte" => {
            let version = OwnedVersion::parse(&text(reader)?);
            if version.is_none() {
                reader.fault(
                    "value",
                    "version_invalid",
                    "a version has 1 to 4 numeric parts, such as 10.9.0 or 2.0.0-beta.1",
                );
            }
            Some(Test::Version(order(op.strip_prefix("semver_")?)?, version?))
        }
        "before" | "after" => {
            let time = crate::clock::parse_rfc3339(&text(reader)?);
            if time.is_none() {
                reader.fault("value", "time_invalid", "a time is RFC 3339, such as 2026-11-24T08:00:00Z");
            }
            Some(Test::Time(if op == "before" { Order::Less } else { Order::Greater }, time?))
        }
        "exists" => match reader.has("value") {
            true => reader.boolean("value").map(Test::Exists),
            false => Some(Test::Exists(true)),
        },
        _ => {
            reader.fault("op", "operator_unknown", format!("there is no operator {op:?}"));
            None
        }
    }
}

fn order(op: &str) -> Option<Order> {
    Some(match op {
        "lt" => Order::Less,
        "lte" => Order::LessOrEqual,
        "eq" => Order::Equal,
        "gte" => Order::GreaterOrEqual,
        "gt" => Order::Greater,
        _ => return None,
    })
}

fn text(reader: &mut Reader<'_, '_>) -> Option<Box<str>> {
    reader.required("value")?;
    reader.text("value").map(Into::into)
}

fn to_scalar(value: &Value) -> Option<Scalar> {
    match value {
        Value::String(text) if text.len() <= TEXT_BYTES_MAX => Some(Scalar::Text(text.as_str().into())),
        Value::Bool(value) => Some(Scalar::Boolean(*value)),
        Value::Number(_) => Number::from_json(value).map(Scalar::Number),
        _ => None,
    }
}

fn scalar(reader: &mut Reader<'_, '_>) -> Option<Scalar> {
    let value = reader.required("value")?;
    let scalar = to_scalar(value);
    if scalar.is_none() {
        reader.fault(
            "value",
            "wrong_type",
            format!(
                "a text of at most {TEXT_BYTES_MAX} bytes, a number or a boolean is needed, this is {}",
                type_of(value)
            ),
        );
    }
    scalar
}

fn list(reader: &mut Reader<'_, '_>) -> Option<List> {
    reader.required("value")?;
    if !reader.raw("value").is_some_and(Value::is_array) {
        reader.list("value", LIST_VALUES_MAX);
        return None;
    }
    let before = reader.faults.0.len();
    let (mut texts, mut numbers, mut booleans) = (Vec::new(), Vec::new(), Vec::new());
    let items = reader.list("value", LIST_VALUES_MAX);
    for (at, item) in &items {
        match to_scalar(item) {
            Some(Scalar::Text(text)) => texts.push(text),
            Some(Scalar::Number(number)) => numbers.push(number),
            Some(Scalar::Boolean(value)) => booleans.push(value),
            None => reader.faults.add(
                at.as_str(),
                "wrong_type",
                format!("a list holds texts, numbers or booleans, this is {}", type_of(item)),
            ),
        }
    }
    let kinds =
        [texts.is_empty(), numbers.is_empty(), booleans.is_empty()].iter().filter(|empty| !**empty).count();
    if kinds > 1 {
        reader.fault("value", "wrong_type", "a list holds values of one type");
    }
    if reader.faults.0.len() > before {
        return None;
    }
    // Order and repeats decide nothing, so that two lists of the same values are the same.
    if !numbers.is_empty() {
        numbers.sort_by(|a, b| a.compare(*b));
        numbers.dedup();
        return Some(List::Numbers(numbers));
    }
    if !booleans.is_empty() {
        booleans.sort_unstable();
        booleans.dedup();
        return Some(List::Booleans(booleans));
    }
    texts.sort_unstable();
    texts.dedup();
    Some(List::Texts(texts))
}

fn pattern(reader: &mut Reader<'_, '_>) -> Option<Box<str>> {
    // Before the limit of any text, so that a pattern has one code for its size.
    if reader.raw("value").and_then(Value::as_str).is_some_and(|text| text.len() > PATTERN_BYTES_MAX) {
        reader.fault(
            "value",
            "pattern_too_large",
            format!("a pattern has at most {PATTERN_BYTES_MAX} bytes"),
        );
        return None;
    }
    let text = text(reader)?;
    match compile_pattern(&text) {
        Ok(_) => Some(text),
        Err(regex::Error::CompiledTooBig(_)) => {
            reader.fault(
                "value",
                "pattern_too_large",
                format!("compiled, the pattern takes over {PATTERN_COMPILED_BYTES_MAX} bytes"),
            );
            None
        }
        Err(_) if regex::Regex::new(&text).is_ok() => {
            reader.fault("value", "pattern_too_large", "the pattern nests too deep");
            None
        }
        Err(error) => {
            reader.fault("value", "pattern_invalid", error.to_string());
            None
        }
    }
}

/// Compiles a pattern within the limits on its size.
pub(in crate::engine) fn compile_pattern(text: &str) -> Result<regex::Regex, regex::Error> {
    RegexBuilder::new(text)
        .size_limit(PATTERN_COMPILED_BYTES_MAX)
        .dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
        .nest_limit(50)
        .build()
}
