//! A flag's events for whoever analyses them elsewhere: a page of JSON, or all of them streamed as CSV or lines of JSON.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, Accept, Header as _};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;

use crate::access::Actor;
use crate::access::role::Read;
use crate::engine::key::FlagKey;
use crate::http::access::Access;
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, named};
use crate::http::service::Service;
use crate::report::export::{Export, Page, Range, Row, Table, csv, ndjson, objects};

/// Rows of a page of JSON where nobody asks for a number, and at most.
const LIMITS: (usize, usize) = (1_000, 10_000);

/// How often the rows that come next are asked for before an answer is cut off, and the pause between.
const ATTEMPTS_MAX: u32 = 6;
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
    Ndjson,
}

/// `GET .../flags/{key}/exposures`
pub(super) async fn exposures(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    answer(access, &req, service, Table::Exposures).await
}

/// `GET .../flags/{key}/conversions`
pub(super) async fn conversions(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    answer(access, &req, service, Table::Conversions).await
}

async fn answer(
    access: Access<Read>,
    req: &HttpRequest,
    service: Data<Service>,
    table: Table,
) -> Result<HttpResponse, Problem> {
    let key = named(req, "key", FlagKey::parse)?;
    let query = Query::read(req, &["from", "to", "cursor", "limit", "format"])?;
    let form = form(req, query.text("format"))?;
    let limit = query.number("limit")?.map(|_| query.limit_of(LIMITS.0, LIMITS.1)).transpose()?;
    let range =
        Range { from_ms: query.time("from")?, to_ms: query.time("to")?, cursor: query.text("cursor") };
    let published = access.environment.published().ok_or_else(crate::http::not_ready)?;
    let flag = published.snapshot.find(key.as_str());
    let flag = flag.ok_or_else(|| Problem::new(Code::NotFound, "there is no such flag"))?;
    let export = service.exports.begin(table, access.environment.number, flag, range);
    let mut export =
        export.map_err(|error| Problem::new(Code::QueryInvalid, format!("`cursor`: {error}")))?;
    if form == Form::Json {
        let page = export.page(limit.unwrap_or(LIMITS.0)).await.map_err(|e| Problem::from_store(&e))?;
        return json(&page, export.flag_key());
    }
    let mut left = limit.unwrap_or(usize::MAX);
    let first = export.some(left).await.map_err(|error| Problem::from_store(&error))?;
    left -= first.rows.len();
    let name = format!("attachment; filename=\"{key}-{}.{}\"", table.as_str(), form.ending());
    let stream =
        Stream { service, actor: access.actor, export, form, head: Some(table), left, next: Some(first) };
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, form.media_type()))
        .insert_header((header::CONTENT_DISPOSITION, name))
        .streaming(stream::unfold(Some(stream), next_chunk)))
}

fn json(page: &Page, flag_key: &str) -> Result<HttpResponse, Problem> {
    let items = objects(&page.rows, flag_key).map_err(unwritten)?;
    let next = serde_json::Value::from(page.next.as_deref());
    let body = format!("{{\"items\":{items},\"next_cursor\":{next}}}");
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// What `format` says, or else the best of what `Accept` takes; JSON where neither names a form.
fn form(req: &HttpRequest, format: Option<&str>) -> Result<Form, Problem> {
    match format {
        Some("json") => return Ok(Form::Json),
        Some("csv") => return Ok(Form::Csv),
        Some("ndjson") => return Ok(Form::Ndjson),
        Some(_) => return Err(Problem::new(Code::QueryInvalid, "`format` is csv, ndjson or json")),
        None => {}
    }
    // A header that cannot be read asks for nothing.
    let ranked = Accept::parse(req).map(|accept| accept.ranked()).unwrap_or_default();
    let form = ranked.iter().find_map(|mime| match mime.essence_str() {
        "text/csv" => Some(Form::Csv),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Form::Ndjson),
        "application/json" | "*/*" => Some(Form::Json),
        _ => None,
    });
    Ok(form.unwrap_or(Form::Json))
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// The ending of a file's name.
    fn ending(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }
}

/// An answer under way. Its next rows are read only when those before are on their way.
struct Stream {
    service: Data<Service>,
    actor: Arc<Actor>,
    export: Export,
    form: Form,
    /// Whose columns' names stand on top, where they were not sent yet.
    head: Option<Table>,
    /// How many rows may follow those that were read.
    left: usize,
    /// Rows that were read; `None` after the last.
    next: Option<Page>,
}

/// The next bytes. An answer that fails in its middle is cut off, which the client sees.
async fn next_chunk(stream: Option<Stream>) -> Option<(Result<Bytes, actix_web::Error>, Option<Stream>)> {
    let mut stream = stream?;
    let page = stream.next.take()?;
    let bytes = match stream.written(&page.rows) {
        Ok(bytes) => bytes,
        Err(problem) => return Some((Err(problem.into()), None)),
    };
    if page.next.is_some() && stream.left > 0 {
        match stream.read().await {
            Ok(next) => stream.next = Some(next),
            Err(problem) => return Some((Err(problem.into()), None)),
        }
    }
    // An empty chunk would be taken for the end.
    (!bytes.is_empty()).then_some((Ok(bytes.into()), Some(stream)))
}

impl Stream {
    async fn read(&mut self) -> Result<Page, Problem> {
        if *self.service.streams.ended().borrow() {
            return Err(Problem::new(Code::NotReady, "the service is stopping"));
        }
        if self.service.keys.holder(&self.actor.id, self.service.clock.now_ms()).is_none() {
            return Err(Problem::new(Code::Unauthorized, "the key is not good any more"));
        }
        let mut attempts = 1;
        let page = loop {
            match self.export.some(self.left).await {
                Ok(page) => break page,
                // Hours of work do not end for a moment in which the database was slow or away.
                Err(error) if error.is_away() && attempts < ATTEMPTS_MAX => {
                    tracing::warn!(%error, attempts, "an export waits for the database");
                    attempts += 1;
                    tokio::time::sleep(ATTEMPT_PAUSE).await;
                }
                Err(error) => return Err(Problem::from_store(&error)),
            }
        };
        self.left -= page.rows.len();
        Ok(page)
    }

    fn written(&mut self, rows: &[Row]) -> Result<Vec<u8>, Problem> {
        let (head, key) = (self.head.take(), self.export.flag_key());
        match self.form {
            Form::Csv => csv(head, rows, key).map_err(unwritten),
            Form::Json | Form::Ndjson => ndjson(rows, key).map_err(unwritten),
        }
    }
}

fn unwritten(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "an export could not be written");
    Problem::new(Code::Internal, "the export could not be written; the log says why")
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn the_form_is_the_best_of_what_is_taken() {
        for (accept, expected) in [
            ("", Form::Json),
            ("*/*", Form::Json),
            ("application/json", Form::Json),
            ("text/csv", Form::Csv),
            ("text/csv; charset=utf-8", Form::Csv),
            ("application/x-ndjson", Form::Ndjson),
            ("application/x-ndjson;q=0.4, text/csv;q=0.8", Form::Csv),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Form::Json),
            ("image/png", Form::Json),
        ] {
            let mut request = TestRequest::default();
            if !accept.is_empty() {
                request = request.insert_header(("accept", accept));
            }
            let request = request.to_http_request();
            assert_eq!(form(&request, None).unwrap(), expected, "{accept}");
            assert_eq!(form(&request, Some("ndjson")).unwrap(), Form::Ndjson, "{accept}");
            assert_eq!(form(&request, Some("xml")).unwrap_err().code, Code::QueryInvalid);
        }
    }
}
