//! Why a decision came out as it did. The evaluator is generic over [`Trace`]: deciding runs it with
//! [`Silent`], explaining with [`Recorder`], so the two cannot drift.

use serde_json::{Map, Value, json};

use super::bucket::Bucket;
use super::compile::{CompiledFlag, Rule};
use super::condition::{Cause, Condition, Test, Truth, Values};
use super::context::{Element, Operand};
use super::decision::{Arm, Decision};
use super::flag::{Match, Order};
use super::number::Number;
use super::share::Share;
use super::snapshot::Snapshot;

/// A step that evaluation takes.
pub enum Step<'e> {
    /// Is the flag live and not expired?
    State(&'e CompiledFlag),
    /// The unit is missing.
    Unit(&'e CompiledFlag),
    /// Does another flag serve what is required?
    Prerequisite(&'e CompiledFlag),
    /// Is the unit inside the layer's range?
    Layer {
        /// The unit's place on the layer's line.
        bucket: Bucket,
        /// From here, included.
        from: Share,
        /// To here, excluded.
        to: Share,
    },
    /// Do the goods pass?
    Gate(Match),
    /// Is one item eligible?
    Item {
        /// Its id.
        id: &'e str,
        /// The gate's percentage.
        threshold: Share,
        /// Its place on the goods' line, made only if asked for.
        bucket: &'e dyn Fn() -> Bucket,
    },
    /// Does a rule act?
    Rule(&'e Rule),
    /// Where does the unit stand in a rollout?
    Rollout {
        /// The unit's place.
        bucket: Bucket,
        /// Treated below this.
        percent: Share,
        /// Control from the top.
        control: Share,
    },
    /// Which of several variants?
    Split {
        /// The unit's place on the split's own line.
        bucket: Bucket,
    },
}

/// How a step ended.
pub enum Outcome {
    /// It held, or not.
    Passed(bool),
    /// A condition's truth.
    Truth(Truth),
    /// Where the unit stands.
    Arm(Option<Arm>),
}

/// What a condition asked of the context.
#[derive(Clone, Copy)]
pub enum Asked<'e> {
    /// An attribute; `None`: not sent.
    Attribute(Option<Operand<'e>>),
    /// A membership of this id; `None`: not sent.
    Membership(Option<Operand<'e>>),
}

/// Watches an evaluation.
pub trait Trace {
    /// Whether anything is kept: then no condition is skipped, though its outcome is known.
    const RECORDS: bool;

    /// A step begins.
    fn open(&mut self, step: Step<'_>);
    /// The step begun last ends.
    fn close(&mut self, outcome: Outcome);
    /// `all_of`, `any_of` or `not` begins.
    fn group(&mut self, condition: &Condition);
    /// The group begun last ends.
    fn end_group(&mut self, truth: Truth);
    /// A condition was evaluated.
    fn condition(&mut self, condition: &Condition, asked: Asked<'_>, truth: Truth);
}

/// Watches nothing and costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Trace for Silent {
    const RECORDS: bool = false;

    #[inline(always)]
    fn open(&mut self, _step: Step<'_>) {}
    #[inline(always)]
    fn close(&mut self, _outcome: Outcome) {}
    #[inline(always)]
    fn group(&mut self, _condition: &Condition) {}
    #[inline(always)]
    fn end_group(&mut self, _truth: Truth) {}
    #[inline(always)]
    fn condition(&mut self, _condition: &Condition, _asked: Asked<'_>, _truth: Truth) {}
}

/// Writes down every step as JSON.
pub struct Recorder<'s> {
    snapshot: &'s Snapshot,
    open: Vec<Map<String, Value>>,
    steps: Vec<Value>,
}

impl<'s> Recorder<'s> {
    /// A recorder that takes names from `snapshot`.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot) -> Self {
        Self { snapshot, open: Vec::new(), steps: Vec::new() }
    }

    /// The steps in order. One that an error cut short has no `result`.
    #[must_use]
    pub fn steps(mut self) -> Vec<Value> {
        while !self.open.is_empty() {
            self.finish(None);
        }
        self.steps
    }

    fn begin(&mut self, value: Value) {
        if let Value::Object(map) = value {
            self.open.push(map);
        }
    }

    fn finish(&mut self, result: Option<Value>) {
        let Some(mut step) = self.open.pop() else { return };
        if let Some(result) = result {
            step.insert("result".into(), result);
        }
        self.add(Value::Object(step));
    }

    fn add(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(outer) => {
                let inner = outer.entry("steps").or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(steps) = inner {
                    steps.push(value);
                }
            }
            None => self.steps.push(value),
        }
    }

    fn name(&self, condition: &Condition) -> Value {
        match condition {
            Condition::Attribute { slot, .. } => {
                self.snapshot.attributes().name(*slot).map_or(Value::Null, |name| name.to_string().into())
            }
            Condition::Audience { audience, .. } => {
                self.snapshot.audience(*audience).map_or(Value::Null, |audience| audience.key.as_str().into())
            }
            _ => Value::Null,
        }
    }
}

/// A decision as explanations show it: what is served and why, or `ERROR` with its code.
#[must_use]
pub fn decision_json(decision: &Decision<'_>) -> Value {
    match decision.result {
        Ok(served) => json!({
            "variant": decision.variant().map(|variant| variant.key.as_str()),
            "visible": decision.is_visible(),
            "reason": served.reason.as_str(),
            "rule": decision.rule().map(|rule| rule.id.as_str()),
            "arm": served.arm.map(Arm::as_str),
        }),
        Err(error) => json!({"visible": false, "reason": "ERROR", "code": error.code()}),
    }
}

fn truth_text(truth: Truth) -> Value {
    match truth {
        Truth::True => "true".into(),
        Truth::False => "false".into(),
        Truth::Unknown(_) => "unknown".into(),
    }
}

fn cause_text(truth: Truth) -> Option<&'static str> {
    match truth {
        Truth::Unknown(Cause::Missing) => Some("missing"),
        Truth::Unknown(Cause::WrongType) => Some("wrong_type"),
        Truth::Unknown(Cause::Unreadable) => Some("audience_unavailable"),
        Truth::True | Truth::False => None,
    }
}

fn number_json(number: Number) -> Value {
    match number {
        Number::Whole(value) => value.into(),
        Number::Real(value) => value.into(),
    }
}

fn operand_json(operand: Operand<'_>) -> Value {
    match operand {
        Operand::Text(text) => text.into(),
        Operand::Number(number) => number_json(number),
        Operand::Boolean(value) => value.into(),
        Operand::List(elements) => elements
            .iter()
            .map(|element| match element {
                Element::Text(text) => Value::from(&**text),
                Element::Number(number) => number_json(*number),
                Element::Boolean(value) => (*value).into(),
                Element::Other => Value::Null,
            })
            .collect(),
    }
}

/// Values of a list that a trace shows: enough to recognise it.
const VALUES_SHOWN: usize = 20;

/// A test's operator and operand as people wrote them; a long list is cut.
fn test_json(test: &Test) -> (&'static str, Value) {
    match test {
        Test::OneOf(Values::Text(text), negated) => (if *negated { "ne" } else { "eq" }, (**text).into()),
        Test::OneOf(values, negated) => (if *negated { "not_in" } else { "in" }, values_json(values)),
        Test::ContainsText(text) => ("contains", (**text).into()),
        Test::ContainsElement(values) => ("contains", values_json(values)),
        Test::StartsWith(text) => ("starts_with", (**text).into()),
        Test::EndsWith(text) => ("ends_with", (**text).into()),
        Test::Matches(pattern) => ("matches", pattern.as_str().into()),
        Test::Compare(order, number) => {
            (order_text(*order, ["lt", "lte", "eq", "gte", "gt"]), number_json(*number))
        }
        Test::Version(order, version) => (
            order_text(*order, ["semver_lt", "semver_lte", "semver_eq", "semver_gte", "semver_gt"]),
            version.to_string().into(),
        ),
        Test::Time(order, ms) => (
            order_text(*order, ["before", "before", "eq", "after", "after"]),
            crate::clock::rfc3339(*ms).into(),
        ),
        Test::Exists(expected) => ("exists", (*expected).into()),
    }
}

fn order_text(order: Order, texts: [&'static str; 5]) -> &'static str {
    let [less, less_or_equal, equal, greater_or_equal, greater] = texts;
    match order {
        Order::Less => less,
        Order::LessOrEqual => less_or_equal,
        Order::Equal => equal,
        Order::GreaterOrEqual => greater_or_equal,
        Order::Greater => greater,
    }
}

fn texts_json<'t>(texts: impl Iterator<Item = &'t Box<str>>) -> Vec<Value> {
    let mut texts: Vec<&str> = texts.map(AsRef::as_ref).collect();
    texts.sort_unstable();
    texts.dedup();
    texts.into_iter().map(Value::from).collect()
}

fn values_json(values: &Values) -> Value {
    let mut shown: Vec<Value> = match values {
        Values::Text(text) => vec![(**text).into()],
        Values::Few(texts) => texts_json(texts.iter()),
        Values::Texts(texts) => texts_json(texts.iter()),
        Values::Numbers(numbers) => {
            let mut numbers: Vec<Number> = numbers.iter().copied().collect();
            numbers.sort_by(|a, b| a.compare(*b));
            numbers.into_iter().map(number_json).collect()
        }
        Values::Booleans(with_true, with_false) => [(true, *with_true), (false, *with_false)]
            .iter()
            .filter(|(_, in_it)| *in_it)
            .map(|(v, _)| (*v).into())
            .collect(),
    };
    let more = shown.len().saturating_sub(VALUES_SHOWN);
    shown.truncate(VALUES_SHOWN);
    if more > 0 {
        shown.push(format!("... and {more} more").into());
    }
    shown.into()
}

impl Trace for Recorder<'_> {
    const RECORDS: bool = true;

    fn open(&mut self, step: Step<'_>) {
        let value = match step {
            Step::State(flag) => {
                json!({"step": "state", "flag": flag.key, "state": flag.state.as_str(), "expired": flag.expired})
            }
            Step::Unit(flag) => json!({"step": "unit", "flag": flag.key, "unit": flag.unit_attribute}),
            Step::Prerequisite(flag) => json!({"step": "prerequisite", "flag": flag.key}),
            Step::Layer { bucket, from, to } => {
                json!({"step": "layer", "bucket": bucket.ppm(), "from": from.ppm(), "to": to.ppm()})
            }
            Step::Gate(matching) => {
                let (name, share) = match matching {
                    Match::All => ("all", None),
                    Match::Any => ("any", None),
                    Match::ValueShare(share) => ("value_share", Some(share.percent())),
                };
                json!({"step": "goods", "match": name, "share_percent": share})
            }
            Step::Item { id, threshold, bucket } => {
                json!({"step": "item", "id": id, "bucket": bucket().ppm(), "below": threshold.ppm()})
            }
            Step::Rule(rule) => json!({"step": "rule", "rule": rule.id}),
            Step::Rollout { bucket, percent, control } => json!({
                "step": "rollout", "bucket": bucket.ppm(), "treatment_below": percent.ppm(),
                "control_from": control.rest().ppm(),
            }),
            Step::Split { bucket } => json!({"step": "split", "bucket": bucket.ppm()}),
        };
        self.begin(value);
    }

    fn close(&mut self, outcome: Outcome) {
        let result = match outcome {
            Outcome::Passed(passed) => passed.into(),
            Outcome::Truth(truth) => truth_text(truth),
            Outcome::Arm(arm) => arm.map_or("none", Arm::as_str).into(),
        };
        self.finish(Some(result));
    }

    fn group(&mut self, condition: &Condition) {
        let name = match condition {
            Condition::AllOf(_) => "all_of",
            Condition::AnyOf(_) => "any_of",
            _ => "not",
        };
        self.begin(json!({"step": name}));
    }

    fn end_group(&mut self, truth: Truth) {
        if let (Some(cause), Some(open)) = (cause_text(truth), self.open.last_mut()) {
            open.insert("cause".into(), cause.into());
        }
        self.finish(Some(truth_text(truth)));
    }

    fn condition(&mut self, condition: &Condition, asked: Asked<'_>, truth: Truth) {
        let name = self.name(condition);
        let mut value = match asked {
            Asked::Attribute(operand) => {
                json!({"step": "condition", "attribute": name, "value": operand.map(operand_json)})
            }
            Asked::Membership(operand) => {
                json!({"step": "condition", "audience": name, "value": operand.map(operand_json)})
            }
        };
        if let Value::Object(map) = &mut value {
            if let Condition::Attribute { test, .. } = condition {
                let (op, wanted) = test_json(test);
                map.insert("op".into(), op.into());
                map.insert("wanted".into(), wanted);
            }
            if let Some(cause) = cause_text(truth) {
                map.insert("cause".into(), cause.into());
            }
            map.insert("result".into(), truth_text(truth));
        }
        self.add(value);
    }
}
