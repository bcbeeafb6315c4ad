//! Notes: what to know about a figure, or why it is missing.

use serde_json::{Value, json};

use crate::stats::figures::Why;

/// Notes of one answer, by the place that they speak of.
#[derive(Debug, Clone, Default)]
pub struct Notes(Vec<Value>);

impl Notes {
    /// Adds one of a place of the answer.
    pub fn add(&mut self, pointer: &str, code: &str, detail: &str) {
        self.0.push(json!({"pointer": pointer, "code": code, "detail": detail}));
    }

    /// Adds what statistics say of `field` below `pointer`.
    pub fn why(&mut self, pointer: &str, field: &str, why: Why) {
        self.add(&format!("{pointer}/{field}"), why.as_str(), why.detail());
    }

    /// As JSON.
    #[must_use]
    pub fn json(self) -> Value {
        Value::Array(self.0)
    }
}
