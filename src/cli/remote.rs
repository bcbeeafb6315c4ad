//! Calls of a running service: the only place that speaks HTTP as a client.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::UsageError;
use super::output::plain;
use crate::settings::ClientSettings;

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the answer of an ordinary call.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Longest wait for the answer of an upload or an import: millions of ids are stored before it.
const LONG_ANSWER_MAX: Duration = Duration::from_secs(3_600);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A service that is called with one key, about one environment.
pub(super) struct Remote {
    agent: Agent,
    url: String,
    key: String,
    environment: String,
}

/// An answer of the service that is no refusal.
#[derive(Debug)]
pub(super) struct Reply {
    /// The status: 200, 201 or 204.
    pub(super) status: u16,
    /// The body; null where it is empty.
    pub(super) json: Value,
}

/// A fault of what was sent.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    pointer: String,
    code: String,
    detail: String,
}

/// A problem document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: u16,
    /// The stable code.
    pub(super) code: String,
    /// What is the matter, in words.
    pub(super) detail: String,
    instance: Option<String>,
    faults: Vec<Fault>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// The service refused.
    #[error("{0}")]
    Refused(Refusal),
    /// Nobody answered.
    #[error("the service at {url} cannot be reached: {why}")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why not.
        why: String,
    },
    /// The connection ended in the middle; whether the change was made is unknown.
    #[error("the service at {url} did not answer to the end: {why}")]
    Broken {
        /// Its address.
        url: String,
        /// How it ended.
        why: String,
    },
    /// Somebody answered, but not huidu.
    #[error("{url} answered with status {status} and no JSON: is it huidu?")]
    Foreign {
        /// Its address.
        url: String,
        /// The status.
        status: u16,
    },
}

impl RemoteError {
    /// Whether the service says that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 404)
    }
}

impl Refusal {
    fn read(status: u16, body: &Value) -> Option<Self> {
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(plain);
        let faults = body.get("errors").and_then(Value::as_array).into_iter().flatten();
        let fault = |value: &Value| Fault {
            pointer: text(value, "pointer").unwrap_or_default(),
            code: text(value, "code").unwrap_or_default(),
            detail: text(value, "detail").unwrap_or_default(),
        };
        Some(Self {
            status,
            code: text(body, "code")?,
            detail: text(body, "detail").unwrap_or_default(),
            instance: text(body, "instance"),
            faults: faults.map(fault).collect(),
        })
    }
}

impl Refusal {
    /// The refusal with other words for the places of its faults, where `place` knows any.
    pub(super) fn with_places(mut self, place: impl Fn(&str) -> Option<String>) -> Self {
        for fault in &mut self.faults {
            if let Some(words) = place(&fault.pointer) {
                fault.pointer = words;
            }
        }
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.as_slice() {
            // The detail says the one fault already, without its code.
            [only] if self.detail.ends_with(&only.detail) => write!(f, "{}: there is a fault", self.code)?,
            _ => write!(f, "{}: {}", self.code, self.detail)?,
        }
        match self.status {
            401 => f.write_str(" (give a key that is good with HUIDU_KEY)")?,
            403 => f.write_str(" (another key is needed: HUIDU_KEY)")?,
            _ => {}
        }
        if let (500.., Some(instance)) = (self.status, &self.instance) {
            write!(f, " (request {instance})")?;
        }
        for Fault { pointer, code, detail } in &self.faults {
            write!(f, "\n  {}  {code}: {detail}", if pointer.is_empty() { "/" } else { pointer })?;
        }
        Ok(())
    }
}

impl Remote {
    /// The service that `settings` name.
    pub(super) fn new(settings: &ClientSettings) -> anyhow::Result<Self> {
        let Some(key) = settings.key() else {
            let words = "no key was given: set HUIDU_KEY (or --key, which others on this machine can see)";
            return Err(UsageError(words.to_owned()).into());
        };
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UsageError("a key has printable characters only, and no blanks".to_owned()).into());
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(ANSWER_MAX))
            .user_agent(format!("huidu/{}", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            agent: config.build().into(),
            url: settings.url.clone(),
            key: key.to_owned(),
            environment: settings.environment.to_string(),
        })
    }

    /// The environment that calls are about.
    pub(super) fn environment(&self) -> &str {
        &self.environment
    }

    /// Reads what stands at `tail` of the environment.
    pub(super) fn get(&self, tail: &str) -> Result<Reply, RemoteError> {
        self.run(self.request("GET", tail, &[]), (), ANSWER_MAX)
    }

    /// What stands at `tail` of the environment, to be read as it comes.
    pub(super) fn stream(&self, tail: &str) -> Result<impl Read + use<>, RemoteError> {
        let response = self.response(self.request("GET", tail, &[]), (), ANSWER_MAX)?;
        if !response.status().is_success() {
            return Err(self.read(response).err().unwrap_or_else(|| self.broken("it is no answer")));
        }
        Ok(response.into_body().into_reader())
    }

    /// An answer that ended before its end.
    pub(super) fn broken(&self, why: &str) -> RemoteError {
        RemoteError::Broken { url: self.url.clone(), why: why.to_owned() }
    }

    /// Sends JSON to `tail` of the environment.
    pub(super) fn send(
        &self,
        method: &str,
        tail: &str,
        headers: &[(&str, String)],
        body: &Value,
    ) -> Result<Reply, RemoteError> {
        let headers = [&[("content-type", "application/json".to_owned())], headers].concat();
        self.run(self.request(method, tail, &headers), body.to_string(), LONG_ANSWER_MAX)
    }

    /// Sends what `reader` gives, of a size that need not be known.
    pub(super) fn upload(
        &self,
        tail: &str,
        headers: &[(&str, String)],
        reader: &mut dyn Read,
    ) -> Result<Reply, RemoteError> {
        self.run(self.request("PUT", tail, headers), SendBody::from_reader(reader), LONG_ANSWER_MAX)
    }

    /// Deletes what stands at `tail`.
    pub(super) fn delete(&self, tail: &str, headers: &[(&str, String)]) -> Result<Reply, RemoteError> {
        self.run(self.request("DELETE", tail, headers), (), ANSWER_MAX)
    }

    /// Every item of a list, at most `most`.
    pub(super) fn all(&self, tail: &str, most: Option<usize>) -> Result<Vec<Value>, RemoteError> {
        let mut items = Vec::new();
        self.pages(tail, PAGE, |page| {
            items.extend(page);
            most.is_none_or(|most| items.len() < most)
        })?;
        items.truncate(most.unwrap_or(usize::MAX));
        Ok(items)
    }

    /// A list page by page, until its end or until `take` has enough.
    pub(super) fn pages(
        &self,
        tail: &str,
        size: usize,
        mut take: impl FnMut(Vec<Value>) -> bool,
    ) -> Result<(), RemoteError> {
        let joint = if tail.contains('?') { '&' } else { '?' };
        let mut next = format!("{tail}{joint}limit={size}");
        loop {
            let mut page = self.get(&next)?.json;
            let items = match page.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            let wants_more = take(items);
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(cursor) if wants_more => {
                    next = format!("{tail}{joint}limit={size}&cursor={}", encoded(cursor));
                }
                _ => return Ok(()),
            }
        }
    }

    /// Sends JSON to a path that names no environment.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Reply, RemoteError> {
        let headers = [("content-type", "application/json".to_owned())];
        self.run(self.request_of("POST", path, &headers), body.to_string(), ANSWER_MAX)
    }

    fn request(&self, method: &str, tail: &str, headers: &[(&str, String)]) -> ureq::http::request::Builder {
        self.request_of(method, &format!("/v1/environments/{}{tail}", self.environment), headers)
    }

    fn request_of(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
    ) -> ureq::http::request::Builder {
        let uri = format!("{}{path}", self.url);
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("authorization", format!("Bearer {}", self.key));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    fn run(
        &self,
        request: ureq::http::request::Builder,
        body: impl AsSendBody,
        within: Duration,
    ) -> Result<Reply, RemoteError> {
        self.read(self.response(request, body, within)?)
    }

    fn response(
        &self,
        request: ureq::http::request::Builder,
        body: impl AsSendBody,
        within: Duration,
    ) -> Result<Response<Body>, RemoteError> {
        let request = request.body(body).map_err(|error| failed(&self.url, &error.into()))?;
        let request = self.agent.configure_request(request).timeout_recv_response(Some(within)).build();
        self.agent.run(request).map_err(|error| failed(&self.url, &error))
    }

    fn read(&self, mut response: Response<Body>) -> Result<Reply, RemoteError> {
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body =
            body.map_err(|error| RemoteError::Broken { url: self.url.clone(), why: error.to_string() })?;
        let json = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        let foreign = || RemoteError::Foreign { url: self.url.clone(), status };
        match (status, json) {
            (200..=299, Ok(json)) => Ok(Reply { status, json }),
            (_, Ok(json)) => Err(Refusal::read(status, &json).map_or_else(foreign, RemoteError::Refused)),
            (_, Err(_)) => Err(foreign()),
        }
    }
}

/// What the client reported of a call to `url`.
fn failed(url: &str, error: &ureq::Error) -> RemoteError {
    let unreachable = |why: String| RemoteError::Unreachable { url: url.to_owned(), why };
    let broken = |why: String| RemoteError::Broken { url: url.to_owned(), why };
    match error {
        ureq::Error::HostNotFound => unreachable("there is no host of that name".to_owned()),
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            unreachable("nothing listens there; is `huidu serve` running, and HUIDU_URL right?".to_owned())
        }
        ureq::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::BrokenPipe
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::UnexpectedEof => broken(error.to_string()),
            _ => unreachable(error.to_string()),
        },
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            unreachable(format!("no connection within {} s", CONNECT_MAX.as_secs()))
        }
        ureq::Error::Timeout(_) => {
            broken("it took too long; whether a change was made is unknown".to_owned())
        }
        error => unreachable(error.to_string()),
    }
}

/// What a service says of itself without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Health {
    /// Whether it serves a snapshot of every environment.
    pub(super) ready: bool,
    /// What its clock shows, in milliseconds since 1970, to the second.
    pub(super) date_ms: Option<i64>,
}

/// Asks the service at `url` how it is.
pub(super) fn health(url: &str) -> Result<Health, RemoteError> {
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(CONNECT_MAX));
    let agent: Agent = config.build().into();
    let ask = |path: &str| agent.get(format!("{url}{path}")).call().map_err(|error| failed(url, &error));
    let response = ask("/healthz")?;
    if response.status() != 200 {
        return Err(RemoteError::Foreign { url: url.to_owned(), status: response.status().as_u16() });
    }
    let date = response.headers().get("date").and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let date_ms = date.map(|date| date.timestamp().as_millisecond());
    Ok(Health { ready: ask("/readyz")?.status() == 200, date_ms })
}

/// Items of one page.
const PAGE: usize = 200;

/// `text` for a query or a header: everything but letters, digits and `-._~` as `%XX` of its UTF-8.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The header that carries why a change is made, where there is a reason.
pub(super) fn reason_header(reason: Option<&str>) -> Vec<(&'static str, String)> {
    reason.map(|reason| ("huidu-reason", encoded(reason))).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_says_its_code_and_every_fault() {
        for (status, body, expected) in [
            (
                422,
                json!({"code": "flag_invalid", "detail": "the flag has 2 faults", "errors": [
                    {"pointer": "/salt", "code": "wrong_type", "detail": "a text is needed"},
                    {"pointer": "", "code": "required", "detail": "x\u{1b}[2J"}]}),
                "flag_invalid: the flag has 2 faults\n  /salt  wrong_type: a text is needed\n  /  required: x [2J",
            ),
            (
                404,
                json!({"code": "not_found", "detail": "there is no such flag"}),
                "not_found: there is no such flag",
            ),
            (
                401,
                json!({"code": "unauthorized", "detail": "a key is needed"}),
                "unauthorized: a key is needed (give a key that is good with HUIDU_KEY)",
            ),
            (
                503,
                json!({"code": "not_ready", "detail": "no snapshot", "instance": "r-1"}),
                "not_ready: no snapshot (request r-1)",
            ),
        ] {
            assert_eq!(Refusal::read(status, &body).unwrap().to_string(), expected);
        }
        assert_eq!(Refusal::read(502, &json!({"error": "bad gateway"})), None);
    }

    #[test]
    fn a_reason_travels_percent_encoded() {
        assert_eq!(encoded("ramp to 10 % 灰"), "ramp%20to%2010%20%25%20%E7%81%B0");
        assert_eq!(reason_header(None), []);
    }
}
