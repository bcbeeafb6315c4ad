//! An answer of the service, read field by field: what is missing, or of another kind, is nothing.

use serde_json::Value;

/// A part of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a>(pub(super) &'a Value);

impl<'a> Part<'a> {
    /// The field of that name; null where it is missing.
    pub(super) fn part(self, name: &str) -> Part<'a> {
        Part(self.0.get(name).unwrap_or(&Value::Null))
    }

    /// A text; an empty one where there is none.
    pub(super) fn text(self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number.
    pub(super) fn number(self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// A count.
    pub(super) fn count(self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    /// Whether a field is true.
    pub(super) fn is(self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The items of a list.
    pub(super) fn list(self, name: &str) -> impl Iterator<Item = Part<'a>> + use<'a> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().map(Part)
    }

    /// The fields of an object.
    pub(super) fn fields(self, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let fields = self.0.get(name).and_then(Value::as_object).into_iter().flatten();
        fields.map(|(name, value)| (name.as_str(), value))
    }

    /// An interval, of which both limits are known.
    pub(super) fn interval(self, name: &str) -> Option<(f64, f64)> {
        let limit = |at: usize| self.part(name).0.get(at).and_then(Value::as_f64);
        limit(0).zip(limit(1))
    }
}
