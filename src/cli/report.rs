//! `huidu report`: what a flag came to, as a person reads it.

mod answer;
mod compared;
mod figures;
mod layout;
mod page;
mod series;
#[cfg(test)]
mod tests;
mod whole;
mod words;

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::UsageError;
use super::events::time;
use super::output::{Output, complain, say, terminal_width};
use super::remote::{Remote, RemoteError, encoded};
use crate::engine::key::FlagKey;
use crate::report::csv::REPORT_TABLES;
use crate::settings::{ClientSettings, Surroundings};
use page::Look;
use words::Language;

/// Columns of a line where there is no terminal.
const WIDTH: u16 = 100;
/// Pause before a report that is prepared is asked for again.
const PAUSE: Duration = Duration::from_secs(1);
/// Most questions: each is answered within about 20 seconds, and counts on meanwhile.
const QUESTIONS_MAX: usize = 200;

/// Arguments of `huidu report`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Numbers are of shoppers whose window has closed; those whose window is open are told apart. docs/report.md says what \
    each counts. A report that the service is still counting is waited for."
)]
pub(super) struct ReportArguments {
    /// The flag's key
    #[arg(id = "flag_key", value_name = "FLAG", value_parser = FlagKey::parse)]
    flag: FlagKey,
    /// Only those first seen at this time or later, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<String>,
    /// Only those first seen before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<String>,
    /// Split by an attribute that the flag captures, such as user.region
    #[arg(long, value_name = "ATTRIBUTE", conflicts_with_all = ["by_day", "by_hour"])]
    by: Option<String>,
    /// Tell values per user also with large ones cut: those above this share of what users spent, 0.9 to 0.9999
    #[arg(long, value_name = "QUANTILE", conflicts_with_all = ["by_day", "by_hour"])]
    cap: Option<f64>,
    /// Day by day instead
    #[arg(long, conflicts_with = "by_hour")]
    by_day: bool,
    /// Hour by hour instead
    #[arg(long)]
    by_hour: bool,
    /// The time zone of days and times, such as Asia/Shanghai
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    tz: Option<TimeZone>,
    /// The language; that of the locale where left out
    #[arg(long, value_enum)]
    language: Option<Language>,
    /// Columns of a line; those of the terminal where left out
    #[arg(long, value_name = "COLUMNS", value_parser = RangedU64ValueParser::<u16>::new().range(40..=400))]
    width: Option<u16>,
    /// Write the service's JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Write a table as CSV
    #[arg(long)]
    csv: bool,
    /// Which table
    #[arg(long, value_name = "NAME", requires = "csv", conflicts_with_all = ["by_day", "by_hour"], value_parser = REPORT_TABLES)]
    table: Option<String>,
    #[command(flatten)]
    client: ClientSettings,
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_error| "a time zone is a name such as Asia/Shanghai".to_owned())
}

pub(super) fn run(
    arguments: &ReportArguments,
    surroundings: &Surroundings,
    output: Output,
) -> anyhow::Result<ExitCode> {
    if arguments.tz.is_some() && arguments.by_hour {
        let words = "--tz has no meaning with --by-hour: hours are those of UTC";
        return Err(UsageError(words.to_owned()).into());
    }
    let remote = Remote::new(&arguments.client)?;
    let tail = question(arguments);
    if arguments.csv || arguments.json {
        // Byte by byte: a number that is read and written again may differ in its last digit.
        let mut bytes = Vec::new();
        let mut answer = patiently(|| remote.stream(&tail))?;
        answer.read_to_end(&mut bytes).map_err(|error| remote.broken(&error.to_string()))?;
        if arguments.json {
            bytes.push(b'\n');
        }
        // A closed pipe is no reason to fail.
        drop(std::io::stdout().lock().write_all(&bytes));
        return Ok(ExitCode::SUCCESS);
    }
    let answer = patiently(|| remote.get(&tail))?.json;
    let language = arguments.language.unwrap_or_else(|| Language::of_locale(&surroundings.locale()));
    let width = arguments.width.or_else(terminal_width).unwrap_or(WIDTH);
    let zone = arguments.tz.clone().unwrap_or(TimeZone::UTC);
    let look = Look { language, width: usize::from(width), output, zone };
    say(&shown(arguments, &answer, &look));
    Ok(ExitCode::SUCCESS)
}

fn shown(arguments: &ReportArguments, answer: &Value, look: &Look) -> String {
    if arguments.by_day || arguments.by_hour {
        series::shown(answer, look)
    } else {
        whole::shown(answer, arguments.by.as_deref().unwrap_or_default(), look)
    }
}

/// Path and query of what is asked.
fn question(arguments: &ReportArguments) -> String {
    let is_series = arguments.by_day || arguments.by_hour;
    let by = match (arguments.by_day, arguments.by_hour) {
        (true, _) => Some("day"),
        (_, true) => Some("hour"),
        _ => arguments.by.as_deref(),
    };
    let tz = arguments.tz.as_ref().and_then(|zone| zone.iana_name()).filter(|_| arguments.by_day);
    let what = if is_series { "timeseries" } else { "report" };
    let cap = arguments.cap.map(|cap| cap.to_string());
    let query = [
        ("format", Some(if arguments.csv { "csv" } else { "json" })),
        ("table", arguments.table.as_deref()),
        ("from", arguments.from.as_deref()),
        ("to", arguments.to.as_deref()),
        ("by", by),
        ("cap", cap.as_deref()),
        ("tz", tz),
    ];
    let query = query.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))));
    format!("/flags/{}/{what}?{}", arguments.flag, query.collect::<Vec<_>>().join("&"))
}

/// Asks until the report is counted: each question goes on where the last ended.
fn patiently<T>(ask: impl Fn() -> Result<T, RemoteError>) -> Result<T, RemoteError> {
    for _ in 1..QUESTIONS_MAX {
        match ask() {
            Err(RemoteError::Refused(refusal)) if WAITS.contains(&refusal.code.as_str()) => {
                complain(&format!("huidu: {}: waiting", refusal.detail));
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
    ask()
}

/// Refusals that pass by themselves.
const WAITS: [&str; 2] = ["report_preparing", "reports_busy"];
