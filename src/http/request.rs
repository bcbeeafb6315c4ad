//! What management calls carry beside their body: preconditions, reasons, pages, names in paths.

use actix_web::http::header;
use actix_web::{HttpMessage as _, HttpRequest};

use super::problem::{Code, Problem};
use crate::access::Actor;
use crate::engine::key::KeyError;
use crate::manage::{Caller, Precondition, REASON_CHARACTERS_MAX};
use crate::telemetry::request_id::RequestId;

/// Items of a page where nobody asks for a number.
const LIMIT_DEFAULT: usize = 50;
/// Most items of a page.
const LIMIT_MAX: usize = 200;

/// A name in the path.
///
/// # Errors
/// `not_found` for a text that can name nothing.
pub fn named<K>(req: &HttpRequest, part: &str, parse: fn(&str) -> Result<K, KeyError>) -> Result<K, Problem> {
    let text = req.match_info().get(part).unwrap_or_default();
    parse(text).map_err(|error| Problem::new(Code::NotFound, format!("`{part}`: {error}")))
}

/// A whole number in the path.
///
/// # Errors
/// `not_found` for anything else.
pub fn number(req: &HttpRequest, part: &str) -> Result<i64, Problem> {
    let text = req.match_info().get(part).unwrap_or_default();
    text.parse().map_err(|_error| Problem::new(Code::NotFound, format!("`{part}` is a whole number")))
}

/// `If-Match` with versions, or `If-None-Match: *`.
///
/// # Errors
/// `precondition_required` without one; `If-Match: *` counts as none, since it protects nothing.
pub fn precondition(req: &HttpRequest) -> Result<Precondition, Problem> {
    let text = |name| req.headers().get(name).map(|value| value.to_str().unwrap_or_default().trim());
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None | Some("*"), Some("*")) => Ok(Precondition::New),
        (Some(tags), None) if tags != "*" => versions(tags).map(Precondition::Versions),
        (Some(_), Some(_)) => {
            Err(Problem::new(Code::HeaderInvalid, "`If-Match` and `If-None-Match` exclude each other"))
        }
        (None, Some(_)) => Err(Problem::new(Code::HeaderInvalid, "`If-None-Match` is `*` here")),
        (None | Some(_), None) => Err(Problem::new(
            Code::PreconditionRequired,
            "send `If-Match` with the version last read, or `If-None-Match: *` to create",
        )),
    }
}

/// `If-Match` or `If-None-Match: *` where neither is needed.
///
/// # Errors
/// `header_invalid` for one that cannot be read.
pub fn optional_precondition(req: &HttpRequest) -> Result<Precondition, Problem> {
    match precondition(req) {
        Err(problem) if problem.code == Code::PreconditionRequired => Ok(Precondition::Any),
        known => known,
    }
}

/// `If-Match` alone: for changes of what must exist.
///
/// # Errors
/// As [`precondition`].
pub fn if_match(req: &HttpRequest) -> Result<Precondition, Problem> {
    let wanted = || {
        Problem::new(Code::PreconditionRequired, "send `If-Match` with the version last read, such as \"7\"")
    };
    match precondition(req) {
        Ok(Precondition::New) => Err(wanted()),
        Err(problem) if problem.code == Code::PreconditionRequired => Err(wanted()),
        known => known,
    }
}

/// Strong comparison: a weak tag names no version, so it matches none.
fn versions(tags: &str) -> Result<Vec<i64>, Problem> {
    let refuse = || Problem::new(Code::HeaderInvalid, "`If-Match` is a version in quotes, such as \"7\"");
    let strong = tags.split(',').map(str::trim).filter(|tag| !tag.starts_with("W/"));
    strong
        .map(|tag| {
            tag.strip_prefix('"')
                .and_then(|tag| tag.strip_suffix('"'))
                .and_then(|tag| tag.parse().ok())
                .ok_or_else(refuse)
        })
        .collect()
}

/// The caller, with the reason of the header `Huidu-Reason` (UTF-8, percent-encoded) unless the body gave one.
///
/// # Errors
/// `header_invalid` for a header that cannot be read, `out_of_range` for a reason over 500 characters.
pub fn caller(req: &HttpRequest, actor: &Actor, reason: Option<String>) -> Result<Caller, Problem> {
    let reason = match (reason, req.headers().get("huidu-reason")) {
        (Some(reason), _) => Some(reason),
        (None, Some(value)) => Some(percent_decoded(value.as_bytes())?),
        (None, None) => None,
    };
    if let Some(reason) = &reason {
        if reason.chars().count() > REASON_CHARACTERS_MAX {
            return Err(Problem::new(
                Code::OutOfRange,
                format!("`reason` has at most {REASON_CHARACTERS_MAX} characters"),
            ));
        }
        if reason.contains('\0') {
            return Err(Problem::new(Code::OutOfRange, "`reason` holds U+0000"));
        }
    }
    let request_id = req.extensions().get::<RequestId>().map(|id| id.as_str().to_owned());
    Ok(Caller::of(actor, request_id, reason.filter(|reason| !reason.is_empty())))
}

fn percent_decoded(bytes: &[u8]) -> Result<String, Problem> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(Problem::new(
                Code::HeaderInvalid,
                "`Huidu-Reason` is percent-encoded: a `%` needs two hexadecimal digits",
            ));
        };
        decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(decoded)
        .map_err(|_error| Problem::new(Code::HeaderInvalid, "`Huidu-Reason` is not UTF-8"))
}

/// The parameters of a query, each known.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query; any parameter that is not `known` is refused.
    ///
    /// # Errors
    /// `query_invalid`, which names the parameter.
    pub fn read(req: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let pairs = actix_web::web::Query::<Vec<(String, String)>>::from_query(req.query_string())
            .map_err(|_error| Problem::new(Code::QueryInvalid, "the query cannot be read"))?
            .into_inner();
        if let Some((name, _)) = pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let detail = format!("there is no parameter {:?} here; known: {known}", super::shown(name));
            return Err(Problem::new(Code::QueryInvalid, detail));
        }
        Ok(Self(pairs))
    }

    /// A parameter's text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number.
    ///
    /// # Errors
    /// `query_invalid`.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_error| Problem::new(Code::QueryInvalid, format!("`{name}` is a whole number")))
        };
        self.text(name).map(parse).transpose()
    }

    /// `true` or `false`; `false` where it is absent.
    ///
    /// # Errors
    /// `query_invalid`.
    pub fn boolean(&self, name: &str) -> Result<bool, Problem> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_error| Problem::new(Code::QueryInvalid, format!("`{name}` is true or false")))
        };
        self.text(name).map_or(Ok(false), parse)
    }

    /// A time as RFC 3339, in milliseconds since 1970.
    ///
    /// # Errors
    /// `query_invalid`.
    pub fn time(&self, name: &str) -> Result<Option<i64>, Problem> {
        let parse = |text: &str| {
            crate::clock::parse_rfc3339(text)
                .ok_or_else(|| Problem::new(Code::QueryInvalid, format!("`{name}` is a time as RFC 3339")))
        };
        self.text(name).map(parse).transpose()
    }

    /// How many items a page has.
    ///
    /// # Errors
    /// `query_invalid`.
    pub fn limit(&self) -> Result<usize, Problem> {
        self.limit_of(LIMIT_DEFAULT, LIMIT_MAX)
    }

    /// How many items a page has, where others are usual.
    ///
    /// # Errors
    /// `query_invalid`.
    pub fn limit_of(&self, default: usize, most: usize) -> Result<usize, Problem> {
        let Some(limit) = self.number("limit")? else { return Ok(default) };
        usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| Problem::new(Code::QueryInvalid, format!("`limit` is 1 to {most}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn check(headers: &[(&str, &str)], expected: Result<Precondition, Code>) {
        let mut request = TestRequest::default();
        for header in headers {
            request = request.insert_header(*header);
        }
        assert_eq!(
            precondition(&request.to_http_request()).map_err(|problem| problem.code),
            expected,
            "{headers:?}"
        );
    }

    #[test]
    fn preconditions() {
        check(&[("if-match", "\"7\"")], Ok(Precondition::Versions(vec![7])));
        check(&[("if-match", "\"7\", \"8\"")], Ok(Precondition::Versions(vec![7, 8])));
        check(&[("if-match", "W/\"7\"")], Ok(Precondition::Versions(vec![])));
        check(&[("if-none-match", "*")], Ok(Precondition::New));
        check(&[("if-match", "*")], Err(Code::PreconditionRequired));
        check(&[], Err(Code::PreconditionRequired));
        check(&[("if-match", "7")], Err(Code::HeaderInvalid));
        check(&[("if-none-match", "\"7\"")], Err(Code::HeaderInvalid));
    }

    #[test]
    fn reasons_are_percent_encoded_utf_8() {
        assert_eq!(percent_decoded("ramp%20to%20%E7%81%B0".as_bytes()).unwrap(), "ramp to 灰");
        assert!(
            percent_decoded(b"%zz").is_err()
                && percent_decoded(b"%F").is_err()
                && percent_decoded(b"%FF").is_err()
        );
    }
}
