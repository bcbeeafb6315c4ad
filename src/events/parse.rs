//! Events as sent: each parsed alone, so that a bad one never costs the others.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::engine::number::Number;

/// A call's body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body<'a> {
    /// The events, unread.
    #[serde(borrow)]
    pub events: Vec<&'a RawValue>,
}

impl<'a> Body<'a> {
    /// Reads a call's body.
    ///
    /// # Errors
    /// No JSON, or another shape; a list is none, though serde would take it as the fields in order.
    pub fn read(bytes: &'a [u8]) -> serde_json::Result<Self> {
        if bytes.trim_ascii_start().starts_with(b"[") {
            serde_json::from_slice::<serde::de::IgnoredAny>(bytes)?;
            return Err(serde::de::Error::custom("expected an object"));
        }
        serde_json::from_slice(bytes)
    }
}

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// The shopper was shown what a decision said.
    Exposure,
    /// The shopper did something.
    Step,
}

/// A scalar attribute of an event.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Scalar<'a> {
    /// Text.
    #[serde(borrow)]
    Text(Cow<'a, str>),
    /// A boolean.
    Boolean(bool),
    /// A number.
    Number(serde_json::Number),
    /// Nothing.
    Null(()),
}

/// An event's fields, as sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent<'a> {
    /// The sender's id.
    #[serde(borrow, default, deserialize_with = "text")]
    pub id: Option<Cow<'a, str>>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// A sealed statement of huidu's own.
    #[serde(borrow, default, deserialize_with = "text")]
    pub token: Option<Cow<'a, str>>,
    /// Which step.
    #[serde(borrow, default, deserialize_with = "text")]
    pub step: Option<Cow<'a, str>>,
    /// The unit, where it is a user.
    #[serde(borrow, default, deserialize_with = "text")]
    pub user_id: Option<Cow<'a, str>>,
    /// Units by attribute.
    #[serde(borrow)]
    pub units: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    /// Which flag.
    #[serde(borrow, default, deserialize_with = "text")]
    pub flag: Option<Cow<'a, str>>,
    /// Which variant was shown.
    #[serde(borrow, default, deserialize_with = "text")]
    pub variant: Option<Cow<'a, str>>,
    /// The context it was shown in, in OFREP's form.
    #[serde(borrow)]
    pub context: Option<&'a RawValue>,
    /// The order.
    #[serde(borrow, default, deserialize_with = "text")]
    pub order_id: Option<Cow<'a, str>>,
    /// Value in the currency's minor unit.
    pub value: Option<serde_json::Number>,
    /// Its currency.
    #[serde(borrow, default, deserialize_with = "text")]
    pub currency: Option<Cow<'a, str>>,
    /// What flags may split metrics by.
    #[serde(borrow)]
    pub attributes: Option<BTreeMap<Cow<'a, str>, Scalar<'a>>>,
    /// When, RFC 3339.
    #[serde(borrow, default, deserialize_with = "text")]
    pub at: Option<Cow<'a, str>>,
    /// How many milliseconds before sending.
    pub ago_ms: Option<serde_json::Number>,
}

/// A text where it is sent: `serde` takes a copy of one that may be missing.
fn text<'a, 'de: 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Option::<Text<'a>>::deserialize(deserializer).map(|text| text.map(|Text(text)| text))
}

impl<'a> Sent<'a> {
    /// Reads one event.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn read(raw: &'a RawValue) -> Result<Self, String> {
        if !raw.get().starts_with('{') {
            return Err("an event is an object".to_owned());
        }
        // Keeping track of the path costs as much as reading: it is done for those that are refused.
        if let Ok(sent) = serde_json::from_str(raw.get()) {
            return Ok(sent);
        }
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            let reason = error.into_inner().to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            if path == "." { reason.to_owned() } else { format!("`{path}`: {reason}") }
        })
    }
}

/// The id of an event that could not be read, to name it in the refusal.
#[must_use]
pub fn id_of(raw: &RawValue) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(raw.get()).ok()?;
    value.get("id")?.as_str().map(|id| id.chars().take(256).collect())
}

/// A whole number inside `range`; `5.0` is 5.
#[must_use]
pub fn whole(number: &serde_json::Number, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let value = number.as_i64().map(Number::Whole).or_else(|| number.as_f64().map(Number::from_f64))?;
    value.whole().filter(|whole| range.contains(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Option<String>, bool), String> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        let sent = Sent::read(raw)?;
        let borrowed = matches!(sent.id, Some(Cow::Borrowed(_)));
        Ok((sent.id.map(Cow::into_owned), borrowed))
    }

    #[test]
    fn texts_are_not_copied_unless_they_hold_escapes() {
        let id = |text: &str| Some(text.to_owned());
        assert_eq!(read(r#"{"type": "step", "id": "e-1"}"#), Ok((id("e-1"), true)));
        assert_eq!(read(r#"{"type": "step", "id": "e\u002d1"}"#), Ok((id("e-1"), false)));
        assert_eq!(read(r#"{"type": "step", "id": null}"#), Ok((None, false)));
        assert_eq!(read(r#"{"type": "step"}"#), Ok((None, false)));
        let refused = read(r#"{"type": "step", "id": 7}"#).unwrap_err();
        assert_eq!(refused, "`id`: invalid type: integer `7`, expected a string");
    }
}
