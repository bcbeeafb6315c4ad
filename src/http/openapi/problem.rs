//! Refusals in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::{ContentBuilder, Object, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type};

use crate::http::problem::Code;

/// A refusal (RFC 9457). Which further fields stand beside depends on `code`.
#[derive(ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: `code` says what it is.
    #[schema(rename = "type", example = "about:blank")]
    pub(super) kind: String,
    /// The status in words.
    pub(super) title: String,
    /// The status.
    pub(super) status: u16,
    /// Which refusal.
    #[schema(schema_with = codes)]
    pub(super) code: String,
    /// What is wrong, for people; its words may change.
    pub(super) detail: String,
    /// The request's id, as in `x-request-id` and the log.
    pub(super) instance: String,
    /// All faults of a document (`flag_invalid`).
    #[schema(nullable = false)]
    pub(super) errors: Option<Vec<Fault>>,
    /// The flags that are in the way (`flag_in_use`, `audience_in_use`).
    #[schema(nullable = false)]
    pub(super) flags: Option<Vec<String>>,
    /// The line that cannot be read, from 1.
    #[schema(nullable = false)]
    pub(super) line: Option<u64>,
    /// The column there, from 1.
    #[schema(nullable = false)]
    pub(super) column: Option<u64>,
    /// The id that cannot be taken, by its place (`audience_invalid`).
    #[schema(nullable = false)]
    pub(super) index: Option<u64>,
    /// The field that cannot be read, as JSON pointer.
    #[schema(nullable = false)]
    pub(super) pointer: Option<String>,
}

/// One fault of a document.
#[derive(ToSchema)]
pub(super) struct Fault {
    /// JSON pointer of what is wrong.
    #[schema(example = "/rules/1/serve/rollout/percent")]
    pub(super) pointer: String,
    /// Stable code, listed in docs/errors.md.
    #[schema(example = "share_over_100")]
    pub(super) code: String,
    /// What is wrong, for people.
    pub(super) detail: String,
}

/// A refusal on OFREP's paths: the protocol's own fields beside those of every refusal.
#[derive(ToSchema)]
pub(super) struct OfrepProblem {
    /// Always `about:blank`: `code` says what it is.
    #[schema(rename = "type", example = "about:blank")]
    pub(super) kind: String,
    /// The status in words.
    pub(super) title: String,
    /// The status.
    pub(super) status: u16,
    /// Which refusal.
    #[schema(schema_with = codes)]
    pub(super) code: String,
    /// What is wrong, for people; its words may change.
    pub(super) detail: String,
    /// The request's id, as in `x-request-id` and the log.
    pub(super) instance: String,
    /// The line that cannot be read, from 1.
    #[schema(nullable = false)]
    pub(super) line: Option<u64>,
    /// The column there, from 1.
    #[schema(nullable = false)]
    pub(super) column: Option<u64>,
    /// The flag asked for.
    #[schema(nullable = false)]
    pub(super) key: Option<String>,
    /// The protocol's word for `code`.
    #[schema(rename = "errorCode", schema_with = ofrep_codes)]
    pub(super) error_code: String,
    /// As `detail`.
    #[schema(rename = "errorDetails")]
    pub(super) error_details: String,
    /// Empty.
    #[schema(value_type = Object)]
    pub(super) metadata: (),
}

fn words(about: &str, words: Vec<&'static str>) -> Object {
    let object = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
    object.enum_values(Some(words)).build()
}

fn codes() -> Object {
    words(
        "Stable: act on this. docs/errors.md says what to do about each.",
        Code::ALL.iter().map(|code| code.as_str()).collect(),
    )
}

fn ofrep_codes() -> Object {
    let mut known: Vec<&str> = Code::ALL.iter().map(|code| code.as_ofrep()).collect();
    known.sort_unstable();
    known.dedup();
    words("The protocol's word for `code`.", known)
}

/// The component of one code.
pub(super) fn response(code: Code) -> Response {
    of_codes(&[code], false)
}

/// The answers of these codes, one a status: a component where one code has it alone.
pub(super) fn responses(codes: &[Code], ofrep: bool) -> Vec<(u16, RefOr<Response>)> {
    let mut statuses: Vec<u16> = codes.iter().map(|code| code.status().as_u16()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let answer = |status: u16| {
        let same: Vec<Code> = codes.iter().copied().filter(|code| code.status().as_u16() == status).collect();
        match same.as_slice() {
            [only] if !ofrep => RefOr::Ref(Ref::from_response_name(only.as_str())),
            codes => RefOr::T(of_codes(codes, ofrep)),
        }
    };
    statuses.into_iter().map(|status| (status, answer(status))).collect()
}

fn of_codes(codes: &[Code], ofrep: bool) -> Response {
    let lines: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let (shape, media) =
        if ofrep { ("OfrepProblem", "application/json") } else { ("Problem", "application/problem+json") };
    let mut example = codes.first().map(|code| {
        json!({
            "type": "about:blank", "title": code.status().canonical_reason(), "status": code.status().as_u16(),
            "code": code.as_str(), "detail": code.meaning(), "instance": "4b8376056899f08a",
        })
    });
    if let (true, Some(code), Some(example)) =
        (ofrep, codes.first(), example.as_mut().and_then(|example| example.as_object_mut()))
    {
        example.insert("errorCode".into(), code.as_ofrep().into());
        example.insert("errorDetails".into(), code.meaning().into());
        example.insert("metadata".into(), json!({}));
    }
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(shape))).example(example).build();
    ResponseBuilder::new()
        .description(lines.join("\n"))
        .content(media, content)
        .extensions(Some(ExtensionsBuilder::new().add("x-codes", json!(names)).build()))
        .build()
}
