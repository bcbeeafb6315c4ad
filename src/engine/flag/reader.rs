//! Reads typed fields from JSON and collects every fault with its pointer, instead of stopping at the first.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::engine::flag::TEXT_BYTES_MAX;
use crate::engine::json::child;
use crate::engine::key::{KeyError, is_plain};
use crate::engine::number::Number;
use crate::engine::share::Share;

/// One fault of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer of what is wrong.
    pub pointer: String,
    /// Stable code.
    pub code: &'static str,
    /// What is wrong, for people.
    pub detail: String,
}

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Adds a fault.
    pub fn add(&mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        self.0.push(Fault { pointer: pointer.into(), code, detail: detail.into() });
    }
}

/// The name of a JSON value's type.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// An object that is being read.
pub(super) struct Reader<'v, 'f> {
    object: &'v Map<String, Value>,
    pub(super) pointer: String,
    pub(super) faults: &'f mut Faults,
}

impl<'v, 'f> Reader<'v, 'f> {
    /// Begins to read `value`; unknown fields are faults at once.
    pub(super) fn open(
        value: &'v Value,
        pointer: &str,
        known: &[&str],
        faults: &'f mut Faults,
    ) -> Option<Self> {
        let Some(object) = value.as_object() else {
            faults.add(pointer, "wrong_type", format!("an object is needed, this is {}", type_of(value)));
            return None;
        };
        for field in object.keys().filter(|field| !known.contains(&field.as_str())) {
            faults.add(
                child(pointer, field),
                "unknown_field",
                format!("there is no field {field:?}; known: {}", known.join(", ")),
            );
        }
        Some(Self { object, pointer: pointer.to_owned(), faults })
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.object.contains_key(field)
    }

    pub(super) fn raw(&self, field: &str) -> Option<&'v Value> {
        self.object.get(field)
    }

    pub(super) fn at(&self, field: &str) -> String {
        child(&self.pointer, field)
    }

    pub(super) fn fault(&mut self, field: &str, code: &'static str, detail: impl Into<String>) {
        let pointer = self.at(field);
        self.faults.add(pointer, code, detail);
    }

    fn wrong(&mut self, field: &str, wanted: &str, value: &Value) {
        self.fault(field, "wrong_type", format!("{wanted} is needed, this is {}", type_of(value)));
    }

    /// A field that must be there.
    pub(super) fn required(&mut self, field: &str) -> Option<&'v Value> {
        let value = self.object.get(field);
        if value.is_none() {
            self.fault(field, "required", format!("`{field}` is required"));
        }
        value
    }

    pub(super) fn text(&mut self, field: &str) -> Option<&'v str> {
        let value = self.object.get(field)?;
        let Some(text) = value.as_str() else {
            self.wrong(field, "a text", value);
            return None;
        };
        if text.len() > TEXT_BYTES_MAX {
            self.fault(field, "too_long", format!("at most {TEXT_BYTES_MAX} bytes"));
            return None;
        }
        Some(text)
    }

    /// A text that people see as a name.
    pub(super) fn name(&mut self, field: &str) -> Option<&'v str> {
        let text = self.text(field)?;
        // U+0000 is found in every text of the document, wherever it stands.
        if !is_plain(text) && !text.contains('\0') {
            self.fault(
                field,
                "text_invalid",
                "a name has no control, invisible or direction-turning characters",
            );
            return None;
        }
        Some(text)
    }

    pub(super) fn key<K>(&mut self, field: &str, parse: fn(&str) -> Result<K, KeyError>) -> Option<K> {
        let text = self.text(field)?;
        match parse(text) {
            Ok(key) => Some(key),
            Err(error) => {
                self.fault(field, "key_invalid", error.to_string());
                None
            }
        }
    }

    pub(super) fn required_key<K>(
        &mut self,
        field: &str,
        parse: fn(&str) -> Result<K, KeyError>,
    ) -> Option<K> {
        self.required(field)?;
        self.key(field, parse)
    }

    pub(super) fn boolean(&mut self, field: &str) -> Option<bool> {
        let value = self.object.get(field)?;
        let read = value.as_bool();
        if read.is_none() {
            self.wrong(field, "true or false", value);
        }
        read
    }

    /// A whole number inside `range`; `5.0` is 5.
    pub(super) fn whole(&mut self, field: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let value = self.object.get(field)?;
        let Some(number) = Number::from_json(value) else {
            self.wrong(field, "a whole number", value);
            return None;
        };
        let whole = number.whole().filter(|whole| range.contains(whole));
        if whole.is_none() {
            self.fault(
                field,
                "out_of_range",
                format!("a whole number from {} to {}", range.start(), range.end()),
            );
        }
        whole
    }

    /// A number inside `range`.
    pub(super) fn real(&mut self, field: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
        let value = self.object.get(field)?;
        let Some(number) = value.as_f64() else {
            self.wrong(field, "a number", value);
            return None;
        };
        let inside = range.contains(&number);
        if !inside {
            self.fault(field, "out_of_range", format!("a number from {} to {}", range.start(), range.end()));
        }
        inside.then_some(number)
    }

    /// A percentage with at most four decimals.
    pub(super) fn percent(&mut self, field: &str) -> Option<Share> {
        let value = self.object.get(field)?;
        let Some(number) = value.as_f64() else {
            self.wrong(field, "a number", value);
            return None;
        };
        let share = Share::from_percent(number);
        if share.is_none() {
            self.fault(field, "out_of_range", "a percentage from 0 to 100 with at most four decimals");
        }
        share
    }

    /// The items of a list with their pointers; nothing where it is absent.
    pub(super) fn list(&mut self, field: &str, most: usize) -> Vec<(String, &'v Value)> {
        let Some(value) = self.object.get(field) else { return Vec::new() };
        let Some(items) = value.as_array() else {
            self.wrong(field, "a list", value);
            return Vec::new();
        };
        if items.len() > most {
            self.fault(field, "too_many", format!("at most {most} items, these are {}", items.len()));
            return Vec::new();
        }
        let pointer = self.at(field);
        items.iter().enumerate().map(|(at, item)| (child(&pointer, &at.to_string()), item)).collect()
    }

    /// A list of texts, each of 1 to `bytes_max` bytes.
    pub(super) fn texts(&mut self, field: &str, most: usize, bytes_max: usize) -> Vec<Box<str>> {
        let mut texts = Vec::new();
        for (pointer, item) in self.list(field, most) {
            match item.as_str() {
                Some(text) if (1..=bytes_max).contains(&text.len()) => texts.push(text.into()),
                Some(_) => self.faults.add(pointer, "too_long", format!("1 to {bytes_max} bytes")),
                None => self.faults.add(
                    pointer,
                    "wrong_type",
                    format!("a text is needed, this is {}", type_of(item)),
                ),
            }
        }
        texts
    }
}

/// Reports every text and key of `value` that holds U+0000, which no database can keep.
pub(super) fn refuse_nul(value: &Value, pointer: &str, faults: &mut Faults) {
    // Pointers are made for those only that have one.
    if holds_nul(value) {
        name_nul(value, pointer, faults);
    }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(object) => object.iter().any(|(key, item)| key.contains('\0') || holds_nul(item)),
        _ => false,
    }
}

fn name_nul(value: &Value, pointer: &str, faults: &mut Faults) {
    match value {
        Value::String(text) if text.contains('\0') => {
            faults.add(pointer, "nul_character", "U+0000 cannot be stored");
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                name_nul(item, &child(pointer, &at.to_string()), faults);
            }
        }
        Value::Object(object) => {
            for (key, item) in object {
                if key.contains('\0') {
                    faults.add(child(pointer, key), "nul_character", "U+0000 cannot be stored");
                }
                name_nul(item, &child(pointer, key), faults);
            }
        }
        _ => {}
    }
}
