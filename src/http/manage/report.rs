//! Reports over HTTP, as JSON or as CSV.

use actix_web::http::header::{Accept, Header as _};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::access::role::Read;
use crate::engine::key::FlagKey;
use crate::engine::share::Share;
use crate::http::access::Access;
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, named};
use crate::http::service::Service;
use crate::report::ReportError;
use crate::report::ask::Question;
use crate::report::csv;
use crate::report::load::Asked;
use crate::report::series::Bucket;

/// Seconds after which a report that is prepared may be asked for again.
const PREPARING_SECONDS: u64 = 5;

/// How the answer is written.
enum Form {
    Json,
    /// One of its tables.
    Csv(&'static str),
}

/// Quantiles at which values may be cut.
const CAPS: std::ops::RangeInclusive<f64> = 0.9..=0.9999;

/// `GET .../flags/{key}/report?from=&to=&by=&cap=&format=&table=`
pub(super) async fn report(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    let query = Query::read(&req, &["from", "to", "by", "cap", "format", "table"])?;
    let form = form(&req, &query, &csv::REPORT_TABLES)?;
    let by = query.text("by").map(str::to_owned);
    let question = Question::Report { asked: asked(&query)?, by, cap: cap(&query)? };
    answer(&service, &access, key, question, form).await
}

/// `GET .../flags/{key}/timeseries?by=hour|day&tz=&from=&to=&format=`
pub(super) async fn series(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    let query = Query::read(&req, &["from", "to", "by", "tz", "format"])?;
    let form = form(&req, &query, &["points"])?;
    let bucket = match query.text("by") {
        Some("hour") => Bucket::Hour,
        Some("day") | None => Bucket::Day(zone(&service, &query)?),
        Some(_) => return Err(Problem::new(Code::QueryInvalid, "`by` is hour or day")),
    };
    let question = Question::Series { asked: asked(&query)?, bucket };
    answer(&service, &access, key, question, form).await
}

fn asked(query: &Query) -> Result<Asked, Problem> {
    Ok(Asked { from_ms: query.time("from")?, to_ms: query.time("to")? })
}

/// The quantile of what users spent at which values are cut.
fn cap(query: &Query) -> Result<Option<Share>, Problem> {
    let Some(text) = query.text("cap") else { return Ok(None) };
    let quantile = text.parse().ok().filter(|quantile| CAPS.contains(quantile));
    let share = quantile.and_then(|quantile: f64| Share::from_percent((1e6 * quantile).round() / 1e4));
    share.map(Some).ok_or_else(|| Problem::new(Code::QueryInvalid, "`cap` is a quantile, 0.9 to 0.9999"))
}

/// The time zone whose days are meant, by name.
fn zone(service: &Service, query: &Query) -> Result<String, Problem> {
    let Some(name) = query.text("tz") else {
        return Ok(service.settings.timezone.iana_name().unwrap_or("UTC").to_owned());
    };
    let refuse = |_error| Problem::new(Code::QueryInvalid, "`tz` is a time zone such as Asia/Shanghai");
    TimeZone::get(name).map(|_| name.to_owned()).map_err(refuse)
}

/// `?format=`, or what the client accepts.
fn form(req: &HttpRequest, query: &Query, tables: &[&'static str]) -> Result<Form, Problem> {
    // A header that cannot be read asks for nothing.
    let ranked = Accept::parse(req).map(|accept| accept.ranked()).unwrap_or_default();
    let known = ["text/csv", "application/json", "*/*"];
    let first = ranked.iter().map(|mime| mime.essence_str()).find(|mime| known.contains(mime));
    let is_csv = match query.text("format") {
        Some("csv") => true,
        Some("json") => false,
        Some(_) => return Err(Problem::new(Code::QueryInvalid, "`format` is json or csv")),
        None => first == Some("text/csv"),
    };
    let table = match query.text("table") {
        None => tables.first(),
        Some(_) if !is_csv => {
            return Err(Problem::new(Code::QueryInvalid, "`table` belongs to `format=csv`"));
        }
        Some(name) => tables.iter().find(|table| **table == name),
    };
    match table {
        Some(table) if is_csv => Ok(Form::Csv(table)),
        Some(_) => Ok(Form::Json),
        None => Err(Problem::new(Code::QueryInvalid, format!("`table` is one of {}", tables.join(", ")))),
    }
}

async fn answer(
    service: &Service,
    access: &Access<Read>,
    key: FlagKey,
    question: Question,
    form: Form,
) -> Result<HttpResponse, Problem> {
    let (reports, environment) = (service.reports.clone(), access.environment.clone());
    let media_type = form.media_type();
    let work = async move {
        let answer = reports.answer(&environment, &key, question).await;
        answer.map(|answer| form.written(&answer)).map_err(|error| Problem::from_report(&error))
    };
    let body = service.beside(work).await??;
    Ok(HttpResponse::Ok().content_type(media_type).body(body))
}

impl Form {
    fn media_type(&self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv(_) => "text/csv; charset=utf-8",
        }
    }

    fn written(&self, answer: &Value) -> Vec<u8> {
        match self {
            Self::Json => answer.to_string().into_bytes(),
            Self::Csv(table) => csv::table(answer, table),
        }
    }
}

impl Problem {
    /// A report that is not there.
    fn from_report(error: &ReportError) -> Self {
        let code = match error {
            ReportError::Store(error) => return Self::from_store(error),
            ReportError::NotFound => Code::NotFound,
            ReportError::Unreadable => Code::FlagUnreadable,
            ReportError::NotCaptured { .. } => Code::QueryInvalid,
            ReportError::Busy => Code::ReportsBusy,
            ReportError::Preparing { .. } => {
                return Self::new(Code::ReportPreparing, error.to_string()).retry_after(PREPARING_SECONDS);
            }
            ReportError::Task(_) | ReportError::Kept(_) => {
                tracing::error!(%error, "a report could not be computed");
                return Self::new(Code::Internal, "the report could not be computed; the log says why");
            }
        };
        Self::new(code, error.to_string())
    }
}
