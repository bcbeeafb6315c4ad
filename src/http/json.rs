//! JSON bodies of management calls: strict, and of known fields.

use actix_web::web::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::problem::{Code, Problem};
use crate::engine::json::{DEPTH_MAX, JsonFault, JsonFaultKind, parse, parse_within};

/// How much deeper than by itself a document lies in an export: an object, a list.
const EXPORT_DEPTH: usize = 2;

/// JSON that will be stored: no duplicate keys, no deep nesting.
///
/// # Errors
/// `json_invalid`, `json_too_deep`, `json_duplicate_key`, each with line, column and pointer.
pub fn strict(body: &[u8]) -> Result<Value, Problem> {
    parse(body).map_err(|fault| refused(&fault))
}

/// An export: strict JSON whose documents may be as deep as they may be by themselves.
///
/// # Errors
/// As [`strict`].
pub fn strict_export(body: &[u8]) -> Result<Value, Problem> {
    parse_within(body, DEPTH_MAX + EXPORT_DEPTH).map_err(|fault| refused(&fault))
}

fn refused(fault: &JsonFault) -> Problem {
    let code = match fault.kind {
        JsonFaultKind::Syntax => Code::JsonInvalid,
        JsonFaultKind::TooDeep => Code::JsonTooDeep,
        JsonFaultKind::DuplicateKey => Code::JsonDuplicateKey,
    };
    Problem::new(code, fault.detail.clone())
        .with("line", fault.line.into())
        .with("column", fault.column.into())
        .with("pointer", fault.pointer.as_str().into())
}

/// A small object of known fields; an empty body is `{}`.
///
/// # Errors
/// As [`strict`], and `body_invalid`, which names the field.
pub fn typed<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    let value = if body.is_empty() { json!({}) } else { strict(body)? };
    // serde would take a list as the fields in order.
    if !value.is_object() {
        return Err(Problem::new(Code::BodyInvalid, "the body is an object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let detail = error.into_inner().to_string();
        Problem::new(Code::BodyInvalid, if path == "." { detail } else { format!("`{path}`: {detail}") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Reason {
        #[serde(rename = "reason")]
        _reason: Option<String>,
    }

    #[test]
    fn only_an_object_of_known_fields_is_taken() {
        for (body, code) in [
            ("", None),
            ("{}", None),
            ("{\"reason\":\"x\"}", None),
            ("[\"x\"]", Some(Code::BodyInvalid)),
            ("null", Some(Code::BodyInvalid)),
            ("{\"reason\":7}", Some(Code::BodyInvalid)),
            ("{\"reasons\":\"x\"}", Some(Code::BodyInvalid)),
            ("{\"reason\":\"x\",\"reason\":\"y\"}", Some(Code::JsonDuplicateKey)),
            ("{", Some(Code::JsonInvalid)),
        ] {
            let outcome = typed::<Reason>(&Bytes::from_static(body.as_bytes()));
            assert_eq!(outcome.err().map(|problem| problem.code), code, "{body}");
        }
    }
}
