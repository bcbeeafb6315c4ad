//! Refusals as problem documents (RFC 9457), and the one table of codes. OFREP's own error body, which its
//! clients need, is the same object with OFREP's fields beside.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};

use super::write::{push_number, push_text};
use crate::engine::flag::Fault;
use crate::telemetry::request_id::RequestId;

/// Most faults that one refusal lists; its `detail` counts all.
const FAULTS_MAX: usize = 1_000;

macro_rules! codes {
    ($(#[doc = $doc:literal] $name:ident $code:literal $status:ident $ofrep:literal;)*) => {
        /// Every code that a refusal can carry. They are stable; `docs/errors.md` explains each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $doc] $name,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// When it is given, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }.trim_ascii()
            }

            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The `errorCode` of OFREP.
            #[must_use]
            pub fn as_ofrep(self) -> &'static str {
                match self { $(Self::$name => $ofrep,)* }
            }
        }
    };
}

codes! {
    /// No key, or one that is unknown, revoked or expired.
    Unauthorized "unauthorized" UNAUTHORIZED "GENERAL";
    /// The key may not do this, or not here.
    Forbidden "forbidden" FORBIDDEN "GENERAL";
    /// There is nothing here.
    NotFound "not_found" NOT_FOUND "GENERAL";
    /// There is no such flag.
    FlagNotFound "flag_not_found" NOT_FOUND "FLAG_NOT_FOUND";
    /// The path does not take this method.
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "GENERAL";
    /// The body's type or encoding is not taken here.
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "GENERAL";
    /// The body is over the limit.
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "GENERAL";
    /// The body came too slowly.
    BodyTimeout "body_timeout" REQUEST_TIMEOUT "GENERAL";
    /// The body ended before its length.
    BodyIncomplete "body_incomplete" BAD_REQUEST "PARSE_ERROR";
    /// No JSON, or not UTF-8.
    JsonInvalid "json_invalid" BAD_REQUEST "PARSE_ERROR";
    /// Nested deeper than 32.
    JsonTooDeep "json_too_deep" BAD_REQUEST "PARSE_ERROR";
    /// The same key twice in one object of a document.
    JsonDuplicateKey "json_duplicate_key" BAD_REQUEST "PARSE_ERROR";
    /// The body has another shape than the contract's.
    BodyInvalid "body_invalid" UNPROCESSABLE_ENTITY "PARSE_ERROR";
    /// The path or the query cannot be read.
    QueryInvalid "query_invalid" BAD_REQUEST "GENERAL";
    /// A header cannot be read.
    HeaderInvalid "header_invalid" BAD_REQUEST "GENERAL";
    /// A field of a context has another shape than the contract's.
    ContextInvalid "context_invalid" BAD_REQUEST "INVALID_CONTEXT";
    /// The unit is no text of 1 to 256 bytes.
    UnitInvalid "unit_invalid" BAD_REQUEST "INVALID_CONTEXT";
    /// The context has no unit for this flag.
    UnitMissing "unit_missing" BAD_REQUEST "TARGETING_KEY_MISSING";
    /// The signature is not that of the unit; or the flag's unit is one that nobody can sign.
    UnitSignatureInvalid "unit_signature_invalid" BAD_REQUEST "INVALID_CONTEXT";
    /// An id is no text of 1 to 256 bytes.
    IdInvalid "id_invalid" BAD_REQUEST "INVALID_CONTEXT";
    /// A number is outside its range.
    OutOfRange "out_of_range" BAD_REQUEST "INVALID_CONTEXT";
    /// Over 200 goods.
    TooManyGoods "too_many_goods" BAD_REQUEST "INVALID_CONTEXT";
    /// Over 100 attributes.
    TooManyAttributes "too_many_attributes" BAD_REQUEST "INVALID_CONTEXT";
    /// A text over 4 KiB.
    StringTooLong "string_too_long" BAD_REQUEST "INVALID_CONTEXT";
    /// Over 1,000 events in one call.
    TooManyEvents "too_many_events" BAD_REQUEST "GENERAL";
    /// `If-Match` is needed.
    PreconditionRequired "precondition_required" PRECONDITION_REQUIRED "GENERAL";
    /// Someone else was first.
    VersionConflict "version_conflict" PRECONDITION_FAILED "GENERAL";
    /// The flag exists already.
    FlagExists "flag_exists" PRECONDITION_FAILED "GENERAL";
    /// The audience exists already.
    AudienceExists "audience_exists" PRECONDITION_FAILED "GENERAL";
    /// The document has faults, all of them listed.
    FlagInvalid "flag_invalid" UNPROCESSABLE_ENTITY "GENERAL";
    /// An import has faults, all of them listed.
    ImportInvalid "import_invalid" UNPROCESSABLE_ENTITY "GENERAL";
    /// Another flag requires this one.
    FlagInUse "flag_in_use" CONFLICT "GENERAL";
    /// The state does not allow this.
    StateConflict "state_conflict" CONFLICT "GENERAL";
    /// Two unit secrets are there already.
    UnitSecretLimit "unit_secret_limit" CONFLICT "GENERAL";
    /// An environment's name cannot be taken.
    EnvironmentInvalid "environment_invalid" UNPROCESSABLE_ENTITY "GENERAL";
    /// The environment exists already.
    EnvironmentExists "environment_exists" CONFLICT "GENERAL";
    /// The upload has a bad line, or the audience another kind.
    AudienceInvalid "audience_invalid" UNPROCESSABLE_ENTITY "GENERAL";
    /// The upload has more ids than allowed.
    AudienceTooLarge "audience_too_large" PAYLOAD_TOO_LARGE "GENERAL";
    /// Over 10,000 ids in one call.
    TooManyIds "too_many_ids" BAD_REQUEST "GENERAL";
    /// Flags ask for this audience.
    AudienceInUse "audience_in_use" CONFLICT "GENERAL";
    /// As many uploads as may are under way; `Retry-After` says when.
    UploadsBusy "uploads_busy" SERVICE_UNAVAILABLE "GENERAL";
    /// As many reports as may are being computed; `Retry-After` says when.
    ReportsBusy "reports_busy" SERVICE_UNAVAILABLE "GENERAL";
    /// Hours are being counted for this report; `Retry-After` says when.
    ReportPreparing "report_preparing" SERVICE_UNAVAILABLE "GENERAL";
    /// There are as many flags, audiences or keys as allowed.
    QuotaReached "quota_reached" UNPROCESSABLE_ENTITY "GENERAL";
    /// A key's name, role or environment cannot be taken.
    KeyInvalid "key_invalid" UNPROCESSABLE_ENTITY "GENERAL";
    /// An audience that decides this flag cannot be read.
    AudienceUnavailable "audience_unavailable" INTERNAL_SERVER_ERROR "GENERAL";
    /// The stored flag cannot be read.
    FlagUnreadable "flag_unreadable" INTERNAL_SERVER_ERROR "GENERAL";
    /// Too many calls; `Retry-After` says when.
    RateLimited "rate_limited" TOO_MANY_REQUESTS "GENERAL";
    /// Too many events wait; `Retry-After` says when.
    QueueFull "queue_full" SERVICE_UNAVAILABLE "GENERAL";
    /// As many streams as allowed are open; `Retry-After` says when.
    TooManyStreams "too_many_streams" SERVICE_UNAVAILABLE "GENERAL";
    /// The database does not answer; `Retry-After` says when.
    DatabaseUnavailable "database_unavailable" SERVICE_UNAVAILABLE "GENERAL";
    /// No snapshot serves yet.
    NotReady "not_ready" SERVICE_UNAVAILABLE "PROVIDER_NOT_READY";
    /// A fault of huidu's own, which the log explains.
    Internal "internal" INTERNAL_SERVER_ERROR "GENERAL";
}

impl Code {
    /// The code of a text that another module gave.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(Self::Internal)
    }

    /// Whole seconds to wait, where waiting helps.
    fn retry_after(self) -> Option<u32> {
        let waits = [Self::QueueFull, Self::DatabaseUnavailable, Self::NotReady, Self::RateLimited];
        (waits.contains(&self) || [Self::UploadsBusy, Self::ReportsBusy].contains(&self)).then_some(1)
    }
}

/// A refusal.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Its code.
    pub code: Code,
    detail: Cow<'static, str>,
    /// What it says of its own.
    fields: Vec<(&'static str, Value)>,
    headers: Vec<(header::HeaderName, String)>,
    retry_after: Option<u32>,
    close: bool,
}

impl Problem {
    /// A refusal with a sentence for people.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            fields: Vec::new(),
            headers: Vec::new(),
            retry_after: code.retry_after(),
            close: false,
        }
    }

    /// All faults of `what` was sent, as far as anybody reads them.
    #[must_use]
    pub fn faults(code: Code, what: &str, faults: &[Fault]) -> Self {
        let detail = match faults {
            [only] if only.pointer.is_empty() => only.detail.clone(),
            [only] => format!("{}: {}", only.pointer, only.detail),
            faults => format!("the {what} has {} faults", faults.len()),
        };
        let shown = faults.get(..FAULTS_MAX).unwrap_or(faults);
        Self::new(code, detail).with("errors", json!(shown))
    }

    /// The flag that an OFREP answer is about.
    #[must_use]
    pub fn of_flag(self, key: &str) -> Self {
        self.with("key", key.into())
    }

    /// One more field, or another value of one that is there.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: Value) -> Self {
        match self.fields.binary_search_by_key(&field, |(known, _)| *known) {
            Ok(at) => {
                if let Some(known) = self.fields.get_mut(at) {
                    known.1 = value;
                }
            }
            Err(at) => self.fields.insert(at, (field, value)),
        }
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Whole seconds to wait; at least 1, since a client that reads 0 comes back at once.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
        self
    }

    /// The connection is closed after the answer: its body was not read to the end.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The answer, with the request's id in it; with OFREP's fields on OFREP's paths.
    #[must_use]
    pub fn answer(&self, request_id: Option<&RequestId>, ofrep: bool) -> HttpResponse {
        let status = self.code.status();
        let body = self.body(request_id, ofrep);
        let mut answer = HttpResponse::build(status);
        let kind = if ofrep { "application/json" } else { "application/problem+json" };
        answer.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(kind)));
        answer.insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                answer.insert_header((name.clone(), value));
            }
        }
        if let Some(seconds) = self.retry_after {
            answer.insert_header((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if status == StatusCode::UNAUTHORIZED {
            answer.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        if self.close {
            answer.force_close();
        }
        answer.body(body)
    }

    /// The document, its fields in the order of their names.
    fn body(&self, request_id: Option<&RequestId>, ofrep: bool) -> Vec<u8> {
        let (status, code, detail) = (self.code.status(), self.code.as_str(), &*self.detail);
        let mut document = Document { out: Vec::with_capacity(512), own: &self.fields };
        document.field(",\"code\":", Shown::Plain(code));
        document.field(",\"detail\":", Shown::Text(detail));
        if ofrep {
            document.field(",\"errorCode\":", Shown::Plain(self.code.as_ofrep()));
            document.field(",\"errorDetails\":", Shown::Text(detail));
        }
        if let Some(id) = request_id {
            document.field(",\"instance\":", Shown::Plain(id.as_str()));
        }
        if ofrep {
            document.field(",\"metadata\":", Shown::Nothing);
        }
        document.field(",\"status\":", Shown::Number(status.as_u16()));
        document.field(",\"title\":", Shown::Plain(status.canonical_reason().unwrap_or_default()));
        document.field(",\"type\":", Shown::Plain("about:blank"));
        document.end()
    }
}

/// A document while it is written: what all refusals say, and among it what one says of its own.
struct Document<'p> {
    /// Each field with the comma before it; the first one's becomes the brace.
    out: Vec<u8>,
    own: &'p [(&'static str, Value)],
}

impl Document<'_> {
    /// What all say under a name, given as it is written; names come in their order. What a refusal says of its own comes
    /// instead.
    fn field(&mut self, written: &'static str, shown: Shown<'_>) {
        if !self.own.is_empty() && self.own_fields(written) {
            return;
        }
        let out = &mut self.out;
        out.extend_from_slice(written.as_bytes());
        match shown {
            Shown::Plain(text) => {
                out.push(b'"');
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
            Shown::Text(text) => push_text(out, text),
            Shown::Number(number) => push_number(out, number.into()),
            Shown::Nothing => out.extend_from_slice(b"{}"),
        }
    }

    /// Its own fields that come before a name, or are of it; whether there is one of it.
    fn own_fields(&mut self, written: &str) -> bool {
        // Between `,"` and `":`.
        let name = written.get(2..written.len() - 2).unwrap_or_default();
        while let Some(((own, value), rest)) = self.own.split_first() {
            let order = (*own).cmp(name);
            if order.is_gt() {
                break;
            }
            self.own = rest;
            self.own_field(own, value);
            if order.is_eq() {
                return true;
            }
        }
        false
    }

    fn own_field(&mut self, name: &str, value: &Value) {
        self.out.push(b',');
        push_text(&mut self.out, name);
        self.out.push(b':');
        match value {
            Value::String(text) => push_text(&mut self.out, text),
            value => self.out.extend_from_slice(value.to_string().as_bytes()),
        }
    }

    fn end(mut self) -> Vec<u8> {
        while let Some(((name, value), rest)) = self.own.split_first() {
            self.own = rest;
            self.own_field(name, value);
        }
        if let Some(comma) = self.out.first_mut() {
            *comma = b'{';
        }
        self.out.push(b'}');
        self.out
    }
}

/// What all refusals say.
enum Shown<'p> {
    /// A text that needs no escape.
    Plain(&'p str),
    Text(&'p str),
    Number(u16),
    /// An object without fields.
    Nothing,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        // The outermost middleware answers instead, with the request's id.
        HttpResponse::new(self.status_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_different_and_found_again() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), *code);
        }
        assert_eq!(Code::parse("no such code"), Code::Internal);
    }

    #[test]
    fn a_document_has_its_fields_once_and_in_order() {
        let id = RequestId::parse(b"r-1").unwrap();
        let problem = Problem::new(Code::FlagNotFound, "no \"such\" flag\n灰度")
            .with("zone", json!({"deep": [1, null]}))
            .with("detail", "an other".into())
            .with("a first", 1.into())
            .with("detail", "another".into())
            .of_flag("a\"b");
        let text = String::from_utf8(problem.body(Some(&id), true)).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        // Written by serde it is the same text: no field twice, all in the order of their names.
        assert_eq!(read.to_string(), text);
        assert_eq!(
            read,
            json!({
                "type": "about:blank", "title": "Not Found", "status": 404, "code": "flag_not_found",
                "detail": "another", "instance": "r-1", "errorCode": "FLAG_NOT_FOUND",
                "errorDetails": "no \"such\" flag\n灰度", "metadata": {}, "key": "a\"b",
                "zone": {"deep": [1, null]}, "a first": 1,
            })
        );
    }

    #[test]
    fn a_wait_is_a_whole_second_or_more() {
        let problem = Problem::new(Code::RateLimited, "slow down").retry_after(0);
        let answer = problem.answer(None, true);
        assert_eq!(answer.headers().get("retry-after").unwrap(), "1");
    }
}
